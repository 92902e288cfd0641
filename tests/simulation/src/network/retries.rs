//! What kube's client does by itself about answers that ask to try again.
//!
//! A client that is built from a configuration has kube's own layer for it, whose delays are drawn from a source that no seed repeats;
//! a client of a service has none. This one does the same with delays from the network's seed.

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

/// As [`kube::client::retry::RetryPolicy::server_retry`].
const MAX_RETRIES: u32 = 15;
const MIN_DELAY: Duration = Duration::from_millis(5);
const MAX_DELAY: Duration = Duration::from_secs(1000);

/// A way to the server on which requests are sent again that are answered with 429, 503 or 504.
#[derive(Clone)]
pub struct Retrying(Network);

impl Retrying {
    /// That over this network.
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

    /// Twice as long each time, and up to three times that.
    fn delay(&self, attempt: u32) -> Duration {
        let base = MIN_DELAY.saturating_mul(2_u32.saturating_pow(attempt)).min(MAX_DELAY);
        let jitter = lock(&self.0.shared.dice).below(2000);
        let delay = base + base.mul_f64(f64::from(u32::try_from(jitter).unwrap_or_default()) / 1000.0);
        // In whole milliseconds, as timers are.
        Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)).min(MAX_DELAY)
    }
}

fn asks_for_another(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// After which time the server wants to be asked again.
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
