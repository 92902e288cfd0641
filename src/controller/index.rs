//! The ledgers of all namespaces, kept up to date from the watch of `KeyPair`s.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use kube::{
    Resource, ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};

use crate::{
    api::{KeyPair, translate},
    domain::ledger::{Claim, Ledger},
};

/// One [`Ledger`] for each namespace.
///
/// [`Index::apply`] is called with each event before the reconciler can see its object, so that a decision never knows
/// more of its own object than of the others.
#[derive(Debug)]
pub struct Index {
    quota: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ledgers: HashMap<String, Ledger>,
    /// The claims of a list that is under way.
    listed: HashMap<String, Vec<Claim>>,
}

impl Index {
    /// An index that knows nothing yet, of namespaces with this quota each.
    #[must_use]
    pub fn new(quota: usize) -> Self {
        Self { quota, state: Mutex::default() }
    }

    /// Takes in an event and returns the other `KeyPair`s that it concerns.
    pub fn apply(&self, event: &Event<KeyPair>) -> Vec<ObjectRef<KeyPair>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                state.listed.clear();
                Vec::new()
            }
            Event::InitApply(key_pair) => {
                if let Some(claim) = translate::claim(key_pair) {
                    state.listed.entry(namespace(key_pair)).or_default().push(claim);
                }
                Vec::new()
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut state.listed);
                let previous = std::mem::take(&mut state.ledgers);
                let mut concerned = Vec::new();
                for (namespace, claims) in listed {
                    let previous = previous.get(&namespace);
                    let ledger = Ledger::load(self.quota, claims, previous);
                    concerned.extend(references(&namespace, ledger.changed_since(previous)));
                    state.ledgers.insert(namespace, ledger);
                }
                concerned
            }
            Event::Apply(key_pair) => {
                let namespace = namespace(key_pair);
                let quota = self.quota;
                let ledger = state.ledgers.entry(namespace.clone()).or_insert_with(|| Ledger::new(quota));
                let changed = match translate::claim(key_pair) {
                    Some(claim) => ledger.claim(claim),
                    None => ledger.withdraw(key_pair.meta().uid.as_deref().unwrap_or_default()),
                };
                references(&namespace, changed)
            }
            Event::Delete(key_pair) => {
                let namespace = namespace(key_pair);
                let Some(ledger) = state.ledgers.get_mut(&namespace) else { return Vec::new() };
                let changed = ledger.withdraw(key_pair.meta().uid.as_deref().unwrap_or_default());
                if ledger.is_empty() {
                    state.ledgers.remove(&namespace);
                }
                references(&namespace, changed)
            }
        }
    }

    /// Answers a question about the ledger of `namespace`.
    pub fn with_ledger<T>(&self, namespace: &str, question: impl FnOnce(&Ledger) -> T) -> T {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.ledgers.get(namespace) {
            Some(ledger) => question(ledger),
            None => question(&Ledger::new(self.quota)),
        }
    }
}

fn namespace(key_pair: &KeyPair) -> String {
    key_pair.namespace().unwrap_or_default()
}

fn references(namespace: &str, names: HashSet<String>) -> Vec<ObjectRef<KeyPair>> {
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

    fn standing(index: &Index, name: &str) -> Standing {
        index.with_ledger("shop", |ledger| ledger.standing(&format!("uid-{name}")))
    }

    fn names(concerned: Vec<ObjectRef<KeyPair>>) -> HashSet<String> {
        concerned.into_iter().map(|reference| reference.name).collect()
    }

    #[test]
    fn nothing_is_granted_before_the_list_is_complete() {
        let index = Index::new(1);
        index.apply(&Event::Init);
        index.apply(&Event::InitApply(key_pair("aa", false)));
        index.apply(&Event::InitApply(key_pair("bb", true)));
        assert_eq!(standing(&index, "aa"), Standing::Unknown);
        let concerned = index.apply(&Event::InitDone);
        assert_eq!(names(concerned), HashSet::from(["aa".to_owned(), "bb".to_owned()]));
        assert_eq!(standing(&index, "aa"), Standing::NoSlot);
        assert_eq!(standing(&index, "bb"), Standing::Granted);
    }

    #[test]
    fn the_next_in_line_is_told_when_a_slot_is_free() {
        let index = Index::new(1);
        index.apply(&Event::Apply(key_pair("aa", false)));
        index.apply(&Event::Apply(key_pair("bb", false)));
        assert_eq!(standing(&index, "bb"), Standing::NoSlot);
        let concerned = index.apply(&Event::Delete(key_pair("aa", true)));
        assert_eq!(names(concerned), HashSet::from(["bb".to_owned()]));
        assert_eq!(standing(&index, "bb"), Standing::Granted);
    }

    #[test]
    fn a_request_that_is_not_valid_takes_no_place() {
        let index = Index::new(1);
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
        let index = Index::new(1);
        index.apply(&Event::Apply(key_pair("bb", false)));
        index.apply(&Event::Init);
        index.apply(&Event::InitApply(key_pair("aa", false)));
        index.apply(&Event::InitApply(key_pair("bb", false)));
        let concerned = index.apply(&Event::InitDone);
        assert_eq!(standing(&index, "bb"), Standing::Granted, "its status may be on its way");
        assert_eq!(names(concerned), HashSet::from(["aa".to_owned()]));
        index.apply(&Event::Init);
        index.apply(&Event::InitApply(key_pair("aa", false)));
        let concerned = index.apply(&Event::InitDone);
        assert_eq!(standing(&index, "bb"), Standing::Unknown);
        assert_eq!(names(concerned), HashSet::from(["aa".to_owned()]));
    }
}
