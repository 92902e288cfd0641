//! The index against orders of events that the two watches can show.

use super::*;
use crate::{
    api::{KeyPairSpec, KeyPairStatus},
    domain::ledger::Standing,
};

fn key_pair(name: &str, accepted: bool) -> KeyPair {
    let mut key_pair = KeyPair::new(name, KeyPairSpec::default());
    key_pair.metadata.namespace = Some("shop".to_owned());
    key_pair.metadata.uid = Some(format!("uid-{name}"));
    key_pair.status =
        accepted.then(|| KeyPairStatus { key_pair_id: Some(format!("kp-{name}")), ..KeyPairStatus::default() });
    key_pair
}

fn index(quota: usize) -> Index {
    let index = Index::default();
    assert!(index.set_region("shop", Region::with_quota(quota), |_| None).is_empty());
    index
}

fn standing(index: &Index, name: &str) -> Standing {
    index.with_ledger("shop", |ledger| ledger.standing(&format!("uid-{name}"))).unwrap()
}

fn names(concerned: Vec<ObjectRef<KeyPair>>) -> BTreeSet<String> {
    concerned.into_iter().map(|reference| reference.name).collect()
}

#[test]
fn nothing_is_granted_before_the_list_is_complete() {
    let index = index(1);
    index.apply(&Event::<KeyPair>::Init);
    index.apply(&Event::InitApply(key_pair("aa", false)));
    index.apply(&Event::InitApply(key_pair("bb", true)));
    assert_eq!(standing(&index, "aa"), Standing::Unknown);
    index.apply(&Event::<KeyPair>::InitDone);
    assert_eq!(standing(&index, "aa"), Standing::NoSlot);
    assert_eq!(standing(&index, "bb"), Standing::Granted);
}

#[test]
fn the_next_in_line_is_told_when_a_slot_is_free() {
    let index = index(1);
    index.apply(&Event::Apply(key_pair("aa", false)));
    index.apply(&Event::Apply(key_pair("bb", false)));
    assert_eq!(standing(&index, "bb"), Standing::NoSlot);
    let concerned = index.apply(&Event::Delete(key_pair("aa", true)));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    assert_eq!(standing(&index, "bb"), Standing::Granted);
}

#[test]
fn a_request_that_is_not_valid_takes_no_place() {
    let index = index(1);
    let mut invalid = key_pair("aa", false);
    invalid.spec.key_pair_name = Some("1st".to_owned());
    index.apply(&Event::Apply(invalid));
    index.apply(&Event::Apply(key_pair("bb", false)));
    assert_eq!(standing(&index, "aa"), Standing::Unknown);
    assert_eq!(standing(&index, "bb"), Standing::Granted);
    // Mended, it queues up behind those who came while it was not valid.
    index.apply(&Event::Apply(key_pair("aa", false)));
    assert_eq!(standing(&index, "aa"), Standing::NoSlot);
}

#[test]
fn a_new_list_keeps_what_is_granted_and_forgets_who_is_gone() {
    let index = index(1);
    index.apply(&Event::Apply(key_pair("bb", false)));
    index.apply(&Event::<KeyPair>::Init);
    index.apply(&Event::InitApply(key_pair("aa", false)));
    index.apply(&Event::InitApply(key_pair("bb", false)));
    index.apply(&Event::<KeyPair>::InitDone);
    assert_eq!(standing(&index, "bb"), Standing::Granted, "its status may be on its way");
    assert_eq!(standing(&index, "aa"), Standing::NoSlot);
    index.apply(&Event::<KeyPair>::Init);
    index.apply(&Event::InitApply(key_pair("aa", false)));
    index.apply(&Event::<KeyPair>::InitDone);
    assert_eq!(standing(&index, "bb"), Standing::Unknown);
    assert_eq!(standing(&index, "aa"), Standing::Granted);
}

/// Whoever looks the `KeyPair`s up by name.
fn store(key_pairs: &[KeyPair]) -> impl Fn(&str) -> Option<ClaimRequest> {
    |name| key_pairs.iter().find(|key_pair| key_pair.name_any() == name).map(ClaimRequest::of)
}

#[test]
fn nothing_is_granted_in_a_namespace_of_which_nothing_is_known() {
    let index = Index::default();
    let pairs = [key_pair("aa", false), key_pair("bb", false)];
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    assert!(index.with_ledger("shop", |_| ()).is_none());
    let concerned = index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["aa".to_owned(), "bb".to_owned()]));
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot));
}

