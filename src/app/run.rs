//! `keypair-operator run`: connects the client, the controller and the server of metrics and probes.

use std::{
    io::{self, IsTerminal},
    num::NonZeroUsize,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use futures::future::{self, FutureExt};
use http::header::{HeaderValue, USER_AGENT};
use kube::{Client, Config};
use tokio::{runtime, signal::unix};
use tracing::{Level, Metadata};
use tracing_subscriber::{EnvFilter, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

use super::{
    Error,
    args::{LogFormat, RunArgs},
    server,
};
use crate::{
    controller::{self, Generator, Metrics, Settings, WATCH_SECONDS},
    domain::region::Policy,
};

/// Runs the operator until it is told to stop.
pub fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    init_log(args.log_format);
    let scopes = scopes(&args.namespaces);
    let metrics = Arc::new(Metrics::new(scopes.len()));
    if let Some(address) = args.metrics_addr {
        server::serve(address, Arc::clone(&metrics))?;
    }
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Start)?;
    runtime.block_on(operate(args, scopes, metrics))?;
    Ok(ExitCode::SUCCESS)
}

async fn operate(args: &RunArgs, scopes: Vec<Option<String>>, metrics: Arc<Metrics>) -> Result<(), Error> {
    let mut config = Config::infer().await?;
    // A connection over which nothing comes any more: a watch ends before this, and whatever else is asked has been given up.
    config.read_timeout = Some(Duration::from_secs(u64::from(WATCH_SECONDS) + 15));
    // By this name administrators find the operator in audit logs.
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(concat!("keypair-operator/", env!("CARGO_PKG_VERSION")))));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), cluster = %config.cluster_url, "starting");
    let client = Client::try_from(config)?;
    let threads = args.keygen_threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let generator = Generator::new(threads);
    let stop = stop_signal()?.shared();
    let policy = Policy { quota: args.quota, regions: args.region_selector.clone() };
    let controllers = scopes.into_iter().map(|namespace| {
        let settings = Settings { namespace, policy: policy.clone(), concurrency: args.concurrency.get() };
        controller::run(client.clone(), settings, generator.clone(), Arc::clone(&metrics), stop.clone())
    });
    future::join_all(controllers).await;
    tracing::info!("stopped");
    Ok(())
}

/// The namespaces to watch, each once, or all of them with one watch.
fn scopes(namespaces: &[String]) -> Vec<Option<String>> {
    let mut namespaces: Vec<&String> = namespaces.iter().filter(|namespace| !namespace.is_empty()).collect();
    namespaces.sort();
    namespaces.dedup();
    if namespaces.is_empty() {
        return vec![None];
    }
    namespaces.into_iter().map(|namespace| Some(namespace.clone())).collect()
}

/// Resolves when the operator is told to stop, by a cluster (SIGTERM) or at a terminal (SIGINT).
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let mut terminate = unix::signal(unix::SignalKind::terminate()).map_err(Error::Start)?;
    let mut interrupt = unix::signal(unix::SignalKind::interrupt()).map_err(Error::Start)?;
    Ok(async move {
        future::select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
        tracing::info!("stopping: finishing what is under way");
    })
}

fn init_log(format: LogFormat) {
    // What the libraries log at INFO repeats what is logged here, in their own words.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,keypair_operator=info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // At DEBUG it repeats what the API server answers to a mistake, which may quote a private key from a manifest.
    let quotes =
        |metadata: &Metadata<'_>| metadata.target() == "kube_client::client" && *metadata.level() > Level::INFO;
    let no_quotes = filter_fn(move |metadata| !quotes(metadata));
    match format {
        LogFormat::Text => builder.finish().with(no_quotes).init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().with(no_quotes).init(),
    }
}
