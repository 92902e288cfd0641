//! The state of the server: objects, their history, and open watches.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use keypair_test_harness::Dice;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{admission::Rule, object, resource::Resource, sightings::Sightings, watch::Watch, watches::WatchSettings};

/// The key of an object: plural, namespace (empty if it is cluster-scoped), name.
pub type Key = (&'static str, String, String);

/// The wall clock when a server starts, in seconds since 1970.
const BEGINNING: i64 = 1_800_000_000;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Created,
    /// It was changed.
    Updated,
    /// It was removed.
    Deleted,
}

/// A change of the store.
#[derive(Debug, Clone)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The plural of the resource.
    pub resource: &'static str,
    /// The namespace; empty for a cluster-scoped object.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The user.
    pub user: String,
    /// The object before the change, if it existed.
    pub before: Option<Arc<Value>>,
    /// The object after the change, if it still exists.
    pub after: Option<Arc<Value>>,
    /// The version of the store after the change.
    pub version: u64,
    /// When it happened.
    pub at: Instant,
    /// When it happened, on the wall clock.
    pub clock: Timestamp,
}

impl Change {
    /// The object after the change, or before it if it was deleted.
    #[must_use]
    pub fn object(&self) -> Option<&Arc<Value>> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// The content of etcd at one point in time.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub(super) objects: BTreeMap<Key, Arc<Value>>,
    /// The changes that are not compacted yet.
    pub(super) log: VecDeque<Arc<Change>>,
    pub(super) version: u64,
    /// KeyPairs as they were created: etcd stores them without the default status that responses show.
    pub(super) fresh: BTreeSet<Key>,
    /// The version up to which the history is compacted.
    pub(super) compacted: u64,
}

impl Snapshot {
    /// A snapshot with these objects, each with the plural of its resource, for example those of a real cluster.
    #[must_use]
    pub fn of(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let mut snapshot = Self { version: 1, ..Self::default() };
        for (resource, object) in objects {
            let of = |pointer: &str| object::text(&object, pointer).to_owned();
            snapshot.version = snapshot.version.max(of("/metadata/resourceVersion").parse().unwrap_or_default());
            let key = (resource, of("/metadata/namespace"), of("/metadata/name"));
            snapshot.objects.insert(key, Arc::new(object));
        }
        snapshot.compacted = snapshot.version;
        snapshot
    }
}

/// The state behind the lock.
pub(super) struct State {
    pub store: Snapshot,
    pub dice: Dice,
    started: Instant,
    /// How far the wall clock has jumped, in milliseconds.
    pub clock_offset: i64,
    pub watches: BTreeMap<u64, Watch>,
    pub next_watch: u64,
    pub watch_settings: WatchSettings,
    pub sightings: Sightings,
    /// Denied permissions: user, verb, resource.
    pub denied: BTreeSet<(String, String, String)>,
    pub rules: Vec<Rule>,
    /// Changes that have not been reported to the observers yet.
    pub untold: VecDeque<Arc<Change>>,
    /// Whether changes are being reported.
    pub is_telling: bool,
    /// Whether watches can start with the current objects.
    pub streams_lists: bool,
    /// The version before which no watch can start: a restarted API server does not know earlier events.
    pub begun: u64,
    /// Whether the API server is down.
    pub is_down: bool,
}

impl State {
    pub fn new(seed: u64) -> Self {
        Self {
            // 0 is not a version: it means any.
            store: Snapshot { version: 1, ..Snapshot::default() },
            dice: Dice::new(seed),
            started: Instant::now(),
            clock_offset: 0,
            watches: BTreeMap::new(),
            next_watch: 0,
            watch_settings: WatchSettings::default(),
            sightings: Sightings::default(),
            denied: BTreeSet::new(),
            rules: Vec::new(),
            untold: VecDeque::new(),
            is_telling: false,
            streams_lists: true,
            begun: 0,
            is_down: false,
        }
    }

