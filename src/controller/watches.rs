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
    view::{View, Watch},
    watched::{WatchedKeyPair, WatchedSecret},
    watching::{is_forbidden, listening, log_failure, watch_config, watched},
};
use crate::{
    api::KeyPair,
    domain::{
        region::{Policy, Region},
        secret::MANAGED_BY_LABEL,
    },
};

/// Follows the `KeyPair`s: each event reaches the index first, then the store, then the reconciler. `seen` is shown each event
/// before, and `gone` is told the UID of each that is no more.
pub fn key_pairs<S: Fn(&Event<WatchedKeyPair>) + Send, G: Fn(&str) + Send>(
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
        hearing.heard(Watch::KeyPairs, true);
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
            note(&heard, Watch::KeyPairs, event.as_ref().ok());
            std::future::ready(log_failure("KeyPairs", event, &metrics))
        })
        .flat_map(move |event| {
            seen(&event);
            let concerned = view.index.apply(&event);
            for key_pair in view.key_pairs.apply(&event) {
                gone(key_pair.uid());
            }
            let mut triggers: Vec<Trigger> = concerned.into_iter().map(Trigger::from).collect();
            match event {
                Event::Apply(key_pair) => {
                    let namespace = key_pair.namespace().unwrap_or_default();
                    triggers.push(ObjectRef::new(&key_pair.name_any()).within(&namespace).into());
                }
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
    let (counting, hearing, heard) = (Arc::clone(&metrics), Arc::clone(&view), Arc::clone(&view));
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(listening(client, move || {
        counting.watch("Namespaces", true);
        hearing.heard(Watch::Namespaces, true);
    }));
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
                        // A list of the one, which may be gone.
                        Ok(namespace) => Ok([Event::Init]
                            .into_iter()
                            .chain(namespace.map(Event::InitApply))
                            .chain([Event::InitDone])
                            .collect()),
                        Err(_) => Err(error),
                    },
                    (Err(error), _) => Err(error),
                    (Ok(event), _) => Ok(vec![event]),
                }
            }
        })
        .filter_map(move |events: Result<Vec<_>, _>| {
            // Only the last of them can tell that everything is known.
            note(&heard, Watch::Namespaces, events.as_ref().ok().and_then(|events| events.last()));
            std::future::ready(log_failure("Namespaces", events, &metrics))
        })
        .flat_map(move |events| {
            let concerned: Vec<_> =
                events.into_iter().flat_map(|event| take_in(event, &policy, &view, &mut listed)).collect();
            stream::iter(concerned.into_iter().map(Trigger::from))
        })
}

/// Notes what an event, or a failure, tells of its watch. That a list begins tells nothing, nor what is on it before its end: as long as it gets no
/// further, what there is to see is what there was before.
fn note<K>(view: &View, watch: Watch, event: Option<&Event<K>>) {
    match event {
        Some(Event::Init | Event::InitApply(_)) => {}
        Some(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => view.heard(watch, true),
        None => view.heard(watch, false),
    }
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

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::controller::{index::Index, view::Views};

    /// What an API server does that does not work.
    #[derive(Debug, Clone, Copy)]
    enum Trouble {
        /// It answers nothing but errors.
        Errors,
        /// A list has a first page, and never a second.
        HalfAList,
        /// A stream of what there is begins, and ends before its end.
        HalfAStream,
    }

    /// An API server with nothing in it, which does not work any more for what is in this path once it is told so.
    fn server(broken: &'static str, trouble: Trouble, is_broken: Arc<AtomicBool>) -> Client {
        let service = service_fn(move |request: Request<Body>| {
            let is_broken = is_broken.load(Ordering::Acquire) && request.uri().path().ends_with(broken);
            let query = request.uri().query().unwrap_or_default().to_owned();
            let (watches, streams) = (query.contains("watch=true"), query.contains("sendInitialEvents=true"));
            let has_streams = matches!(trouble, Trouble::HalfAStream);
            let refused =
                |code: u16| (code, json!({ "status": "Failure", "code": code, "reason": "Invalid" }).to_string());
            let end = json!({ "type": "BOOKMARK", "object": { "apiVersion": "v1", "kind": "Any", "metadata": {
                "resourceVersion": "1", "annotations": { "k8s.io/initial-events-end": "true" } } } });
            let page = |next: &str| {
                (200, json!({ "metadata": { "resourceVersion": "1", "continue": next }, "items": [] }).to_string())
            };
            let (status, body) = match (streams, watches, is_broken, trouble) {
                (true, _, false, _) if has_streams => (200, format!("{end}\n")),
                (true, _, true, Trouble::HalfAStream) => (200, String::new()),
                (true, ..) => refused(422),
                // A watch that ends at once is begun again.
                (_, true, ..) if is_broken => refused(500),
                (_, true, ..) => (200, String::new()),
                (_, _, true, Trouble::HalfAList) if !query.contains("continue=") => page("more"),
                (_, _, true, _) => refused(500),
                _ => page(""),
            };
            async move {
                // So that time passes.
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap())
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_is_outdated_when_any_of_its_watches_brings_nothing_but_beginnings() {
        for trouble in [Trouble::Errors, Trouble::HalfAList, Trouble::HalfAStream] {
            for broken in ["keypairs", "namespaces"] {
                let is_broken = Arc::new(AtomicBool::new(false));
                let client = server(broken, trouble, Arc::clone(&is_broken));
                let view = Arc::new(View::new(Index::default()));
                let metrics = Arc::new(Metrics::new(Arc::new(Views::default())));
                let policy = Policy { quota: 1, ..Policy::default() };
                let jitter = Randomness::from_seed(1);
                let both = stream::select(
                    namespaces(&client, None, policy, Arc::clone(&view), Arc::clone(&metrics), jitter),
                    key_pairs(&client, None, Arc::clone(&view), metrics, jitter, |_| (), |_| ()),
                );
                let following = tokio::spawn(both.for_each(|_| std::future::ready(())));
                view.key_pairs.wait_until_listed().await;
                tokio::time::sleep(Duration::from_secs(600)).await;
                assert!(!view.is_outdated(), "{trouble:?}: it works");
                is_broken.store(true, Ordering::Release);
                tokio::time::sleep(Duration::from_secs(300)).await;
                assert!(view.is_outdated(), "{trouble:?}: nothing is known of {broken}");
                is_broken.store(false, Ordering::Release);
                tokio::time::sleep(Duration::from_secs(120)).await;
                assert!(!view.is_outdated(), "{trouble:?}: it works again");
                following.abort();
            }
        }
    }
}
