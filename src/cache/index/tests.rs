//! The index with all orders of events that the two watches can produce.

use super::*;
use crate::{
    api::{KeyPairSpec, KeyPairStatus},
    domain::ledger::ClaimState,
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

fn claim_state(index: &Index, name: &str) -> ClaimState {
    index.with_ledger("shop", |ledger| ledger.claim_state(&format!("uid-{name}"))).unwrap()
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
    assert_eq!(claim_state(&index, "aa"), ClaimState::Unknown);
    index.apply(&Event::<KeyPair>::InitDone);
    assert_eq!(claim_state(&index, "aa"), ClaimState::NoSlot);
    assert_eq!(claim_state(&index, "bb"), ClaimState::Granted);
}

#[test]
fn a_free_slot_notifies_the_next_in_line() {
    let index = index(1);
    index.apply(&Event::Apply(key_pair("aa", false)));
    index.apply(&Event::Apply(key_pair("bb", false)));
    assert_eq!(claim_state(&index, "bb"), ClaimState::NoSlot);
    let concerned = index.apply(&Event::Delete(key_pair("aa", true)));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    assert_eq!(claim_state(&index, "bb"), ClaimState::Granted);
}

#[test]
fn an_invalid_request_holds_no_slot_or_name() {
    let index = index(1);
    let mut invalid = key_pair("aa", false);
    invalid.spec.key_pair_name = Some("1st".to_owned());
    index.apply(&Event::Apply(invalid));
    index.apply(&Event::Apply(key_pair("bb", false)));
    assert_eq!(claim_state(&index, "aa"), ClaimState::Unknown);
    assert_eq!(claim_state(&index, "bb"), ClaimState::Granted);
    // Once fixed, it queues behind those that came while it was invalid.
    index.apply(&Event::Apply(key_pair("aa", false)));
    assert_eq!(claim_state(&index, "aa"), ClaimState::NoSlot);
}

#[test]
fn a_new_list_keeps_grants_and_forgets_deleted_pairs() {
    let index = index(1);
    index.apply(&Event::Apply(key_pair("bb", false)));
    index.apply(&Event::<KeyPair>::Init);
    index.apply(&Event::InitApply(key_pair("aa", false)));
    index.apply(&Event::InitApply(key_pair("bb", false)));
    index.apply(&Event::<KeyPair>::InitDone);
    assert_eq!(claim_state(&index, "bb"), ClaimState::Granted, "its status may be on its way");
    assert_eq!(claim_state(&index, "aa"), ClaimState::NoSlot);
    index.apply(&Event::<KeyPair>::Init);
    index.apply(&Event::InitApply(key_pair("aa", false)));
    index.apply(&Event::<KeyPair>::InitDone);
    assert_eq!(claim_state(&index, "bb"), ClaimState::Unknown);
    assert_eq!(claim_state(&index, "aa"), ClaimState::Granted);
}

/// Looks up the requests of these `KeyPair`s by name.
fn store(key_pairs: &[KeyPair]) -> impl Fn(&str) -> Option<ClaimRequest> {
    |name| key_pairs.iter().find(|key_pair| key_pair.name_any() == name).map(ClaimRequest::of)
}

#[test]
fn nothing_is_granted_in_an_unknown_namespace() {
    let index = Index::default();
    let pairs = [key_pair("aa", false), key_pair("bb", false)];
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    assert!(index.with_ledger("shop", |_| ()).is_none());
    let concerned = index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["aa".to_owned(), "bb".to_owned()]));
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Granted, ClaimState::NoSlot));
}

#[test]
fn a_quota_change_reevaluates_only_affected_pairs() {
    let index = index(1);
    let pairs = [key_pair("aa", false), key_pair("bb", false), key_pair("cc", false)];
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    let concerned = index.set_region("shop", Region::with_quota(2), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    // The acceptance of bb has not been written.
    let concerned = index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Granted, ClaimState::NoSlot));
}

