//! What the operator tells of its work while it runs: the log, and spans for an OpenTelemetry collector.

use std::{
    env, fmt,
    io::{self, IsTerminal},
    time::Duration,
};

use http::{Request, Response, Uri, uri::PathAndQuery};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Subscriber, instrument::WithSubscriber, subscriber::NoSubscriber};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{dynamic_filter_fn, filter_fn},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::args::LogFormat;

/// How long the last spans may take to go out, and each export on its way.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is logged by default. What the libraries log at INFO repeats what is logged here, in their own words; the library of HTTP/2
/// warns of what peers do, so that whoever reaches the webhook could fill the log.
const DEFAULT_FILTER: &str = "warn,h2=error,keypair_operator=info";

/// Why spans cannot be exported. A collector that does not answer is none of these: that is logged, and the operator works on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client could be made for the collector.
    #[error("no client for the collector: {0}")]
    Client(#[from] kube::Error),
    /// The settings, from flags and `OTEL_` variables, are not usable.
    #[error(transparent)]
    Settings(#[from] ExporterBuildError),
}

/// Log and spans, until [`Telemetry::end`].
pub struct Telemetry(Option<SdkTracerProvider>);

/// Begins to log, and to export spans to `collector` where there is one. To be called on the runtime.
pub fn start(format: LogFormat, collector: Option<&Uri>) -> Result<Telemetry, Error> {
    let provider = collector.map(provider).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("keypair-operator"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(dynamic_filter_fn(|metadata, context| {
                is_exported(metadata, || context.lookup_current().is_some())
            }))
    });
    Registry::default().with(log(format)).with(spans).init();
    Ok(Telemetry(provider))
}

impl Telemetry {
    /// Sends what has not been sent yet. The runtime must be running meanwhile, on another thread.
    pub fn end(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(PATIENCE)
        {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }
}

fn log<S>(format: LogFormat) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    lines.with_filter(filter).with_filter(filter_fn(|metadata| !quotes(metadata)))
}

/// Whether it repeats what the API server answers to a mistake, which may quote a private key from a manifest.
fn quotes(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "kube_client::client" && *metadata.level() > Level::INFO
}

/// Whether this span or event is exported: the operator's own spans, the requests that are made within them, and what is
/// logged meanwhile. Leases and watches, which never end, would be but noise.
fn is_exported(metadata: &Metadata<'_>, within_a_span: impl FnOnce() -> bool) -> bool {
    match metadata.target() {
        target if target.starts_with("keypair_operator") => {
            if metadata.is_span() {
                true
            } else {
                *metadata.level() <= Level::INFO && within_a_span()
            }
        }
        target if target.starts_with("kube_client") => metadata.is_span() && within_a_span(),
        _ => false,
    }
}

fn provider(collector: &Uri) -> Result<SdkTracerProvider, Error> {
    let endpoint = format!("{}/v1/traces", collector.to_string().trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(collector)?)
        .with_endpoint(endpoint)
        .with_timeout(PATIENCE)
        .build()?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    // It would count more than the variable.
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("keypair-operator");
    }
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

/// The connection to the collector: kube's client, which has TLS and proxies already.
struct Collector {
    client: Client,
    runtime: Handle,
}

impl Collector {
    fn new(collector: &Uri) -> Result<Self, Error> {
        // Paths are those of the requests.
        let mut server = collector.clone().into_parts();
        server.path_and_query = Some(PathAndQuery::from_static("/"));
        let mut config = Config::new(Uri::from_parts(server).unwrap_or_else(|_| collector.clone()));
        (config.connect_timeout, config.read_timeout) = (Some(PATIENCE), Some(PATIENCE));
        Ok(Self { client: ClientBuilder::try_from(config)?.build(), runtime: Handle::current() })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let (head, body) = client.send(request.map(Body::from)).await?.into_parts();
            Ok::<_, kube::Error>(Response::from_parts(head, body.collect_bytes().await?))
        };
        // The SDK asks from a thread of its own, on which no connection can be made; and an export that made spans would never end.
        let exchange = self.runtime.spawn(exchange.with_subscriber(NoSubscriber::default()));
        Ok(exchange.await??)
    }
}
