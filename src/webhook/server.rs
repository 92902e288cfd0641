//! The HTTPS server of the webhook.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rustls::ServerConfig;
use tokio::{
    runtime,
    sync::{Semaphore, oneshot},
};

use super::{
    Error,
    decode::{admit_unread, read},
    review::{Scopes, review},
};
use crate::controller::{Health, Metrics, Views};

/// The greatest review in bytes: two objects of the greatest size that the API server takes (3 MiB as JSON), and what is
/// around them.
const MAX_REVIEW_BYTES: usize = 7 * 1024 * 1024;
/// How many reviews are read and answered at once: whoever asks for more waits.
const MAX_AT_ONCE: usize = 8;
/// How long connections get to end what is under way when the server stops.
const GRACE: Duration = Duration::from_secs(3);

/// A server that begins to serve when it has its first certificate.
pub struct Server {
    address: SocketAddr,
    answering: Answering,
    health: Arc<Health>,
    /// The certificate that is served.
    chain: String,
    serving: Option<Serving>,
}

struct Serving {
    config: RustlsConfig,
    handle: Handle<SocketAddr>,
    /// Resolves when it has ended.
    end: oneshot::Receiver<()>,
}

/// What a request is answered from.
#[derive(Clone)]
struct Answering {
    views: Arc<Views>,
    metrics: Arc<Metrics>,
    scopes: Arc<Scopes>,
    permits: Arc<Semaphore>,
}

impl Server {
    /// A server that does not listen yet: who connects is refused at once, and not kept waiting for a certificate.
    pub fn new(
        address: SocketAddr,
        scopes: Scopes,
        views: Arc<Views>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_AT_ONCE));
        let answering = Answering { views, metrics, scopes: Arc::new(scopes), permits };
        Self { address, answering, health, chain: String::new(), serving: None }
    }

    /// Notes that the API server trusts the certificate, so that its questions are answered.
    pub fn is_trusted(&self) {
        self.health.answers_reviews();
    }

    /// From now on serves with the certificate `chain`. Connections that are open stay so.
    ///
    /// # Errors
    ///
    /// If the certificate or the address cannot be used: then it serves as before.
    pub fn serve_with(
        &mut self,
        chain: &str,
        config: impl FnOnce() -> Result<Arc<ServerConfig>, Error>,
    ) -> Result<(), Error> {
        if self.chain == chain {
            return Ok(());
        }
        let config = config()?;
        if let Some(serving) = &self.serving {
            serving.config.reload_from_config(config);
        } else {
            let listener = listen(self.address)?;
            self.serving = Some(Serving::start(self.address, listener, config, self.answering.clone())?);
        }
        chain.clone_into(&mut self.chain);
        Ok(())
    }

    /// Takes no more connections, tells those that are open to end, and waits until they have, for a while.
    pub async fn stop(self) {
        if let Some(Serving { handle, end, .. }) = self.serving {
            handle.graceful_shutdown(Some(GRACE));
            // Its end is all that is waited for.
            let _ = end.await;
        }
    }
}

impl Serving {
    fn start(
        address: SocketAddr,
        listener: TcpListener,
        config: Arc<ServerConfig>,
        answering: Answering,
    ) -> Result<Self, Error> {
        let config = RustlsConfig::from_config(config);
        let router = Router::new()
            // The path is whatever the configuration says.
            .fallback_service(post(answer).with_state(answering))
            .layer(DefaultBodyLimit::max(MAX_REVIEW_BYTES));
        let handle = Handle::new();
        let failed = |source| Error::Listen { address, source };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (ended, end) = oneshot::channel();
        let (tls, controlled) = (config.clone(), handle.clone());
        // On a thread and a runtime of its own, so that nobody waits for an answer until an event has been taken in.
        let serve = move || {
            let served = runtime.block_on(async {
                let server = axum_server::from_tcp_rustls(listener, tls)?.handle(controlled);
                server.serve(router.into_make_service()).await
            });
            if let Err(error) = served {
                tracing::error!(%error, "admission reviews are no longer answered");
            }
            // Nobody may be waiting for it.
            let _ = ended.send(());
        };
        thread::Builder::new().name("webhook".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { config, handle, end })
    }
}

/// Listens at `address`.
///
/// # Errors
///
/// If it cannot be used.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| Error::Listen { address, source })
}

async fn answer(State(answering): State<Answering>, body: Bytes) -> Response {
    let Ok(_permit) = answering.permits.acquire().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let Some(request) = read(&body) else {
        return match admit_unread(&body) {
            Some(review) => Json(review).into_response(),
            // What exactly is wrong is not said: it would quote from a body with a private key in it, perhaps.
            None => (StatusCode::BAD_REQUEST, "this is no AdmissionReview\n").into_response(),
        };
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let namespace = request.namespace.clone();
    let Some(answer) = review(request, &answering.views, &answering.scopes, now) else {
        answering.metrics.reviewed("Unavailable");
        return (StatusCode::SERVICE_UNAVAILABLE, "the KeyPairs are not listed yet\n").into_response();
    };
    if let Some(reason) = answer.refused {
        // Without its name: what is refused is not stored, and nobody knows what stands in its place.
        tracing::debug!(namespace, %reason, "refused at admission");
    }
    answering.metrics.reviewed(answer.refused.map_or("Admitted", |reason| reason.as_str()));
    Json(answer.response.into_review()).into_response()
}
