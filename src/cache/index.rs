//! The ledgers of all namespaces, updated by the watches of `KeyPair`s and Namespaces.
//!
//! The two watches are not synchronized; either may lag behind the other. A namespace may have been deleted and created again, with
//! `KeyPair`s in it, while the watch of Namespaces still shows the old one; or it may be gone while its `KeyPair`s still seem to exist.
//! So only their own watch decides which `KeyPair`s exist. The watch of Namespaces decides which rules apply to them, and whether
//! anything is granted at all.

mod namespace;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{
    Resource, ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};

use self::namespace::{Listed, Namespace};
use crate::{
    api::{ClaimRequest, KeyPair, translate},
    domain::{ledger::Ledger, region::Region},
};

/// A `KeyPair` from a watch event.
pub trait Claimant: Resource<DynamicType = ()> {
    /// Its request to the ledger of its namespace.
    fn claim_request(&self) -> ClaimRequest;

    /// The SHA256 fingerprint of its key, if it already has one.
    fn fingerprint(&self) -> Option<String>;

    /// Whether the object matches the schema of this version.
    fn is_decoded(&self) -> bool;
}

impl Claimant for KeyPair {
    fn claim_request(&self) -> ClaimRequest {
        ClaimRequest::of(self)
    }

    fn fingerprint(&self) -> Option<String> {
        translate::fingerprint(self)
    }

    fn is_decoded(&self) -> bool {
        true
    }
}

/// One [`Ledger`] for each namespace.
///
/// Call [`Index::apply`] with each event before the reconciler can see its object, so that a decision never knows more about its own
/// object than about the others. Nothing is granted in a namespace before its region is known.
///
/// Events of both watches are applied one after the other.
#[derive(Debug, Default)]
pub struct Index {
    state: Mutex<State>,
    /// Whether to track which `KeyPair`s have the same key.
    duplicate_keys: bool,
}

#[derive(Debug, Clone, Default)]
struct State {
    namespaces: BTreeMap<String, Namespace>,
    is_listing: bool,
    /// The part of the current list that has arrived.
    listed: BTreeMap<String, Vec<Listed>>,
    /// The namespaces that changed during the current list. Their listed objects are evaluated again at its end.
    outdated: BTreeSet<String>,
}

impl Clone for Index {
    fn clone(&self) -> Self {
        Self { state: Mutex::new(self.lock().clone()), duplicate_keys: self.duplicate_keys }
    }
}

impl Index {
    /// An index that also tracks which `KeyPair`s have the same key.
    #[must_use]
    pub fn tracking_duplicate_keys() -> Self {
        Self { duplicate_keys: true, ..Self::default() }
    }

    /// Applies an event and returns the other `KeyPair`s that it affects. The end of a list affects all; it returns none of them.
    pub fn apply<K: Claimant>(&self, event: &Event<K>) -> Vec<ObjectRef<KeyPair>> {
        let mut state = self.lock();
        match event {
            Event::Init => {
                state.is_listing = true;
                state.listed.clear();
                state.outdated.clear();
                Vec::new()
            }
            Event::InitApply(key_pair) => {
                let namespace = namespace_of(key_pair);
                let mut listed = Listed::of(key_pair, self.tracked_fingerprint(key_pair));
                match state.namespaces.get(&namespace).filter(|namespace_state| namespace_state.has_region()) {
                    Some(namespace_state) => namespace_state.evaluate_listed(&mut listed, &key_pair.claim_request()),
                    None => drop(state.outdated.insert(namespace.clone())),
                }
                state.listed.entry(namespace).or_default().push(listed);
                Vec::new()
            }
            Event::InitDone => {
                state.end_list();
                Vec::new()
            }
            Event::Apply(key_pair) => {
                let namespace = namespace_of(key_pair);
                let namespace_state = state.namespaces.entry(namespace.clone()).or_default();
                let changed = namespace_state.apply(key_pair, self.tracked_fingerprint(key_pair).as_deref());
                references(&namespace, changed)
            }
            Event::Delete(key_pair) => {
                let namespace = namespace_of(key_pair);
                let Some(namespace_state) = state.namespaces.get_mut(&namespace) else { return Vec::new() };
                let changed = namespace_state.delete(key_pair);
                if namespace_state.is_empty() {
                    state.namespaces.remove(&namespace);
                }
                references(&namespace, changed)
            }
        }
    }

    /// Sets the region of a namespace, and returns the `KeyPair`s that this affects. `look_up` finds the `KeyPair`s in it by name.
    pub fn set_region(
        &self,
        namespace: &str,
        region: Region,
        look_up: impl Fn(&str) -> Option<ClaimRequest>,
    ) -> Vec<ObjectRef<KeyPair>> {
        let mut state = self.lock();
        let namespace_state = state.namespaces.entry(namespace.to_owned()).or_default();
        if let Some(changed) = namespace_state.set_region_if_only_quota_differs(&region) {
            return references(namespace, changed);
        }
        let names = namespace_state.names();
        if state.is_listing {
            state.outdated.insert(namespace.to_owned());
        }
        drop(state);
        // Which requests are valid depends on the region. Each is decompressed and checked, without the lock, because that takes time.
        let requests = requests(&names, look_up);
        self.lock().namespaces.entry(namespace.to_owned()).or_default().reload(region, &requests);
        references(namespace, names.iter().map(ToString::to_string).collect())
    }