#[test]
fn a_region_change_during_a_list_applies_to_listed_pairs() {
    let index = index(1);
    let pairs = [key_pair("aa", false)];
    index.apply(&Event::<KeyPair>::Init);
    index.apply(&Event::InitApply(pairs[0].clone()));
    index.set_region("shop", Region { exists: false, ..Region::with_quota(1) }, |_| None);
    index.apply(&Event::<KeyPair>::InitDone);
    index.reevaluate_outdated(|reference| store(&pairs)(&reference.name));
    assert_eq!(claim_state(&index, "aa"), ClaimState::Unknown, "a request outside of every region takes no place");
}

/// Sets the resource version.
fn version(key_pair: KeyPair, version: &str) -> KeyPair {
    let mut key_pair = key_pair;
    key_pair.metadata.resource_version = Some(version.to_owned());
    key_pair
}

/// Begins a list with these.
fn begin_list(index: &Index, pairs: &[KeyPair]) {
    index.apply(&Event::<KeyPair>::Init);
    for pair in pairs {
        index.apply(&Event::InitApply(pair.clone()));
    }
}

/// Another object of the same name.
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
fn a_namespace_recreated_unnoticed_keeps_its_key_pairs() {
    let index = index(1);
    let pairs = [key_pair("aa", true), key_pair("bb", false)];
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    // Only now does the watch show that the earlier namespace was deleted.
    index.forget_region("shop");
    assert!(index.region("shop").is_none());
    assert!(index.contains("shop", "aa") && index.contains("shop", "bb"));
    let concerned = index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!(names(concerned), BTreeSet::from(["aa".to_owned(), "bb".to_owned()]));
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Granted, ClaimState::NoSlot));
    // The same with a list of Namespaces that does not have it.
    index.forget_regions_except(&BTreeSet::new());
    assert!(index.region("shop").is_none());
    index.set_region("shop", Region::with_quota(1), store(&pairs));
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Granted, ClaimState::NoSlot));
}

#[test]
fn a_recreated_namespace_frees_slots_of_its_former_pairs() {
    let index = index(1);
    let old = key_pair("aa", true);
    index.apply(&Event::Apply(old.clone()));
    index.forget_region("shop");
    index.set_region("shop", Region::with_quota(1), store(std::slice::from_ref(&old)));
    // The old pair counts until its own watch shows the deletion.
    let new = anew(key_pair("bb", false));
    index.apply(&Event::Apply(new));
    let claim_state = |uid: &str| index.with_ledger("shop", |ledger| ledger.claim_state(uid)).unwrap();
    assert_eq!(claim_state("uid-bb-anew"), ClaimState::NoSlot);
    let concerned = index.apply(&Event::Delete(old));
    assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]));
    assert_eq!(claim_state("uid-bb-anew"), ClaimState::Granted);
}

#[test]
fn a_deleted_empty_namespace_leaves_nothing_behind() {
    for namespace_first in [true, false] {
        let index = index(1);
        let pair = key_pair("aa", false);
        index.apply(&Event::Apply(version(pair.clone(), "1")));
        assert!(index.begin_acceptance("shop", "uid-aa", "1"));
        if namespace_first {
            index.forget_region("shop");
            index.apply(&Event::Delete(pair));
        } else {
            index.apply(&Event::Delete(pair));
            index.forget_region("shop");
        }
        assert!(index.lock().namespaces.is_empty());
    }
}

