//! The ledgers of all namespaces, kept up to date from the watches of `KeyPair`s and Namespaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{
    Resource, ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};

use super::same_keys::SameKeys;
use crate::{
    api::{ClaimRequest, KeyPair, translate},
    domain::{
        ledger::{Claim, Ledger},
        region::Region,
    },
};

/// One [`Ledger`] for each namespace.
///
/// [`Index::apply`] is called with each event before the reconciler can see its object, so that a decision never knows
/// more of its own object than of the others. Nothing is granted in a namespace before it is known what it is.
#[derive(Debug, Default)]
pub struct Index {
    state: Mutex<State>,
    /// Whether `same_keys` are kept.
    same_keys: bool,
}

#[derive(Debug, Default)]
struct State {
    namespaces: BTreeMap<String, Namespace>,
    /// What a list that is under way has brought so far.
    listed: BTreeMap<String, Vec<Listed>>,
    /// The namespaces that became something else while a list was under way.
    outdated: BTreeSet<String>,
}

#[derive(Debug, Default)]
struct Namespace {
    /// The `KeyPair`s in it, valid or not, by `metadata.name`.
    names: BTreeSet<Arc<str>>,
    /// `None`: it is not known yet what the namespace is.
    ledger: Option<Ledger>,
    same_keys: SameKeys,
}

#[derive(Debug)]
struct Listed {
    name: Arc<str>,
    key: Option<String>,
    claim: Option<Claim>,
}

impl Index {
    /// An index that also knows which `KeyPair`s have the same key.
    #[must_use]
    pub fn with_same_keys() -> Self {
        Self { same_keys: true, ..Self::default() }
    }

    /// Takes in an event and returns the other `KeyPair`s that it concerns. The end of a list concerns all, which are not named.
    pub fn apply(&self, event: &Event<KeyPair>) -> Vec<ObjectRef<KeyPair>> {
        let mut state = self.lock();
        match event {
            Event::Init => {
                state.listed.clear();
                state.outdated.clear();
                Vec::new()
            }
            Event::InitApply(key_pair) => {
                let namespace = namespace(key_pair);
                let known = state.namespaces.get(&namespace).and_then(|known| known.ledger.as_ref());
                let name = key_pair.name_any().into();
                let claim = known.and_then(|ledger| claim(&ClaimRequest::of(key_pair), &name, ledger.region()));
                if known.is_none() {
                    state.outdated.insert(namespace.clone());
                }
                let listed = Listed { name, key: self.key_of(key_pair), claim };
                state.listed.entry(namespace).or_default().push(listed);
                Vec::new()
            }
            Event::InitDone => {
                state.end_list();
                Vec::new()
            }
            Event::Apply(key_pair) => {
                let namespace = namespace(key_pair);
                let known = state.namespaces.entry(namespace.clone()).or_default();
                let name = known.name(&key_pair.name_any());
                known.same_keys.set(&name, self.key_of(key_pair).as_deref());
                let Some(ledger) = &mut known.ledger else { return Vec::new() };
                let changed = match claim(&ClaimRequest::of(key_pair), &name, ledger.region()) {
                    Some(claim) => ledger.claim(claim),
                    None => ledger.withdraw(key_pair.meta().uid.as_deref().unwrap_or_default()),
                };
                references(&namespace, changed)
            }
            Event::Delete(key_pair) => {
                let namespace = namespace(key_pair);
                let Some(known) = state.namespaces.get_mut(&namespace) else { return Vec::new() };
                let name = key_pair.name_any().into();
                known.names.remove(&name);
                known.same_keys.set(&name, None);
                let uid = key_pair.meta().uid.as_deref().unwrap_or_default();
                let changed = known.ledger.as_mut().map(|ledger| ledger.withdraw(uid)).unwrap_or_default();
                references(&namespace, changed)
            }
        }
    }

    /// Says what a namespace is now, and returns the `KeyPair`s that this concerns. `look_up` gives those in it by name.
    pub fn set_region(
        &self,
        namespace: &str,
        region: Region,
        look_up: impl Fn(&str) -> Option<ClaimRequest>,
    ) -> Vec<ObjectRef<KeyPair>> {
        let mut state = self.lock();
        if !state.listed.is_empty() {
            state.outdated.insert(namespace.to_owned());
        }
        let known = state.namespaces.entry(namespace.to_owned()).or_default();
        let previous = known.ledger.take();
        let before = previous.as_ref().map(|ledger| ledger.region().clone());
        if before.as_ref() == Some(&region) {
            known.ledger = previous;
            return Vec::new();
        }
        let only_quota = before.is_some_and(|before| Region { quota: region.quota, ..before } == region);
        known.reload(region, previous.as_ref(), look_up);
        let ledger = known.ledger.as_ref();
        let changed = if only_quota {
            ledger.map(|ledger| ledger.changed_since(previous.as_ref())).unwrap_or_default()
        } else {
            known.names.iter().map(ToString::to_string).collect()
        };
        references(namespace, changed)
    }

    /// Counts in what came with a list whose namespaces became something else meanwhile. To be called when `look_up` knows
    /// the list.
    pub fn catch_up(&self, look_up: impl Fn(&ObjectRef<KeyPair>) -> Option<ClaimRequest>) {
        let mut state = self.lock();
        for namespace in std::mem::take(&mut state.outdated) {
            let Some(known) = state.namespaces.get_mut(&namespace) else { continue };
            let Some(previous) = known.ledger.take() else { continue };
            let within = |name: &str| look_up(&ObjectRef::new(name).within(&namespace));
            known.reload(previous.region().clone(), Some(&previous), within);
        }
    }