    /// Evaluates the listed objects of the namespaces that changed during the list. Call it when `look_up` finds the listed objects.
    pub fn reevaluate_outdated(&self, look_up: impl Fn(&ObjectRef<KeyPair>) -> Option<ClaimRequest>) {
        let outdated = std::mem::take(&mut self.lock().outdated);
        for namespace in outdated {
            let Some(names) = self.lock().namespaces.get(&namespace).map(Namespace::names) else { continue };
            let requests = requests(&names, |name| look_up(&ObjectRef::new(name).within(&namespace)));
            if let Some(namespace_state) = self.lock().namespaces.get_mut(&namespace) {
                namespace_state.reevaluate(&requests);
            }
        }
    }

    /// Records that a write of the status is about to accept this version of the `KeyPair` with this UID. Returns false if it must not:
    /// another `KeyPair` has the slot or the name.
    ///
    /// Until the watch shows another version, or the deletion, the write may reach the API server, whatever response it got and whatever
    /// happens to the namespace. Until then the `KeyPair` keeps the slot and the name.
    #[must_use]
    pub fn begin_acceptance(&self, namespace: &str, uid: &str, version: &str) -> bool {
        let mut state = self.lock();
        let is_listing = state.is_listing;
        let may_accept = state
            .namespaces
            .get_mut(namespace)
            .is_some_and(|namespace_state| namespace_state.begin_acceptance(uid, version));
        if may_accept && is_listing {
            // The list may already have shown it.
            state.outdated.insert(namespace.to_owned());
        }
        may_accept
    }

    /// Whether a write that accepts this version of the `KeyPair` may still reach the API server.
    #[must_use]
    pub fn is_acceptance_pending(&self, namespace: &str, uid: &str, version: &str) -> bool {
        self.lock()
            .namespaces
            .get(namespace)
            .is_some_and(|namespace_state| namespace_state.is_acceptance_pending(uid, Some(version)))
    }

    /// Forgets the regions of all other namespaces.
    pub fn forget_regions_except(&self, namespaces: &BTreeSet<String>) {
        self.lock().namespaces.retain(|namespace, namespace_state| {
            if !namespaces.contains(namespace) {
                namespace_state.forget_region();
            }
            !namespace_state.is_empty()
        });
    }

    /// Forgets the region of a deleted namespace, but not its `KeyPair`s: the namespace may have been created again.
    pub fn forget_region(&self, namespace: &str) {
        let mut state = self.lock();
        if let Some(namespace_state) = state.namespaces.get_mut(namespace) {
            namespace_state.forget_region();
            if namespace_state.is_empty() {
                state.namespaces.remove(namespace);
            }
        }
    }

    /// Runs a query on the ledger of `namespace`; `None` if its region is not known yet.
    pub fn with_ledger<T>(&self, namespace: &str, query: impl FnOnce(&Ledger) -> T) -> Option<T> {
        self.lock().namespaces.get(namespace)?.ledger().map(query)
    }

    /// For each namespace with granted claims: its name, their number, and its quota.
    pub fn usage(&self) -> Vec<(String, usize, usize)> {
        let state = self.lock();
        let ledgers =
            state.namespaces.iter().filter_map(|(name, namespace_state)| Some((name, namespace_state.ledger()?)));
        let used = ledgers.filter(|(_, ledger)| ledger.granted_count() > 0);
        used.map(|(name, ledger)| (name.clone(), ledger.granted_count(), ledger.region().limit())).collect()
    }

    /// The number of `KeyPair`s that do not match the schema of this version.
    pub fn undecoded(&self) -> usize {
        self.lock().namespaces.values().map(Namespace::undecoded).sum()
    }

    /// The region of a namespace; `None` if it is not known yet.
    pub fn region(&self, namespace: &str) -> Option<Region> {
        self.with_ledger(namespace, |ledger| ledger.region().clone())
    }

    /// Whether `namespace` has a `KeyPair` with this name, valid or not.
    pub fn contains(&self, namespace: &str, name: &str) -> bool {
        self.lock().namespaces.get(namespace).is_some_and(|namespace_state| namespace_state.contains(name))
    }

    /// Another `KeyPair` of `namespace` than the one with this name that has the key with this SHA256 fingerprint.
    pub fn duplicate_of(&self, namespace: &str, name: &str, sha256: &str) -> Option<String> {
        self.lock().namespaces.get(namespace)?.duplicate_of(name, sha256)
    }

    fn tracked_fingerprint(&self, key_pair: &impl Claimant) -> Option<String> {
        if self.duplicate_keys { key_pair.fingerprint() } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end_list(&mut self) {
        self.is_listing = false;
        let mut listed = std::mem::take(&mut self.listed);
        for namespace in listed.keys() {
            self.namespaces.entry(namespace.clone()).or_default();
        }
        for (namespace, namespace_state) in &mut self.namespaces {
            let is_evaluated = !self.outdated.contains(namespace);
            namespace_state.end_list(namespace, listed.remove(namespace).unwrap_or_default(), is_evaluated);
        }
        self.namespaces.retain(|_, namespace_state| !namespace_state.is_empty());
    }
}

/// The requests of the `KeyPair`s with these names that exist.
fn requests(names: &[Arc<str>], look_up: impl Fn(&str) -> Option<ClaimRequest>) -> Vec<(Arc<str>, ClaimRequest)> {
    names.iter().filter_map(|name| Some((Arc::clone(name), look_up(name)?))).collect()
}

fn namespace_of(key_pair: &impl Claimant) -> String {
    key_pair.namespace().unwrap_or_default()
}

fn references(namespace: &str, names: BTreeSet<String>) -> Vec<ObjectRef<KeyPair>> {
    names.into_iter().map(|name| ObjectRef::new(&name).within(namespace)).collect()
}

#[cfg(test)]
mod tests;
