//! `/metrics`, `/livez` and `/readyz`.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
    routing::get,
};
use tokio::{runtime, sync::watch};

use crate::{
    app::Error,
    observe::{Check, Health, Metrics},
    server::{self, Protocol},
};

/// However often metrics are scraped, rendering takes at most one tenth of the time, beyond a free allowance.
const RENDERING_SHARE: u32 = 10;
const FREE_RENDERING: Duration = Duration::from_millis(100);

/// Serves metrics and probes on their own thread and runtime, so that they answer however busy the operator is.
///
/// # Errors
///
/// If the address cannot be bound or no thread can be started.
pub fn serve(address: SocketAddr, metrics: Arc<Metrics>, health: Arc<Health>) -> Result<(), Error> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let listener = {
        let _on = runtime.enter();
        server::listen(address).map_err(|source| Error::Listen { address, source })?
    };
    let rendered = Arc::new(Rendered { metrics, last: Mutex::default() });
    let router = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(render)).with_state(rendered));
    thread::Builder::new()
        .name("probes".to_owned())
        .spawn(move || {
            // Serves until the process ends.
            let (_never_stopped, stop) = watch::channel(false);
            runtime.block_on(server::serve(listener, Protocol::Http, router, stop, Duration::ZERO));
        })
        .map_err(Error::Start)?;
    Ok(())
}

/// The rendered metrics. If they are scraped so often that probes would have to wait, the last rendering is served again.
struct Rendered {
    metrics: Arc<Metrics>,
    last: Mutex<Option<Rendering>>,
}

struct Rendering {
    text: Bytes,
    at: Instant,
    /// The total time of all renderings, less `1 / RENDERING_SHARE` of the time that has passed since.
    spent: Duration,
}

impl Rendered {
    fn text(&self) -> Result<Bytes, fmt::Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let spent = last
            .as_ref()
            .map_or(Duration::ZERO, |last| last.spent.saturating_sub(now.duration_since(last.at) / RENDERING_SHARE));
        if let Some(last) = last.as_ref().filter(|_| spent > FREE_RENDERING) {
            return Ok(last.text.clone());
        }
        let text = Bytes::from(self.metrics.render()?);
        *last = Some(Rendering { text: text.clone(), at: now, spent: spent + now.elapsed() });
        Ok(text)
    }
}

/// Fails only if the process is stuck, because a restart helps with nothing else. [`ready`] says what the operator waits for.
async fn alive(State(health): State<Arc<Health>>) -> impl IntoResponse {
    if health.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the operator is stuck\n")
    }
}

/// `?verbose` lists every check, as `/readyz` of the API server does.
async fn ready(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let waits_for = health.waits_for();
    let status = if waits_for.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if query.is_some_and(|query| query.split('&').any(|part| part.split('=').next() == Some("verbose"))) {
        let lines = health.checks().into_iter().map(|Check { name, waits_for }| match waits_for {
            None => format!("[+]{name} ok\n"),
            Some(what) => format!("[-]{name} {what}\n"),
        });
        let verdict = if waits_for.is_none() { "passed" } else { "failed" };
        return (status, format!("{}readyz check {verdict}\n", lines.collect::<String>()));
    }
    (status, format!("{}\n", waits_for.unwrap_or("ok")))
}

async fn render(State(rendered): State<Arc<Rendered>>) -> impl IntoResponse {
    const OPEN_METRICS: [(&str, &str); 1] =
        [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    rendered
        .text()
        .map(|text| (OPEN_METRICS, text))
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
