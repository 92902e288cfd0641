//! What the watches show of the `KeyPair`s and Namespaces of a scope, and where it can be looked up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::SetOnce;

use super::{index::Index, queue::Everything, sight::Sight, store::CompressedStore};
use crate::api::{ClaimRequest, KeyPair};

/// What the watches show of a scope: one namespace, or all of them.
#[derive(Debug)]
pub struct View {
    /// The slots and names of every namespace.
    pub index: Index,
    /// The `KeyPair`s.
    pub key_pairs: CompressedStore<KeyPair>,
    /// Set when every namespace that is watched is known.
    pub regions_listed: SetOnce<()>,
    /// Whether the watch of the `KeyPair`s shows what there is, and that of the Namespaces.
    key_pair_sight: Sight,
    namespace_sight: Sight,
}

/// The watches that an answer depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// That of the `KeyPair`s.
    KeyPairs,
    /// That of the Namespaces.
    Namespaces,
}

/// How long a view may be without a working watch before nothing is refused for what it shows.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

impl View {
    /// A view of nothing yet.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self {
            index,
            key_pairs: CompressedStore::default(),
            regions_listed: SetOnce::new(),
            key_pair_sight: Sight::default(),
            namespace_sight: Sight::default(),
        }
    }

    /// What a `KeyPair` asks of the ledger of its namespace.
    pub fn claim_request(&self, reference: &ObjectRef<KeyPair>) -> Option<ClaimRequest> {
        self.key_pairs.get(reference).map(|key_pair| key_pair.claim_request())
    }

    /// Notes whether a watch shows what there is, or failed.
    pub fn heard(&self, watch: Watch, works: bool) {
        self.sight(watch).note(works);
    }

    /// Whether a watch shows what there is.
    pub fn sight(&self, watch: Watch) -> &Sight {
        match watch {
            Watch::KeyPairs => &self.key_pair_sight,
            Watch::Namespaces => &self.namespace_sight,
        }
    }

    /// Whether what one of the watches shows may be long past.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        [&self.key_pair_sight, &self.namespace_sight].into_iter().any(|sight| sight.is_lost_for(TRUSTED_FOR))
    }
}

impl Everything for View {
    fn namespaces(&self) -> Vec<String> {
        self.key_pairs.namespaces()
    }

    fn names(&self, namespace: &str) -> Vec<String> {
        self.key_pairs.names(namespace)
    }
}

/// The newest complete view of each scope, by its namespace; `None`: all namespaces.
///
/// For whoever answers questions and writes nothing: a view stays here, and grows old, until a newer one is complete.
#[derive(Debug, Default)]
pub struct Views(Mutex<BTreeMap<Option<String>, Arc<View>>>);

impl Views {
    /// Puts a complete view in the place of the one before it.
    pub fn publish(&self, scope: Option<String>, view: Arc<View>) {
        self.lock().insert(scope, view);
    }

    /// Notes that nobody follows any more what these views show.
    pub fn freeze(&self) {
        for view in self.lock().values() {
            view.heard(Watch::KeyPairs, false);
            view.heard(Watch::Namespaces, false);
        }
    }

    /// Of each namespace in which key pairs hold slots: its name, how many they are, and its quota.
    #[must_use]
    pub fn usage(&self) -> Vec<(String, usize, usize)> {
        let views: Vec<Arc<View>> = self.lock().values().map(Arc::clone).collect();
        views.iter().flat_map(|view| view.index.usage()).collect()
    }

    /// How many `KeyPair`s are not of the schema of this version.
    #[must_use]
    pub fn undecoded(&self) -> usize {
        self.lock().values().map(|view| view.index.undecoded()).sum()
    }

    /// The view that `namespace` is in.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Option<Arc<View>> {
        let views = self.lock();
        views.get(&Some(namespace.to_owned())).or_else(|| views.get(&None)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Arc<View>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_outdated_when_any_of_its_watches_has_not_worked_for_long() {
        for (failing, other) in [(Watch::KeyPairs, Watch::Namespaces), (Watch::Namespaces, Watch::KeyPairs)] {
            let view = View::new(Index::default());
            view.heard(failing, false);
            tokio::time::advance(TRUSTED_FOR / 2).await;
            view.heard(other, true);
            view.heard(failing, false);
            assert!(!view.is_outdated());
            tokio::time::advance(TRUSTED_FOR).await;
            view.heard(other, true);
            assert!(view.is_outdated(), "{failing:?}");
            view.heard(failing, true);
            assert!(!view.is_outdated());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_follows_any_more_becomes_outdated() {
        let (views, view) = (Views::default(), Arc::new(View::new(Index::default())));
        views.publish(None, Arc::clone(&view));
        views.freeze();
        assert!(!view.is_outdated());
        tokio::time::advance(TRUSTED_FOR * 2).await;
        view.heard(Watch::Namespaces, true);
        assert!(view.is_outdated());
    }
}
