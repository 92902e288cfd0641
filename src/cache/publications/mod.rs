//! Which publications select which `KeyPair`s, and what they have published.
//!
//! The index follows the watches of `KeyPair`s and of both kinds of publications. One event of a `KeyPair` costs only the publications
//! that select it before or after the event. The keys of the selected pairs are in memory, so that rendering decompresses nothing.

mod namespace;
mod pair;
mod selectors;
mod state;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kube::{
    ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};

pub use self::{
    pair::{PairState, WatchedPair},
    state::Change,
    watch::{KindStatus, is_absent},
};
use self::{state::State, watch::KindWatches};
use super::{
    store::{CompressedStore, KeyPairEntry},
    watched::{PairLabels, WatchedKeyPair},
};
use crate::{
    api::{
        KeyPair,
        publication::{PublicationResource, PublicationStatus},
        status::READY,
    },
    domain::publication::{
        Publication, PublicationKind, PublicationProgress, PublicationReason, PublicationRef, PublishedKeys, Resolved,
        Source, check,
    },
};

/// Finds the `KeyPair`s of a namespace, selected or not.
pub trait PairLookup {
    /// The names of the `KeyPair`s.
    fn names(&self, namespace: &str) -> Vec<String>;

    /// The state of a `KeyPair`; `None` if it does not exist.
    fn pair(&self, namespace: &str, name: &str) -> Option<PairState>;
}

impl PairLookup for CompressedStore<KeyPair> {
    fn names(&self, namespace: &str) -> Vec<String> {
        Self::names(self, namespace)
    }

    fn pair(&self, namespace: &str, name: &str) -> Option<PairState> {
        Some(match self.get(&ObjectRef::new(name).within(namespace))? {
            KeyPairEntry::Whole(key_pair) => PairState::of(&key_pair),
            // The index keeps the state of those that the store only summarizes.
            KeyPairEntry::Summary(_) | KeyPairEntry::Undecoded(_) => PairState::default(),
        })
    }
}

/// The publications of a scope, and the pairs that they select.
#[derive(Debug, Default)]
pub struct Publications {
    state: Mutex<State>,
    watches: KindWatches,
}

impl Publications {
    /// Applies an event of a `KeyPair`, after the store of the `KeyPair`s. Returns the publications whose result may have changed; the end
    /// of a list may change all of them, and it returns none.
    pub fn apply_key_pair(
        &self,
        event: &Event<WatchedKeyPair>,
        key_pairs: &CompressedStore<KeyPair>,
    ) -> Vec<PublicationRef> {
        let watched = |key_pair: &WatchedKeyPair, is_listed| WatchedPair {
            state: key_pair.decoded().map(PairState::of).unwrap_or_default(),
            labels: key_pair.pair_labels().clone(),
            is_summarized: key_pairs.is_summarized(&ObjectRef::from_obj(key_pair), is_listed),
        };
        let names = |key_pair: &WatchedKeyPair| (key_pair.namespace().unwrap_or_default(), key_pair.name_any());
        let mut state = self.lock();
        match event {
            Event::Init => state.begin_list(),
            Event::InitApply(key_pair) => {
                let (namespace, name) = names(key_pair);
                let is_interesting = !matches!(key_pair.pair_labels(), PairLabels::None)
                    || key_pairs.is_summarized(&ObjectRef::from_obj(key_pair), true);
                if is_interesting {
                    state.add_listed(namespace, name, watched(key_pair, true));
                }
            }
            Event::InitDone => state.end_list(key_pairs),
            Event::Apply(key_pair) => {
                let (namespace, name) = names(key_pair);
                return state.apply_pair(&namespace, &name, Some(watched(key_pair, false)), key_pairs);
            }
            Event::Delete(key_pair) => {
                let (namespace, name) = names(key_pair);
                return state.apply_pair(&namespace, &name, None, key_pairs);
            }
        }
        Vec::new()
    }

    /// Applies an event of a publication. Returns the `KeyPair`s whose rotation may have waited for it.
    pub fn apply<K: PublicationResource>(
        &self,
        event: &Event<K>,
        key_pairs: &impl PairLookup,
    ) -> Vec<ObjectRef<KeyPair>> {
        let mut state = self.lock();
        match event {
            Event::Init => state.begin_publications(K::KIND),
            Event::InitApply(publication) => {
                state.add_listed_publication(K::KIND, reference(publication), change(publication));
            }
            Event::InitDone => {
                return state.end_publications(K::KIND, key_pairs);
            }
            Event::Apply(publication) => {
                return state.apply_publication(&reference(publication), change(publication), key_pairs);
            }
            Event::Delete(publication) => return state.remove_publication(&reference(publication)),
        }
        Vec::new()
    }

    /// What the entries of a publication select, each in the order of the names.
    #[must_use]
    pub fn resolve(&self, reference: &PublicationRef, publication: &Publication) -> Vec<Resolved> {
        self.lock().resolve(reference, publication)
    }

    /// Records the keys that the publication with this UID verifiably has in its target. Returns the `KeyPair`s whose next key is newly
    /// among them.
    pub fn set_published(&self, reference: &PublicationRef, uid: &str, keys: PublishedKeys) -> Vec<ObjectRef<KeyPair>> {
        self.lock().set_published(reference, uid, keys)
    }

    /// Records that the target of the publication with this UID has changed, and is not known to hold anything.
    pub fn forget_published(&self, reference: &PublicationRef, uid: &str) {
        self.lock().forget_published(reference, uid);
    }

    /// Whether every publication that selects this pair has this line of it in its target.
    #[must_use]
    pub fn progress(&self, namespace: &str, name: &str, line: &str) -> PublicationProgress {
        if self.watches.are_unknown() {
            return PublicationProgress::Unknown;
        }
        let waiting = self.lock().waiting(namespace, name, line);
        if waiting.is_empty() { PublicationProgress::Published } else { PublicationProgress::Waiting(waiting) }
    }

    /// The states of the watches of publications.
    #[must_use]
    pub fn watches(&self) -> &KindWatches {
        &self.watches
    }

    /// The number of publications by kind and reason.
    #[must_use]
    pub fn count_by_reason(&self) -> BTreeMap<(PublicationKind, &'static str), usize> {
        self.lock().count_by_reason()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reference of a publication.
pub fn reference<K: PublicationResource>(publication: &K) -> PublicationRef {
    PublicationRef {
        kind: K::KIND,
        namespace: publication.namespace().unwrap_or_default(),
        name: publication.name_any(),
    }
}

fn change<K: PublicationResource>(publication: &K) -> Change {
    let checked = check(&publication.parameters());
    Change {
        uid: publication.uid().unwrap_or_default(),
        sources: checked.entries.into_iter().map(|entry| entry.map(|entry| without_keys(entry.source))).collect(),
        reason: publication.status().and_then(reason),
        is_being_deleted: publication.meta().deletion_timestamp.is_some(),
    }
}

/// The source without its literal keys, which may be large, and for which nothing is looked up.
fn without_keys(source: Source) -> Source {
    match source {
        Source::PublicKeys(_) => Source::PublicKeys(Vec::new()),
        Source::KeyPair { .. } | Source::Selector { .. } => source,
    }
}

/// The reason of the condition `Ready`, if it is one of the operator's.
fn reason(status: &PublicationStatus) -> Option<&'static str> {
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY)?;
    PublicationReason::ALL.into_iter().map(PublicationReason::as_str).find(|reason| *reason == ready.reason)
}

#[cfg(test)]
mod tests;
