//! The state that all reconciliations of a scope share.

use std::{sync::Arc, time::Duration};

use futures::channel::mpsc;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Client, Resource,
    api::PartialObjectMeta,
    runtime::{events::Reporter, reflector::ObjectRef, watcher::Event},
};

use super::{
    jobs::pending::PendingKeys,
    key_pair::{admission_changes::AdmissionChanges, created_secrets::CreatedSecrets},
    own_writes::OwnWrites,
    publication::memory::Memory,
    queue::{Trigger, fair_semaphore::FairSemaphore},
    sources::secret_watches::SecretWatches,
};
use crate::{
    api::KeyPair,
    cache::{Watch, scope_cache::ScopeCache, store::CompressedStore},
    client::{backoff::Backoff, randomness::Randomness, wall_clock::WallClock},
    leader::leadership::Leadership,
    observe::metrics::Metrics,
};

/// How long to wait until the watch is current before the worker takes another object, or stops.
const WATCH_TIMEOUT: Duration = Duration::from_millis(500);

/// The state that all reconciliations of a scope share.
pub struct Context {
    /// The client of the API server.
    pub client: Client,
    /// The cache of the `KeyPair`s and Namespaces.
    pub cache: Arc<ScopeCache>,
    /// The metadata of our Secrets.
    pub secrets: CompressedStore<PartialObjectMeta<Secret>>,
    /// The metadata of our Secrets whose label another tool owns.
    pub relabelled: CompressedStore<PartialObjectMeta<Secret>>,
    /// The watches of single Secrets that a `KeyPair` waits for and that have none of our labels.
    pub secret_watches: SecretWatches,
    /// The keys that are being generated.
    pub pending_keys: PendingKeys,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// The reporter of Events.
    pub reporter: Reporter,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub clock: WallClock,
    /// The source of randomness for delays.
    pub randomness: Randomness,
    /// The delay before each retry.
    pub backoff: Backoff,
    /// The versions of `KeyPair`s that the operator itself replaced.
    pub own_writes: OwnWrites,
    /// What is remembered of each publication.
    pub publications: Memory,
    /// Triggers further reconciliations.
    pub triggers: mpsc::UnboundedSender<Trigger>,
    /// The Secrets that were created for each `KeyPair`.
    pub created_secrets: CreatedSecrets,
    /// What admission changed in the Secrets that the operator wrote.
    pub admission_changes: AdmissionChanges,
    /// Limits how many `KeyPair`s that are too large for the cache are reconciled at once.
    pub large_key_pair_permits: FairSemaphore,
    /// Limits how many responses that may be large are in memory: a Secret, or the original of a replay.
    pub large_response_permits: FairSemaphore,
}

impl Context {
    /// The cached metadata of one of our Secrets.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<PartialObjectMeta<Secret>> {
        let reference = ObjectRef::new(name).within(namespace);
        self.secrets.get(&reference).or_else(|| self.relabelled.get(&reference))
    }

    /// Whether the cache shows no change or deletion of `key_pair` since this version.
    pub fn is_current(&self, key_pair: &KeyPair) -> bool {
        let now = self.cache.key_pairs.get(&ObjectRef::from_obj(key_pair));
        now.is_some_and(|now| now.has_spec_of(key_pair))
    }

    /// Whether the cache still contains this `KeyPair`, by UID.
    pub fn still_exists(&self, key_pair: &KeyPair) -> bool {
        let now = self.cache.key_pairs.get(&ObjectRef::from_obj(key_pair));
        now.is_some_and(|now| Some(now.uid()) == key_pair.meta().uid.as_deref())
    }

    /// Matches an event of the watch of `KeyPair`s with the operator's own writes.
    pub fn confirm_own_write<K: Resource>(&self, event: &Event<K>) {
        let key_pair = match event {
            Event::Init => return self.own_writes.forget_all(),
            Event::Apply(key_pair) => key_pair,
            _ => return,
        };
        let metadata = key_pair.meta();
        if let (Some(uid), Some(version)) = (&metadata.uid, &metadata.resource_version)
            && let Some(lag) = self.own_writes.arrived(uid, version)
        {
            self.metrics.record_watch_lag(lag);
        }
    }

    /// Matches an event of the watch of publications with the operator's own writes.
    pub fn confirm_own_publication_write<K: Resource>(&self, event: &Event<K>) {
        match event {
            Event::Init => self.publications.own_writes.forget_all(),
            Event::Apply(publication) => {
                let metadata = publication.meta();
                if let (Some(uid), Some(version)) = (&metadata.uid, &metadata.resource_version) {
                    self.publications.own_writes.arrived(uid, version);
                }
            }
            Event::InitApply(_) | Event::InitDone | Event::Delete(_) => {}
        }
    }

    /// Reconciles an object unless the watch of the `KeyPair`s is interrupted. Returns the delay after which to requeue it.
    pub async fn while_current(&self, reconciled: impl Future<Output = Option<Duration>>) -> Option<Duration> {
        let status = self.cache.watch_status(Watch::KeyPairs);
        // All workers wait here for a while, instead of requeueing in a busy loop.
        if tokio::time::timeout(WATCH_TIMEOUT, status.wait_until_current()).await.is_err() {
            return Some(WATCH_TIMEOUT);
        }
        tokio::select! {
            biased;
            () = status.wait_until_interrupted() => Some(WATCH_TIMEOUT),
            requeue_after = reconciled => requeue_after,
        }
    }

    /// Reconciles this `KeyPair`, too.
    pub fn trigger(&self, key_pair: ObjectRef<KeyPair>) {
        // It fails when the controller has ended.
        self.triggers.unbounded_send(Trigger::from(key_pair)).ok();
    }

    /// Drops all state of a publication that is gone.
    pub fn forget_publication(&self, uid: &str) {
        self.backoff.forget(uid);
        self.publications.forget(uid);
    }

    /// Drops all state of a `KeyPair` that is gone.
    pub fn forget(&self, uid: &str) {
        self.backoff.forget(uid);
        self.own_writes.forget(uid);
        self.created_secrets.forget_all(uid);
        self.admission_changes.forget(uid);
        self.pending_keys.forget(uid);
        self.secret_watches.forget(uid);
    }
}

#[cfg(test)]
pub mod tests;
