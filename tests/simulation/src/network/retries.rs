//! The retries of kube's client for responses that ask for one.
//!
//! A client that is built from a configuration has kube's own retry layer, whose random delays no seed reproduces; a client that is built
//! from a service has none. This layer does the same, with delays drawn from the network's seed.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use kube::client::Body;
use tokio::time::sleep;
use tower::Service as _;

use super::{Network, NetworkBody, lock};

/// The limits of [`kube::client::retry::RetryPolicy::server_retry`].
const MAX_RETRIES: u32 = 15;
const MIN_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1000);

/// A connection to the server that retries requests answered with 429, 503 or 504.
#[derive(Clone)]
pub struct Retrying(Network);

impl Retrying {
    /// Adds retries to a network.
    #[must_use]
    pub fn new(network: Network) -> Self {
        Self(network)
    }

    async fn send(mut self, request: Request<Body>) -> io::Result<Response<NetworkBody>> {
        let mut again = copy(&request);
        let mut answer = self.0.call(request).await?;
        for attempt in 0..MAX_RETRIES {
            let (Some(request), true) = (again, asks_for_another(answer.status())) else { break };
            let delay = self.delay(attempt).max(wanted(&answer));
            drop(answer);
            sleep(delay).await;
            again = copy(&request);
            answer = self.0.call(request).await?;
        }
        Ok(answer)
    }

    /// Doubles with each attempt; jitter makes it up to three times as long.
    fn delay(&self, attempt: u32) -> Duration {
        let base = MIN_DELAY.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_DELAY);
        let jitter = lock(&self.0.shared.dice).below(2000);
        let delay = base + base.mul_f64(f64::from(u32::try_from(jitter).unwrap_or_default()) / 1000.0);
        // Whole milliseconds, the resolution of timers.
        Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)).min(MAX_DELAY)
    }
}

fn asks_for_another(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// The delay that the `Retry-After` header asks for.
fn wanted(answer: &Response<NetworkBody>) -> Duration {
    let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    header.map_or(Duration::ZERO, Duration::from_secs)
}

fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

impl tower::Service<Request<Body>> for Retrying {
    type Response = Response<NetworkBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