    /// Forgets the namespaces that are not among these.
    pub fn retain(&self, namespaces: &BTreeSet<String>) {
        self.lock().namespaces.retain(|namespace, known| {
            if !namespaces.contains(namespace) {
                known.ledger = None;
            }
            known.ledger.is_some() || !known.names.is_empty()
        });
    }

    /// Forgets what a namespace was, which is gone.
    pub fn forget(&self, namespace: &str) {
        self.lock().namespaces.remove(namespace);
    }

    /// Answers a question about the ledger of `namespace`; `None`: it is not known yet what the namespace is.
    pub fn with_ledger<T>(&self, namespace: &str, question: impl FnOnce(&Ledger) -> T) -> Option<T> {
        let state = self.lock();
        state.namespaces.get(namespace)?.ledger.as_ref().map(question)
    }

    /// Of each namespace in which claims are granted: its name, how many they are, and its quota.
    pub fn usage(&self) -> Vec<(String, usize, usize)> {
        let state = self.lock();
        let ledgers = state.namespaces.iter().filter_map(|(name, known)| Some((name, known.ledger.as_ref()?)));
        let used = ledgers.filter(|(_, ledger)| ledger.granted() > 0);
        used.map(|(name, ledger)| (name.clone(), ledger.granted(), ledger.region().quota)).collect()
    }

    /// What a namespace is; `None`: that is not known yet.
    pub fn region(&self, namespace: &str) -> Option<Region> {
        self.with_ledger(namespace, |ledger| ledger.region().clone())
    }

    /// Whether there is a `KeyPair` of this name in `namespace`, valid or not.
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.lock().namespaces.get(namespace).is_some_and(|known| known.names.contains(name))
    }

    /// A `KeyPair` of `namespace` other than that of this name which has the key with this fingerprint (SHA256).
    pub fn with_same_key(&self, namespace: &str, name: &str, sha256: &str) -> Option<String> {
        self.lock().namespaces.get(namespace)?.same_keys.other_than(name, sha256)
    }

    /// The fingerprint of its key, if that is kept.
    fn key_of(&self, key_pair: &KeyPair) -> Option<String> {
        if self.same_keys { translate::fingerprint(key_pair) } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end_list(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        for namespace in listed.keys() {
            self.namespaces.entry(namespace.clone()).or_default();
        }
        for (namespace, known) in &mut self.namespaces {
            let listed = listed.remove(namespace).unwrap_or_default();
            known.names = listed.iter().map(|listed| Arc::clone(&listed.name)).collect();
            known.same_keys = SameKeys::default();
            for Listed { name, key, .. } in &listed {
                known.same_keys.set(name, key.as_deref());
            }
            let Some(previous) = &known.ledger else { continue };
            let claims = listed.into_iter().filter_map(|listed| listed.claim);
            known.ledger = Some(Ledger::load(previous.region().clone(), claims, Some(previous)));
        }
    }
}

impl Namespace {
    /// Notes that there is a `KeyPair` of this name, and returns the one place where the name is kept.
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// Makes every claim anew: which requests are valid depends on the region.
    fn reload(&mut self, region: Region, previous: Option<&Ledger>, look_up: impl Fn(&str) -> Option<ClaimRequest>) {
        let claims = self.names.iter().filter_map(|name| claim(&look_up(name)?, name, &region));
        let claims: Vec<Claim> = claims.collect();
        self.ledger = Some(Ledger::load(region, claims, previous));
    }
}

/// The claim of the `KeyPair` of this name, which is kept once.
fn claim(request: &ClaimRequest, name: &Arc<str>, region: &Region) -> Option<Claim> {
    let mut claim = request.claim(region)?;
    claim.seniority.name = Arc::clone(name);
    Some(claim)
}

fn namespace(key_pair: &KeyPair) -> String {
    key_pair.namespace().unwrap_or_default()
}

fn references(namespace: &str, names: BTreeSet<String>) -> Vec<ObjectRef<KeyPair>> {
    names.into_iter().map(|name| ObjectRef::new(&name).within(namespace)).collect()
}

#[cfg(test)]
mod tests {
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
        index.apply(&Event::Init);
        index.apply(&Event::InitApply(key_pair("aa", false)));
        index.apply(&Event::InitApply(key_pair("bb", true)));
        assert_eq!(standing(&index, "aa"), Standing::Unknown);
        index.apply(&Event::InitDone);
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
        index.apply(&Event::Init);
        index.apply(&Event::InitApply(key_pair("aa", false)));
        index.apply(&Event::InitApply(key_pair("bb", false)));
        index.apply(&Event::InitDone);
        assert_eq!(standing(&index, "bb"), Standing::Granted, "its status may be on its way");
        assert_eq!(standing(&index, "aa"), Standing::NoSlot);
        index.apply(&Event::Init);
        index.apply(&Event::InitApply(key_pair("aa", false)));
        index.apply(&Event::InitDone);
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
        assert!(index.set_region("shop", Region::with_quota(1), store(&pairs)).is_empty());
        assert_eq!(standing(&index, "bb"), Standing::Granted, "what was granted stays");
    }

    #[test]
    fn a_region_that_changes_during_a_list_counts_for_what_is_listed() {
        let index = index(1);
        let pairs = [key_pair("aa", false)];
        index.apply(&Event::Init);
        index.apply(&Event::InitApply(pairs[0].clone()));
        index.set_region("shop", Region { exists: false, ..Region::with_quota(1) }, |_| None);
        index.apply(&Event::InitDone);
        index.catch_up(|reference| store(&pairs)(&reference.name));
        assert_eq!(standing(&index, "aa"), Standing::Unknown, "a request outside of every region takes no place");
    }
}
