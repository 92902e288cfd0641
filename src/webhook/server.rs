//! The HTTPS server of the webhook.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use rustls::ServerConfig;
use tokio::{
    runtime,
    sync::{Semaphore, oneshot, watch},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    cache::ScopeCaches,
    observe::{Health, Metrics},
    server::{self, BodyReader, Protocol},
    webhook::{
        Error,
        envelope::{admit_unread, read},
        review::review,
        scopes::Scopes,
    },
};

/// The maximum size of a review: two objects of the maximum size that the API server accepts (3 MiB as JSON), and their envelope.
const MAX_REVIEW_BYTES: usize = 7 * 1024 * 1024;
/// How long the body of a review may take to arrive: as long as the API server waits for an answer.
const BODY_TIMEOUT: Duration = Duration::from_secs(3);
/// A larger review is parsed on another thread, one at a time, so that other reviews need not wait. Parsing takes several times the
/// size of the body. A typical KeyPair has a twentieth of this size.
const LARGE_REVIEW_BYTES: usize = 64 * 1024;
/// How long a large review waits for the one before it.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of commas outside of strings in a large review. It bounds the memory for parsing, which can turn three bytes
/// into three hundred. A typical KeyPair has some hundreds.
const MAX_COMMAS: usize = 40_000;
/// How long requests in progress may take when the server stops.
const GRACE_PERIOD: Duration = Duration::from_secs(3);

/// A server that starts to listen when it has its first certificate.
pub struct Server {
    address: SocketAddr,
    context: Context,
    health: Arc<Health>,
    /// The certificate chain that is served, in PEM.
    chain: String,
    listener: Option<Listener>,
}

struct Listener {
    config: watch::Sender<Arc<ServerConfig>>,
    stop: watch::Sender<bool>,
    /// Resolves when the server has ended.
    end: oneshot::Receiver<()>,
}

/// The state that the handler of requests shares.
#[derive(Clone)]
struct Context {
    caches: Arc<ScopeCaches>,
    metrics: Arc<Metrics>,
    scopes: Arc<Scopes>,
    /// Admits one large review at a time.
    large: Arc<Semaphore>,
}

impl Server {
    /// Creates a server that does not listen yet, so that connections are refused instead of waiting for a certificate.
    pub fn new(
        address: SocketAddr,
        scopes: Scopes,
        caches: Arc<ScopeCaches>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Self {
        let context = Context { caches, metrics, scopes: Arc::new(scopes), large: Arc::new(Semaphore::new(1)) };
        Self { address, context, health, chain: String::new(), listener: None }
    }

    /// Records that the API server trusts the certificate, so that the replica is ready for reviews.
    pub fn mark_trusted(&self) {
        self.health.set_webhook_ready();
    }

    /// Serves the certificate `chain` from now on. Keeps open connections.
    ///
    /// # Errors
    ///
    /// If the certificate or the address cannot be used. The server then keeps its certificate.
    pub fn serve_with(
        &mut self,
        chain: &str,
        config: impl FnOnce() -> Result<Arc<ServerConfig>, Error>,
    ) -> Result<(), Error> {
        if self.chain == chain {
            return Ok(());
        }
        let config = config()?;
        if let Some(listener) = &self.listener {
            listener.config.send_replace(config);
        } else {
            self.listener = Some(Listener::start(self.address, config, self.context.clone())?);
        }
        chain.clone_into(&mut self.chain);
        Ok(())
    }

    /// Accepts no more connections, closes open ones gracefully, and waits for them during the grace period.
    pub async fn stop(self) {
        if let Some(Listener { stop, end, .. }) = self.listener {
            stop.send_replace(true);
            // An error also means that the server has ended.
            let _ = end.await;
        }
    }
}

impl Listener {
    fn start(address: SocketAddr, config: Arc<ServerConfig>, context: Context) -> Result<Self, Error> {
        // The webhook configuration can name any path.
        let router = Router::new().fallback_service(post(handle).with_state(context));
        let failed = |source| Error::Listen { address, source };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = {
            let _on = runtime.enter();
            server::listen(address).map_err(failed)?
        };
        let (config, configs) = watch::channel(config);
        let (stop, stopped) = watch::channel(false);
        let (ended, end) = oneshot::channel();
        // On its own thread and runtime, so that a review does not wait for the processing of watch events.
        let serve = move || {
            runtime.block_on(server::serve(listener, Protocol::Https(configs), router, stopped, GRACE_PERIOD));
            // Fails if nobody waits for the end.
            let _ = ended.send(());
        };
        thread::Builder::new().name("webhook".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { config, stop, end })
    }
}

async fn handle(State(context): State<Context>, bodies: Extension<BodyReader>, request: Request) -> Response {
    let body = match bodies.read(request.into_body(), MAX_REVIEW_BYTES, BODY_TIMEOUT).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    if body.len() <= LARGE_REVIEW_BYTES {
        return answer(&body, &context);
    }
    if commas(&body) > MAX_COMMAS {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let Ok(Ok(permit)) = timeout(QUEUE_TIMEOUT, Arc::clone(&context.large).acquire_owned()).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let answered = spawn_blocking(move || {
        let _permit = permit;
        answer(&body, &context)
    });
    answered.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// The number of commas outside of strings in a JSON text.
fn commas(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b',' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

fn answer(body: &[u8], context: &Context) -> Response {
    let Some(request) = read(body) else {
        return match admit_unread(body) {
            Some(review) => Json(review).into_response(),
            // Without details: they could quote a private key from the body.
            None => (StatusCode::BAD_REQUEST, "the body is not an AdmissionReview\n").into_response(),
        };
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let namespace = request.namespace().map(str::to_owned);
    let Some(answer) = review(request, &context.caches, &context.scopes, now) else {
        context.metrics.record_review("Unavailable");
        return (StatusCode::SERVICE_UNAVAILABLE, "the KeyPairs are not listed yet\n").into_response();
    };
    if let Some(reason) = answer.refused {
        // Without the name of the object, because a refused request can contain anything in its place.
        tracing::debug!(namespace, reason, "refused an object at admission");
    }
    context.metrics.record_review(answer.refused.unwrap_or("Admitted"));
    Json(answer.response.into_review()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_in_strings_do_not_count() {
        for (json, count) in
            [("", 0), ("[1,2,3]", 2), (r#"["a,b","c\",d",1]"#, 2), (r#"["\\",1]"#, 1), (r#"{"a":",,,","b":[]}"#, 1)]
        {
            assert_eq!(commas(json.as_bytes()), count, "{json}");
        }
    }
}
