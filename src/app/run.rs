//! `keypair-operator run`: wires the client, the controllers, the webhook, and the server of metrics and probes.

use std::{num::NonZeroUsize, process::ExitCode, sync::Arc, thread, time::Duration};

use futures::future::{self, FutureExt};
use http::header::{HeaderValue, USER_AGENT};
use kube::{
    Client,
    client::{self, ClientBuilder},
};
use tokio::{
    runtime,
    signal::unix,
    task::{self, JoinHandle},
};
use tower::{BoxError, util::MapResultLayer};

use crate::{
    app::{
        Error,
        args::{RunArgs, VERSION},
        replica::Replica,
        server, telemetry,
    },
    cache::{READ_TIMEOUT, ScopeCaches, Usage},
    client::{Randomness, RequestLimits, WallClock, kubeconfig},
    controller::{Generator, KeyPool, Settings, Shared},
    domain::region::{OwnNames, RegionSettings},
    leader::{ElectionSettings, Leadership},
    observe::{Health, Metrics},
    webhook,
};

/// Runs the operator until it receives SIGTERM or SIGINT.
pub fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    // One thread for all work that waits for the API server, which dominates the time of each request. With several threads, a
    // third of the CPU time went into waking each other up. Key generation, probes and the webhook have their own threads.
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let telemetry = {
        let _on = runtime.enter();
        telemetry::start(args.log_format, args.otlp_endpoint.as_ref())?
    };
    let caches = Arc::<ScopeCaches>::default();
    let clock = WallClock::default();
    let metrics = Arc::new(Metrics::new(Usage::new(Arc::clone(&caches), clock.clone())));
    let health = Arc::new(Health::new(args.leader_elect, args.webhook_addr.is_some()));
    if let Some(address) = args.metrics_addr {
        server::serve(address, Arc::clone(&metrics), Arc::clone(&health))?;
    }
    let outcome = runtime.block_on(async {
        let outcome = operate(args, metrics, health, caches, clock).await;
        // It exports the remaining spans from another thread, over the connections of this runtime. It does not panic.
        task::spawn_blocking(|| telemetry.end()).await.ok();
        outcome
    });
    // Does not wait for a key that is being generated: nobody needs it any more.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn operate(
    args: &RunArgs,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    caches: Arc<ScopeCaches>,
    clock: WallClock,
) -> Result<(), Error> {
    let (mut config, token) = kubeconfig::load(&kubeconfig::Selection::default()).await?;
    // Gives up a connection that has gone silent.
    config.read_timeout = Some(READ_TIMEOUT);
    // Identifies the operator in audit logs.
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(concat!("keypair-operator/", env!("CARGO_PKG_VERSION")))));
    let rsa_generator = args.rsa_generator.as_str();
    tracing::info!(version = VERSION, cluster = %config.cluster_url, rsa_generator, "starting");
    let request_metrics = Arc::clone(&metrics);
    let count = MapResultLayer::new(move |result: Result<http::Response<Box<client::DynBody>>, BoxError>| {
        request_metrics.record_request(result.as_ref().map_or(0, |response| response.status().as_u16()));
        result
    });
    let request_limits = RequestLimits::default();
    let client = ClientBuilder::try_from(config)?
        .with_layer(&kubeconfig::authorize(token))
        .with_layer(&request_limits)
        .with_layer(&count)
        .build();
    let threads = args.keygen_threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let rsa = args.rsa_generator;
    let pool = NonZeroUsize::new(args.key_pool).map(|size| KeyPool::start(size, rsa, Arc::clone(&metrics)));
    let pool = pool.transpose().map_err(Error::Start)?;
    let generator = Generator::new(threads, rsa, pool.clone(), Arc::clone(&metrics));
    let stop = stop_signal()?.shared();
    let (leadership, terms) =
        if args.leader_elect { Leadership::for_terms() } else { (Leadership::always(), Leadership::for_terms().1) };
    let randomness = Randomness::of_this_process();
    let shared = Shared { generator, metrics, health, leadership, caches, randomness, clock, request_limits };
    let webhook = answer_reviews(args, &client, &shared, stop.clone())?;
    let election = args.leader_elect.then(|| ElectionSettings {
        namespace: client.default_namespace().to_owned(),
        duration: Duration::from_secs(args.lease_duration.into()),
        terms,
    });
    let replica =
        Replica { settings: settings(args, &client), answers_reviews: args.webhook_addr.is_some(), shared, election };
    replica.run(&client, stop).await;
    if let Some(pool) = pool {
        pool.wipe();
    }
    if let Some(webhook) = webhook {
        // Waits for the reviews in progress.
        let _ = webhook.await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Starts the webhook, if `--webhook-addr` is set. It answers admission reviews until `stop` resolves.
fn answer_reviews(
    args: &RunArgs,
    client: &Client,
    shared: &Shared,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Option<JoinHandle<()>>, Error> {
    let Some(address) = args.webhook_addr else { return Ok(None) };
    webhook::check(address)?;
    let settings = webhook::Settings {
        address,
        url: args.webhook_url.clone(),
        configuration: args.webhook_configuration.clone(),
        certificates: args.webhook_cert_dir.clone(),
        lifetime: Duration::from_secs(args.webhook_cert_lifetime.into()),
        scopes: webhook::Scopes::new(scopes(&args.namespaces)),
    };
    let Shared { caches, metrics, health, .. } = shared.clone();
    Ok(Some(tokio::spawn(webhook::serve(client.clone(), settings, caches, metrics, health, stop))))
}

/// The settings of the controller of each scope.
fn settings(args: &RunArgs, client: &Client) -> Vec<Settings> {
    let own = OwnNames { namespace: client.default_namespace().to_owned(), prefix: args.webhook_configuration.clone() };
    let region_settings = RegionSettings { quota: args.quota, regions: args.region_selector.clone(), own };
    let scopes = scopes(&args.namespaces).into_iter();
    scopes
        .map(|namespace| Settings {
            namespace,
            region_settings: region_settings.clone(),
            concurrency: args.concurrency.get(),
            duplicate_keys: args.webhook_addr.is_some(),
        })
        .collect()
}

/// The namespaces to watch, without duplicates; a single `None` stands for all namespaces.
fn scopes(namespaces: &[String]) -> Vec<Option<String>> {
    let mut namespaces: Vec<&String> = namespaces.iter().filter(|namespace| !namespace.is_empty()).collect();
    namespaces.sort();
    namespaces.dedup();
    if namespaces.is_empty() {
        return vec![None];
    }
    namespaces.into_iter().map(|namespace| Some(namespace.clone())).collect()
}

/// Resolves on SIGTERM, which the kubelet sends, or SIGINT, from a terminal.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = unix::signal(unix::SignalKind::terminate()).map_err(Error::Start)?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt()).map_err(Error::Start)?;
    Ok(async move {
        future::select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
        tracing::info!("stopping: finishing work in progress");
    })
}
