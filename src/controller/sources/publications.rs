//! The watches of publications, and of the ConfigMaps that are their targets.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    runtime::watcher::{self, Event},
};
use tokio::time::Instant;

use crate::{
    api::publication::PublicationResource,
    cache::{
        publications::{KindStatus, is_absent, reference},
        store::CompressedStore,
        stream::{is_forbidden, log_failure, on_watch_success, watch_config, watch_events},
        watched::{WatchedConfigMap, WatchedPublication},
    },
    controller::{api_in, context::Context, publication::targets::Owner, queue::Trigger},
    domain::{
        publication::TargetKind,
        secret::{MANAGED_BY_LABEL, OPERATOR},
    },
    observe::metrics::Metrics,
};

/// How often the log repeats that a kind cannot be watched.
const LOG_INTERVAL: Duration = Duration::from_secs(600);

/// Watches the publications of one kind. Each event reaches the store first, then the index, then the reconciler.
///
/// The kind may not be installed, or the operator not be allowed to watch it, for example after an upgrade of the program alone. Then
/// `KeyPair`s are reconciled all the same, and the watch is tried again.
pub fn publications<K: PublicationResource>(
    namespace: Option<&str>,
    context: Arc<Context>,
    store: fn(&Context) -> &CompressedStore<K>,
) -> impl Stream<Item = Trigger> + Send + use<K> {
    let kind = K::KIND;
    let success = Arc::clone(&context);
    let client = on_watch_success(&context.client, move || {
        success.metrics.record_watch(kind.as_str(), true);
        success.cache.publications.watches().set_current(kind, true);
    });
    let api: Api<WatchedPublication<K>> = api_in(&client, namespace);
    let (follower, mut unavailable) = (Arc::clone(&context), Occasionally::default());
    watch_events(api, watch_config(), context.randomness)
        .filter_map(move |event| {
            let watches = follower.cache.publications.watches();
            let events = match event {
                Err(error) if is_absent(&error) => {
                    let before = watches.status(kind);
                    if watches.confirm_absent(kind) {
                        unavailable
                            .log(kind.as_str(), "is not installed: install its CustomResourceDefinition to use it");
                        // Without the kind there are no objects of it.
                        (before != KindStatus::Absent).then(|| vec![Event::Init, Event::InitDone])
                    } else {
                        failed(kind.as_str(), error, &mut unavailable, &follower.metrics);
                        None
                    }
                }
                Err(error) => {
                    watches.set_current(kind, false);
                    watches.set_forbidden_if_unlisted(kind, is_forbidden(&error));
                    failed(kind.as_str(), error, &mut unavailable, &follower.metrics);
                    None
                }
                Ok(event) => {
                    log_failure(kind.as_str(), Ok(()), &follower.metrics);
                    match &event {
                        Event::Init | Event::InitApply(_) => {}
                        Event::InitDone => watches.set_listed(kind),
                        Event::Apply(_) | Event::Delete(_) => watches.set_current(kind, true),
                    }
                    Some(vec![event])
                }
            };
            std::future::ready(events)
        })
        .flat_map(move |events| {
            let triggers: Vec<Trigger> =
                events.into_iter().flat_map(|event| apply(event, &context, store(&context))).collect();
            stream::iter(triggers)
        })
}

/// Applies an event of a publication, and returns what to reconcile.
fn apply<K: PublicationResource>(
    event: Event<WatchedPublication<K>>,
    context: &Context,
    store: &CompressedStore<K>,
) -> Vec<Trigger> {
    if let Event::Apply(watched) | Event::InitApply(watched) = &event
        && !watched.is_decoded()
    {
        let (namespace, name) = (watched.namespace().unwrap_or_default(), watched.name_any());
        tracing::warn!(
            kind = K::KIND.as_str(),
            namespace,
            name,
            "the object does not match the schema of this version of the operator; leaving it alone"
        );
    }
    let Some(event) = WatchedPublication::known(event) else { return Vec::new() };
    context.confirm_own_publication_write(&event);
    for gone in store.apply(&event) {
        context.forget_publication(&gone.uid().unwrap_or_default());
    }
    let affected = context.cache.publications.apply(&event, &context.cache.key_pairs);
    let mut triggers: Vec<Trigger> = affected.into_iter().map(Trigger::from).collect();
    match event {
        Event::Apply(publication) => triggers.push(reference(&publication).into()),
        Event::InitDone => triggers = vec![Trigger::All],
        Event::Init | Event::InitApply(_) | Event::Delete(_) => {}
    }
    triggers
}

/// Watches the metadata of our ConfigMaps.
pub fn config_maps(namespace: Option<&str>, context: Arc<Context>) -> impl Stream<Item = Trigger> + Send + use<> {
    const NAME: &str = "ConfigMaps";
    let (metrics, success_metrics) = (Arc::clone(&context.metrics), Arc::clone(&context.metrics));
    let client = on_watch_success(&context.client, move || success_metrics.record_watch(NAME, true));
    let api: Api<WatchedConfigMap> = api_in(&client, namespace);
    let config = watch_config().labels(&format!("{MANAGED_BY_LABEL}={OPERATOR}"));
    let (follower, mut unavailable) = (Arc::clone(&context), Occasionally::default());
    watch_events(api, config, context.randomness)
        .filter_map(move |event| {
            std::future::ready(match event {
                Ok(event) => log_failure(NAME, Ok(event), &metrics),
                Err(error) => {
                    if is_forbidden(&error) || is_absent(&error) {
                        follower.publications.targets.set_listed();
                    }
                    failed(NAME, error, &mut unavailable, &metrics);
                    None
                }
            })
        })
        .flat_map(move |event| stream::iter(apply_target(TargetKind::ConfigMap, &event, &context)))
}

