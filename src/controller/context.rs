//! What every reconciliation shares.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource,
    api::PartialObjectMeta,
    runtime::{events::Reporter, reflector::ObjectRef},
};

use super::{
    backoff::Backoff, keys::Keys, leadership::Leadership, metrics::Metrics, secret_watches::SecretWatches,
    store::CompressedStore, turns::Turns, view::View,
};
use crate::api::KeyPair;

/// What every reconciliation shares.
pub struct Context {
    /// The connection to the API server.
    pub client: Client,
    /// What the watches show of the `KeyPair`s and Namespaces.
    pub view: Arc<View>,
    /// The metadata of our Secrets.
    pub secrets: CompressedStore<PartialObjectMeta<Secret>>,
    /// The Secrets that some wait for, and that the watch by our label does not show.
    pub secret_watches: SecretWatches,
    /// The keys that are being generated.
    pub keys: Keys,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// In whose name Events are written.
    pub reporter: Reporter,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// When to try again.
    pub backoff: Backoff,
    /// Which versions of `KeyPair`s we have replaced ourselves.
    pub written: Versions,
    /// Where the Secrets are that were made for each `KeyPair`.
    pub made: Made,
    /// Whose turn it is to be reconciled of the `KeyPair`s that are too large to be kept.
    pub large: Turns,
    /// Whose turn it is to have an answer in memory that may be large: a Secret, or the pair that another repeats.
    pub reading: Turns,
}

impl Context {
    /// Whether nobody has changed or deleted `key_pair` since this version of it.
    pub fn is_current(&self, key_pair: &KeyPair) -> bool {
        let now = self.view.key_pairs.get(&ObjectRef::from_obj(key_pair));
        now.is_some_and(|now| now.has_spec_of(key_pair))
    }

    /// Whether the watch still shows this very `KeyPair`.
    pub fn is_there(&self, key_pair: &KeyPair) -> bool {
        let now = self.view.key_pairs.get(&ObjectRef::from_obj(key_pair));
        now.is_some_and(|now| Some(now.uid()) == key_pair.meta().uid.as_deref())
    }

    /// Notes that the watch has brought this version of a `KeyPair`.
    pub fn seen(&self, key_pair: &impl Resource) {
        let metadata = key_pair.meta();
        if let (Some(uid), Some(version)) = (&metadata.uid, &metadata.resource_version)
            && let Some(lag) = self.written.arrived(uid, version)
        {
            self.metrics.lagged(lag);
        }
    }

    /// Forgets a `KeyPair` that is gone.
    pub fn forget(&self, uid: &str) {
        self.backoff.forget(uid);
        self.written.forget(uid);
        self.made.forget_all(uid);
        self.keys.forget(uid);
        self.secret_watches.gone(uid);
    }
}

/// The names of the Secrets that were made for each `KeyPair`: by its UID, which anybody may have written on a Secret, and so in its
/// own namespace only.
#[derive(Debug, Default)]
pub struct Made(Mutex<BTreeSet<MadeSecret>>);

/// The UID of the `KeyPair`, and the namespace and name of the Secret.
type MadeSecret = (Arc<str>, Arc<str>, Arc<str>);

impl Made {
    /// Notes that this Secret was made for the `KeyPair` with this UID.
    pub fn note(&self, uid: &str, namespace: &str, name: &str) {
        self.lock().insert((uid.into(), namespace.into(), name.into()));
    }

    /// Whether this Secret was noted.
    pub fn is_noted(&self, uid: &str, namespace: &str, name: &str) -> bool {
        self.lock().contains(&(uid.into(), namespace.into(), name.into()))
    }

    /// Forgets this Secret, which is gone.
    pub fn forget(&self, uid: &str, namespace: &str, name: &str) {
        self.lock().remove(&(uid.into(), namespace.into(), name.into()));
    }

    /// Forgets what was made for a `KeyPair` that is gone.
    pub fn forget_all(&self, uid: &str) {
        let mut made = self.lock();
        while let Some(noted) = made.range((uid.into(), Arc::default(), Arc::default())..).next().cloned()
            && *noted.0 == *uid
        {
            made.remove(&noted);
        }
    }

    /// A Secret of another name than this.
    pub fn elsewhere(&self, uid: &str, namespace: &str, name: &str) -> Option<String> {
        let made = self.lock();
        let noted = made.range((uid.into(), namespace.into(), Arc::default())..);
        let mut noted = noted.take_while(|noted| *noted.0 == *uid && *noted.1 == *namespace).map(|noted| &*noted.2);
        noted.find(|other| *other != name).map(str::to_owned)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<MadeSecret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The version of each `KeyPair` that we have replaced by a write of our own, by UID. Versions are compared for equality only,
/// which is all that Kubernetes allows.
#[derive(Debug, Default)]
pub struct Versions(Mutex<HashMap<String, Replaced>>);

#[derive(Debug)]
struct Replaced {
    version: String,
    /// When the write was answered, until the watch brings it.
    awaited_since: Option<Instant>,
}

impl Versions {
    /// Notes that this version of the `KeyPair` with this UID has been replaced just now.
    pub fn note(&self, uid: &str, version: String) {
        self.lock().insert(uid.to_owned(), Replaced { version, awaited_since: Some(Instant::now()) });
    }

    /// The version noted for the `KeyPair` with this UID.
    pub fn get(&self, uid: &str) -> Option<String> {
        self.lock().get(uid).map(|replaced| replaced.version.clone())
    }

    /// How long ago the version noted for the `KeyPair` with this UID was replaced, if `version`, which the watch has brought,
    /// is the first after it.
    pub fn arrived(&self, uid: &str, version: &str) -> Option<Duration> {
        let mut replaced = self.lock();
        let replaced = replaced.get_mut(uid).filter(|replaced| replaced.version != version)?;
        replaced.awaited_since.take().map(|since| since.elapsed())
    }

    /// Forgets what was noted.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Replaced>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_counts_in_its_namespace_until_it_is_gone() {
        let made = Made::default();
        made.note("uid", "shop", "web");
        made.note("uid", "other", "forged");
        made.note("uid-2", "shop", "db");
        assert_eq!(made.elsewhere("uid", "shop", "web"), None, "whoever writes elsewhere says nothing about it");
        made.note("uid", "shop", "old");
        assert_eq!(made.elsewhere("uid", "shop", "web").as_deref(), Some("old"));
        assert!(made.is_noted("uid", "shop", "old") && !made.is_noted("uid", "shop", "forged"));
        made.forget("uid", "shop", "old");
        assert_eq!(made.elsewhere("uid", "shop", "web"), None);
        made.forget_all("uid");
        assert!(!made.is_noted("uid", "shop", "web") && made.is_noted("uid-2", "shop", "db"));
        assert_eq!(made.lock().len(), 1);
    }

    #[test]
    fn a_write_arrives_once_and_not_with_what_it_replaced() {
        let written = Versions::default();
        assert_eq!(written.arrived("uid", "1"), None);
        written.note("uid", "1".to_owned());
        assert_eq!(written.arrived("uid", "1"), None);
        assert!(written.arrived("uid", "2").is_some());
        assert_eq!(written.arrived("uid", "3"), None);
        assert_eq!(written.get("uid").as_deref(), Some("1"));
    }
}
