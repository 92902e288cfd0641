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

use super::{
    Error,
    envelope::{admit_unread, read},
    review::{Scopes, review},
};
use crate::{
    controller::{Health, Metrics, Views},
    server::{self, Bodies, Protocol},
};

/// The greatest review in bytes: two objects of the greatest size that the API server takes (3 MiB as JSON), and what is
/// around them.
const MAX_REVIEW_BYTES: usize = 7 * 1024 * 1024;
/// How long a review may take to come: as long as the API server waits for an answer.
const BODY_TIME: Duration = Duration::from_secs(3);
/// A review that is larger is read on a thread of its own, one at a time, so that nobody else waits for it; a KeyPair as people
/// write them is a twentieth of it. What is read takes several times its size.
const LARGE: usize = 64 * 1024;
/// How long a large review waits for its turn.
const TURN_TIME: Duration = Duration::from_secs(2);
/// How many commas there may be in a large review outside of its texts, which bounds what reading it takes: of three bytes it makes
/// three hundred. A KeyPair as people write them has some hundreds.
const MAX_COMMAS: usize = 50_000;
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
    config: watch::Sender<Arc<ServerConfig>>,
    stop: watch::Sender<bool>,
    /// Resolves when it has ended.
    end: oneshot::Receiver<()>,
}

/// What a request is answered from.
#[derive(Clone)]
struct Answering {
    views: Arc<Views>,
    metrics: Arc<Metrics>,
    scopes: Arc<Scopes>,
    /// Whose turn it is of those who sent a large review.
    large: Arc<Semaphore>,
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
        let answering = Answering { views, metrics, scopes: Arc::new(scopes), large: Arc::new(Semaphore::new(1)) };
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
            serving.config.send_replace(config);
        } else {
            self.serving = Some(Serving::start(self.address, config, self.answering.clone())?);
        }
        chain.clone_into(&mut self.chain);
        Ok(())
    }

    /// Takes no more connections, tells those that are open to end, and waits until they have, for a while.
    pub async fn stop(self) {
        if let Some(Serving { stop, end, .. }) = self.serving {
            stop.send_replace(true);
            // Its end is all that is waited for.
            let _ = end.await;
        }
    }
}

impl Serving {
    fn start(address: SocketAddr, config: Arc<ServerConfig>, answering: Answering) -> Result<Self, Error> {
        // The path is whatever the configuration says.
        let router = Router::new().fallback_service(post(answer).with_state(answering));
        let failed = |source| Error::Listen { address, source };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = {
            let _on = runtime.enter();
            server::listen(address).map_err(failed)?
        };
        let (config, configs) = watch::channel(config);
        let (stop, stopped) = watch::channel(false);
        let (ended, end) = oneshot::channel();
        // On a thread and a runtime of its own, so that nobody waits for an answer until an event has been taken in.
        let serve = move || {
            runtime.block_on(server::serve(listener, Protocol::Https(configs), router, stopped, GRACE));
            // Nobody may be waiting for it.
            let _ = ended.send(());
        };
        thread::Builder::new().name("webhook".to_owned()).spawn(serve).map_err(failed)?;
        Ok(Self { config, stop, end })
    }
}

async fn answer(State(answering): State<Answering>, bodies: Extension<Bodies>, request: Request) -> Response {
    let body = match bodies.read(request.into_body(), MAX_REVIEW_BYTES, BODY_TIME).await {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    if body.len() <= LARGE {
        return answer_to(&body, &answering);
    }
    if commas(&body) > MAX_COMMAS {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    let Ok(Ok(turn)) = timeout(TURN_TIME, Arc::clone(&answering.large).acquire_owned()).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let answered = spawn_blocking(move || {
        let _turn = turn;
        answer_to(&body, &answering)
    });
    answered.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

/// How many commas there are in a JSON text outside of its strings.
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

fn answer_to(body: &[u8], answering: &Answering) -> Response {
    let Some(request) = read(body) else {
        return match admit_unread(body) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_count_outside_of_texts() {
        for (json, count) in
            [("", 0), ("[1,2,3]", 2), (r#"["a,b","c\",d",1]"#, 2), (r#"["\\",1]"#, 1), (r#"{"a":",,,","b":[]}"#, 1)]
        {
            assert_eq!(commas(json.as_bytes()), count, "{json}");
        }
    }
}