/// Applies an event of an object that may be the target of a publication, and returns what to reconcile.
pub fn apply_target(kind: TargetKind, event: &Event<impl Resource>, context: &Context) -> Vec<Trigger> {
    let memory = &context.publications;
    let owners = memory.targets.apply(kind, event);
    if let Event::InitDone = event {
        if kind == TargetKind::ConfigMap {
            memory.targets.set_listed();
        }
        return vec![Trigger::All];
    }
    let is_changed = |owner: &Owner| match event {
        Event::Apply(object) => !memory.is_verified_version(&owner.uid, kind, object),
        _ => true,
    };
    let publications = owners.into_iter().map(|owner| {
        if is_changed(&owner) {
            // Anyone may have written the name into the owner reference, but the UID tells whose target it is.
            context.cache.publications.forget_published(&owner.publication, &owner.uid);
        }
        Trigger::from(owner.publication)
    });
    publications.collect()
}

/// Counts the failure of a watch, and logs it: again and again, unless the operator lacks the permission.
fn failed(resource: &'static str, error: watcher::Error, unavailable: &mut Occasionally, metrics: &Metrics) {
    if is_forbidden(&error) {
        metrics.record_watch(resource, false);
        unavailable.log(resource, "may not be watched: the operator lacks the permission");
    } else {
        log_failure::<()>(resource, Err(error), metrics);
    }
}

/// Logs something that stays as it is from time to time.
#[derive(Debug, Default)]
struct Occasionally(Option<Instant>);

impl Occasionally {
    fn log(&mut self, resource: &str, why: &str) {
        if self.0.is_none_or(|last| last.elapsed() >= LOG_INTERVAL) {
            self.0 = Some(Instant::now());
            tracing::warn!("{resource} {why}; KeyPairs are reconciled without it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU16, Ordering},
    };

    use http::{Request, Response};
    use kube::{Client, client::Body};
    use serde_json::json;
    use tower::service_fn;

    use super::*;
    use crate::{
        api::AuthorizedKeys,
        domain::publication::{PublicationKind, PublicationProgress},
    };

    /// An API server that answers lists with this code or, with 200, with one publication. Its watches stay open.
    fn server(code: Arc<AtomicU16>) -> Client {
        let service = service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let code = code.load(Ordering::Relaxed);
            let admins = json!({ "metadata": { "name": "admins", "namespace": "shop", "uid": "1" }, "spec": {} });
            let strange =
                json!({ "metadata": { "name": "strange", "namespace": "shop", "uid": "2" }, "spec": { "entries": 1 } });
            let (status, body) = match code {
                200 if query.contains("sendInitialEvents") => {
                    (422, json!({ "status": "Failure", "code": 422, "reason": "Invalid" }))
                }
                200 => (200, json!({ "metadata": { "resourceVersion": "1" }, "items": [admins, strange] })),
                _ => {
                    let reason = if code == 403 { "Forbidden" } else { "NotFound" };
                    (code, json!({ "status": "Failure", "code": code, "reason": reason }))
                }
            };
            let is_open = status == 200 && query.contains("watch=true");
            async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if is_open {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
                let body = if is_open { String::new() } else { body.to_string() };
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap())
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn the_kind_may_be_absent_or_forbidden_and_come_later() {
        let code = Arc::new(AtomicU16::new(404));
        let (context, _) = crate::controller::context::tests::context(server(Arc::clone(&code)));
        let context = Arc::new(context);
        let following = tokio::spawn(
            publications::<AuthorizedKeys>(None, Arc::clone(&context), |context| &context.cache.authorized_keys)
                .for_each(|_| std::future::ready(())),
        );
        let publications = &context.cache.publications;
        let watches = publications.watches();
        watches.set_absent(PublicationKind::KnownHosts);
        let kind = PublicationKind::AuthorizedKeys;
        watches.wait_until_known().await;
        assert_eq!(watches.status(kind), KindStatus::Absent);
        let progress = || publications.progress("shop", "web", "ssh-ed25519 AAAA");
        assert_eq!(progress(), PublicationProgress::Published);
        for (answered, status, expected) in [
            (403, KindStatus::Forbidden, PublicationProgress::Unknown),
            (200, KindStatus::Listed, PublicationProgress::Published),
            // What was listed stays known, but not that there is nothing new.
            (403, KindStatus::Listed, PublicationProgress::Unknown),
            (200, KindStatus::Listed, PublicationProgress::Published),
            // Proxies give this answer, too. It counts only if it lasts.
            (404, KindStatus::Listed, PublicationProgress::Unknown),
            (404, KindStatus::Absent, PublicationProgress::Published),
        ] {
            let is_first_404 = answered == 404 && status == KindStatus::Listed;
            code.store(answered, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(if is_first_404 { 60 } else { 300 })).await;
            assert_eq!((watches.status(kind), progress()), (status, expected), "{answered}");
            let names = context.cache.authorized_keys.names("shop");
            let is_listed = status == KindStatus::Listed;
            assert_eq!(names, if is_listed { vec!["admins".to_owned()] } else { Vec::new() }, "{answered}");
        }
        following.abort();
    }
}
