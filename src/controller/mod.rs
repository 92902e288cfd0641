//! The controller: watches `KeyPair`s, Secrets and Namespaces, decides, and writes what was decided.
//!
//! `index` follows the watch and keeps each namespace's ledger; `reconcile` observes one object, asks the pure
//! [`decide`](crate::domain::decide::decide) and applies its answer; [`run`] connects the two.

mod answer;
mod backoff;
mod context;
mod continuity;
mod error;
mod events;
mod generator;
mod health;
mod index;
mod keys;
mod leadership;
mod lease;
mod metrics;
mod pool;
mod queue;
mod randomness;
mod reconcile;
mod requests;
mod rounds;
mod same_keys;
mod secret_watches;
mod secrets;
mod sight;
mod store;
mod turns;
mod view;
mod wall_clock;
mod watched;
mod watches;
mod watching;

pub use answer::in_brief;
pub use backoff::Backoff;
pub use generator::{Generator, KeySource};
pub use health::{Check, Health};
pub use index::{Claimant, Index};
pub use leadership::{Leadership, Terms};
pub use lease::{Candidate, LEASE_NAME};
pub use metrics::Metrics;
pub use pool::Pool;
pub use randomness::Randomness;
pub use requests::{Requests, finish};
pub use secrets::{KEYPAIR_UID_ANNOTATION, OPERATOR};
pub use view::{View, Views, Watch};
pub use wall_clock::WallClock;
pub use watching::{READ_TIMEOUT, listening, watch_config, watched};

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt, future, stream};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{events::Reporter, reflector::ObjectRef, watcher::Event},
};

use self::{
    context::{Context, Made, Overruled, Versions},
    error::Error,
    keys::Keys,
    queue::Trigger,
    secret_watches::SecretWatches,
    store::{CompressedStore, KeyPairEntry},
    turns::Turns,
    watched::WatchedKeyPair,
    watches::OurSecrets,
};
pub use crate::keygen::{FIPS, RsaGenerator};
use crate::{api::KeyPair, domain::region::Policy};

/// How many `KeyPair`s that are too large to be kept are in memory at once.
const MAX_LARGE: usize = 4;
/// How many other answers that may be large are in memory at once.
const MAX_READING: usize = 8;

/// How long to wait for the watch to show what there is before something else has its turn, or the end comes.
const BLIND: Duration = Duration::from_millis(500);

/// How the controller is run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespace to watch; `None`: all of them.
    pub namespace: Option<String>,
    /// What holds for namespaces that do not say otherwise.
    pub policy: Policy,
    /// How many objects are reconciled at once.
    pub concurrency: u16,
    /// Whether it is to be known which `KeyPair`s have the same key, which costs memory.
    pub same_keys: bool,
}

impl Settings {
    fn index(&self) -> Index {
        if self.same_keys { Index::with_same_keys() } else { Index::default() }
    }
}

/// What the controllers of all scopes share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Where key pairs are generated.
    pub generator: Generator,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What probes are told.
    pub health: Arc<Health>,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Where what is seen can be looked up.
    pub views: Arc<Views>,
    /// What is left to chance.
    pub randomness: Randomness,
    /// What time it is.
    pub clock: WallClock,
    /// What became of the requests.
    pub requests: Requests,
}

/// Runs the controller until `shutdown` resolves and what is under way is done.
pub async fn run(
    client: Client,
    settings: Settings,
    shared: Shared,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let Shared { generator, metrics, health, leadership, views, randomness, clock, .. } = shared;
    let namespace = settings.namespace.clone();
    let view = Arc::new(View::new(settings.index()));
    let reporter = Reporter { controller: secrets::OPERATOR.to_owned(), instance: None };
    let (keys, generated) = Keys::new(generator);
    let (secret_watches, changed_hands) = SecretWatches::new(&client, randomness);
    let context = Arc::new(Context {
        client: client.clone(),
        view: Arc::clone(&view),
        secrets: CompressedStore::default(),
        relabelled: CompressedStore::default(),
        secret_watches,
        keys,
        leadership,
        reporter,
        metrics: Arc::clone(&metrics),
        randomness,
        clock,
        backoff: Backoff::new(randomness),
        written: Versions::default(),
        made: Made::default(),
        overruled: Overruled::default(),
        large: Turns::new(MAX_LARGE),
        reading: Turns::new(MAX_READING),
    });
    let (seeing, forgetting) = (Arc::clone(&context), Arc::clone(&context));
    let seen = move |event: &Event<WatchedKeyPair>| seeing.seen(event);
    let gone = move |uid: &str| forgetting.forget(uid);
    let triggers = stream::select_all([
        see(&client, &settings, &view, &metrics, randomness, seen, gone).boxed(),
        watches::secrets(namespace.as_deref(), Arc::clone(&context), OurSecrets::Labelled).boxed(),
        watches::secrets(namespace.as_deref(), Arc::clone(&context), OurSecrets::Relabelled).boxed(),
        generated.map(Trigger::from).boxed(),
        changed_hands.boxed(),
    ])
    .take_until(Box::pin(shutdown));
    // A decision that does not know which KeyPairs there are would grant too much, and one that does not know which Secrets there
    // are would read each of them.
    let listed = async {
        view.key_pairs.wait_until_listed().await;
        context.secrets.wait_until_listed().await;
        context.relabelled.wait_until_listed().await;
        tracing::info!("every KeyPair and Secret is listed");
        views.publish(namespace, Arc::clone(&view));
        health.listed();
    };
    queue::run(triggers, listed, settings.concurrency, &*view, |reference| look_by_sight(reference, &context)).await;
}

