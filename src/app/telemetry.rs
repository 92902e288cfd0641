//! The log, and the export of spans to an OpenTelemetry collector.

use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
    sync::LazyLock,
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
use regex::Regex;
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
use crate::domain::display;

/// The timeout of an export, and of the last one at shutdown.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of `RUST_LOG`. At INFO, the libraries repeat what the operator logs. The HTTP/2 library warns about the behavior of
/// peers, so anyone who can reach the webhook could fill the log.
const DEFAULT_FILTER: &str = "warn,h2=error,keypair_operator=info";

/// Why the export of spans cannot be set up. A collector that does not answer is not an error: the operator logs it and goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client for the collector cannot be created.
    #[error("cannot create a client for the collector: {0}")]
    Client(#[from] kube::Error),
    /// The settings, from flags and `OTEL_` variables, are invalid.
    #[error(transparent)]
    Settings(#[from] ExporterBuildError),
}

/// The exporter of spans, until [`Telemetry::end`].
pub struct Telemetry(Option<SdkTracerProvider>);

/// Starts the log, and the export of spans if there is a `collector`. Call this within the runtime.
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
    /// Exports the remaining spans. The runtime must still be running, on another thread.
    pub fn end(self) {
        if let Some(provider) = self.0
            && let Err(error) = provider.shutdown_with_timeout(EXPORT_TIMEOUT)
        {
            tracing::warn!(%error, "cannot export the last spans");
        }
    }
}

fn log<S>(format: LogFormat) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let is_terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || Escaping { format, has_colors: is_terminal, output: io::stderr() })
        .with_ansi(is_terminal)
        .with_target(false);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    lines.with_filter(filter).with_filter(filter_fn(|metadata| !quotes_responses(metadata)))
}

/// Writes one line for each event. Escapes control and invisible characters, because an event can contain text from outside.
struct Escaping<W> {
    format: LogFormat,
    /// Whether the line contains color codes.
    has_colors: bool,
    output: W,
}

impl<W: Write> Write for Escaping<W> {
    /// Expects whole events, each with its final line break.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let escaped = match self.format {
            LogFormat::Json => display::escaped_json(line),
            LogFormat::Text if self.has_colors => escaped_between_colors(line).into(),
            LogFormat::Text => display::escaped(line),
        };
        self.output.write_all(escaped.as_bytes())?;
        self.output.write_all(text.get(line.len()..).unwrap_or_default().as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Escapes a line, except for the color codes of tracing-subscriber. These are the only codes that text from outside can add.
fn escaped_between_colors(line: &str) -> String {
    static COLOR: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\x1b\[(?:[0-3]|3[0-7])m").expect("the pattern is a constant that a test compiles")
    });
    let mut escaped = String::with_capacity(line.len());
    let mut end = 0;
    for color in COLOR.find_iter(line) {
        escaped.push_str(&display::escaped(line.get(end..color.start()).unwrap_or_default()));
        escaped.push_str(color.as_str());
        end = color.end();
    }
    escaped.push_str(&display::escaped(line.get(end..).unwrap_or_default()));
    escaped
}

/// Whether an event may repeat a response of the API server, which can quote a private key. At any level, the client quotes what it
/// cannot parse and the watcher quotes errors. The operator logs failed watches itself.
fn quotes_responses(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "kube_client::client" || metadata.target().starts_with("kube_runtime::watcher")
}

/// Whether a span or event is exported: the operator's own spans, and the requests and log events within them. Requests outside
/// of spans (Leases and endless watches) would only be noise.
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
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let mut resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    // A service name set here would override the variable.
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("keypair-operator");
    }
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build()).build())
}

/// An HTTP client for the collector. Uses kube's client, which already supports TLS and proxies.
struct Collector {
    client: Client,
    runtime: Handle,
}

impl Collector {
    fn new(collector: &Uri) -> Result<Self, Error> {
        // Each request has its own path.
        let mut server = collector.clone().into_parts();
        server.path_and_query = Some(PathAndQuery::from_static("/"));
        let mut config = Config::new(Uri::from_parts(server).unwrap_or_else(|_| collector.clone()));
        (config.connect_timeout, config.read_timeout) = (Some(EXPORT_TIMEOUT), Some(EXPORT_TIMEOUT));
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
        // The SDK calls this from its own thread, which has no runtime. Spans of the export itself would cause endless exports.
        let exchange = self.runtime.spawn(exchange.with_subscriber(NoSubscriber::default()));
        Ok(exchange.await??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: LogFormat, has_colors: bool, event: &str) -> String {
        let mut output = Vec::new();
        Escaping { format, has_colors, output: &mut output }.write_all(event.as_bytes()).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn an_event_is_one_line_of_plain_text() {
        let text = written(LogFormat::Text, false, "WARN a\nINFO ready\r\u{1b}[2J\u{202e}b\u{9b}\n");
        assert_eq!(text, "WARN a\\nINFO ready\\r\\u{1b}[2J\\u{202e}b\\u{9b}\n");
        let json = written(LogFormat::Json, false, "{\"message\":\"a\u{202e}\u{7f}\"}\n");
        assert_eq!(json, "{\"message\":\"a\\u202e\\u007f\"}\n");
    }

    #[test]
    fn colors_are_kept_on_a_terminal() {
        let event = "\u{1b}[33mWARN\u{1b}[0m a\u{200b}b\n";
        assert_eq!(written(LogFormat::Text, true, event), "\u{1b}[33mWARN\u{1b}[0m a\\u{200b}b\n");
        assert_eq!(written(LogFormat::Text, false, event), "\\u{1b}[33mWARN\\u{1b}[0m a\\u{200b}b\n");
    }

    /// The layer passes each event to the writer whole, and escapes what could be taken for a color code.
    #[test]
    fn logged_events_are_escaped() {
        #[derive(Clone, Default)]
        struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for has_colors in [false, true] {
            let shared = Shared::default();
            let output = shared.clone();
            let writer = move || Escaping { format: LogFormat::Text, has_colors, output: output.clone() };
            let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(has_colors);
            tracing::subscriber::with_default(Registry::default().with(lines), || {
                let hostile = "a\nforged\u{1b}[2J\u{202e}";
                tracing::warn!(error = %hostile, name = hostile, "{hostile}");
            });
            let written = String::from_utf8(shared.0.lock().unwrap().clone()).unwrap();
            assert_eq!(written.matches('\n').count(), 1, "{written:?}");
            assert!(!written.contains("\u{1b}[2J") && !written.contains('\u{202e}'), "{written:?}");
        }
    }
}
