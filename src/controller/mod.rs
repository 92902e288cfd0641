//! The controller: watches `KeyPair`s, Secrets and Namespaces, decides, and applies the decisions.
//!
//! The index of [`cache`](crate::cache) follows the watches and keeps the ledger of each namespace. `key_pair::reconcile` observes one
//! object, calls the pure function [`decide`](crate::domain::decide::decide) and applies the result. [`run`] connects the two.

mod context;
mod deadline;
mod jobs;
mod key_pair;
mod own_writes;
mod publication;
mod queue;
mod sources;

pub use jobs::{Generator, KeyPool, KeySource};

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, channel::mpsc, future, stream};
use http::header::HeaderValue;
use kube::{
    Api, Client, Resource,
    core::NamespaceResourceScope,
    runtime::{events::Reporter, watcher::Event},
};

use self::{
    context::Context,
    jobs::pending::PendingKeys,
    key_pair::{admission_changes::AdmissionChanges, created_secrets::CreatedSecrets},
    own_writes::OwnWrites,
    publication::memory::Memory,
    queue::{Item, Trigger, fair_semaphore::FairSemaphore},
    sources::{SecretSelector, secret_watches::SecretWatches},
};
pub use crate::keygen::{FIPS, RsaGenerator};
use crate::{
    cache::{Index, ScopeCache, ScopeCaches, store::CompressedStore, watched::WatchedKeyPair},
    client::{Backoff, Randomness, RequestLimits, WallClock},
    domain::{region::RegionSettings, secret::OPERATOR},
    leader::Leadership,
    observe::{Health, Metrics},
};

/// Requests a response with metadata only, so that no data is sent back.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
/// How many `KeyPair`s that are too large for the cache are in memory at once.
const MAX_LARGE_KEY_PAIRS: usize = 4;
/// How many other responses that may be large are in memory at once.
const MAX_LARGE_RESPONSES: usize = 8;

/// The settings of the controller of one scope.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace to watch; `None` for all.
    pub namespace: Option<String>,
    /// The default quota, the region selector and the operator's own names.
    pub region_settings: RegionSettings,
    /// How many objects are reconciled concurrently.
    pub concurrency: u16,
    /// Whether to index which `KeyPair`s have the same key; that needs memory.
    pub duplicate_keys: bool,
}

impl Settings {
    fn index(&self) -> Index {
        if self.duplicate_keys { Index::tracking_duplicate_keys() } else { Index::default() }
    }
}

/// The state that the controllers of all scopes share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Generates key pairs.
    pub generator: Generator,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The state that probes report.
    pub health: Arc<Health>,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// The caches of all scopes, for lookups.
    pub caches: Arc<ScopeCaches>,
    /// The source of randomness.
    pub randomness: Randomness,
    /// The clock.
    pub clock: WallClock,
    /// The time limits of requests to the API server, and whether the outcome of a write is unknown.
    pub request_limits: RequestLimits,
}

