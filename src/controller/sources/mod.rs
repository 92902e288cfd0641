//! The watches that trigger reconciliations.

mod clock;
mod publications;
pub(crate) mod secret_watches;
mod secrets;

use std::{collections::BTreeSet, sync::Arc};

use futures::{Stream, StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::PartialObjectMeta,
    runtime::{reflector::ObjectRef, watcher::Event},
};

#[cfg(test)]
pub(super) use self::publications::apply_target;
pub use self::{
    clock::clock_jumps,
    publications::{config_maps, publications},
    secrets::{SecretSelector, secrets},
};
use super::{api_in, queue::Trigger};
use crate::{
    api::KeyPair,
    cache::{
        scope_cache::{ScopeCache, Watch},
        stream::{is_forbidden, log_failure, on_watch_success, watch_config, watch_events},
        watched::WatchedKeyPair,
    },
    client::randomness::Randomness,
    domain::region::{Region, RegionSettings},
    observe::metrics::Metrics,
};

/// Watches the `KeyPair`s. Each event reaches the index first, then the store, then the reconciler. `on_event` receives each event before,
/// and `on_delete` the UID of each deleted `KeyPair`.
pub fn key_pairs<S: Fn(&Event<WatchedKeyPair>) + Send, G: Fn(&str) + Send>(
    client: &Client,
    namespace: Option<&str>,
    cache: Arc<ScopeCache>,
    metrics: Arc<Metrics>,
    jitter: Randomness,
    on_event: S,
    on_delete: G,
) -> impl Stream<Item = Trigger> + Send + use<S, G> {
    let (success_metrics, success_cache) = (Arc::clone(&metrics), Arc::clone(&cache));
    let client = on_watch_success(client, move || {
        success_metrics.record_watch("KeyPairs", true);
        success_cache.set_watch_current(Watch::KeyPairs, true);
    });
    let api: Api<WatchedKeyPair> = api_in(&client, namespace);
    let (regions, event_cache) = (Arc::clone(&cache), Arc::clone(&cache));
    // The region of a namespace decides which KeyPairs are valid, so Namespaces are listed first.
    let start = async move {
        regions.regions_listed.wait().await;
        watch_events(api, watch_config(), jitter)
    };
    stream::once(start)
        .flatten()
        .filter_map(move |event| {
            update_watch_status(&event_cache, Watch::KeyPairs, event.as_ref().ok());
            std::future::ready(log_failure("KeyPairs", event, &metrics))
        })
        .flat_map(move |event| {
            on_event(&event);
            let affected = cache.index.apply(&event);
            for key_pair in cache.key_pairs.apply(&event) {
                on_delete(key_pair.uid());
            }
            let mut triggers: Vec<Trigger> = affected.into_iter().map(Trigger::from).collect();
            triggers.extend(cache.publications.apply_key_pair(&event, &cache.key_pairs).into_iter().map(Trigger::from));
            match event {
                Event::Apply(key_pair) => {
                    let namespace = key_pair.namespace().unwrap_or_default();
                    triggers.push(ObjectRef::new(&key_pair.name_any()).within(&namespace).into());
                }
                Event::InitDone => {
                    cache.index.reevaluate_outdated(|reference| cache.claim_request(reference));
                    triggers = vec![Trigger::All];
                }
                Event::Init | Event::InitApply(_) | Event::Delete(_) => {}
            }
            stream::iter(triggers)
        })
}

