//! Which `KeyPair`s wait for which Secrets, which of these are watched, and their watched state.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::channel::oneshot;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::api::{KeyPair, secret::OwnershipMetadata};

/// A reference to a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SecretRef {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A `KeyPair` that waits. The oldest is first, as everywhere: it is offered a free name first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiter {
    created: i64,
    name: String,
    uid: String,
    /// Whether it waits for every change.
    is_accepted: bool,
}

impl Waiter {
    pub(super) fn new(key_pair: &KeyPair, is_accepted: bool) -> Self {
        Self {
            created: key_pair.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            name: key_pair.name_any(),
            uid: key_pair.uid().unwrap_or_default(),
            is_accepted,
        }
    }

    fn reference(&self, secret: &SecretRef) -> ObjectRef<KeyPair> {
        ObjectRef::new(&self.name).within(&secret.namespace)
    }
}

/// What to do after a change of the waiters.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The Secret to start watching.
    pub(super) start: Option<SecretRef>,
    /// The `KeyPair` to reconcile, because the name that it waits for is free.
    pub(super) trigger: Option<ObjectRef<KeyPair>>,
}

/// A Secret with waiters.
#[derive(Debug, Default)]
struct AwaitedSecret {
    waiters: BTreeSet<Waiter>,
    watch: Option<SecretWatch>,
}

/// The watch of a Secret.
#[derive(Debug, Default)]
struct SecretWatch {
    /// Ends the watch when it is dropped.
    end: Option<oneshot::Sender<()>>,
    /// The Secret in the current list, if it has arrived.
    listing: Option<OwnershipMetadata>,
    state: WatchedState,
}

/// The watched state of a Secret.
#[derive(Debug, Default)]
enum WatchedState {
    #[default]
    Unknown,
    Absent,
    Present(OwnershipMetadata),
}

/// Which `KeyPair`s wait for which Secrets.
#[derive(Debug)]
pub(super) struct Waiting {
    max_watches: usize,
    awaited: HashMap<SecretRef, AwaitedSecret>,
    /// What each `KeyPair` waits for, by its UID.
    by_uid: HashMap<String, (SecretRef, Waiter)>,
    /// The awaited Secrets with and without a watch, by namespace.
    watched: BTreeMap<String, BTreeSet<String>>,
    unwatched: BTreeMap<String, BTreeSet<String>>,
}

impl Waiting {
    pub(super) fn new(max_watches: usize) -> Self {
        Self {
            max_watches,
            awaited: HashMap::new(),
            by_uid: HashMap::new(),
            watched: BTreeMap::new(),
            unwatched: BTreeMap::new(),
        }
    }

    /// Makes `waiter` wait for this Secret, and returns whether it is watched, or is about to be.
    pub(super) fn wait(&mut self, secret: &SecretRef, waiter: Waiter) -> (bool, Change) {
        let before = self.by_uid.get(&waiter.uid);
        let mut change = Change::default();
        if before.is_none_or(|before| before.0 != *secret || before.1 != waiter) {
            // Leaving the old Secret frees at most one watch, and the new one needs at most one.
            if before.is_some_and(|(other, _)| other == secret) {
                self.remove_waiter(secret, &waiter.uid);
            } else {
                change = self.stop_waiting(&waiter.uid);
            }
            self.by_uid.insert(waiter.uid.clone(), (secret.clone(), waiter.clone()));
            let is_new = !self.awaited.contains_key(secret);
            self.awaited.entry(secret.clone()).or_default().waiters.insert(waiter);
            if is_new {
                insert(&mut self.unwatched, secret);
                change.start = change.start.or_else(|| self.make_room_for(secret.clone()));
            }
        }
        let is_watched = self.awaited.get(secret).is_some_and(|awaited| awaited.watch.is_some());
        (is_watched, change)
    }

    /// Ends the waiting of the `KeyPair` with this UID.
    pub(super) fn stop_waiting(&mut self, uid: &str) -> Change {
        let Some((secret, _)) = self.by_uid.get(uid).cloned() else { return Change::default() };
        self.remove_waiter(&secret, uid);
        self.by_uid.remove(uid);
        let Some(awaited) = self.awaited.get(&secret) else { return Change::default() };
        if !awaited.waiters.is_empty() {
            // The KeyPair that was offered the free name may not have used it.
            let is_free = awaited.watch.as_ref().is_some_and(|watch| matches!(watch.state, WatchedState::Absent));
            let next = awaited.waiters.iter().find(|waiter| !waiter.is_accepted).filter(|_| is_free);
            return Change { trigger: next.map(|waiter| waiter.reference(&secret)), start: None };
        }
        self.awaited.remove(&secret);
        remove(&mut self.unwatched, &secret);
        let was_watched = remove(&mut self.watched, &secret);
        Change { start: was_watched.then(|| self.start_next()).flatten(), trigger: None }
    }

