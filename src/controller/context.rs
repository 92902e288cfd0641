//! What every reconciliation shares.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource,
    api::PartialObjectMeta,
    runtime::{events::Reporter, reflector::ObjectRef, watcher::Event},
};
use tokio::time::Instant;

use super::{
    backoff::Backoff, keys::Keys, leadership::Leadership, metrics::Metrics, randomness::Randomness,
    secret_watches::SecretWatches, store::CompressedStore, turns::Turns, view::View, wall_clock::WallClock,
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
    /// The metadata of those of our Secrets whose label is another tool's.
    pub relabelled: CompressedStore<PartialObjectMeta<Secret>>,
    /// The Secrets that some wait for, and that no watch by our labels shows.
    pub secret_watches: SecretWatches,
    /// The keys that are being generated.
    pub keys: Keys,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// In whose name Events are written.
    pub reporter: Reporter,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What time it is.
    pub clock: WallClock,
    /// What delays are drawn from.
    pub randomness: Randomness,
    /// When to try again.
    pub backoff: Backoff,
    /// Which versions of `KeyPair`s we have replaced ourselves.
    pub written: Versions,
    /// Where the Secrets are that were made for each `KeyPair`.
    pub made: Made,
    /// What admission has changed of what was written to Secrets.
    pub overruled: Overruled,
    /// Whose turn it is to be reconciled of the `KeyPair`s that are too large to be kept.
    pub large: Turns,
    /// Whose turn it is to have an answer in memory that may be large: a Secret, or the pair that another repeats.
    pub reading: Turns,
}

impl Context {
    /// The metadata of one of our Secrets, as a watch shows it.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<PartialObjectMeta<Secret>> {
        let reference = ObjectRef::new(name).within(namespace);
        self.secrets.get(&reference).or_else(|| self.relabelled.get(&reference))
    }

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

    /// Notes what the watch of the `KeyPair`s has brought.
    pub fn seen<K: Resource>(&self, event: &Event<K>) {
        let key_pair = match event {
            Event::Init => return self.written.forget_all(),
            Event::Apply(key_pair) => key_pair,
            _ => return,
        };
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
        self.overruled.forget(uid);
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

    /// The names of the Secrets that were noted.
    pub fn names(&self, uid: &str, namespace: &str) -> BTreeSet<String> {
        let made = self.lock();
        let noted = made.range((uid.into(), namespace.into(), Arc::default())..);
        noted.take_while(|noted| *noted.0 == *uid && *noted.1 == *namespace).map(|noted| noted.2.to_string()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<MadeSecret>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What admission changed of what was last written to the Secret of each `KeyPair`, by its UID. It is not written again before a while
/// has passed: a policy would change it again, and whatever watches Secrets would see one change after the other.
#[derive(Debug, Default)]
pub struct Overruled(Mutex<BTreeMap<String, Changed>>);

#[derive(Debug)]
struct Changed {
    /// The Secret, and the digest of the settings that were written.
    written: (String, String),
    parts: Vec<String>,
    until: Instant,
    pause: Duration,
}

impl Overruled {
    const FIRST_PAUSE: Duration = Duration::from_secs(15);
    const LAST_PAUSE: Duration = Duration::from_secs(300);

    /// Notes what did not come back when the Secret of this name was made what the settings with this digest say.
    pub fn note(&self, uid: &str, name: &str, digest: &str, parts: &[String]) {
        let mut changed = self.lock();
        let written = (name.to_owned(), digest.to_owned());
        let before = changed.remove(uid).filter(|before| before.written == written && before.parts == parts);
        if !parts.is_empty() {
            let pause = before.map_or(Self::FIRST_PAUSE, |before| (before.pause * 2).min(Self::LAST_PAUSE));
            let parts = parts.to_vec();
            changed.insert(uid.to_owned(), Changed { written, parts, until: Instant::now() + pause, pause });
        }
    }

    /// What is not to be written again yet.
    pub fn parts(&self, uid: &str, name: &str, digest: &str) -> Vec<String> {
        let changed = self.lock();
        let is_it = |changed: &&Changed| {
            changed.written.0 == name && changed.written.1 == digest && changed.until > Instant::now()
        };
        changed.get(uid).filter(is_it).map(|changed| changed.parts.clone()).unwrap_or_default()
    }

    /// Forgets what was noted.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Changed>> {
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

    /// Forgets everything that was noted, because what is there is going to be listed: the list has what was written before. And
    /// where the API server was put back to an older state, a version that was replaced may be there again, and stay.
    pub fn forget_all(&self) {
        self.lock().clear();
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
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(made.names("uid", "shop"), names(&["web"]), "whoever writes elsewhere says nothing about it");
        made.note("uid", "shop", "old");
        assert_eq!(made.names("uid", "shop"), names(&["old", "web"]));
        assert!(made.is_noted("uid", "shop", "old") && !made.is_noted("uid", "shop", "forged"));
        made.forget("uid", "shop", "old");
        assert_eq!(made.names("uid", "shop"), names(&["web"]));
        made.forget_all("uid");
        assert!(!made.is_noted("uid", "shop", "web") && made.is_noted("uid-2", "shop", "db"));
        assert_eq!(made.lock().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_admission_changes_is_written_again_less_and_less_often() {
        let (overruled, parts) = (Overruled::default(), ["label team".to_owned()]);
        for pause in [15, 30, 60, 120, 240, 300, 300] {
            overruled.note("uid", "web", "digest", &parts);
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(overruled.parts("uid", "web", "digest"), parts, "{pause} s");
            // Other settings, or another Secret, are another matter.
            assert!(
                overruled.parts("uid", "web", "other").is_empty() && overruled.parts("uid", "db", "digest").is_empty()
            );
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(overruled.parts("uid", "web", "digest").is_empty(), "{pause} s");
        }
        overruled.note("uid", "web", "digest", &[]);
        overruled.note("uid", "web", "digest", &parts);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(overruled.parts("uid", "web", "digest").is_empty(), "it begins anew when all came back");
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
