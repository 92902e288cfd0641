//! What the watches show of the `KeyPair`s and Namespaces of a scope, and where it can be looked up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::runtime::reflector::ObjectRef;
use tokio::{sync::SetOnce, time::Instant};

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
    /// Whether the watch of the `KeyPair`s shows what there is.
    pub sight: Sight,
    /// Since when its watches have brought nothing but errors.
    doubtful: Mutex<Option<Instant>>,
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
            sight: Sight::default(),
            doubtful: Mutex::default(),
        }
    }

    /// What a `KeyPair` asks of the ledger of its namespace.
    pub fn claim_request(&self, reference: &ObjectRef<KeyPair>) -> Option<ClaimRequest> {
        self.key_pairs.get(reference).map(|key_pair| key_pair.claim_request())
    }

    /// Notes whether a watch brought something, or failed.
    pub fn heard(&self, works: bool) {
        let mut doubtful = self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        *doubtful = if works { None } else { Some(doubtful.unwrap_or_else(Instant::now)) };
    }

    /// Whether what it shows may be long past.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let doubtful = *self.doubtful.lock().unwrap_or_else(PoisonError::into_inner);
        doubtful.is_some_and(|since| since.elapsed() > TRUSTED_FOR)
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
        self.lock().values().for_each(|view| view.heard(false));
    }

    /// Of each namespace in which key pairs hold slots: its name, how many they are, and its quota.
    #[must_use]
    pub fn usage(&self) -> Vec<(String, usize, usize)> {
        let views: Vec<Arc<View>> = self.lock().values().map(Arc::clone).collect();
        views.iter().flat_map(|view| view.index.usage()).collect()
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