/// Looks at a `KeyPair`, and says after which time to look again, unless the watch does not show what there is.
async fn look_by_sight(reference: ObjectRef<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    let sight = context.view.sight(Watch::KeyPairs);
    // It waits here for a while, and so do all others, instead of in turns without end.
    if tokio::time::timeout(BLIND, sight.until_there()).await.is_err() {
        return Some(BLIND);
    }
    tokio::select! {
        biased;
        () = sight.until_lost() => Some(BLIND),
        again = look(reference, context) => again,
    }
}

/// Looks at a `KeyPair`, and says after which time to look again.
async fn look(reference: ObjectRef<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    let summary = match context.view.key_pairs.get(&reference)? {
        KeyPairEntry::Whole(key_pair) => return look_at(key_pair, context).await,
        KeyPairEntry::Summary(summary) => summary,
        // A status that this version writes would take away what a newer one has in it.
        KeyPairEntry::Undecoded(_) => return None,
    };
    let _turn = context.large.take(reference.namespace.as_deref().unwrap_or_default()).await;
    match reconcile::read(&reference, context).await {
        // A newer version is not in the ledger yet. Its event brings us back.
        Ok(Some(key_pair)) if key_pair.resource_version().as_deref() == summary.version() => {
            look_at(Arc::new(key_pair), context).await
        }
        Ok(_) => Some(context.backoff.failed(summary.uid())),
        Err(error) => Some(try_again(&reference, summary.uid(), &error, context)),
    }
}

async fn look_at(key_pair: Arc<KeyPair>, context: &Arc<Context>) -> Option<Duration> {
    match reconcile::reconcile(Arc::clone(&key_pair), Arc::clone(context)).await {
        Ok(again) => again,
        Err(error) => {
            let uid = key_pair.metadata.uid.as_deref().unwrap_or_default();
            Some(try_again(&ObjectRef::from_obj(&*key_pair), uid, &error, context))
        }
    }
}

/// Follows the `KeyPair`s and Namespaces and lets them be looked up, for as long as it is polled; writes nothing.
pub async fn observe(client: Client, settings: Settings, shared: Shared) {
    let view = Arc::new(View::new(settings.index()));
    let seeing = see(&client, &settings, &view, &shared.metrics, shared.randomness, |_| (), |_| ());
    let listed = async {
        view.key_pairs.wait_until_listed().await;
        // Once this process leads, its own list is the one that counts.
        if shared.leadership.remaining().is_none() {
            tracing::info!("standing by: every KeyPair is listed");
            shared.views.publish(settings.namespace.clone(), Arc::clone(&view));
            shared.health.listed();
        }
    };
    future::join(listed, seeing.for_each(|_| std::future::ready(()))).await;
}

/// Follows the `KeyPair`s and Namespaces of a scope.
fn see<S: Fn(&Event<WatchedKeyPair>) + Send, G: Fn(&str) + Send>(
    client: &Client,
    settings: &Settings,
    view: &Arc<View>,
    metrics: &Arc<Metrics>,
    jitter: Randomness,
    seen: S,
    gone: G,
) -> impl Stream<Item = Trigger> + Send + use<S, G> {
    let Settings { namespace, policy, .. } = settings.clone();
    stream::select(
        watches::namespaces(client, namespace.clone(), policy, Arc::clone(view), Arc::clone(metrics), jitter),
        watches::key_pairs(client, namespace.as_deref(), Arc::clone(view), Arc::clone(metrics), jitter, seen, gone),
    )
}

/// Notes a failure and says when to try again.
fn try_again(reference: &ObjectRef<KeyPair>, uid: &str, error: &Error, context: &Context) -> Duration {
    let delay = context.backoff.failed(uid);
    context.metrics.failed(error.step());
    tracing::warn!(
        namespace = reference.namespace,
        name = reference.name,
        retry_in = ?delay,
        error = %error,
        "reconciliation failed"
    );
    delay
}

fn scope<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