#[test]
fn another_quota_concerns_those_that_it_lets_in() {
    let index = index(1);
    let pairs = [key_pair("aa", false), key_pair("bb", false), key_pair("cc", false)];
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    let concerned = index.set_region("shop", Region::with_quota(2), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    // Nobody has been told that bb is accepted.
    let concerned = index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot));
}

#[test]
fn a_region_that_changes_during_a_list_counts_for_what_is_listed() {
    let index = index(1);
    let pairs = [key_pair("aa", false)];
    index.apply(&Event::<KeyPair>::Init);
    index.apply(&Event::InitApply(pairs[0].clone()));
    index.set_region("shop", Region { exists: false, ..Region::with_quota(1) }, |_| None);
    index.apply(&Event::<KeyPair>::InitDone);
    index.catch_up(|reference| store(&pairs)(&reference.name));
    assert_eq!(standing(&index, "aa"), Standing::Unknown, "a request outside of every region takes no place");
}

/// Of this version.
fn version(key_pair: KeyPair, version: &str) -> KeyPair {
    let mut key_pair = key_pair;
    key_pair.metadata.resource_version = Some(version.to_owned());
    key_pair
}

/// A list that has brought these.
fn begin_list(index: &Index, pairs: &[KeyPair]) {
    index.apply(&Event::<KeyPair>::Init);
    for pair in pairs {
        index.apply(&Event::InitApply(pair.clone()));
    }
}

/// The same name, but another object.
fn anew(key_pair: KeyPair) -> KeyPair {
    let mut key_pair = key_pair;
    key_pair.metadata.uid = Some(format!("{}-anew", key_pair.metadata.uid.unwrap()));
    key_pair
}

/// A namespace without the project that `in_project` names.
fn without_project() -> Region {
    Region { projects: Some(BTreeSet::from(["other".to_owned()])), ..Region::with_quota(1) }
}

fn in_project(name: &str, accepted: bool) -> KeyPair {
    let mut key_pair = key_pair(name, accepted);
    key_pair.spec.project = Some("team".to_owned());
    key_pair
}

#[test]
fn a_namespace_made_anew_before_its_watch_shows_it_keeps_what_is_in_it() {
    let index = index(1);
    let pairs = [key_pair("aa", true), key_pair("bb", false)];
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    // Only now does the watch show that the namespace before was deleted.
    index.forget("shop");
    assert!(index.region("shop").is_none());
    assert!(index.has("shop", "aa") && index.has("shop", "bb"));
    let concerned = index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["aa".to_owned(), "bb".to_owned()]));
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot));
    // The same with a list of Namespaces that does not have it.
    index.retain(&BTreeSet::new());
    assert!(index.region("shop").is_none());
    index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot));
}

#[test]
fn a_namespace_made_anew_is_not_what_its_last_pairs_held() {
    let index = index(1);
    let old = key_pair("aa", true);
    index.apply(&Event::Apply(old.clone()));
    index.forget("shop");
    index.set_region("shop", Region::with_quota(1), store(std::slice::from_ref(&old)));
    // What the other watch has still to show counts as long as it has not been shown.
    let new = anew(key_pair("bb", false));
    index.apply(&Event::Apply(new));
    let standing = |uid: &str| index.with_ledger("shop", |ledger| ledger.standing(uid)).unwrap();
    assert_eq!(standing("uid-bb-anew"), Standing::NoSlot);
    let concerned = index.apply(&Event::Delete(old));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    assert_eq!(standing("uid-bb-anew"), Standing::Granted);
}

#[test]
fn of_a_namespace_that_is_gone_with_all_in_it_nothing_is_left() {
    for namespace_first in [true, false] {
        let index = index(1);
        let pair = key_pair("aa", false);
        index.apply(&Event::Apply(version(pair.clone(), "1")));
        assert!(index.begin_acceptance("shop", "uid-aa", "1"));
        if namespace_first {
            index.forget("shop");
            index.apply(&Event::Delete(pair));
        } else {
            index.apply(&Event::Delete(pair));
            index.forget("shop");
        }
        assert!(index.lock().namespaces.is_empty());
    }
}

