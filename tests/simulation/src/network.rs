//! The network between one client and the server, with its faults.
//!
//! A request that was sent is carried out even if its client no longer exists: it runs in its own task.

mod board;
mod retries;

use std::{
    future::Future,
    io,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use keypair_test_harness::Dice;
use kube::client::Body;
use tokio::time::sleep;
use tower::Service as _;

pub use self::retries::Retrying;
use crate::server::{Failure, ServerBody, Service};

/// The faults of a network. Each number of requests is out of a thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The time that a request takes, and the time that its response takes.
    pub latency: Range<Duration>,
    /// Requests that are lost before they are carried out.
    pub lost_requests: u64,
    /// Requests that are carried out, but whose response is lost.
    pub lost_responses: u64,
    /// Requests whose response is delayed.
    pub delayed: u64,
    /// The delay.
    pub delay: Duration,
    /// Requests that are not carried out, but answered with an error.
    pub errors: u64,
    /// The errors from which one is drawn.
    pub error_responses: Vec<ErrorResponse>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1)..Duration::from_millis(5),
            lost_requests: 0,
            lost_responses: 0,
            delayed: 0,
            delay: Duration::ZERO,
            errors: 0,
            error_responses: vec![
                ErrorResponse::TooManyRequests,
                ErrorResponse::InternalError,
                ErrorResponse::Unavailable,
                ErrorResponse::Timeout,
            ],
        }
    }
}

/// An error with which a server answers instead of carrying out the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorResponse {
    /// 429, with `Retry-After`.
    TooManyRequests,
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// 504.
    Timeout,
    /// 409, as after a concurrent write.
    Conflict,
    /// 401, as with an expired token.
    Unauthorized,
}

/// Whether the client reaches the server at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Link {
    /// Yes.
    #[default]
    Up,
    /// New requests fail immediately, and connections break.
    Refusing,
    /// Nothing arrives, in either direction and without an error, until the link is up again. Then pending requests fail.
    Silent,
}

/// The network between one client and the server; a handle.
#[derive(Clone)]
pub struct Network {
    service: Service,
    shared: Arc<Shared>,
}

struct Shared {
    faults: Mutex<Faults>,
    dice: Mutex<Dice>,
    /// The state of the link, and how often it has gone down.
    link: board::Board<(Link, u64)>,
}

/// The body of a response.
pub struct NetworkBody {
    body: ServerBody,
    connection: Connection,
    change: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    is_over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A network without faults.
    #[must_use]
    pub fn new(service: Service, seed: u64) -> Self {
        let shared = Shared {
            faults: Mutex::default(),
            dice: Mutex::new(Dice::new(seed)),
            link: board::Board::new((Link::Up, 0)),
        };
        Self { service, shared: Arc::new(shared) }
    }

