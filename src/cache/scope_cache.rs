//! The cache of a scope: its state as the watches of `KeyPair`s and Namespaces show it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::SetOnce;

use super::{
    index::Index,
    publications::Publications,
    store::{CompressedStore, NamespaceRotations},
    watch_status::WatchStatus,
};
use crate::{
    api::{AuthorizedKeys, ClaimRequest, KeyPair, KnownHosts},
    domain::publication::{PublicationKind, PublicationRef},
};

/// The cached state of a scope: one namespace, or all of them.
#[derive(Debug)]
pub struct ScopeCache {
    /// The ledgers of the namespaces.
    pub index: Index,
    /// The `KeyPair`s.
    pub key_pairs: CompressedStore<KeyPair>,
    /// The `AuthorizedKeys`.
    pub authorized_keys: CompressedStore<AuthorizedKeys>,
    /// The `KnownHosts`.
    pub known_hosts: CompressedStore<KnownHosts>,
    /// Which publications select which `KeyPair`s.
    pub publications: Publications,
    /// Set when all watched namespaces have been listed.
    pub regions_listed: SetOnce<()>,
    key_pair_watch: WatchStatus,
    namespace_watch: WatchStatus,
}

/// A watch that answers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The watch of the `KeyPair`s.
    KeyPairs,
    /// The watch of the Namespaces.
    Namespaces,
}

/// A cache is outdated if one of its watches has not been current for longer than this. Then the webhook checks only the request itself.
const TRUSTED_FOR: Duration = Duration::from_secs(60);

impl ScopeCache {
    /// An empty cache.
    #[must_use]
    pub fn new(index: Index) -> Self {
        Self {
            index,
            key_pairs: CompressedStore::default(),
            authorized_keys: CompressedStore::default(),
            known_hosts: CompressedStore::default(),
            publications: Publications::default(),
            regions_listed: SetOnce::new(),
            key_pair_watch: WatchStatus::default(),
            namespace_watch: WatchStatus::default(),
        }
    }

    /// The request of a `KeyPair` to the ledger of its namespace.
    pub fn claim_request(&self, reference: &ObjectRef<KeyPair>) -> Option<ClaimRequest> {
        self.key_pairs.get(reference).map(|key_pair| key_pair.claim_request())
    }

    /// Sets whether a watch is current.
    pub fn set_watch_current(&self, watch: Watch, is_current: bool) {
        self.watch_status(watch).set_current(is_current);
    }

    /// Tells whether a watch is current.
    pub fn watch_status(&self, watch: Watch) -> &WatchStatus {
        match watch {
            Watch::KeyPairs => &self.key_pair_watch,
            Watch::Namespaces => &self.namespace_watch,
        }
    }

    /// Whether a watch has not been current for so long that the cache cannot be trusted.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        [&self.key_pair_watch, &self.namespace_watch].into_iter().any(|status| status.is_failing_for(TRUSTED_FOR))
    }
}

/// Lists the `KeyPair`s and publications.
pub trait ObjectLister {
    /// The namespaces with `KeyPair`s or publications.
    fn namespaces(&self) -> Vec<String>;
    /// The names of the `KeyPair`s in this namespace.
    fn names(&self, namespace: &str) -> Vec<String>;
    /// The publications in this namespace.
    fn publications(&self, namespace: &str) -> Vec<PublicationRef>;
}

impl ObjectLister for ScopeCache {
    fn namespaces(&self) -> Vec<String> {
        let publications = [self.authorized_keys.namespaces(), self.known_hosts.namespaces()].concat();
        let namespaces: BTreeSet<String> = self.key_pairs.namespaces().into_iter().chain(publications).collect();
        namespaces.into_iter().collect()
    }

    fn names(&self, namespace: &str) -> Vec<String> {
        self.key_pairs.names(namespace)
    }

    fn publications(&self, namespace: &str) -> Vec<PublicationRef> {
        let of_kind = |kind| {
            let names = match kind {
                PublicationKind::AuthorizedKeys => self.authorized_keys.names(namespace),
                PublicationKind::KnownHosts => self.known_hosts.names(namespace),
            };
            names.into_iter().map(move |name| PublicationRef { kind, namespace: namespace.to_owned(), name })
        };
        PublicationKind::ALL.into_iter().flat_map(of_kind).collect()
    }
}

/// The newest complete cache of each scope, by namespace; `None` stands for all namespaces.
///
/// For readers that write nothing, such as the webhook: a cache stays here, and may become outdated, until a newer one is complete.
#[derive(Debug, Default)]
pub struct ScopeCaches(Mutex<BTreeMap<Option<String>, Published>>);

#[derive(Debug)]
struct Published {
    cache: Arc<ScopeCache>,
    /// Whether nothing updates the cache any more.
    is_frozen: bool,
}

