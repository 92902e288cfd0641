//! How long the API server is waited for.
//!
//! A limit around the client, so that no request is without one: each has an answer within half a minute, to its last byte, or has
//! failed. A watch has as long for the beginning of its answer, and some seconds more for the whole than the API server was asked to
//! go on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Bytes, Frame, SizeHint};
use kube::client::{Body, DynBody};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tower::{BoxError, Layer, Service};

/// How long an answer is waited for, and the beginning of that of a watch.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How much longer than it was asked for a watch may go on.
const WATCH_MARGIN: Duration = Duration::from_secs(15);
/// How long a watch goes on that was not told.
const WATCH_LIMIT: Duration = Duration::from_secs(300);
/// How long what is under way may take to finish when the operator is told to stop.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// All requests of a client: a layer that limits each, and knows what became of the writes.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// When the last write was given up, or lost its answer: it may have been carried out, or may still be.
    in_doubt_since: Arc<Mutex<Option<Instant>>>,
}

impl Requests {
    /// Resolves when every write has had an answer, or it has been without one for so long that it will not come any more.
    pub async fn settled(&self, within: Duration) {
        let last = *self.in_doubt_since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last {
            sleep_until(last + within).await;
        }
    }
}

impl<S> Layer<S> for Requests {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner, requests: self.clone() }
    }
}

/// A service with a limit of time for each request.
#[derive(Debug, Clone)]
pub struct Limited<S> {
    inner: S,
    requests: Requests,
}

impl<S, B> Service<Request<Body>> for Limited<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error: Into<BoxError>, Future: Send + 'static>,
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = Response<Box<DynBody>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let begun = Instant::now();
        let whole = watch_limit(&request).unwrap_or(REQUEST_LIMIT);
        let mut doubt = Doubt { is_certain: !may_change_objects(&request), requests: self.requests.clone() };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = timeout_at(begun + REQUEST_LIMIT, answer).await.map_err(|_| NoAnswer(REQUEST_LIMIT))?;
            let answer = answer.map_err(Into::into)?;
            doubt.answered(answer.status());
            let end = Box::pin(sleep_until(begun + whole));
            Ok(answer.map(|body| Box::new(LimitedBody { body, end, limit: whole }) as Box<DynBody>))
        })
    }
}

/// Notes a write that has no answer when it is dropped.
struct Doubt {
    is_certain: bool,
    requests: Requests,
}

impl Doubt {
    fn answered(&mut self, status: StatusCode) {
        // With this, the API server does not wait for its store any longer; the store may still carry it out.
        self.is_certain |= status != StatusCode::GATEWAY_TIMEOUT;
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if !self.is_certain {
            *self.requests.in_doubt_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// Whether this is a write on which a decision of another replica may depend: not the Lease, nor Events.
fn may_change_objects(request: &Request<Body>) -> bool {
    let of = |resource: &str| request.uri().path().split('/').any(|segment| segment == resource);
    *request.method() != Method::GET && !of("leases") && !of("events")
}

/// How long a watch may go on; `None`: it is no watch.
fn watch_limit<B>(request: &Request<B>) -> Option<Duration> {
    let words = || request.uri().query().unwrap_or_default().split('&');
    if !words().any(|word| matches!(word, "watch=true" | "watch=1")) {
        return None;
    }
    let asked = words().find_map(|word| word.strip_prefix("timeoutSeconds=")?.parse().ok());
    Some(asked.map_or(WATCH_LIMIT, Duration::from_secs) + WATCH_MARGIN)
}

/// The answer did not come in time, or not to its end.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {0:?}")]
struct NoAnswer(Duration);

struct LimitedBody<B> {
    body: B,
    end: Pin<Box<Sleep>>,
    limit: Duration,
}

impl<B> hyper::body::Body for LimitedBody<B>
where
    B: hyper::body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.end.as_mut().poll(cx));
        Poll::Ready(Some(Err(NoAnswer(self.limit).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Waits for `work`, which ends by itself some time after `stop`, but no longer than a second after it.
///
/// What is given up then is as if the process had crashed, which every promise bears.
pub async fn finish(work: impl Future<Output = ()>, stop: impl Future<Output = ()>) {
    let given_up = async {
        stop.await;
        sleep(FINISH_LIMIT).await;
    };
    tokio::select! {
        biased;
        () = work => {}
        () = given_up => tracing::warn!("giving up what is not finished: the API server does not answer in time"),
    }
}
