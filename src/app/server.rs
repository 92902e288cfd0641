//! `/metrics`, `/livez` and `/readyz`.

use std::{net::SocketAddr, sync::Arc, thread};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, runtime};

use super::Error;
use crate::controller::{Check, Health, Metrics};

/// Serves metrics and probes on a thread and a runtime of their own, so that they answer however busy the operator is.
///
/// # Errors
///
/// If the address cannot be used or no thread can be started.
pub fn serve(address: SocketAddr, metrics: Arc<Metrics>, health: Arc<Health>) -> Result<(), Error> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(|source| Error::Listen { address, source })?;
    let router = Router::new()
        .route("/livez", get(alive))
        .route("/readyz", get(ready))
        .with_state(health)
        .merge(Router::new().route("/metrics", get(render)).with_state(metrics));
    thread::Builder::new()
        .name("probes".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "metrics and probes are no longer served");
                }
            });
        })
        .map_err(Error::Start)?;
    Ok(())
}

/// To be restarted is of use only to a process that is stuck: what it waits for is told by [`ready`].
async fn alive(State(health): State<Arc<Health>>) -> impl IntoResponse {
    if health.is_alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the operator is stuck\n")
    }
}

/// `?verbose` tells of every check, as the API server's own `/readyz` does.
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

async fn render(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    const OPEN_METRICS: [(&str, &str); 1] =
        [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    metrics
        .render()
        .map(|text| (OPEN_METRICS, text))
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