    /// Records that the watch of this Secret starts. The receiver resolves when the watch must end.
    pub(super) fn start_watch(&mut self, secret: &SecretRef) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        if let Some(watch) = self.watch(secret) {
            watch.end = Some(end);
        }
        ended
    }

    pub(super) fn is_waited_for(&self, secret: &SecretRef) -> bool {
        self.awaited.contains_key(secret)
    }

    /// The ownership metadata of this Secret, if it is watched and exists.
    pub(super) fn watched_metadata(&self, secret: &SecretRef) -> Option<OwnershipMetadata> {
        match &self.awaited.get(secret)?.watch.as_ref()?.state {
            WatchedState::Present(metadata) => Some(metadata.clone()),
            WatchedState::Unknown | WatchedState::Absent => None,
        }
    }

    /// Applies a part of a list.
    pub(super) fn add_listed(&mut self, secret: &SecretRef, metadata: Option<OwnershipMetadata>) {
        if let Some(watch) = self.watch(secret) {
            watch.listing = metadata;
        }
    }

    /// Applies the end of a list.
    pub(super) fn finish_list(&mut self, secret: &SecretRef) -> Vec<ObjectRef<KeyPair>> {
        let listed = self.watch(secret).and_then(|watch| watch.listing.take());
        self.apply(secret, listed)
    }

    /// Applies a change of this Secret, and returns the `KeyPair`s to reconcile: those that wait for every change, those that its
    /// metadata refers to or referred to, and the oldest that waits for a free name.
    pub(super) fn apply(&mut self, secret: &SecretRef, metadata: Option<OwnershipMetadata>) -> Vec<ObjectRef<KeyPair>> {
        let Some(AwaitedSecret { waiters, watch: Some(watch) }) = self.awaited.get_mut(secret) else {
            return Vec::new();
        };
        let is_free = metadata.is_none();
        let state = metadata.map_or(WatchedState::Absent, WatchedState::Present);
        let before = std::mem::replace(&mut watch.state, state);
        let concerns = |state: &WatchedState, waiter: &Waiter| match state {
            WatchedState::Present(metadata) => metadata.refers_to(&waiter.name, &waiter.uid),
            WatchedState::Unknown | WatchedState::Absent => false,
        };
        let first = waiters.iter().find(|waiter| !waiter.is_accepted).filter(|_| is_free);
        let affected = waiters.iter().filter(|waiter| {
            waiter.is_accepted || first == Some(*waiter) || concerns(&before, waiter) || concerns(&watch.state, waiter)
        });
        affected.map(|waiter| waiter.reference(secret)).collect()
    }

    /// The number of watched Secrets in a namespace.
    #[cfg(test)]
    pub(super) fn count(&self, namespace: &str) -> usize {
        self.watched.get(namespace).map_or(0, BTreeSet::len)
    }

    fn watch(&mut self, secret: &SecretRef) -> Option<&mut SecretWatch> {
        self.awaited.get_mut(secret)?.watch.as_mut()
    }

    fn remove_waiter(&mut self, secret: &SecretRef, uid: &str) {
        if let (Some(awaited), Some((_, waiter))) = (self.awaited.get_mut(secret), self.by_uid.get(uid)) {
            awaited.waiters.remove(waiter);
        }
    }

    /// Starts a watch of this Secret, if one is available, or if another namespace has more than its share.
    fn make_room_for(&mut self, secret: SecretRef) -> Option<SecretRef> {
        let total: usize = self.watched.values().map(BTreeSet::len).sum();
        if total >= self.max_watches {
            let own_count = self.watched.get(&secret.namespace).map_or(0, BTreeSet::len);
            let (namespace, most) = self.watched.iter().max_by_key(|(_, names)| names.len())?;
            if own_count + 1 >= most.len() {
                return None;
            }
            let stopped = SecretRef { namespace: namespace.clone(), name: most.last()?.clone() };
            self.stop(&stopped);
        }
        Some(self.start(secret))
    }

    /// Starts a watch of a further Secret, in the namespace with the fewest watches.
    fn start_next(&mut self) -> Option<SecretRef> {
        let watches = |namespace: &String| self.watched.get(namespace).map_or(0, BTreeSet::len);
        let (namespace, names) = self.unwatched.iter().min_by_key(|(namespace, _)| watches(namespace))?;
        let secret = SecretRef { namespace: namespace.clone(), name: names.first()?.clone() };
        Some(self.start(secret))
    }

    fn start(&mut self, secret: SecretRef) -> SecretRef {
        remove(&mut self.unwatched, &secret);
        insert(&mut self.watched, &secret);
        if let Some(awaited) = self.awaited.get_mut(&secret) {
            awaited.watch = Some(SecretWatch::default());
        }
        secret
    }

    fn stop(&mut self, secret: &SecretRef) {
        remove(&mut self.watched, secret);
        insert(&mut self.unwatched, secret);
        if let Some(awaited) = self.awaited.get_mut(secret) {
            awaited.watch = None;
        }
    }
}

fn insert(secrets: &mut BTreeMap<String, BTreeSet<String>>, secret: &SecretRef) {
    secrets.entry(secret.namespace.clone()).or_default().insert(secret.name.clone());
}

fn remove(secrets: &mut BTreeMap<String, BTreeSet<String>>, secret: &SecretRef) -> bool {
    let Some(names) = secrets.get_mut(&secret.namespace) else { return false };
    let was_there = names.remove(&secret.name);
    if names.is_empty() {
        secrets.remove(&secret.namespace);
    }
    was_there
}
