//! Checks the guarantees of docs/reliability.md at each change of the store.

mod key_pairs;
mod publications;
mod rotation;
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use self::{publications::PublicationRecord, rotation::RotationRecord};
use super::{
    facts::{accepted, annotation, effective_name, is_operator, name, namespace, uid},
    publication::KINDS,
};
use crate::{
    Server,
    history::History,
    server::{Change, Sightings},
};

/// The longest time from the decision to accept a `KeyPair` until the write arrives: the operator decides just before it sends.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// The same if requests or the operator are delayed: a request times out after 30 s.
const MAX_DELAY_WITH_FAULTS: Duration = Duration::from_secs(35);

/// Namespace and name.
type NamespacedName = (String, String);

/// Observes all changes, and records which guarantees were broken; a handle.
#[derive(Clone)]
pub struct Guarantees(Arc<Mutex<Checker>>);

/// What is known about one `KeyPair`.
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
#[derive(Debug, Default, Clone)]
pub struct KeyPairRecord {
    /// Whether it has not been deleted.
    exists: bool,
    place: NamespacedName,
    key_pair_name: String,
    /// `status.keyPairID`, if it is accepted.
    id: Option<String>,
    /// The fingerprints of all keys that the operator stored in its Secrets.
    keys: BTreeSet<Arc<str>>,
    /// The fingerprint of the generated key in its status.
    published_key: Option<Arc<str>>,
    /// Whether anyone but the operator has modified one of its Secrets.
    pub is_modified_by_others: bool,
    /// Whether `onLoss` is `Regenerate`.
    regenerates: bool,
    /// Whether `onLoss` has ever been `Regenerate`: a write for an earlier spec can arrive late.
    has_regenerated: bool,
    rotation: RotationRecord,
}

#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
struct Checker {
    may_outlast_lease: bool,
    is_held_up: bool,
    /// Whether anything happens but actions of users.
    has_faults: bool,
    /// Whether watches may be late.
    has_late_watches: bool,
    sightings: Sightings,
    is_mutated: bool,
    default_quota: usize,
    key_pairs: BTreeMap<NamespacedName, Arc<Value>>,
    secrets: BTreeMap<NamespacedName, Arc<Value>>,
    /// The quotas of each namespace, each with the first resource version at which it applied.
    quotas: BTreeMap<String, Vec<(u64, usize)>>,
    leader: Option<String>,
    records: BTreeMap<String, KeyPairRecord>,
    /// Parts of the private keys that were in Secrets.
    secret_tails: BTreeSet<String>,
    /// The keys that users have put into Secrets.
    user_keys: BTreeSet<Arc<str>>,
    /// The UIDs of the Secrets that the operator has created.
    created_secrets: BTreeSet<String>,
    published: PublicationRecord,
    /// Whether the store was restored from a snapshot.
    is_restored: bool,
    last_write: Option<Instant>,
    violations: Vec<String>,
    begun: Instant,
}

