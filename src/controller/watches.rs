//! The watches that tell which objects to look at.

use std::{collections::BTreeSet, sync::Arc};

use futures::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::{
    Api, Client, ResourceExt,
    api::PartialObjectMeta,
    runtime::{reflector::ObjectRef, watcher::Event},
};

use super::{
    context::Context,
    metrics::Metrics,
    queue::Trigger,
    randomness::Randomness,
    scope,
    secrets::{KEYPAIR_UID_LABEL, OPERATOR, key_pair_name, key_pair_uid},
    store::CompressedStore,
    view::View,
    watched::{WatchedKeyPair, WatchedSecret},
    watching::{is_forbidden, listening, log_failure, watch_config, watched},
};
use crate::{
    api::{KeyPair, KeyPairSpec},
    domain::{
        region::{Policy, Region},
        secret::MANAGED_BY_LABEL,
    },
};

/// Follows the `KeyPair`s: each event reaches the index first, then the store, then the reconciler. `seen` is shown each event
/// before, and `gone` is told the UID of each that is no more.
pub fn key_pairs<S: Fn(&Event<KeyPair>) + Send, G: Fn(&str) + Send>(
    client: &Client,
    namespace: Option<&str>,
    view: Arc<View>,
    metrics: Arc<Metrics>,
    jitter: Randomness,
    seen: S,
    gone: G,
) -> impl Stream<Item = Trigger> + Send + use<S, G> {
    let (counting, hearing) = (Arc::clone(&metrics), Arc::clone(&view));
    let client = listening(client, move || {
        counting.watch("KeyPairs", true);
        hearing.heard(true);
        hearing.sight.note(true);
    });
    let api: Api<WatchedKeyPair> = scope(&client, namespace);
    let (regions, heard) = (Arc::clone(&view), Arc::clone(&view));
    // What a namespace is decides what its KeyPairs may be, so that is listed first.
    let begin = async move {
        regions.regions_listed.wait().await;
        watched(api, watch_config(), jitter)
    };
    stream::once(begin)
        .flatten()
        .filter_map(move |event| {
            heard.heard(event.is_ok());
            // What a list brings shows what there is when it is complete.
            if !matches!(event, Ok(Event::Init | Event::InitApply(_))) {
                heard.sight.note(event.is_ok());
            }
            std::future::ready(log_failure("KeyPairs", event, &metrics).and_then(readable))
        })
        .flat_map(move |event| {
            seen(&event);
            let concerned = view.index.apply(&event);
            for key_pair in view.key_pairs.apply(&event) {
                gone(key_pair.uid());
            }
            let mut triggers: Vec<Trigger> = concerned.into_iter().map(Trigger::from).collect();
            match event {
                Event::Apply(key_pair) => triggers.push(ObjectRef::from_obj(&key_pair).into()),
                Event::InitDone => {
                    view.index.catch_up(|reference| view.claim_request(reference));
                    triggers = vec![Trigger::All];
                }
                Event::Init | Event::InitApply(_) | Event::Delete(_) => {}
            }
            stream::iter(triggers)
        })
}

/// Follows what the namespaces are: all of them, or the one that is watched.
///
/// Whoever may watch one namespace only may often not watch that Namespace, which is an object of the cluster, but read it:
/// then it is read at each try to watch it, which the back-off makes two to three a minute.
pub fn namespaces(
    client: &Client,
    only: Option<String>,
    policy: Policy,
    view: Arc<View>,
    metrics: Arc<Metrics>,
    jitter: Randomness,
) -> impl Stream<Item = Trigger> + Send + use<> {
    let counting = Arc::clone(&metrics);
    let api: Api<PartialObjectMeta<Namespace>> =
        Api::all(listening(client, move || counting.watch("Namespaces", true)));
    let objects: Api<Namespace> = Api::all(client.clone());
    let config = match &only {
        Some(name) => watch_config().fields(&format!("metadata.name={name}")),
        None => watch_config(),
    };
    let mut listed = BTreeSet::new();
    watched(api, config, jitter)
        .then(move |event| {
            let (only, objects) = (only.clone(), objects.clone());
            async move {
                match (event, only) {
                    (Err(error), Some(name)) if is_forbidden(&error) => match objects.get_metadata_opt(&name).await {
                        Ok(Some(namespace)) => Ok(vec![Event::Apply(namespace), Event::InitDone]),
                        Ok(None) => Ok(Vec::new()),
                        Err(_) => Err(error),
                    },
                    (Err(error), _) => Err(error),
                    (Ok(event), _) => Ok(vec![event]),
                }
            }
        })
        .filter_map(move |events| std::future::ready(log_failure("Namespaces", events, &metrics)))
        .flat_map(move |events| {
            let concerned: Vec<_> =
                events.into_iter().flat_map(|event| take_in(event, &policy, &view, &mut listed)).collect();
            stream::iter(concerned.into_iter().map(Trigger::from))
        })
}

/// Takes in an event about a Namespace and returns the `KeyPair`s that it concerns.
fn take_in(
    event: Event<PartialObjectMeta<Namespace>>,
    policy: &Policy,
    view: &View,
    listed: &mut BTreeSet<String>,
) -> Vec<ObjectRef<KeyPair>> {
    match event {
        Event::Init => {
            listed.clear();
            Vec::new()
        }
        Event::InitApply(namespace) | Event::Apply(namespace) => {
            let name = namespace.name_any();
            listed.insert(name.clone());
            let (region, mistake) = Region::new(policy, &name, namespace.labels(), namespace.annotations());
            // Once: an event tells of each change of a Namespace, and most have nothing to do with this.
            if let Some(mistake) = mistake
                && view.index.region(&name).as_ref() != Some(&region)
            {
                tracing::warn!(namespace = name, "{mistake}");
            }
            let look_up = |key_pair: &str| view.claim_request(&ObjectRef::new(key_pair).within(&name));
            view.index.set_region(&name, region, look_up)
        }
        Event::InitDone => {
            view.index.retain(listed);
            // It is set once; a later list changes nothing about that.
            view.regions_listed.set(()).ok();
            Vec::new()
        }
        Event::Delete(namespace) => {
            view.index.forget(&namespace.name_any());
            Vec::new()
        }
    }
}

