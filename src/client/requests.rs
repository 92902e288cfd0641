//! Time limits for requests to the API server.
//!
//! A layer around the client limits every request: the complete response arrives within 30 seconds, or the request fails. A watch has the
//! same limit for the start of its response, and for the whole response its requested timeout plus some seconds.

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

/// The limit for a complete response, and for the start of the response to a watch.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// How much longer than its requested timeout a watch may last.
const WATCH_MARGIN: Duration = Duration::from_secs(15);
/// The limit for a watch without a requested timeout.
const WATCH_LIMIT: Duration = Duration::from_secs(300);
/// How long running work may take to finish when the operator stops.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// A layer that limits each request of a client, and tracks writes whose outcome is unknown.
#[derive(Debug, Clone, Default)]
pub struct RequestLimits {
    /// When a write last ended without a response: it may have been carried out, or may still be.
    in_doubt_since: Arc<Mutex<Option<Instant>>>,
}

impl RequestLimits {
    /// Resolves when the outcome of every write is known. A write without a response counts as lost after `within`.
    pub async fn wait_for_outcomes(&self, within: Duration) {
        let last = *self.in_doubt_since.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last {
            sleep_until(last + within).await;
        }
    }
}

impl<S> Layer<S> for RequestLimits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner, limits: self.clone() }
    }
}

/// A service with a time limit for each request.
#[derive(Debug, Clone)]
pub struct Limited<S> {
    inner: S,
    limits: RequestLimits,
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
        let started = Instant::now();
        let whole = watch_limit(&request).unwrap_or(REQUEST_LIMIT);
        let mut write = WriteGuard { is_certain: !may_change_objects(&request), limits: self.limits.clone() };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = timeout_at(started + REQUEST_LIMIT, answer).await.map_err(|_| NoAnswer(REQUEST_LIMIT))?;
            let answer = answer.map_err(Into::into)?;
            write.answered(answer.status());
            let end = Box::pin(sleep_until(started + whole));
            Ok(answer.map(|body| Box::new(LimitedBody { body, end, limit: whole }) as Box<DynBody>))
        })
    }
}

/// Records, when it is dropped, a write that got no response.
struct WriteGuard {
    is_certain: bool,
    limits: RequestLimits,
}