impl Guarantees {
    /// A checker that has seen no changes. `sightings` records what the operator's watches have delivered.
    #[must_use]
    pub fn new(history: &History, sightings: Sightings) -> Self {
        Self(Arc::new(Mutex::new(Checker {
            may_outlast_lease: history.may_outlast_lease(),
            is_held_up: history.is_held_up(),
            has_faults: history.has_faults(),
            has_late_watches: history.has_late_watches(),
            sightings,
            is_mutated: history.is_mutated(),
            default_quota: history.setup.quota,
            key_pairs: BTreeMap::new(),
            secrets: BTreeMap::new(),
            quotas: BTreeMap::new(),
            leader: None,
            records: BTreeMap::new(),
            secret_tails: BTreeSet::new(),
            user_keys: BTreeSet::new(),
            created_secrets: BTreeSet::new(),
            published: PublicationRecord::default(),
            is_restored: false,
            last_write: None,
            violations: Vec::new(),
            begun: Instant::now(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Checker> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a change.
    pub fn see(&self, change: &Change) {
        self.lock().see(change);
    }

    /// Starts over with the current objects after a restore of the store, which loses acceptances after the snapshot.
    pub fn restored(&self, server: &Server) {
        let mut checker = self.lock();
        checker.is_restored = true;
        checker.records.clear();
        checker.key_pairs.clear();
        checker.secrets.clear();
        for object in server.objects("keypairs") {
            let place = (namespace(&object).to_owned(), name(&object).to_owned());
            let record = checker.records.entry(uid(&object).to_owned()).or_default();
            record.set_object(&place, &object);
            record.id = accepted(&object).map(str::to_owned);
            record.is_modified_by_others = true;
            checker.published.record_key_pair(&object);
            checker.key_pairs.insert(place, Arc::new(object));
        }
        for object in server.objects("secrets") {
            let place = (namespace(&object).to_owned(), name(&object).to_owned());
            checker.secrets.insert(place, Arc::new(object));
        }
        let resources = KINDS.into_iter().chain(["configmaps"]);
        let objects = resources.flat_map(|of| server.objects(of).into_iter().map(move |object| (of, object)));
        checker.published.restored(objects);
    }

    /// The broken guarantees.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// The greatest quota that a namespace has ever had.
    #[must_use]
    pub fn greatest_quota(&self, namespace: &str) -> usize {
        let checker = self.lock();
        let quotas = checker.quotas.get(namespace).map(Vec::as_slice).unwrap_or_default();
        quotas.iter().map(|(_, quota)| *quota).max().unwrap_or(checker.default_quota)
    }

    /// The time of the operator's last write, except writes of a Lease.
    #[must_use]
    pub fn last_write(&self) -> Option<Instant> {
        self.lock().last_write
    }

    /// Whether anyone but the operator may have modified the Secrets of this `KeyPair`.
    #[must_use]
    pub fn is_modified_by_others(&self, uid: &str) -> bool {
        let checker = self.lock();
        checker.is_restored || checker.records.get(uid).is_none_or(|record| record.is_modified_by_others)
    }

    /// Whether a policy may have removed UID and owner reference from a Secret of this `KeyPair`.
    #[must_use]
    pub fn may_have_lost_owner(&self, uid: &str) -> bool {
        let checker = self.lock();
        checker.is_mutated && checker.records.get(uid).is_none_or(|record| record.is_modified_by_others)
    }
}

impl KeyPairRecord {
    fn set_object(&mut self, place: &NamespacedName, key_pair: &Value) {
        self.exists = true;
        self.place = place.clone();
        effective_name(key_pair).clone_into(&mut self.key_pair_name);
    }
}

impl Checker {
    fn violated(&mut self, text: &str) {
        self.violations.push(format!("{:.3}s: {text}", self.begun.elapsed().as_secs_f64()));
    }

    fn see(&mut self, change: &Change) {
        if is_operator(&change.user) && change.resource != "leases" {
            self.last_write = Some(Instant::now());
            self.check_leader(change);
        }
        match change.resource {
            "keypairs" => self.key_pair(change),
            "secrets" => self.secret(change),
            "namespaces" => self.namespace(change),
            "leases" => {
                let holder = change.after.as_deref().and_then(|lease| lease.pointer("/spec/holderIdentity")?.as_str());
                self.leader = holder.filter(|holder| !holder.is_empty()).map(|_| change.user.clone());
            }
            "events" => self.check_no_private_key(change),
            _ => {}
        }
        self.publications(change);
    }

    /// Only the leader writes.
    fn check_leader(&mut self, change: &Change) {
        if let Some(leader) = self.leader.as_ref().filter(|leader| **leader != change.user)
            && !self.may_outlast_lease
            && change.resource != "events"
        {
            let text = format!("{} wrote {}/{} while {leader} led", change.user, change.resource, change.name);
            self.violated(&text);
        }
    }

    /// No status, no Event and no ConfigMap contains a part of a private key.
    fn check_no_private_key(&mut self, change: &Change) {
        let Some(object) = change.after.as_deref() else { return };
        let told = match change.resource {
            "events" | "configmaps" => object,
            _ => object.get("status").unwrap_or(&Value::Null),
        };
        let told = told.to_string();
        if told.contains("PRIVATE KEY-----\\n") || self.secret_tails.iter().any(|tail| told.contains(&**tail)) {
            self.violated(&format!("a private key in {}/{}", change.resource, change.name));
        }
    }

    fn namespace(&mut self, change: &Change) {
        // With an invalid quota, or without the namespace, no further KeyPair is accepted.
        let quota = change.after.as_deref().map_or(0, |after| {
            let quota = annotation(after, "keypairs.dev/quota");
            quota.map_or(self.default_quota, |text| text.trim().parse().unwrap_or(0))
        });
        let quotas = self.quotas.entry(change.name.clone()).or_default();
        if quotas.last().is_none_or(|(_, before)| *before != quota) {
            quotas.push((change.version, quota));
        }
    }

    /// The largest quota on which this user may have based its last write: the one that its watch delivered last, or any later one. If the
    /// namespace was recreated, the quotas of the previous one count until the watch has delivered that.
    fn largest_possible_quota(&self, namespace: &str, user: &str) -> usize {
        let max_delay = if self.is_held_up { MAX_DELAY_WITH_FAULTS } else { MAX_DELAY };
        let quotas = self.quotas.get(namespace).map(Vec::as_slice).unwrap_or_default();
        let is_over = |version: u64| self.sightings.told(user, version).is_some_and(|told| told.elapsed() > max_delay);
        let next = quotas.iter().skip(1).map(|(version, _)| Some(*version)).chain([None]);
        let in_sight = quotas.iter().zip(next).filter(|(_, next)| !next.is_some_and(is_over));
        in_sight.map(|((_, quota), _)| *quota).max().unwrap_or(self.default_quota)
    }
}