impl ScopeCaches {
    /// Replaces the cache of this scope by a newer complete one.
    pub fn publish(&self, scope: Option<String>, cache: Arc<ScopeCache>) {
        self.lock().insert(scope, Published { cache, is_frozen: false });
    }

    /// Marks all watches as not current, because nothing updates these caches any more.
    pub fn freeze(&self) {
        for Published { cache, is_frozen } in self.lock().values_mut() {
            *is_frozen = true;
            cache.set_watch_current(Watch::KeyPairs, false);
            cache.set_watch_current(Watch::Namespaces, false);
        }
    }

    /// For each namespace with accepted key pairs: its name, their number, and its quota.
    #[must_use]
    pub fn usage(&self) -> Vec<(String, usize, usize)> {
        let caches: Vec<Arc<ScopeCache>> = self.lock().values().map(|published| Arc::clone(&published.cache)).collect();
        caches.iter().flat_map(|cache| cache.index.usage()).collect()
    }

    /// The rotations of each namespace that has any, at the time `now`. Frozen caches do not count: in these, keys seem to grow older that
    /// another replica has replaced.
    #[must_use]
    pub fn rotations(&self, now: Timestamp) -> Vec<NamespaceRotations> {
        let live = |published: &Published| (!published.is_frozen).then(|| Arc::clone(&published.cache));
        let caches: Vec<Arc<ScopeCache>> = self.lock().values().filter_map(live).collect();
        caches.iter().flat_map(|cache| cache.key_pairs.rotations(now)).collect()
    }

    /// The number of publications by kind and reason. Frozen caches do not count: another replica writes the statuses.
    #[must_use]
    pub fn publications(&self) -> BTreeMap<(PublicationKind, &'static str), usize> {
        let live = |published: &Published| (!published.is_frozen).then(|| Arc::clone(&published.cache));
        let caches: Vec<Arc<ScopeCache>> = self.lock().values().filter_map(live).collect();
        let mut counts = BTreeMap::new();
        for (key, count) in caches.iter().flat_map(|cache| cache.publications.count_by_reason()) {
            *counts.entry(key).or_default() += count;
        }
        counts
    }

    /// The number of `KeyPair`s that do not match the schema of this version.
    #[must_use]
    pub fn undecoded(&self) -> usize {
        self.lock().values().map(|published| published.cache.index.undecoded()).sum()
    }

    /// The cache of the scope that contains `namespace`.
    #[must_use]
    pub fn for_namespace(&self, namespace: &str) -> Option<Arc<ScopeCache>> {
        let caches = self.lock();
        let published = caches.get(&Some(namespace.to_owned())).or_else(|| caches.get(&None))?;
        Some(Arc::clone(&published.cache))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<String>, Published>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cache_is_outdated_when_a_watch_fails_for_long() {
        for (failing, other) in [(Watch::KeyPairs, Watch::Namespaces), (Watch::Namespaces, Watch::KeyPairs)] {
            let cache = ScopeCache::new(Index::default());
            cache.set_watch_current(failing, false);
            tokio::time::advance(TRUSTED_FOR / 2).await;
            cache.set_watch_current(other, true);
            cache.set_watch_current(failing, false);
            assert!(!cache.is_outdated());
            tokio::time::advance(TRUSTED_FOR).await;
            cache.set_watch_current(other, true);
            assert!(cache.is_outdated(), "{failing:?}");
            cache.set_watch_current(failing, true);
            assert!(!cache.is_outdated());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_cache_becomes_outdated() {
        let (caches, cache) = (ScopeCaches::default(), Arc::new(ScopeCache::new(Index::default())));
        caches.publish(None, Arc::clone(&cache));
        caches.freeze();
        assert!(!cache.is_outdated());
        tokio::time::advance(TRUSTED_FOR * 2).await;
        cache.set_watch_current(Watch::Namespaces, true);
        assert!(cache.is_outdated());
    }

    /// Another replica leads, and rotates the keys.
    #[test]
    fn a_frozen_cache_has_no_rotations() {
        let (caches, now) = (ScopeCaches::default(), Timestamp::UNIX_EPOCH);
        let cache = || {
            let cache = ScopeCache::new(Index::default());
            let rotated = serde_json::json!({
                "metadata": { "name": "web", "namespace": "shop" },
                "spec": { "rotation": {} },
                "status": { "keys": [{
                    "revision": 1, "phase": "Current", "publicKey": "", "algorithm": "", "bits": 0, "fingerprint": "",
                    "fingerprints": { "md5": "", "sha256": "" }, "since": now,
                }] },
            });
            cache.key_pairs.apply::<KeyPair>(&Event::Apply(serde_json::from_value(rotated).unwrap()));
            Arc::new(cache)
        };
        caches.publish(None, cache());
        assert_eq!(caches.rotations(now).len(), 1);
        caches.freeze();
        assert_eq!(caches.rotations(now), []);
        caches.publish(None, cache());
        assert_eq!(caches.rotations(now).len(), 1);
    }
}
