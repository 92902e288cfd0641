//! The promises of docs/reliability.md, checked at each change of the store.

mod key_pairs;
mod secrets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use super::facts::{accepted, annotation, effective_name, is_operator, name, namespace, uid};
use crate::{
    Server,
    history::History,
    server::{Change, Sightings},
};

/// For how long a write is on its way at most that an acceptance rests on: it is decided just before it is sent. And where requests
/// are held up, or whoever sends them: each is given up after 30 s.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
const HELD_UP: Duration = Duration::from_secs(35);

type Place = (String, String);

/// What has been seen so far, and which promise was broken; a handle.
#[derive(Clone)]
pub struct Promises(Arc<Mutex<Seen>>);

/// What is known of one `KeyPair`, by its UID.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Debug, Default, Clone)]
pub struct Life {
    /// Whether it is there.
    is_there: bool,
    place: Place,
    key_pair_name: String,
    /// Since it was accepted.
    id: Option<String>,
    /// The fingerprints of the keys that were in Secrets as its own.
    keys: BTreeSet<Arc<str>>,
    /// The one that its status has given out.
    given: Option<Arc<str>>,
    /// Whether others have laid hands on a Secret of its.
    pub is_touched: bool,
    /// Whether a lost key may be generated anew.
    regenerates: bool,
    /// Whether it might, at any time until now: what was decided by an earlier spec can be on its way.
    has_regenerated: bool,
}

#[allow(clippy::struct_excessive_bools, reason = "of what can be in a history any may be")]
struct Seen {
    is_late: bool,
    is_held_up: bool,
    sightings: Sightings,
    is_mutated: bool,
    default_quota: usize,
    key_pairs: BTreeMap<Place, Arc<Value>>,
    secrets: BTreeMap<Place, Arc<Value>>,
    /// The quotas of each namespace, and from which version on each was in force.
    quotas: BTreeMap<String, Vec<(u64, usize)>>,
    leader: Option<String>,
    lives: BTreeMap<String, Life>,
    /// Parts of the private keys that were in Secrets.
    secret_tails: BTreeSet<String>,
    /// The UIDs of the Secrets that the operator has created.
    made: BTreeSet<String>,
    /// Whether the store was put back.
    is_restored: bool,
    last_write: Option<Instant>,
    violations: Vec<String>,
    begun: Instant,
}

impl Promises {
    /// Nothing has been seen. `sightings` tells what the operator's own watches have shown to it.
    #[must_use]
    pub fn new(history: &History, sightings: Sightings) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            is_late: history.is_late(),
            is_held_up: history.is_held_up(),
            sightings,
            is_mutated: history.is_mutated(),
            default_quota: history.setup.quota,
            key_pairs: BTreeMap::new(),
            secrets: BTreeMap::new(),
            quotas: BTreeMap::new(),
            leader: None,
            lives: BTreeMap::new(),
            secret_tails: BTreeSet::new(),
            made: BTreeSet::new(),
            is_restored: false,
            last_write: None,
            violations: Vec::new(),
            begun: Instant::now(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a change.
    pub fn see(&self, change: &Change) {
        self.lock().see(change);
    }

    /// Begins anew with what there is, after the store was put back: what was accepted since the copy was made is gone.
    pub fn restored(&self, server: &Server) {
        let mut seen = self.lock();
        seen.is_restored = true;
        seen.lives.clear();
        seen.key_pairs.clear();
        seen.secrets.clear();
        for object in server.objects("keypairs") {
            let place = (namespace(&object).to_owned(), name(&object).to_owned());
            let life = seen.lives.entry(uid(&object).to_owned()).or_default();
            life.born(&place, &object);
            life.id = accepted(&object).map(str::to_owned);
            life.is_touched = true;
            seen.key_pairs.insert(place, Arc::new(object));
        }
        for object in server.objects("secrets") {
            let place = (namespace(&object).to_owned(), name(&object).to_owned());
            seen.secrets.insert(place, Arc::new(object));
        }
    }

    /// Which promises were broken.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// The greatest quota that a namespace has ever had.
    #[must_use]
    pub fn greatest_quota(&self, namespace: &str) -> usize {
        let seen = self.lock();
        let quotas = seen.quotas.get(namespace).map(Vec::as_slice).unwrap_or_default();
        quotas.iter().map(|(_, quota)| *quota).max().unwrap_or(seen.default_quota)
    }

    /// When the operator wrote something last, other than a Lease.
    #[must_use]
    pub fn last_write(&self) -> Option<Instant> {
        self.lock().last_write
    }

    /// Whether others have had their hands in what this `KeyPair` has.
    #[must_use]
    pub fn is_touched(&self, uid: &str) -> bool {
        let seen = self.lock();
        seen.is_restored || seen.lives.get(uid).is_none_or(|life| life.is_touched)
    }

    /// Whether a policy may have taken from a Secret of this `KeyPair` what says whose it is.
    #[must_use]
    pub fn is_disowned(&self, uid: &str) -> bool {
        let seen = self.lock();
        seen.is_mutated && seen.lives.get(uid).is_none_or(|life| life.is_touched)
    }
}

impl Life {
    fn born(&mut self, place: &Place, key_pair: &Value) {
        self.is_there = true;
        self.place = place.clone();
        effective_name(key_pair).clone_into(&mut self.key_pair_name);
    }
}

impl Seen {
    fn violated(&mut self, text: &str) {
        self.violations.push(format!("{:.3}s: {text}", self.begun.elapsed().as_secs_f64()));
    }