#[test]
fn a_pending_acceptance_keeps_slot_and_name_without_its_namespace() {
    let edits: [fn(&Index, &[KeyPair]); 4] = [
        |index, pairs| drop(index.set_region("shop", without_project(), store(pairs))),
        |index, pairs| {
            let no_default = Region { default_project: None, exists: false, ..Region::with_quota(0) };
            index.set_region("shop", no_default, store(pairs));
            index.set_region("shop", without_project(), store(pairs));
        },
        |index, pairs| {
            index.forget_region("shop");
            index.set_region("shop", without_project(), store(pairs));
        },
        |index, pairs| {
            index.set_region("shop", without_project(), store(pairs));
            begin_list(index, pairs);
            index.apply(&Event::<KeyPair>::InitDone);
            index.reevaluate_outdated(|reference| store(pairs)(&reference.name));
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
        assert_eq!(
            (claim_state(&index, "aa"), claim_state(&index, "bb")),
            (ClaimState::Granted, ClaimState::NoSlot),
            "{number}"
        );
        assert!(index.is_acceptance_pending("shop", "uid-aa", "1"));
        // The same version is no news.
        index.apply(&Event::Apply(pairs[0].clone()));
        assert_eq!(claim_state(&index, "aa"), ClaimState::Granted, "{number}");
        let late = index.clone();
        // The write has arrived.
        late.apply(&Event::Apply(version(in_project("aa", true), "3")));
        assert_eq!(
            (claim_state(&late, "aa"), claim_state(&late, "bb")),
            (ClaimState::Granted, ClaimState::NoSlot),
            "{number}"
        );
        assert!(!late.is_acceptance_pending("shop", "uid-aa", "1"));
        // Or another write has arrived, so this one cannot any more.
        let concerned = index.apply(&Event::Apply(version(in_project("aa", false), "3")));
        assert_eq!(names(concerned), BTreeSet::from(["bb".to_owned()]), "{number}");
        assert_eq!(
            (claim_state(&index, "aa"), claim_state(&index, "bb")),
            (ClaimState::Unknown, ClaimState::Granted),
            "{number}"
        );
    }
}

#[test]
fn a_list_shows_whether_a_write_has_arrived() {
    let index = index(1);
    let pairs = |seen: &str| [version(in_project("aa", false), seen), version(key_pair("bb", false), "2")];
    let list = |pairs: &[KeyPair], meanwhile: &dyn Fn()| {
        begin_list(&index, pairs);
        meanwhile();
        index.apply(&Event::<KeyPair>::InitDone);
        index.reevaluate_outdated(|reference| store(pairs)(&reference.name));
    };
    list(&pairs("1"), &|| ());
    // It begins during a list that shows the old version.
    list(&pairs("1"), &|| assert!(index.begin_acceptance("shop", "uid-aa", "1")));
    index.set_region("shop", without_project(), store(&pairs("1")));
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Granted, ClaimState::NoSlot));
    list(&pairs("1"), &|| ());
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Granted, ClaimState::NoSlot));
    // Another version: it has not arrived, and cannot any more.
    list(&pairs("3"), &|| ());
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Unknown, ClaimState::Granted));
}

#[test]
fn another_quota_evaluates_no_request_again() {
    let index = index(1);
    let pairs: Vec<KeyPair> = (0..50).map(|number| key_pair(&format!("kp-{number:02}"), false)).collect();
    for pair in &pairs {
        index.apply(&Event::Apply(pair.clone()));
    }
    let looked_up = std::cell::Cell::new(0);
    let counting = |name: &str| {
        looked_up.set(looked_up.get() + 1);
        store(&pairs)(name)
    };
    for quota in [10, 20, 5] {
        index.set_region("shop", Region::with_quota(quota), counting);
        assert_eq!(index.usage(), [("shop".to_owned(), quota, quota)]);
    }
    let none = Region { quota: None, ..Region::with_quota(0) };
    assert_eq!(index.set_region("shop", none, counting).len(), 50, "each is notified of the reason");
    assert_eq!(looked_up.get(), 0);
    index.set_region("shop", without_project(), counting);
    assert_eq!(looked_up.get(), 50, "which of them are valid depends on the rest");
}

/// An older request that becomes valid only by a change of the namespace during a list does not lose its place.
#[test]
fn listed_requests_are_evaluated_at_the_end_of_the_list() {
    let index = index(1);
    let pairs = [in_project("aa", false), key_pair("bb", false)];
    index.set_region("shop", without_project(), |_| None);
    begin_list(&index, &pairs);
    index.set_region("shop", Region::with_quota(1), |_| None);
    index.apply(&Event::<KeyPair>::InitDone);
    index.reevaluate_outdated(|reference| store(&pairs)(&reference.name));
    assert_eq!((claim_state(&index, "aa"), claim_state(&index, "bb")), (ClaimState::Granted, ClaimState::NoSlot));
}
