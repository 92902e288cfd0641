//! Watches of single Secrets, for `KeyPair`s that wait for a Secret with neither of our labels, which the other watches do not show: one
//! that belongs to somebody else and may be handed over, or one from which admission removes both labels.
//!
//! One watch serves all `KeyPair`s that wait for the same Secret, and triggers those that a change affects, so that none has to poll.
//! There are at most [`MAX_WATCHES`], however many Secrets are waited for, and namespaces share them evenly. A `KeyPair` without a watch is
//! requeued after a while.

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

use self::waiting::{Change, SecretRef, Waiter, Waiting};
use crate::{
    api::{KeyPair, secret::OwnershipMetadata},
    cache::{
        stream::{on_watch_success, summarize_watch_error, watch_config, watch_events},
        watched::WatchedSecret,
    },
    client::randomness::Randomness,
    controller::queue::Trigger,
    domain::{
        decide::{Incompatibility, Ownership, ReadSecret},
        rules::SECRET_NAME,
    },
};

/// The maximum number of Secrets with a watch of their own.
const MAX_WATCHES: usize = 16;

/// The Secrets that `KeyPair`s wait for, and the watches of them.
pub struct SecretWatches {
    client: Client,
    waiting: Arc<Mutex<Waiting>>,
    started: mpsc::UnboundedSender<BoxStream<'static, Trigger>>,
    jitter: Randomness,
}

impl SecretWatches {
    /// Without watches yet; and the stream of triggers from all watches.
    pub fn new(client: &Client, jitter: Randomness) -> (Self, impl Stream<Item = Trigger> + Send + use<>) {
        let (started, watches) = mpsc::unbounded();
        let waiting = Arc::new(Mutex::new(Waiting::new(MAX_WATCHES)));
        (Self { client: client.clone(), waiting, started, jitter }, watches.flatten_unordered(None))
    }

    /// Makes `key_pair` wait for this Secret of its namespace, and for no other. With `is_accepted`, because the pair is accepted, it waits for
    /// every change; otherwise until the Secret is handed over or deleted. Returns whether the Secret is watched.
    pub fn wait(&self, key_pair: &KeyPair, secret: &str, is_accepted: bool) -> bool {
        // The name may come from a status, which may be forged, and becomes part of a selector.
        if !SECRET_NAME.allows(secret) {
            self.stop_waiting(key_pair);
            return false;
        }
        let secret = SecretRef { namespace: key_pair.namespace().unwrap_or_default(), name: secret.to_owned() };
        let (is_watched, change) = self.lock().wait(&secret, Waiter::new(key_pair, is_accepted));
        self.apply_change(change);
        is_watched
    }

    /// Ends the waiting of `key_pair`.
    pub fn stop_waiting(&self, key_pair: &KeyPair) {
        self.forget(key_pair.metadata.uid.as_deref().unwrap_or_default());
    }

    /// [`Self::stop_waiting`] for the `KeyPair` with this UID, which may be deleted.
    pub fn forget(&self, uid: &str) {
        let change = self.lock().stop_waiting(uid);
        self.apply_change(change);
    }

    /// Whether a `KeyPair` waits for this Secret.
    pub fn is_waited_for(&self, namespace: &str, secret: &str) -> bool {
        self.lock().is_waited_for(&SecretRef { namespace: namespace.to_owned(), name: secret.to_owned() })
    }

    /// The watched state of this Secret, if it is foreign to `key_pair`.
    pub fn foreign_secret(&self, key_pair: &KeyPair, secret: &str) -> Option<ReadSecret> {
        let secret = SecretRef { namespace: key_pair.namespace()?, name: secret.to_owned() };
        let metadata = self.lock().watched_metadata(&secret)?;
        (metadata.ownership(key_pair) == Ownership::Foreign).then(|| ReadSecret {
            ownership: Ownership::Foreign,
            adopted: false,
            is_selected: false,
            owner: metadata.owner(key_pair),
            moved: None,
            admission_changes: Vec::new(),
            public_key: None,
            incompatibility: metadata.blocking_owner(key_pair).map(Incompatibility::Owner),
            up_to_date: false,
            is_type_allowed: true,
            replaces: None,
            rotation: Box::default(),
            version: String::new(),
        })
    }

    /// Starts the watch and triggers the `KeyPair` of a change.
    fn apply_change(&self, change: Change) {
        let trigger = change.trigger.map(|reference| stream::iter([Trigger::from(reference)]).boxed());
        let watch = change.start.map(|secret| self.watch(secret));
        for stream in trigger.into_iter().chain(watch) {
            // It fails when the controller has ended.
            self.started.unbounded_send(stream).ok();
        }
    }

    fn watch(&self, secret: SecretRef) -> BoxStream<'static, Trigger> {
        let api: Api<WatchedSecret> = Api::namespaced(on_watch_success(&self.client, || ()), &secret.namespace);
        let config = watch_config().fields(&format!("metadata.name={}", secret.name));
        let waiting = Arc::clone(&self.waiting);
        let end = self.lock().start_watch(&secret);
        let events = watch_events(api, config, self.jitter).flat_map(move |event| {
            let affected = match event {
                Ok(event) => apply_event(&waiting, &secret, event),
                Err(error) => {
                    let SecretRef { namespace, name } = &secret;
                    let error = summarize_watch_error(&error);
                    tracing::debug!(namespace, secret = name, error, "cannot watch the Secret; trying again");
                    Vec::new()
                }
            };
            stream::iter(affected.into_iter().map(Trigger::from))
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

/// Applies an event of a Secret, and returns the `KeyPair`s to reconcile.
fn apply_event(waiting: &Mutex<Waiting>, secret: &SecretRef, event: Event<WatchedSecret>) -> Vec<ObjectRef<KeyPair>> {
    let mut waiting = lock(waiting);
    match event {
        Event::Init => {
            waiting.add_listed(secret, None);
            Vec::new()
        }
        Event::InitApply(object) => {
            waiting.add_listed(secret, Some(OwnershipMetadata::of(&object)));
            Vec::new()
        }
        Event::InitDone => waiting.finish_list(secret),
        Event::Apply(object) => waiting.apply(secret, Some(OwnershipMetadata::of(&object))),
        Event::Delete(_) => waiting.apply(secret, None),
    }
}

#[cfg(test)]
mod tests;