/// Runs the controller until `shutdown` resolves and the reconciliations in progress are done.
pub async fn run(
    client: Client,
    settings: Settings,
    shared: Shared,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let Shared { generator, metrics, health, leadership, caches, randomness, clock, .. } = shared;
    let namespace = settings.namespace.clone();
    let cache = Arc::new(ScopeCache::new(settings.index()));
    let reporter = Reporter { controller: OPERATOR.to_owned(), instance: None };
    let (pending_keys, generated_keys) = PendingKeys::new(generator);
    let (secret_watches, secret_triggers) = SecretWatches::new(&client, randomness);
    let (trigger, own_triggers) = mpsc::unbounded();
    let context = Arc::new(Context {
        client: client.clone(),
        cache: Arc::clone(&cache),
        secrets: CompressedStore::default(),
        relabelled: CompressedStore::default(),
        secret_watches,
        pending_keys,
        leadership,
        reporter,
        metrics: Arc::clone(&metrics),
        randomness,
        clock,
        backoff: Backoff::new(randomness),
        own_writes: OwnWrites::default(),
        publications: Memory::default(),
        triggers: trigger,
        created_secrets: CreatedSecrets::default(),
        admission_changes: AdmissionChanges::default(),
        large_key_pair_permits: FairSemaphore::new(MAX_LARGE_KEY_PAIRS),
        large_response_permits: FairSemaphore::new(MAX_LARGE_RESPONSES),
    });
    let (event_context, deletion_context) = (Arc::clone(&context), Arc::clone(&context));
    let on_event = move |event: &Event<WatchedKeyPair>| event_context.confirm_own_write(event);
    let on_delete = move |uid: &str| deletion_context.forget(uid);
    let triggers = stream::select_all([
        watch_scope(&client, &settings, &cache, &metrics, randomness, on_event, on_delete).boxed(),
        sources::secrets(namespace.as_deref(), Arc::clone(&context), SecretSelector::Labelled).boxed(),
        sources::secrets(namespace.as_deref(), Arc::clone(&context), SecretSelector::Relabelled).boxed(),
        sources::publications(namespace.as_deref(), Arc::clone(&context), |context| &context.cache.authorized_keys)
            .boxed(),
        sources::publications(namespace.as_deref(), Arc::clone(&context), |context| &context.cache.known_hosts).boxed(),
        sources::config_maps(namespace.as_deref(), Arc::clone(&context)).boxed(),
        own_triggers.boxed(),
        generated_keys.map(Trigger::from).boxed(),
        sources::clock_jumps(context.clock.clone()).boxed(),
        secret_triggers.boxed(),
    ])
    .take_until(Box::pin(shutdown));
    // A decision without the list of KeyPairs would grant too much, and one without the list of Secrets would read each of them.
    let listed = async {
        cache.key_pairs.wait_until_listed().await;
        context.secrets.wait_until_listed().await;
        context.relabelled.wait_until_listed().await;
        // Without these, a key would switch before it is published, and a target be created that exists.
        cache.publications.watches().wait_until_known().await;
        context.publications.targets.wait_until_listed().await;
        tracing::info!("every KeyPair and Secret is listed");
        caches.publish(namespace, Arc::clone(&cache));
        health.record_scope_listed();
    };
    queue::run(triggers, listed, settings.concurrency, &*cache, |item| reconcile(item, &context)).await;
}

/// Reconciles one object. Returns the delay after which to requeue it.
async fn reconcile(item: Item, context: &Arc<Context>) -> Option<Duration> {
    match item {
        Item::KeyPair(reference) => key_pair::reconcile_while_current(reference, context).await,
        Item::Publication(reference) => publication::reconcile_while_current(&reference, context).await,
    }
}

/// Watches the `KeyPair`s and Namespaces for lookups, as long as it is polled. Writes nothing.
pub async fn run_standby(client: Client, settings: Settings, shared: Shared) {
    let cache = Arc::new(ScopeCache::new(settings.index()));
    let triggers = watch_scope(&client, &settings, &cache, &shared.metrics, shared.randomness, |_| (), |_| ());
    let listed = async {
        cache.key_pairs.wait_until_listed().await;
        // Once this process leads, the list of `run` counts.
        if shared.leadership.remaining().is_none() {
            tracing::info!("standing by: all KeyPairs are listed");
            shared.caches.publish(settings.namespace.clone(), Arc::clone(&cache));
            shared.health.record_scope_listed();
        }
    };
    future::join(listed, triggers.for_each(|_| std::future::ready(()))).await;
}

/// Watches the `KeyPair`s and Namespaces of a scope.
fn watch_scope<S: Fn(&Event<WatchedKeyPair>) + Send, G: Fn(&str) + Send>(
    client: &Client,
    settings: &Settings,
    cache: &Arc<ScopeCache>,
    metrics: &Arc<Metrics>,
    jitter: Randomness,
    on_event: S,
    on_delete: G,
) -> impl Stream<Item = Trigger> + Send + use<S, G> {
    let Settings { namespace, region_settings, .. } = settings.clone();
    stream::select(
        sources::namespaces(client, namespace.clone(), region_settings, Arc::clone(cache), Arc::clone(metrics), jitter),
        sources::key_pairs(
            client,
            namespace.as_deref(),
            Arc::clone(cache),
            Arc::clone(metrics),
            jitter,
            on_event,
            on_delete,
        ),
    )
}

/// The API of the objects of a kind in a namespace, or in all of them.
fn api_in<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
