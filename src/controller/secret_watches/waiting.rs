//! Who waits for which Secret, which of these are watched, and what is known of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::channel::oneshot;
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use crate::{api::KeyPair, controller::secrets::Marks};

/// Where a Secret is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// A `KeyPair` that waits. The oldest is the first to be told that a name is free, as it is the first to get anything else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiter {
    created: i64,
    name: String,
    uid: String,
    /// Whether it waits for every change.
    settled: bool,
}

impl Waiter {
    pub(super) fn new(key_pair: &KeyPair, settled: bool) -> Self {
        Self {
            created: key_pair.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            name: key_pair.name_any(),
            uid: key_pair.uid().unwrap_or_default(),
            settled,
        }
    }

    fn reference(&self, place: &Place) -> ObjectRef<KeyPair> {
        ObjectRef::new(&self.name).within(&place.namespace)
    }
}

/// What is to be done about a change of who waits.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// The Secret whose watch is to begin.
    pub(super) begin: Option<Place>,
    /// The `KeyPair` that is to look at a name that is free.
    pub(super) look: Option<ObjectRef<KeyPair>>,
}

/// A Secret that somebody waits for.
#[derive(Debug, Default)]
struct Wanted {
    waiters: BTreeSet<Waiter>,
    watch: Option<Watch>,
}

/// The watch of a Secret.
#[derive(Debug, Default)]
struct Watch {
    /// Dropped with the watch, which ends then.
    end: Option<oneshot::Sender<()>>,
    /// What a list has shown so far.
    listing: Option<Marks>,
    known: Known,
}

/// What a watch has shown.
#[derive(Debug, Default)]
enum Known {
    #[default]
    Nothing,
    Absent,
    Present(Marks),
}

/// Who waits for which Secret.
#[derive(Debug)]
pub(super) struct Waiting {
    max_watches: usize,
    wanted: HashMap<Place, Wanted>,
    /// What each `KeyPair` waits for, by its UID.
    of: HashMap<String, (Place, Waiter)>,
    /// The Secrets that are watched, by namespace, and those that are not.
    watched: BTreeMap<String, BTreeSet<String>>,
    unwatched: BTreeMap<String, BTreeSet<String>>,
}

impl Waiting {
    pub(super) fn new(max_watches: usize) -> Self {
        Self {
            max_watches,
            wanted: HashMap::new(),
            of: HashMap::new(),
            watched: BTreeMap::new(),
            unwatched: BTreeMap::new(),
        }
    }

    /// Notes that `waiter` waits for what is at `place`, and says whether that is watched, or is about to be.
    pub(super) fn wait(&mut self, place: &Place, waiter: Waiter) -> (bool, Change) {
        let before = self.of.get(&waiter.uid);
        let mut change = Change::default();
        if before.is_none_or(|before| before.0 != *place || before.1 != waiter) {
            // One that it leaves frees at most one watch, and this one takes at most one.
            if before.is_some_and(|(other, _)| other == place) {
                self.remove_waiter(place, &waiter.uid);
            } else {
                change = self.leave(&waiter.uid);
            }
            self.of.insert(waiter.uid.clone(), (place.clone(), waiter.clone()));
            let is_new = !self.wanted.contains_key(place);
            self.wanted.entry(place.clone()).or_default().waiters.insert(waiter);
            if is_new {
                insert(&mut self.unwatched, place);
                change.begin = change.begin.or_else(|| self.make_room_for(place.clone()));
            }
        }
        let is_watched = self.wanted.get(place).is_some_and(|wanted| wanted.watch.is_some());
        (is_watched, change)
    }

    /// Notes that the `KeyPair` with this UID waits for nothing.
    pub(super) fn leave(&mut self, uid: &str) -> Change {
        let Some((place, _)) = self.of.get(uid).cloned() else { return Change::default() };
        self.remove_waiter(&place, uid);
        self.of.remove(uid);
        let Some(wanted) = self.wanted.get(&place) else { return Change::default() };
        if !wanted.waiters.is_empty() {
            // Whoever was told that the name is free has done with it: it may be free still.
            let is_free = wanted.watch.as_ref().is_some_and(|watch| matches!(watch.known, Known::Absent));
            let next = wanted.waiters.iter().find(|waiter| !waiter.settled).filter(|_| is_free);
            return Change { look: next.map(|waiter| waiter.reference(&place)), begin: None };
        }
        self.wanted.remove(&place);
        remove(&mut self.unwatched, &place);
        let was_watched = remove(&mut self.watched, &place);
        Change { begin: was_watched.then(|| self.next()).flatten(), look: None }
    }

