//! The HTTPS server of the webhook.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use axum_server::tls_rustls::RustlsConfig;
use kube::core::{
    DeserializeGuard,
    admission::{AdmissionRequest, AdmissionReview},
};
use rustls::ServerConfig;

use super::{
    Error,
    review::{Scopes, review},
};
use crate::{
    api::KeyPair,
    controller::{Health, Metrics, Views},
};

/// The greatest review in bytes: two objects of the greatest size that the API server takes (3 MiB as JSON), and what is
/// around them.
const MAX_REVIEW_BYTES: usize = 8 * 1024 * 1024;

/// A server that begins to serve when it has its first certificate.
pub struct Server {
    state: Answering,
    health: Arc<Health>,
    listener: Option<TcpListener>,
    /// The certificate that is served.
    chain: String,
    config: Option<RustlsConfig>,
}

/// What a request is answered from.
#[derive(Clone)]
struct Answering {
    views: Arc<Views>,
    metrics: Arc<Metrics>,
    scopes: Arc<Scopes>,
}

impl Server {
    /// A server that does not serve yet.
    pub fn new(
        listener: TcpListener,
        scopes: Scopes,
        views: Arc<Views>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let state = Answering { views, metrics, scopes: Arc::new(scopes) };
        Self { state, health, listener: Some(listener), chain: String::new(), config: None }
    }

    /// Notes that the API server trusts the certificate, so that its questions are answered.
    pub fn is_trusted(&self) {
        self.health.answers_reviews();
    }

    /// From now on serves with the certificate `chain`. Connections that are open stay so.
    ///
    /// # Errors
    ///
    /// If the certificate cannot be used: then it serves as before.
    pub fn serve_with(
        &mut self,
        chain: &str,
        config: impl FnOnce() -> Result<Arc<ServerConfig>, Error>,
    ) -> Result<(), Error> {
        if self.chain == chain {
            return Ok(());
        }
        let config = config()?;
        chain.clone_into(&mut self.chain);
        if let Some(serving) = &self.config {
            serving.reload_from_config(config);
        } else if let Some(listener) = self.listener.take() {
            let config = self.config.insert(RustlsConfig::from_config(config)).clone();
            let router = Router::new()
                // The path is whatever the configuration says.
                .fallback_service(post(answer).with_state(self.state.clone()))
                .layer(DefaultBodyLimit::max(MAX_REVIEW_BYTES));
            tokio::spawn(async move {
                let served = match axum_server::from_tcp_rustls(listener, config) {
                    Ok(server) => server.serve(router.into_make_service()).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = served {
                    tracing::error!(%error, "admission reviews are no longer answered");
                }
            });
        }
        Ok(())
    }
}

async fn answer(State(state): State<Answering>, body: Bytes) -> Response {
    let request = serde_json::from_slice::<AdmissionReview<DeserializeGuard<KeyPair>>>(&body).ok();
    let request: Option<AdmissionRequest<_>> = request.and_then(|review| review.try_into().ok());
    // What exactly is wrong is not said: it would quote from a body with a private key in it, perhaps.
    let Some(request) = request else {
        return (StatusCode::BAD_REQUEST, "this is no AdmissionReview\n").into_response();
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let namespace = request.namespace.clone();
    let Some(answer) = review(request, &state.views, &state.scopes, now) else {
        state.metrics.reviewed("Unavailable");
        return (StatusCode::SERVICE_UNAVAILABLE, "the KeyPairs are not listed yet\n").into_response();
    };
    if let Some(reason) = answer.refused {
        // Without its name: what is refused is not stored, and nobody knows what stands in its place.
        tracing::debug!(namespace, %reason, "refused at admission");
    }
    state.metrics.reviewed(answer.refused.map_or("Admitted", |reason| reason.as_str()));
    Json(answer.response.into_review()).into_response()
}
