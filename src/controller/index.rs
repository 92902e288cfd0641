//! The ledgers of all namespaces, kept up to date from the watches of `KeyPair`s and Namespaces.
//!
//! The two watches are not in step. Either may show what became of a namespace, or of what is in it, long before the other: a
//! namespace that was made anew with `KeyPair`s in it already while the watch of Namespaces still shows the one before, or one that
//! is gone while its `KeyPair`s still seem to be there. So which `KeyPair`s there are is known from their own watch alone; what the
//! watch of Namespaces says decides only by which rules they are judged, and whether anything is granted at all.

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

/// A `KeyPair` as a watch brings it.
pub trait Claimant: Resource<DynamicType = ()> {
    /// What it asks of the ledger of its namespace.
    fn claim_request(&self) -> ClaimRequest;

    /// The fingerprint (SHA256) of its key, if it has one yet.
    fn fingerprint(&self) -> Option<String>;

    /// Whether all of it is of the schema of this version.
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
/// [`Index::apply`] is called with each event before the reconciler can see its object, so that a decision never knows
/// more of its own object than of the others. Nothing is granted in a namespace before it is known what it is.
///
/// Events of both watches are taken in one after the other.
#[derive(Debug, Default)]
pub struct Index {
    state: Mutex<State>,
    /// Whether the namespaces know which `KeyPair`s have the same key.
    same_keys: bool,
}

#[derive(Debug, Clone, Default)]
struct State {
    namespaces: BTreeMap<String, Namespace>,
    is_listing: bool,
    /// What a list that is under way has brought so far.
    listed: BTreeMap<String, Vec<Listed>>,
    /// The namespaces of which something became known while a list was under way: what it brought is judged at its end.
    outdated: BTreeSet<String>,
}

/// A copy of what is known now.
impl Clone for Index {
    fn clone(&self) -> Self {
        Self { state: Mutex::new(self.lock().clone()), same_keys: self.same_keys }
    }
}

impl Index {
    /// An index that also knows which `KeyPair`s have the same key.
    #[must_use]
    pub fn with_same_keys() -> Self {
        Self { same_keys: true, ..Self::default() }
    }

    /// Takes in an event and returns the other `KeyPair`s that it concerns. The end of a list concerns all, which are not named.
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
                let mut listed = Listed::of(key_pair, self.key_of(key_pair));
                match state.namespaces.get(&namespace).filter(|known| known.is_known()) {
                    Some(known) => known.judge(&mut listed, &key_pair.claim_request()),
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
                let known = state.namespaces.entry(namespace.clone()).or_default();
                let changed = known.apply(key_pair, self.key_of(key_pair).as_deref());
                references(&namespace, changed)
            }
            Event::Delete(key_pair) => {
                let namespace = namespace_of(key_pair);
                let Some(known) = state.namespaces.get_mut(&namespace) else { return Vec::new() };
                let changed = known.delete(key_pair);
                if known.is_empty() {
                    state.namespaces.remove(&namespace);
                }
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
        let known = state.namespaces.entry(namespace.to_owned()).or_default();
        if let Some(changed) = known.set_quota(&region) {
            return references(namespace, changed);
        }
        let names = known.names();
        if state.is_listing {
            state.outdated.insert(namespace.to_owned());
        }
        drop(state);
        // Which requests are valid depends on the region. Each is unpacked and looked through, which takes its time: whoever else asks
        // need not wait for that.
        let requests = requests(&names, look_up);
        self.lock().namespaces.entry(namespace.to_owned()).or_default().reload(region, &requests);
        references(namespace, names.iter().map(ToString::to_string).collect())
    }

    /// Counts in what came with a list in namespaces of which something became known meanwhile. To be called when `look_up` knows the
    /// list.
    pub fn catch_up(&self, look_up: impl Fn(&ObjectRef<KeyPair>) -> Option<ClaimRequest>) {
        let outdated = std::mem::take(&mut self.lock().outdated);
        for namespace in outdated {
            let Some(names) = self.lock().namespaces.get(&namespace).map(Namespace::names) else { continue };
            let requests = requests(&names, |name| look_up(&ObjectRef::new(name).within(&namespace)));
            if let Some(known) = self.lock().namespaces.get_mut(&namespace) {
                known.catch_up(&requests);
            }
        }
    }

