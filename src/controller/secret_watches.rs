//! Watches of single Secrets, for whoever waits for one that no watch of our Secrets shows, since it has neither of our labels: one
//! that is somebody else's, and may change hands; one from which admission takes both.
//!
//! One watch serves all `KeyPair`s that wait for the same Secret, and tells what it says of each of them, so that nobody has to ask.
//! There are [`MAX_WATCHES`] of them at most, however many Secrets are waited for, and namespaces share them evenly. Whoever has
//! none looks again after a while.

mod waiting;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{
    Stream, StreamExt,
    channel::mpsc,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, ResourceExt,
    runtime::{reflector::ObjectRef, watcher::Event},
};

use self::waiting::{Change, Place, Waiter, Waiting};
use super::{
    queue::Trigger,
    randomness::Randomness,
    secrets::Marks,
    watched::WatchedSecret,
    watching::{in_brief_of_watch, listening, watch_config, watched},
};
use crate::{
    api::KeyPair,
    domain::{
        decide::{Belongs, Obstacle, ReadSecret},
        rules::SECRET_NAME,
    },
};

/// How many Secrets are watched singly at most. Each costs the API server a watch of its own.
const MAX_WATCHES: usize = 16;

/// Who waits for which Secret, and the watches of these.
pub struct SecretWatches {
    client: Client,
    waiting: Arc<Mutex<Waiting>>,
    begun: mpsc::UnboundedSender<BoxStream<'static, Trigger>>,
    jitter: Randomness,
}

impl SecretWatches {
    /// Nobody waits yet; and the `KeyPair`s for which something has changed, as it happens.
    pub fn new(client: &Client, jitter: Randomness) -> (Self, impl Stream<Item = Trigger> + Send + use<>) {
        let (begun, watches) = mpsc::unbounded();
        let waiting = Arc::new(Mutex::new(Waiting::new(MAX_WATCHES)));
        (Self { client: client.clone(), waiting, begun, jitter }, watches.flatten_unordered(None))
    }

    /// Notes that `key_pair` waits for what becomes of this Secret of its namespace, and for no other. `settled`: for every change of
    /// it, since the pair has been accepted; otherwise for its change of hands. Whether the Secret is watched.
    pub fn wait(&self, key_pair: &KeyPair, secret: &str, settled: bool) -> bool {
        // A status may say anything; this goes into a selector.
        if !SECRET_NAME.allows(secret) {
            return self.leave(key_pair);
        }
        let place = Place { namespace: key_pair.namespace().unwrap_or_default(), name: secret.to_owned() };
        let (is_watched, change) = self.lock().wait(&place, Waiter::new(key_pair, settled));
        self.follow(change);
        is_watched
    }

    /// Notes that `key_pair` does not wait for a Secret. Nothing is watched for it.
    pub fn leave(&self, key_pair: &KeyPair) -> bool {
        self.gone(key_pair.metadata.uid.as_deref().unwrap_or_default());
        false
    }

    /// The same for the `KeyPair` with this UID, which may be gone.
    pub fn gone(&self, uid: &str) {
        let change = self.lock().leave(uid);
        self.follow(change);
    }

    /// Whether some `KeyPair` waits for this Secret.
    pub fn is_waited_for(&self, namespace: &str, secret: &str) -> bool {
        self.lock().is_waited_for(&Place { namespace: namespace.to_owned(), name: secret.to_owned() })
    }

    /// What is known of this Secret, if it is watched and somebody else's to `key_pair`.
    pub fn foreign(&self, key_pair: &KeyPair, secret: &str) -> Option<ReadSecret> {
        let place = Place { namespace: key_pair.namespace()?, name: secret.to_owned() };
        let marks = self.lock().seen(&place)?;
        (marks.belongs(key_pair) == Belongs::Foreign).then(|| ReadSecret {
            belongs: Belongs::Foreign,
            adopted: false,
            in_sight: false,
            owner: marks.owner(key_pair),
            moved: None,
            missing: Vec::new(),
            public_key: None,
            obstacle: marks.owner_in_the_way(key_pair).map(Obstacle::Owner),
            up_to_date: false,
            type_fits: true,
            replaces: None,
            version: String::new(),
        })
    }

    /// Begins the watches that are to begin, and tells who is to look. Those that are to end, do.
    fn follow(&self, change: Change) {
        let now = change.look.map(|reference| stream::iter([Trigger::from(reference)]).boxed());
        let begun = change.begin.map(|place| self.watch(place));
        for stream in now.into_iter().chain(begun) {
            // Nobody listens any more when the controller has ended.
            self.begun.unbounded_send(stream).ok();
        }
    }

    fn watch(&self, place: Place) -> BoxStream<'static, Trigger> {
        let api: Api<WatchedSecret> = Api::namespaced(listening(&self.client, || ()), &place.namespace);
        let config = watch_config().fields(&format!("metadata.name={}", place.name));
        let waiting = Arc::clone(&self.waiting);
        let end = self.lock().begun(&place);
        let events = watched(api, config, self.jitter).flat_map(move |event| {
            let concerned = match event {
                Ok(event) => take_in(&waiting, &place, event),
                Err(error) => {
                    let Place { namespace, name } = &place;
                    let error = in_brief_of_watch(&error);
                    tracing::debug!(namespace, secret = name, error, "cannot watch a Secret; trying again");
                    Vec::new()
                }
            };
            stream::iter(concerned.into_iter().map(Trigger::from))
        });
        events.take_until(end).boxed()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes in what happened to a Secret, and returns the `KeyPair`s that are to look at it.
fn take_in(waiting: &Mutex<Waiting>, place: &Place, event: Event<WatchedSecret>) -> Vec<ObjectRef<KeyPair>> {
    let mut waiting = lock(waiting);
    match event {
        Event::Init => {
            waiting.list(place, None);
            Vec::new()
        }
        Event::InitApply(secret) => {
            waiting.list(place, Some(Marks::of(&secret)));
            Vec::new()
        }
        Event::InitDone => waiting.listed(place),
        Event::Apply(secret) => waiting.changed(place, Some(Marks::of(&secret))),
        Event::Delete(_) => waiting.changed(place, None),
    }
}

#[cfg(test)]
mod tests;
