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
