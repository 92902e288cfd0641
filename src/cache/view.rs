//! The state of a scope, as the watches of `KeyPair`s and Namespaces show it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::SetOnce;

use super::{index::Index, sight::Sight, store::CompressedStore};
use crate::api::{ClaimRequest, KeyPair};

/// The cached state of a scope: one namespace, or all of them.
#[derive(Debug)]
pub struct View {
    /// The ledgers of the namespaces.
    pub index: Index,
    /// The `KeyPair`s.
    pub key_pairs: CompressedStore<KeyPair>,
    /// Set when all watched namespaces have been listed.
    pub regions_listed: SetOnce<()>,
    key_pair_sight: Sight,
    namespace_sight: Sight,
}

/// A watch that answers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The watch of the `KeyPair`s.
    KeyPairs,
    /// The watch of the Namespaces.
    Namespaces,
}

/// A view that has lost a watch for longer than this is outdated: the webhook refuses nothing because of it.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

impl View {
    /// An empty view.
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

    /// The request of a `KeyPair` to the ledger of its namespace.
    pub fn claim_request(&self, reference: &ObjectRef<KeyPair>) -> Option<ClaimRequest> {
        self.key_pairs.get(reference).map(|key_pair| key_pair.claim_request())
    }

    /// Sets whether a watch is current.
    pub fn heard(&self, watch: Watch, is_current: bool) {
        self.sight(watch).note(is_current);
    }

    /// Tells whether a watch is current.
    pub fn sight(&self, watch: Watch) -> &Sight {
        match watch {
            Watch::KeyPairs => &self.key_pair_sight,
            Watch::Namespaces => &self.namespace_sight,
        }
    }

    /// Whether a watch has been lost for so long that the view cannot be trusted.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        [&self.key_pair_sight, &self.namespace_sight].into_iter().any(|sight| sight.is_lost_for(TRUSTED_FOR))
    }
}

/// Lists the `KeyPair`s.
pub trait ObjectLister {
    /// The namespaces with `KeyPair`s.
    fn namespaces(&self) -> Vec<String>;
    /// The names of the `KeyPair`s in this namespace.
    fn names(&self, namespace: &str) -> Vec<String>;
}

impl ObjectLister for View {
    fn namespaces(&self) -> Vec<String> {
        self.key_pairs.namespaces()
    }

    fn names(&self, namespace: &str) -> Vec<String> {
        self.key_pairs.names(namespace)
    }
}

/// The newest complete view of each scope, by namespace; `None` stands for all namespaces.
///
/// For readers that write nothing, such as the webhook: a view stays here, and may become outdated, until a newer one is complete.
#[derive(Debug, Default)]
pub struct Views(Mutex<BTreeMap<Option<String>, Arc<View>>>);

impl Views {
    /// Replaces the view of this scope by a newer complete one.
    pub fn publish(&self, scope: Option<String>, view: Arc<View>) {
        self.lock().insert(scope, view);
    }

    /// Marks all watches as lost, because nothing updates these views any more.
    pub fn freeze(&self) {
        for view in self.lock().values() {
            view.heard(Watch::KeyPairs, false);
            view.heard(Watch::Namespaces, false);
        }
    }

    /// For each namespace with accepted key pairs: its name, their number, and its quota.
    #[must_use]
    pub fn usage(&self) -> Vec<(String, usize, usize)> {
        let views: Vec<Arc<View>> = self.lock().values().map(Arc::clone).collect();
        views.iter().flat_map(|view| view.index.usage()).collect()
    }

    /// The number of `KeyPair`s that do not match the schema of this version.
    #[must_use]
    pub fn undecoded(&self) -> usize {
        self.lock().values().map(|view| view.index.undecoded()).sum()
    }

    /// The view that contains `namespace`.
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
    async fn it_is_outdated_when_any_of_its_watches_has_been_lost_for_long() {
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
    async fn a_frozen_view_becomes_outdated() {
        let (views, view) = (Views::default(), Arc::new(View::new(Index::default())));
        views.publish(None, Arc::clone(&view));
        views.freeze();
        assert!(!view.is_outdated());
        tokio::time::advance(TRUSTED_FOR * 2).await;
        view.heard(Watch::Namespaces, true);
        assert!(view.is_outdated());
    }
}