    fn see(&mut self, change: &Change) {
        if is_operator(&change.user) && change.resource != "leases" {
            self.last_write = Some(Instant::now());
            self.lawful(change);
        }
        match change.resource {
            "keypairs" => self.key_pair(change),
            "secrets" => self.secret(change),
            "namespaces" => self.namespace(change),
            "leases" => {
                let holder = change.after.as_deref().and_then(|lease| lease.pointer("/spec/holderIdentity")?.as_str());
                self.leader = holder.filter(|holder| !holder.is_empty()).map(|_| change.user.clone());
            }
            "events" => self.no_key(change),
            _ => {}
        }
    }

    /// Who does not lead writes nothing.
    fn lawful(&mut self, change: &Change) {
        if let Some(leader) = self.leader.as_ref().filter(|leader| **leader != change.user)
            && !self.is_late
            && change.resource != "events"
        {
            let text = format!("{} wrote {}/{} while {leader} led", change.user, change.resource, change.name);
            self.violated(&text);
        }
    }

    /// No byte of a private key in what people read.
    fn no_key(&mut self, change: &Change) {
        let Some(object) = change.after.as_deref() else { return };
        let told = if change.resource == "keypairs" { object.get("status").unwrap_or(&Value::Null) } else { object };
        let told = told.to_string();
        if told.contains("PRIVATE KEY-----\\n") || self.secret_tails.iter().any(|tail| told.contains(&**tail)) {
            self.violated(&format!("a private key in {}/{}", change.resource, change.name));
        }
    }

    fn namespace(&mut self, change: &Change) {
        // What is no number lets nobody new in, nor does a namespace that is gone.
        let quota = change.after.as_deref().map_or(0, |after| {
            let quota = annotation(after, "keypairs.dev/quota");
            quota.map_or(self.default_quota, |text| text.trim().parse().unwrap_or(0))
        });
        let quotas = self.quotas.entry(change.name.clone()).or_default();
        if quotas.last().is_none_or(|(_, before)| *before != quota) {
            quotas.push((change.version, quota));
        }
    }

    /// The greatest quota by which this user may have decided what it has just written: that which its own watch has shown last, or a
    /// later one. One of a namespace that was deleted and made anew is among them until the watch has shown that.
    fn quota(&self, namespace: &str, user: &str) -> usize {
        let way = if self.is_held_up { HELD_UP } else { ON_ITS_WAY };
        let quotas = self.quotas.get(namespace).map(Vec::as_slice).unwrap_or_default();
        let is_over = |version: u64| self.sightings.told(user, version).is_some_and(|told| told.elapsed() > way);
        let next = quotas.iter().skip(1).map(|(version, _)| Some(*version)).chain([None]);
        let in_sight = quotas.iter().zip(next).filter(|(_, next)| !next.is_some_and(is_over));
        in_sight.map(|((_, quota), _)| *quota).max().unwrap_or(self.default_quota)
    }
}