    /// Replaces the faults.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.shared.faults) = faults;
    }

    /// The current faults.
    #[must_use]
    pub fn faults(&self) -> Faults {
        lock(&self.shared.faults).clone()
    }

    /// Takes the link down or up.
    pub fn set_link(&self, link: Link) {
        self.shared.link.send_modify(|(now, downs)| {
            *downs += u64::from(link != Link::Up);
            *now = link;
        });
    }

    /// Ends all faults.
    pub fn calm(&self) {
        self.set_faults(Faults::default());
        self.set_link(Link::Up);
    }

    /// Sends a request to the server, and returns its response.
    async fn carry(mut self, request: Request<Body>) -> io::Result<Response<NetworkBody>> {
        let faults = self.faults();
        let drawn = Draws::new(&mut lock(&self.shared.dice), &faults);
        let mut connection = Connection::new(&self.shared.link);
        connection.passable().await?;
        sleep(drawn.there).await;
        connection.passable().await?;
        if self.service.is_down() {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if drawn.lose_request {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let response = if let Some(error_response) = drawn.error_response {
            error_response.response()
        } else {
            self.service.call(request).await.unwrap_or_else(|never| match never {})
        };
        sleep(drawn.back).await;
        connection.passable().await?;
        if drawn.lose_response || self.service.is_down() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(response.map(|body| NetworkBody { body, connection, change: None, is_over: false }))
    }
}

/// The faults drawn for one request. The number of draws is always the same.
struct Draws {
    there: Duration,
    back: Duration,
    lose_request: bool,
    lose_response: bool,
    error_response: Option<ErrorResponse>,
}

impl Draws {
    fn new(dice: &mut Dice, faults: &Faults) -> Self {
        let span = faults.latency.end.saturating_sub(faults.latency.start).as_micros();
        let span = u64::try_from(span).unwrap_or(u64::MAX).max(1);
        // Whole milliseconds, the resolution of timers: the rounding of finer delays would not depend on the seed alone.
        let mut latency = || faults.latency.start + Duration::from_millis(dice.below(span) / 1000);
        let (there, back) = (latency(), latency());
        let [lose_request, lose_response, is_delayed, is_error] =
            [faults.lost_requests, faults.lost_responses, faults.delayed, faults.errors]
                .map(|share| dice.happens(share));
        let which = dice.below(u64::try_from(faults.error_responses.len()).unwrap_or(u64::MAX).max(1));
        let error_response = faults.error_responses.get(usize::try_from(which).unwrap_or_default()).copied();
        Self {
            there,
            back: if is_delayed { back + faults.delay } else { back },
            lose_request,
            lose_response,
            error_response: error_response.filter(|_| is_error),
        }
    }
}

/// The traffic over a link since a point in time. It fails if the link has gone down since, even for a moment.
#[derive(Clone)]
struct Connection {
    link: board::Reader<(Link, u64)>,
    /// How often the link had gone down before this connection began.
    downs: u64,
}

impl Connection {
    fn new(link: &board::Board<(Link, u64)>) -> Self {
        let link = link.subscribe();
        let (now, downs) = link.get();
        // A connection that begins while the link is down never gets anything through.
        Self { link, downs: if now == Link::Up { downs } else { downs - 1 } }
    }

    /// The current state of the link, or an error if this connection never gets anything through again.
    fn state(&mut self) -> io::Result<Link> {
        match self.link.get_and_update() {
            (Link::Silent, _) => Ok(Link::Silent),
            (Link::Refusing, _) => Err(io::ErrorKind::ConnectionRefused.into()),
            (Link::Up, downs) if downs > self.downs => Err(io::ErrorKind::ConnectionReset.into()),
            (Link::Up, _) => Ok(Link::Up),
        }
    }

    /// Waits while the link is silent.
    async fn passable(&mut self) -> io::Result<()> {
        while self.state()? == Link::Silent {
            self.link.changed().await;
        }
        Ok(())
    }
}

impl ErrorResponse {
    fn response(self) -> Response<ServerBody> {
        let failure = match self {
            Self::TooManyRequests => Failure::new(
                429,
                "TooManyRequests",
                "the server has received too many requests and has asked us to try again later",
            )
            .retry_after(1),
            Self::InternalError => {
                Failure::new(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
            }
            Self::Unavailable => {
                Failure::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
            }
            Self::Timeout => Failure::new(
                504,
                "Timeout",
                "Timeout: request did not complete within requested timeout - context deadline exceeded",
            ),
            Self::Conflict => Failure::new(
                409,
                "Conflict",
                "Operation cannot be fulfilled: the object has been modified; please apply your changes to the latest version and try again",
            ),
            Self::Unauthorized => Failure::new(401, "Unauthorized", "Unauthorized"),
        };
        let mut response = Response::new(ServerBody::once(failure.to_value().to_string().into()));
        *response.status_mut() = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self == Self::TooManyRequests {
            response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
        }
        response
    }
}

impl tower::Service<Request<Body>> for Network {
    type Response = Response<NetworkBody>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let travelling = tokio::spawn(self.clone().carry(request));
        Box::pin(async move { travelling.await.unwrap_or_else(|_| Err(io::ErrorKind::ConnectionReset.into())) })
    }
}

impl http_body::Body for NetworkBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        // Check the link first: nothing arrives over a link that is down.
        loop {
            let link = match this.connection.state() {
                Ok(link) => link,
                Err(error) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
            };
            let change = this.change.get_or_insert_with(|| {
                let mut link = this.connection.link.clone();
                Box::pin(async move {
                    link.changed().await;
                })
            });
            if change.as_mut().poll(context).is_pending() {
                return match link {
                    Link::Up => Pin::new(&mut this.body).poll_frame(context),
                    Link::Silent | Link::Refusing => Poll::Pending,
                };
            }
            this.change = None;
        }
    }
}

#[cfg(test)]
mod tests;