impl WriteGuard {
    fn answered(&mut self, status: StatusCode) {
        // With 504 the API server gives up waiting for etcd, which may still carry the write out.
        self.is_certain |= status != StatusCode::GATEWAY_TIMEOUT;
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if !self.is_certain {
            *self.limits.in_doubt_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }
}

/// Whether this is a write on which a decision of another replica may depend: not of the Lease, nor of Events.
fn may_change_objects(request: &Request<Body>) -> bool {
    let is_for = |resource: &str| request.uri().path().split('/').any(|segment| segment == resource);
    *request.method() != Method::GET && !is_for("leases") && !is_for("events")
}

/// How long a watch may last; `None` if the request is no watch.
fn watch_limit<B>(request: &Request<B>) -> Option<Duration> {
    let parameters = || request.uri().query().unwrap_or_default().split('&');
    if !parameters().any(|parameter| matches!(parameter, "watch=true" | "watch=1")) {
        return None;
    }
    let timeout = parameters().find_map(|parameter| parameter.strip_prefix("timeoutSeconds=")?.parse().ok());
    Some(timeout.map_or(WATCH_LIMIT, Duration::from_secs) + WATCH_MARGIN)
}

/// The response did not arrive completely within the limit.
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

/// Waits for `work`, which is expected to end after `stop`, but at most one second after it.
///
/// Giving up is like a crash of the process, which all guarantees survive.
pub async fn finish(work: impl Future<Output = ()>, stop: impl Future<Output = ()>) {
    let given_up = async {
        stop.await;
        sleep(FINISH_LIMIT).await;
    };
    tokio::select! {
        biased;
        () = work => {}
        () = given_up => tracing::warn!("stopping with unfinished work: the API server did not answer in time"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::{StreamExt, TryStreamExt};
    use http_body_util::StreamBody;
    use k8s_openapi::api::core::v1::Secret;
    use kube::{
        Api, Client,
        api::{DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams, WatchParams},
        client::ClientBuilder,
        runtime::watcher::{self, watcher},
    };
    use tower::service_fn;

    use super::*;

    /// An API server that stops at this point of a response.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Silence {
        Nothing,
        Head,
        Half,
    }

    fn client(silence: Silence, limits: &RequestLimits) -> Client {
        let service = service_fn(move |_: Request<Body>| async move {
            let started = match silence {
                Silence::Nothing => std::future::pending().await,
                Silence::Head => "",
                Silence::Half => "{\"kind\":",
            };
            let started = futures::stream::once(async move { Ok::<_, Infallible>(Frame::data(Bytes::from(started))) });
            let endless = started.chain(futures::stream::pending()).boxed();
            Ok::<_, BoxError>(Response::new(StreamBody::new(endless)))
        });
        ClientBuilder::new(service, "default").with_layer(limits).build()
    }

    /// Every kind of request that the operator sends, and whether it fails.
    fn kinds(client: &Client) -> Vec<(&'static str, BoxFuture<'static, bool>)> {
        fn failed<T>(request: impl Future<Output = kube::Result<T>> + Send + 'static) -> BoxFuture<'static, bool> {
            Box::pin(async move { request.await.is_err() })
        }
        let secrets: Api<Secret> = Api::default_namespaced(client.clone());
        let metadata: Api<PartialObjectMeta<Secret>> = Api::default_namespaced(client.clone());
        let (one, two, three, four, five, six) =
            (secrets.clone(), secrets.clone(), secrets.clone(), secrets.clone(), secrets.clone(), secrets.clone());
        let raw = client.clone();
        vec![
            ("get", failed(async move { one.get_opt("a").await })),
            ("get metadata", failed(async move { metadata.get_metadata_opt("a").await })),
            ("list", failed(async move { two.list(&ListParams::default()).await })),
            ("create", failed(async move { three.create(&PostParams::default(), &Secret::default()).await })),
            ("replace", failed(async move { four.replace("a", &PostParams::default(), &Secret::default()).await })),
            ("delete", failed(async move { five.delete("a", &DeleteParams::default()).await })),
            ("patch", {
                let patch = Patch::Merge(serde_json::json!({}));
                failed(async move { six.patch("a", &PatchParams::default(), &patch).await })
            }),
            ("text", failed(async move { raw.request_text(Request::get("/api").body(Vec::new()).unwrap()).await })),
        ]
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_has_a_timeout_until_the_last_byte() {
        for silence in [Silence::Nothing, Silence::Head, Silence::Half] {
            for (kind, failed) in kinds(&client(silence, &RequestLimits::default())) {
                let begin = Instant::now();
                let failed = tokio::time::timeout(2 * REQUEST_LIMIT, failed).await;
                assert_eq!(failed, Ok(true), "{kind}, {silence:?}");
                assert!(begin.elapsed() >= REQUEST_LIMIT, "{kind}, {silence:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_starts_and_ends_in_time() {
        let secrets = |silence| Api::<Secret>::default_namespaced(client(silence, &RequestLimits::default()));
        let begin = Instant::now();
        assert!(secrets(Silence::Nothing).watch(&WatchParams::default(), "0").await.is_err());
        assert_eq!(begin.elapsed().as_secs(), REQUEST_LIMIT.as_secs());
        let begin = Instant::now();
        let params = WatchParams::default().timeout(120);
        let events = secrets(Silence::Head).watch(&params, "0").await.unwrap();
        assert!(events.boxed().try_next().await.is_err());
        assert_eq!(begin.elapsed().as_secs(), 120 + WATCH_MARGIN.as_secs());
        // The same holds for kube's watcher, at each of its attempts.
        let mut events = watcher(secrets(Silence::Nothing), watcher::Config::default()).boxed();
        for _ in 0..3 {
            let event = tokio::time::timeout(2 * REQUEST_LIMIT, async {
                while let Some(event) = events.next().await {
                    if event.is_err() {
                        return;
                    }
                }
            });
            event.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_write_without_a_response_is_in_doubt() {
        let third = Duration::from_secs(5);
        let limits = RequestLimits::default();
        for (kind, failed) in kinds(&client(Silence::Nothing, &limits)) {
            let is_write = ["create", "replace", "delete", "patch"].contains(&kind);
            assert!(tokio::time::timeout(Duration::from_secs(1), failed).await.is_err());
            let begin = Instant::now();
            limits.wait_for_outcomes(third).await;
            assert_eq!(begin.elapsed() >= third, is_write, "{kind}");
        }
        let answered = RequestLimits::default();
        for (_, failed) in kinds(&client(Silence::Head, &answered)) {
            assert!(tokio::time::timeout(Duration::from_secs(1), failed).await.is_err());
        }
        let begin = Instant::now();
        answered.wait_for_outcomes(third).await;
        assert!(begin.elapsed() < third, "the response had started: it was carried out");
    }

    #[tokio::test(start_paused = true)]
    async fn unfinished_work_is_given_up() {
        let begin = Instant::now();
        finish(std::future::pending(), sleep(FINISH_LIMIT)).await;
        assert_eq!(begin.elapsed().as_secs(), 2 * FINISH_LIMIT.as_secs());
        finish(sleep(FINISH_LIMIT / 2), async {}).await;
        assert!(begin.elapsed() < 3 * FINISH_LIMIT);
    }
}