/// Which of our Secrets a watch shows. Together they show all: no Secret has both kinds of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OurSecrets {
    /// Those that say that this operator manages them.
    Labelled,
    /// Those whose label is another tool's, and that have the label that the operator puts on such.
    Relabelled,
}

impl OurSecrets {
    const fn name(self) -> &'static str {
        match self {
            Self::Labelled => "Secrets",
            Self::Relabelled => "RelabelledSecrets",
        }
    }

    fn selector(self) -> String {
        match self {
            Self::Labelled => format!("{MANAGED_BY_LABEL}={OPERATOR}"),
            Self::Relabelled => format!("{KEYPAIR_UID_LABEL},{MANAGED_BY_LABEL}!={OPERATOR}"),
        }
    }

    fn store(self, context: &Context) -> &CompressedStore<PartialObjectMeta<Secret>> {
        match self {
            Self::Labelled => &context.secrets,
            Self::Relabelled => &context.relabelled,
        }
    }
}

/// Follows the metadata of our Secrets.
pub fn secrets(
    namespace: Option<&str>,
    context: Arc<Context>,
    which: OurSecrets,
) -> impl Stream<Item = Trigger> + Send + use<> {
    let (metrics, counting) = (Arc::clone(&context.metrics), Arc::clone(&context.metrics));
    let client = listening(&context.client, move || counting.watch(which.name(), true));
    let api: Api<WatchedSecret> = scope(&client, namespace);
    watched(api, watch_config().labels(&which.selector()), context.randomness)
        .map_ok(|event| convert(event, |secret| Some(PartialObjectMeta::from(secret))))
        .try_filter_map(|event| std::future::ready(Ok(event)))
        .filter_map(move |event| std::future::ready(log_failure(which.name(), event, &metrics)))
        .flat_map(move |event| {
            let store = which.store(&context);
            // Its owner may hand a Secret on: whoever had it has to hear of that, too.
            let before = match &event {
                Event::Apply(secret) => store.get(&ObjectRef::from_obj(secret)),
                _ => None,
            };
            if let (Some(secret), Event::Apply(now)) = (&before, &event)
                && key_pair_uid(now) != key_pair_uid(secret)
            {
                forget_made(&context, secret);
            }
            let before = before.and_then(|secret| key_pair_of(&secret));
            let gone = store.apply(&event);
            for secret in &gone {
                // One that has only changed its label is in the other store, or is about to be.
                if context.secret(&secret.namespace().unwrap_or_default(), &secret.name_any()).is_none() {
                    forget_made(&context, secret);
                }
            }
            let triggers = match event {
                Event::Apply(secret) => {
                    note_made(&context, &secret);
                    let now = key_pair_of(&secret);
                    let before = before.filter(|before| now.as_ref() != Some(before));
                    now.into_iter().chain(before).map(Trigger::from).collect()
                }
                Event::InitDone => {
                    store.for_each(|secret| note_made(&context, &secret));
                    vec![Trigger::All]
                }
                _ => gone.iter().filter_map(key_pair_of).map(Trigger::from).collect(),
            };
            stream::iter(triggers)
        })
}

/// Notes for which `KeyPair` a Secret says it was made.
fn note_made(context: &Context, secret: &PartialObjectMeta<Secret>) {
    if let Some(uid) = key_pair_uid(secret) {
        context.made.note(uid, &secret.namespace().unwrap_or_default(), &secret.name_any());
    }
}

/// Notes that a Secret is not what it said any more.
fn forget_made(context: &Context, secret: &PartialObjectMeta<Secret>) {
    if let Some(uid) = key_pair_uid(secret) {
        context.made.forget(uid, &secret.namespace().unwrap_or_default(), &secret.name_any());
    }
}

/// The `KeyPair` that a Secret was made for.
fn key_pair_of(secret: &PartialObjectMeta<Secret>) -> Option<ObjectRef<KeyPair>> {
    Some(ObjectRef::new(key_pair_name(secret)?).within(&secret.namespace()?))
}

/// Passes over an object that cannot be read, so that it does not stop the watch of all others.
fn readable(event: Event<WatchedKeyPair>) -> Option<Event<KeyPair>> {
    let is_gone = matches!(event, Event::Delete(_));
    convert(event, |watched| match watched.into_key_pair() {
        Ok(key_pair) => Some(key_pair),
        // What it was does not matter any more.
        Err(metadata) if is_gone => Some(KeyPair { metadata: *metadata, spec: KeyPairSpec::default(), status: None }),
        Err(metadata) => {
            tracing::error!(
                namespace = metadata.namespace,
                name = metadata.name,
                "passing over a KeyPair that is not of the schema of this version"
            );
            None
        }
    })
}

/// The same event about what `into` makes of its object, if anything.
fn convert<A, B>(event: Event<A>, into: impl FnOnce(A) -> Option<B>) -> Option<Event<B>> {
    match event {
        Event::Apply(object) => into(object).map(Event::Apply),
        Event::Delete(object) => into(object).map(Event::Delete),
        Event::Init => Some(Event::Init),
        Event::InitApply(object) => into(object).map(Event::InitApply),
        Event::InitDone => Some(Event::InitDone),
    }
}
