//! The two watches that tell which objects to look at.

use std::{cell::RefCell, convert::Infallible, sync::Arc};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Resource, ResourceExt,
    api::PartialObjectMeta,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, Store, store::Writer},
        watcher::{self, Event, watcher},
    },
};

use super::{
    context::Context,
    secrets::{KEYPAIR_ANNOTATION, OPERATOR},
};
use crate::{
    api::{KeyPair, KeyPairSpec},
    domain::secret::MANAGED_BY_LABEL,
};

/// The annotation in which `kubectl apply` keeps a second copy of the whole spec.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A `KeyPair` to look at. Watching goes on whatever happens, so there is no error.
pub type Trigger = Result<ObjectRef<KeyPair>, Infallible>;

/// Follows the `KeyPair`s: each event reaches the index first, then the store, then the reconciler.
pub fn key_pairs(
    api: Api<DeserializeGuard<KeyPair>>,
    store: Writer<KeyPair>,
    context: Arc<Context>,
) -> impl Stream<Item = Trigger> + Send {
    let mut mirror = Mirror::new(store);
    watcher(api, watcher::Config::default())
        .default_backoff()
        .filter_map(|event| std::future::ready(log_failure("KeyPairs", event).and_then(readable)))
        .flat_map(move |event| {
            let mut concerned = context.index.apply(&event);
            mirror.apply(
                &event,
                |key_pair| concerned.push(ObjectRef::from_obj(key_pair)),
                |gone| context.forget(gone.meta().uid.as_deref().unwrap_or_default()),
            );
            stream::iter(concerned.into_iter().map(Ok))
        })
}

/// Follows the metadata of our Secrets.
pub fn secrets(
    api: Api<PartialObjectMeta<Secret>>,
    store: Writer<PartialObjectMeta<Secret>>,
) -> impl Stream<Item = Trigger> + Send {
    let mut mirror = Mirror::new(store);
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={OPERATOR}"));
    watcher(api, ours)
        .default_backoff()
        .modify(|secret| secret.managed_fields_mut().clear())
        .filter_map(|event| std::future::ready(log_failure("Secrets", event)))
        .flat_map(move |event| {
            let concerned = RefCell::new(Vec::new());
            let concern = |secret: &PartialObjectMeta<Secret>| concerned.borrow_mut().extend(key_pair_of(secret));
            mirror.apply(&event, concern, concern);
            stream::iter(concerned.into_inner().into_iter().map(Ok))
        })
}

/// A store in step with a watch.
struct Mirror<K: Resource<DynamicType = ()> + Clone + 'static> {
    writer: Writer<K>,
    reader: Store<K>,
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Mirror<K> {
    fn new(writer: Writer<K>) -> Self {
        Self { reader: writer.as_reader(), writer }
    }

    /// Takes in an event, and calls `changed` for each object that is new or may have changed, and `gone` for each that is no
    /// more.
    ///
    /// A list counts only when it is complete: until then the store shows what was before it, so that whoever looked at
    /// an object of the list would see its old version, or none. And a list has no event for what went away since the last
    /// one, so that is found by comparison.
    fn apply(&mut self, event: &Event<K>, mut changed: impl FnMut(&K), mut gone: impl FnMut(&K)) {
        let before = if matches!(event, Event::InitDone) { self.reader.state() } else { Vec::new() };
        self.writer.apply_watcher_event(event);
        match event {
            Event::Apply(object) => changed(object),
            Event::Delete(object) => gone(object),
            Event::Init | Event::InitApply(_) => {}
            Event::InitDone => {
                self.reader.state().iter().for_each(|object| changed(object));
                let is_there = |object: &K| {
                    let now = self.reader.get(&ObjectRef::from_obj(object));
                    now.is_some_and(|now| now.meta().uid == object.meta().uid)
                };
                before.iter().filter(|object| !is_there(object)).for_each(|object| gone(object));
            }
        }
    }
}

/// The `KeyPair` that a Secret was made for.
fn key_pair_of(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<KeyPair>> {
    let owner = secret.owner_references().iter().find(|owner| owner.kind == KeyPair::kind(&()));
    let name = secret.annotations().get(KEYPAIR_ANNOTATION).or(owner.map(|owner| &owner.name))?;
    Some(ObjectRef::new(name).within(&secret.namespace()?))
}

/// Says that a watch failed; it is begun again after a pause.
fn log_failure<K>(what: &str, event: Result<Event<K>, watcher::Error>) -> Option<Event<K>> {
    event.inspect_err(|error| tracing::warn!(error = %error, "cannot watch {what}; trying again")).ok()
}

/// Passes over an object that cannot be read, so that it does not stop the watch of all others, and drops what is of no use
/// here from those that can.
fn readable(event: Event<DeserializeGuard<KeyPair>>) -> Option<Event<KeyPair>> {
    let is_gone = matches!(event, Event::Delete(_));
    let read = |guard: DeserializeGuard<KeyPair>| match guard.0 {
        Ok(mut key_pair) => {
            key_pair.managed_fields_mut().clear();
            key_pair.annotations_mut().remove(LAST_APPLIED);
            Some(key_pair)
        }
        // What it was does not matter any more.
        Err(invalid) if is_gone => {
            Some(KeyPair { metadata: invalid.metadata, spec: KeyPairSpec::default(), status: None })
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
