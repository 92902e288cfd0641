//! What publications need to know of a `KeyPair`.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    api::{
        KeyPair,
        publication::{published_pair, share_with},
    },
    cache::watched::{Labels, PairLabels},
    domain::{
        publication::{PublishedKey, PublishedPair},
        rotation::Phase,
        share_with::{MAX_SHARE_WITH, SHARE_WITH, shares_with},
    },
};

/// How much of the line of a certificate is kept, in bytes. It is not published, and only has to differ from others.
const MAX_CERTIFICATE_BYTES: usize = 256;

/// What publications need to know of a `KeyPair`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairState {
    /// Its keys; `None` if it is not accepted, or has no keys to publish.
    pub published: Option<Arc<PublishedPair>>,
    /// The other namespaces that may select it.
    pub share_with: Vec<String>,
    /// The line of the next key of its rotation.
    pub next: Option<Arc<str>>,
}

impl PairState {
    /// The state of `key_pair`.
    #[must_use]
    pub fn of(key_pair: &KeyPair) -> Self {
        let published = published_pair(key_pair).map(|mut pair| {
            pair.keys.iter_mut().for_each(shorten);
            Arc::new(pair)
        });
        let status = key_pair.status.as_ref();
        let revision = status.and_then(|status| status.key(Phase::Next)).map(|next| next.revision);
        let next = published.iter().flat_map(|pair| &pair.keys).find(|key| Some(key.revision.into()) == revision);
        let next = next.map(|key| Arc::clone(&key.line));
        // Only valid elements are kept, whose size is bounded.
        let shared = share_with(key_pair).iter().take(MAX_SHARE_WITH).filter(|it| SHARE_WITH.allows(it));
        Self { published, share_with: shared.cloned().collect(), next }
    }

    /// Whether publications in this other namespace may select the pair.
    pub(super) fn is_shared_with(&self, namespace: &str) -> bool {
        shares_with(&self.share_with, namespace)
    }
}

fn shorten(key: &mut PublishedKey) {
    if key.is_certificate && key.line.len() > MAX_CERTIFICATE_BYTES {
        key.line = key.line.chars().take(MAX_CERTIFICATE_BYTES).collect::<String>().into();
    }
}

/// The labels of pairs, each distinct set once: the pairs of a deployment usually have the same ones.
#[derive(Debug, Default)]
pub(super) struct Interner(BTreeSet<Arc<Labels>>);

impl Interner {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same labels, shared.
    pub(super) fn intern(&mut self, labels: &Labels) -> Arc<Labels> {
        if let Some(shared) = self.0.get(labels) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(labels.clone());
        self.0.insert(Arc::clone(&shared));
        shared
    }

    /// Drops these labels if no pair has them any more.
    pub(super) fn release(&mut self, labels: &Arc<Labels>) {
        // This set and the caller still have them.
        if Arc::strong_count(labels) == 2 {
            self.0.remove(labels);
        }
    }
}

/// A pair as a watch shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchedPair {
    /// What publications need to know.
    pub state: PairState,
    /// Its labels.
    pub labels: PairLabels,
    /// Whether the store has only a summary of it, without its keys.
    pub is_summarized: bool,
}
