//! The two watches that tell which objects to look at.

use std::{convert::Infallible, sync::Arc};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource, ResourceExt,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher::{self, Event, watcher},
    },
};

use super::{
    context::Context,
    secrets::{KEYPAIR_ANNOTATION, OPERATOR},
};
use crate::{api::KeyPair, domain::secret::MANAGED_BY_LABEL};

/// The annotation in which `kubectl apply` keeps a second copy of the whole spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A `KeyPair` to look at. Watching goes on whatever happens, so there is no error.
pub type Trigger = Result<ObjectRef<KeyPair>, Infallible>;

/// Follows the `KeyPair`s: each event reaches the index first, then the store, then the reconciler.
pub fn key_pairs(
    api: Api<DeserializeGuard<KeyPair>>,
    mut store: Writer<KeyPair>,
    context: Arc<Context>,
) -> impl Stream<Item = Trigger> + Send {
    watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(|event| std::future::ready(log_failure("KeyPairs", event).and_then(readable)))
        .flat_map(move |event| {
            let mut concerned = context.index.apply(&event);
            store.apply_watcher_event(&event);
            match &event {
                Event::Apply(key_pair) | Event::InitApply(key_pair) => {
                    concerned.push(ObjectRef::from_obj(key_pair));
                }
                Event::Delete(key_pair) => {
                    let uid = key_pair.meta().uid.as_deref().unwrap_or_default();
                    context.backoff.forget(uid);
                    context.written.forget(uid);
                }
                Event::Init | Event::InitDone => {}
            }
            stream::iter(concerned.into_iter().map(Ok))
        })
}

/// Follows the metadata of our Secrets.
pub fn secrets(
    api: Api<PartialObjectMeta<Secret>>,
    mut store: Writer<PartialObjectMeta<Secret>>,
) -> impl Stream<Item = Trigger> + Send {
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={OPERATOR}"));
    watcher(api, ours)
        .default_backoff()
        .modify(|secret| secret.managed_fields_mut().clear())
        .filter_map(|event| std::future::ready(log_failure("Secrets", event)))
        .flat_map(move |event| {
            store.apply_watcher_event(&event);
            let trigger = match &event {
                Event::Apply(secret) | Event::InitApply(secret) | Event::Delete(secret) => key_pair_of(secret),
                Event::Init | Event::InitDone => None,
            };
            stream::iter(trigger.map(Ok))
        })
}

fn key_pair_of(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<KeyPair>> {
    let name = secret.annotations().get(KEYPAIR_ANNOTATION)?;
    Some(ObjectRef::new(name).within(&secret.namespace()?))
}

/// Says that a watch failed; it is begun again after a pause.
fn log_failure<K>(what: &str, event: Result<Event<K>, watcher::Error>) -> Option<Event<K>> {
    event.inspect_err(|error| tracing::warn!(error = %error, "cannot watch {what}; trying again")).ok()
}

/// Passes over an object that cannot be read, so that it does not stop the watch of all others, and drops what is of no use
/// here from those that can.
fn readable(event: Event<DeserializeGuard<KeyPair>>) -> Option<Event<KeyPair>> {
    let read = |guard: DeserializeGuard<KeyPair>| match guard.0 {
        Ok(mut key_pair) => {
            key_pair.managed_fields_mut().clear();
            key_pair.annotations_mut().remove(LAST_APPLIED);
            Some(key_pair)
        }
        Err(invalid) => {
            // The error may quote the object, and somebody may have pasted a private key into it: it is not logged.
            tracing::error!(
                namespace = invalid.metadata.namespace,
                name = invalid.metadata.name,
                "passing over a KeyPair that is not of the schema of this version"
            );
            None
        }
    };
    match event {
        Event::Apply(guard) => read(guard).map(Event::Apply),
        Event::Delete(guard) => read(guard).map(Event::Delete),
        Event::Init => Some(Event::Init),
        Event::InitApply(guard) => read(guard).map(Event::InitApply),
        Event::InitDone => Some(Event::InitDone),
    }
}