    /// The current time of the wall clock.
    pub fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(BEGINNING * 1000 + elapsed + self.clock_offset).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// The wall clock in the format of `metadata`, in seconds.
    pub fn timestamp(&self) -> Value {
        let seconds = self.now().as_second();
        json!(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).to_string())
    }

    /// A new UUID (version 4).
    pub fn new_uid(&mut self) -> String {
        let (high, low) = (self.dice.draw(), self.dice.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xFFFF,
            high & 0xFFF,
            0x8000 | (low >> 48) & 0x3FFF,
            low & 0xFFFF_FFFF_FFFF
        )
    }

    /// Five random characters, as Kubernetes appends them to generated names.
    pub fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let limit = LETTERS.len() as u64;
        (0..5)
            .filter_map(|_| LETTERS.get(usize::try_from(self.dice.below(limit)).unwrap_or_default()))
            .map(|letter| char::from(*letter))
            .collect()
    }

    pub fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.store.objects.get(&(resource.plural, namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The objects of a resource in one namespace, or in all, ordered by namespace and name.
    pub fn of(&self, resource: &Resource, namespace: Option<&str>) -> impl Iterator<Item = (&Key, &Arc<Value>)> {
        within(&self.store.objects, resource, namespace)
    }

    /// Stores an object, or deletes it, as the next version, and notifies the watches.
    pub fn commit(&mut self, key: Key, user: &str, after: Option<Value>) -> Option<Arc<Value>> {
        let before = self.store.objects.get(&key).cloned();
        self.store.version += 1;
        let version = self.store.version;
        let with_version = |mut object: Value| {
            object::set_metadata(&mut object, "resourceVersion", json!(version.to_string()));
            Arc::new(object)
        };
        let kind = match (&before, &after) {
            (None, _) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Updated,
            (Some(_), None) => ChangeKind::Deleted,
        };
        let after = after.map(with_version);
        if before.is_none() {
            self.store.fresh.insert(key.clone());
        } else {
            self.store.fresh.remove(&key);
        }
        match &after {
            Some(object) => self.store.objects.insert(key.clone(), Arc::clone(object)),
            None => self.store.objects.remove(&key),
        };
        let (resource, namespace, name) = key;
        let user = user.to_owned();
        let (at, clock) = (Instant::now(), self.now());
        let change = Change { kind, resource, namespace, name, user, before, after: after.clone(), version, at, clock };
        let change = Arc::new(change);
        self.store.log.push_back(Arc::clone(&change));
        for watch in self.watches.values_mut() {
            watch.push(&change);
        }
        self.untold.push_back(change);
        after
    }

    /// The objects as they were at a version that is not compacted.
    pub fn at(&self, version: u64) -> BTreeMap<Key, Arc<Value>> {
        let mut objects = self.store.objects.clone();
        for change in self.store.log.iter().rev().take_while(|change| change.version > version) {
            let key = (change.resource, change.namespace.clone(), change.name.clone());
            match &change.before {
                Some(before) => objects.insert(key, Arc::clone(before)),
                None => objects.remove(&key),
            };
        }
        objects
    }

    /// Drops the history up to this version.
    pub fn compact(&mut self, version: u64) {
        self.store.compacted = self.store.compacted.max(version.min(self.store.version));
        while self.store.log.front().is_some_and(|change| change.version <= self.store.compacted) {
            self.store.log.pop_front();
        }
    }

    /// The version of the store this long ago, as far as the history reaches.
    pub fn version_before(&self, age: Duration) -> u64 {
        let aged = self.store.log.iter().take_while(|change| change.at.elapsed() > age).last();
        aged.map_or(self.store.compacted, |change| change.version)
    }
}

/// The objects of a resource in one namespace, or in all.
pub(super) fn within<'a>(
    objects: &'a BTreeMap<Key, Arc<Value>>,
    resource: &Resource,
    namespace: Option<&str>,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Value>)> {
    let plural = resource.plural;
    let wanted = namespace.map(str::to_owned);
    let start = (plural, wanted.clone().unwrap_or_default(), String::new());
    objects.range(start..).take_while(move |((there, namespace, _), _)| {
        *there == plural && wanted.as_ref().is_none_or(|wanted| wanted == namespace)
    })
}