/// Watches the Namespaces: all of them, or only `only`.
///
/// An operator that is limited to one namespace may often not watch its Namespace, which is cluster-scoped, but may read it. Then it reads
/// the Namespace at each attempt to watch it, with the back-off two to three times a minute.
pub fn namespaces(
    client: &Client,
    only: Option<String>,
    settings: RegionSettings,
    cache: Arc<ScopeCache>,
    metrics: Arc<Metrics>,
    jitter: Randomness,
) -> impl Stream<Item = Trigger> + Send + use<> {
    let (success_metrics, success_cache, event_cache) = (Arc::clone(&metrics), Arc::clone(&cache), Arc::clone(&cache));
    let api: Api<PartialObjectMeta<Namespace>> = Api::all(on_watch_success(client, move || {
        success_metrics.record_watch("Namespaces", true);
        success_cache.set_watch_current(Watch::Namespaces, true);
    }));
    let objects: Api<Namespace> = Api::all(client.clone());
    let config = match &only {
        Some(name) => watch_config().fields(&format!("metadata.name={name}")),
        None => watch_config(),
    };
    let mut listed = BTreeSet::new();
    watch_events(api, config, jitter)
        .then(move |event| {
            let (only, objects) = (only.clone(), objects.clone());
            async move {
                match (event, only) {
                    (Err(error), Some(name)) if is_forbidden(&error) => match objects.get_metadata_opt(&name).await {
                        // A list of this one Namespace, which may be deleted.
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
            // Only the last one can be the end of a list.
            update_watch_status(&event_cache, Watch::Namespaces, events.as_ref().ok().and_then(|events| events.last()));
            std::future::ready(log_failure("Namespaces", events, &metrics))
        })
        .flat_map(move |events| {
            let affected: Vec<_> =
                events.into_iter().flat_map(|event| apply_namespace(event, &settings, &cache, &mut listed)).collect();
            stream::iter(affected.into_iter().map(Trigger::from))
        })
}

/// Updates whether a watch is current, after an event, or after a failure (`None`). An incomplete list changes nothing: until it is
/// complete, the cache shows the state before it.
fn update_watch_status<K>(cache: &ScopeCache, watch: Watch, event: Option<&Event<K>>) {
    match event {
        Some(Event::Init | Event::InitApply(_)) => {}
        Some(Event::InitDone | Event::Apply(_) | Event::Delete(_)) => cache.set_watch_current(watch, true),
        None => cache.set_watch_current(watch, false),
    }
}

/// Applies an event of a Namespace, and returns the `KeyPair`s that it affects.
fn apply_namespace(
    event: Event<PartialObjectMeta<Namespace>>,
    settings: &RegionSettings,
    cache: &ScopeCache,
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
            let (region, mistake) = Region::new(settings, &name, namespace.labels(), namespace.annotations());
            // Log a mistake once, not at each unrelated change of the Namespace.
            if let Some(mistake) = mistake
                && cache.index.region(&name).as_ref() != Some(&region)
            {
                tracing::warn!(namespace = name, "{mistake}");
            }
            let look_up = |key_pair: &str| cache.claim_request(&ObjectRef::new(key_pair).within(&name));
            cache.index.set_region(&name, region, look_up)
        }
        Event::InitDone => {
            cache.index.forget_regions_except(listed);
            // Later lists find it already set.
            cache.regions_listed.set(()).ok();
            Vec::new()
        }
        Event::Delete(namespace) => {
            cache.index.forget_region(&namespace.name_any());
            Vec::new()
        }
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
    use crate::cache::{Usage, index::Index};

    /// The failure of an API server.
    #[derive(Debug, Clone, Copy)]
    enum Trouble {
        /// It answers only with errors.
        Errors,
        /// A list has a first page, but never a second.
        HalfAList,
        /// A streaming list ends before it is complete.
        HalfAStream,
    }

    /// An empty API server, which fails for this resource once `is_broken` is set.
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
                // A watch that ends at once restarts.
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
    async fn a_cache_is_outdated_while_a_watch_completes_no_list() {
        for trouble in [Trouble::Errors, Trouble::HalfAList, Trouble::HalfAStream] {
            for broken in ["keypairs", "namespaces"] {
                let is_broken = Arc::new(AtomicBool::new(false));
                let client = server(broken, trouble, Arc::clone(&is_broken));
                let cache = Arc::new(ScopeCache::new(Index::default()));
                let metrics = Arc::new(Metrics::new(Usage::default()));
                let settings = RegionSettings { quota: 1, ..RegionSettings::default() };
                let jitter = Randomness::from_seed(1);
                let both = stream::select(
                    namespaces(&client, None, settings, Arc::clone(&cache), Arc::clone(&metrics), jitter),
                    key_pairs(&client, None, Arc::clone(&cache), metrics, jitter, |_| (), |_| ()),
                );
                let following = tokio::spawn(both.for_each(|_| std::future::ready(())));
                cache.key_pairs.wait_until_listed().await;
                tokio::time::sleep(Duration::from_secs(600)).await;
                assert!(!cache.is_outdated(), "{trouble:?}: it works");
                is_broken.store(true, Ordering::Release);
                tokio::time::sleep(Duration::from_secs(300)).await;
                assert!(cache.is_outdated(), "{trouble:?}: nothing is known of {broken}");
                is_broken.store(false, Ordering::Release);
                tokio::time::sleep(Duration::from_secs(120)).await;
                assert!(!cache.is_outdated(), "{trouble:?}: it works again");
                following.abort();
            }
        }
    }
}