#[test]
fn who_may_be_accepted_just_now_keeps_slot_and_name_whatever_becomes_of_the_namespace() {
    let edits: [fn(&Index, &[KeyPair]); 4] = [
        |index, pairs| drop(index.set_region("shop", without_project(), store(pairs))),
        |index, pairs| {
            let no_default = Region { default_project: None, exists: false, ..Region::with_quota(0) };
            index.set_region("shop", no_default, store(pairs));
            index.set_region("shop", without_project(), store(pairs));
        },
        |index, pairs| {
            index.forget("shop");
            index.set_region("shop", without_project(), store(pairs));
        },
        |index, pairs| {
            index.set_region("shop", without_project(), store(pairs));
            begin_list(index, pairs);
            index.apply(&Event::<KeyPair>::InitDone);
            index.catch_up(|reference| store(pairs)(&reference.name));
        },
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        let index = index(1);
        let pairs = [version(in_project("aa", false), "1"), version(key_pair("bb", false), "2")];
        for pair in &pairs {
            index.apply(&Event::Apply(pair.clone()));
        }
        assert!(!index.begin_acceptance("shop", "uid-bb", "2"), "it has no slot");
        assert!(index.begin_acceptance("shop", "uid-aa", "1"));
        edit(&index, &pairs);
        assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot), "{number}");
        assert!(index.may_be_accepted("shop", "uid-aa", "1"));
        // The same version says nothing new.
        index.apply(&Event::Apply(pairs[0].clone()));
        assert_eq!(standing(&index, "aa"), Standing::Granted, "{number}");
        let late = index.clone();
        // The write has arrived.
        late.apply(&Event::Apply(version(in_project("aa", true), "3")));
        assert_eq!((standing(&late, "aa"), standing(&late, "bb")), (Standing::Granted, Standing::NoSlot), "{number}");
        assert!(!late.may_be_accepted("shop", "uid-aa", "1"));
        // Or another has, and it cannot any more.
        let concerned = index.apply(&Event::Apply(version(in_project("aa", false), "3")));
        assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]), "{number}");
        assert_eq!(
            (standing(&index, "aa"), standing(&index, "bb")),
            (Standing::Unknown, Standing::Granted),
            "{number}"
        );
    }
}

#[test]
fn a_list_tells_whether_a_write_has_arrived() {
    let index = index(1);
    let pairs = |seen: &str| [version(in_project("aa", false), seen), version(key_pair("bb", false), "2")];
    let list = |pairs: &[KeyPair], meanwhile: &dyn Fn()| {
        begin_list(&index, pairs);
        meanwhile();
        index.apply(&Event::<KeyPair>::InitDone);
        index.catch_up(|reference| store(pairs)(&reference.name));
    };
    list(&pairs("1"), &|| ());
    // Begun while a list that shows it before is under way.
    list(&pairs("1"), &|| assert!(index.begin_acceptance("shop", "uid-aa", "1")));
    index.set_region("shop", without_project(), store(&pairs("1")));
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot));
    list(&pairs("1"), &|| ());
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot));
    // Another version: it has not arrived, and cannot any more.
    list(&pairs("3"), &|| ());
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Unknown, Standing::Granted));
}

#[test]
fn another_quota_looks_at_no_request() {
    let index = index(1);
    let pairs: Vec<KeyPair> = (0..50).map(|number| key_pair(&format!("kp-{number:02}"), false)).collect();
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    let looked_at = std::cell::Cell::new(0);
    let counting = |name: &str| {
        looked_at.set(looked_at.get() + 1);
        store(&pairs)(name)
    };
    for quota in [10, 20, 5] {
        index.set_region("shop", Region::with_quota(quota), counting);
        assert_eq!(index.usage(), [("shop".to_owned(), quota, quota)]);
    }
    let none = Region { quota: None, ..Region::with_quota(0) };
    assert_eq!(index.set_region("shop", none, counting).len(), 50, "each is told the reason");
    assert_eq!(looked_at.get(), 0);
    index.set_region("shop", without_project(), counting);
    assert_eq!(looked_at.get(), 50, "which of them are valid does depend on the rest");
}

/// Whoever is older than another but valid only by what becomes of the namespace during a list is not put behind.
#[test]
fn what_a_list_brings_is_judged_at_its_end() {
    let index = index(1);
    let pairs = [in_project("aa", false), key_pair("bb", false)];
    index.set_region("shop", without_project(), |_| None);
    begin_list(&index, &pairs);
    index.set_region("shop", Region::with_quota(1), |_| None);
    index.apply(&Event::<KeyPair>::InitDone);
    index.catch_up(|reference| store(&pairs)(&reference.name));
    assert_eq!((standing(&index, "aa"), standing(&index, "bb")), (Standing::Granted, Standing::NoSlot));
}