    /// Notes that a status is being written which says that the `KeyPair` with this UID, in this version, is accepted. Whether that may
    /// be done: it must not if the slot or the name is another's by now.
    ///
    /// Until the watch shows another version, or that it is gone, that write may reach the API server, whatever its answer was, and
    /// whatever becomes of the namespace meanwhile. So long the slot and the name are its own.
    #[must_use]
    pub fn begin_acceptance(&self, namespace: &str, uid: &str, version: &str) -> bool {
        let mut state = self.lock();
        let is_listing = state.is_listing;
        let begun = state.namespaces.get_mut(namespace).is_some_and(|known| known.begin_acceptance(uid, version));
        if begun && is_listing {
            // The list may have shown it before.
            state.outdated.insert(namespace.to_owned());
        }
        begun
    }

    /// Whether a write that accepts this version of a `KeyPair` may still reach the API server.
    #[must_use]
    pub fn may_be_accepted(&self, namespace: &str, uid: &str, version: &str) -> bool {
        self.lock().namespaces.get(namespace).is_some_and(|known| known.is_pending(uid, Some(version)))
    }

    /// Forgets what the namespaces were that are not among these.
    pub fn retain(&self, namespaces: &BTreeSet<String>) {
        self.lock().namespaces.retain(|namespace, known| {
            if !namespaces.contains(namespace) {
                known.forget_region();
            }
            !known.is_empty()
        });
    }

    /// Forgets what a namespace was, which is gone. What is in it is another matter: it may have been made anew.
    pub fn forget(&self, namespace: &str) {
        let mut state = self.lock();
        if let Some(known) = state.namespaces.get_mut(namespace) {
            known.forget_region();
            if known.is_empty() {
                state.namespaces.remove(namespace);
            }
        }
    }

    /// Answers a question about the ledger of `namespace`; `None`: it is not known yet what the namespace is.
    pub fn with_ledger<T>(&self, namespace: &str, question: impl FnOnce(&Ledger) -> T) -> Option<T> {
        self.lock().namespaces.get(namespace)?.ledger().map(question)
    }

    /// Of each namespace in which claims are granted: its name, how many they are, and its quota.
    pub fn usage(&self) -> Vec<(String, usize, usize)> {
        let state = self.lock();
        let ledgers = state.namespaces.iter().filter_map(|(name, known)| Some((name, known.ledger()?)));
        let used = ledgers.filter(|(_, ledger)| ledger.granted() > 0);
        used.map(|(name, ledger)| (name.clone(), ledger.granted(), ledger.region().limit())).collect()
    }

    /// How many `KeyPair`s are not of the schema of this version.
    pub fn undecoded(&self) -> usize {
        self.lock().namespaces.values().map(Namespace::undecoded).sum()
    }

    /// What a namespace is; `None`: that is not known yet.
    pub fn region(&self, namespace: &str) -> Option<Region> {
        self.with_ledger(namespace, |ledger| ledger.region().clone())
    }

    /// Whether there is a `KeyPair` of this name in `namespace`, valid or not.
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.lock().namespaces.get(namespace).is_some_and(|known| known.has(name))
    }

    /// A `KeyPair` of `namespace` other than that of this name which has the key with this fingerprint (SHA256).
    pub fn with_same_key(&self, namespace: &str, name: &str, sha256: &str) -> Option<String> {
        self.lock().namespaces.get(namespace)?.with_same_key(name, sha256)
    }

    /// The fingerprint of its key, if that is kept.
    fn key_of(&self, key_pair: &impl Claimant) -> Option<String> {
        if self.same_keys { key_pair.fingerprint() } else { None }
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
        for (namespace, known) in &mut self.namespaces {
            let is_judged = !self.outdated.contains(namespace);
            known.end_list(namespace, listed.remove(namespace).unwrap_or_default(), is_judged);
        }
        self.namespaces.retain(|_, known| !known.is_empty());
    }
}

/// What those of these names ask for that are there.
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