    /// What ends when the watch of what is at `place` shall end, which begins now.
    pub(super) fn begun(&mut self, place: &Place) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        if let Some(watch) = self.watch(place) {
            watch.end = Some(end);
        }
        ended
    }

    pub(super) fn is_waited_for(&self, place: &Place) -> bool {
        self.wanted.contains_key(place)
    }

    /// What the watch of what is at `place` has shown, if there is a Secret.
    pub(super) fn seen(&self, place: &Place) -> Option<Marks> {
        match &self.wanted.get(place)?.watch.as_ref()?.known {
            Known::Present(marks) => Some(marks.clone()),
            Known::Nothing | Known::Absent => None,
        }
    }

    /// Takes in a part of a list.
    pub(super) fn list(&mut self, place: &Place, marks: Option<Marks>) {
        if let Some(watch) = self.watch(place) {
            watch.listing = marks;
        }
    }

    /// Takes in the end of a list: what happened before the watch began is in it.
    pub(super) fn listed(&mut self, place: &Place) -> Vec<ObjectRef<KeyPair>> {
        let listed = self.watch(place).and_then(|watch| watch.listing.take());
        self.changed(place, listed)
    }

    /// Takes in what is at `place` now, and returns the `KeyPair`s that are to look at it: those that wait for every change, those
    /// of which the Secret says something or did, and the oldest of those to whom a free name is of use.
    pub(super) fn changed(&mut self, place: &Place, marks: Option<Marks>) -> Vec<ObjectRef<KeyPair>> {
        let Some(Wanted { waiters, watch: Some(watch) }) = self.wanted.get_mut(place) else { return Vec::new() };
        let is_free = marks.is_none();
        let known = marks.map_or(Known::Absent, Known::Present);
        let before = std::mem::replace(&mut watch.known, known);
        let says = |known: &Known, waiter: &Waiter| match known {
            Known::Present(marks) => marks.concerns(&waiter.name, &waiter.uid),
            Known::Nothing | Known::Absent => false,
        };
        let first = waiters.iter().find(|waiter| !waiter.settled).filter(|_| is_free);
        let concerned = waiters.iter().filter(|waiter| {
            waiter.settled || first == Some(*waiter) || says(&before, waiter) || says(&watch.known, waiter)
        });
        concerned.map(|waiter| waiter.reference(place)).collect()
    }

    /// How many Secrets of a namespace are watched.
    #[cfg(test)]
    pub(super) fn count(&self, namespace: &str) -> usize {
        self.watched.get(namespace).map_or(0, BTreeSet::len)
    }

    fn watch(&mut self, place: &Place) -> Option<&mut Watch> {
        self.wanted.get_mut(place)?.watch.as_mut()
    }

    fn remove_waiter(&mut self, place: &Place, uid: &str) {
        if let (Some(wanted), Some((_, waiter))) = (self.wanted.get_mut(place), self.of.get(uid)) {
            wanted.waiters.remove(waiter);
        }
    }

    /// Watches this Secret, if there is a watch to spare, or a namespace has more than its share.
    fn make_room_for(&mut self, place: Place) -> Option<Place> {
        let total: usize = self.watched.values().map(BTreeSet::len).sum();
        if total >= self.max_watches {
            let mine = self.watched.get(&place.namespace).map_or(0, BTreeSet::len);
            let (namespace, most) = self.watched.iter().max_by_key(|(_, names)| names.len())?;
            if mine + 1 >= most.len() {
                return None;
            }
            let given_up = Place { namespace: namespace.clone(), name: most.last()?.clone() };
            self.stop(&given_up);
        }
        Some(self.start(place))
    }

    /// The Secret to watch next, of the namespace that has the fewest watches.
    fn next(&mut self) -> Option<Place> {
        let watches = |namespace: &String| self.watched.get(namespace).map_or(0, BTreeSet::len);
        let (namespace, names) = self.unwatched.iter().min_by_key(|(namespace, _)| watches(namespace))?;
        let place = Place { namespace: namespace.clone(), name: names.first()?.clone() };
        Some(self.start(place))
    }

    fn start(&mut self, place: Place) -> Place {
        remove(&mut self.unwatched, &place);
        insert(&mut self.watched, &place);
        if let Some(wanted) = self.wanted.get_mut(&place) {
            wanted.watch = Some(Watch::default());
        }
        place
    }

    fn stop(&mut self, place: &Place) {
        remove(&mut self.watched, place);
        insert(&mut self.unwatched, place);
        if let Some(wanted) = self.wanted.get_mut(place) {
            wanted.watch = None;
        }
    }
}

fn insert(places: &mut BTreeMap<String, BTreeSet<String>>, place: &Place) {
    places.entry(place.namespace.clone()).or_default().insert(place.name.clone());
}

fn remove(places: &mut BTreeMap<String, BTreeSet<String>>, place: &Place) -> bool {
    let Some(names) = places.get_mut(&place.namespace) else { return false };
    let was_there = names.remove(&place.name);
    if names.is_empty() {
        places.remove(&place.namespace);
    }
    was_there
}
