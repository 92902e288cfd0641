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

    /// An API server whose answers get no further than this.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Silence {
        Nothing,
        Head,
        Half,
    }

    fn client(silence: Silence, requests: &Requests) -> Client {
        let service = service_fn(move |_: Request<Body>| async move {
            let begun = match silence {
                Silence::Nothing => std::future::pending().await,
                Silence::Head => "",
                Silence::Half => "{\"kind\":",
            };
            let begun = futures::stream::once(async move { Ok::<_, Infallible>(Frame::data(Bytes::from(begun))) });
            let endless = begun.chain(futures::stream::pending()).boxed();
            Ok::<_, BoxError>(Response::new(StreamBody::new(endless)))
        });
        ClientBuilder::new(service, "default").with_layer(requests).build()
    }

    /// Every kind of request that the operator sends, each with what it is to be given.
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
    async fn every_request_has_a_limit_to_the_last_byte() {
        for silence in [Silence::Nothing, Silence::Head, Silence::Half] {
            for (kind, failed) in kinds(&client(silence, &Requests::default())) {
                let begin = Instant::now();
                let failed = tokio::time::timeout(2 * REQUEST_LIMIT, failed).await;
                assert_eq!(failed, Ok(true), "{kind}, {silence:?}");
                assert!(begin.elapsed() >= REQUEST_LIMIT, "{kind}, {silence:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_begins_in_time_and_ends() {
        let secrets = |silence| Api::<Secret>::default_namespaced(client(silence, &Requests::default()));
        let begin = Instant::now();
        assert!(secrets(Silence::Nothing).watch(&WatchParams::default(), "0").await.is_err());
        assert_eq!(begin.elapsed().as_secs(), REQUEST_LIMIT.as_secs());
        let begin = Instant::now();
        let params = WatchParams::default().timeout(120);
        let events = secrets(Silence::Head).watch(&params, "0").await.unwrap();
        assert!(events.boxed().try_next().await.is_err());
        assert_eq!(begin.elapsed().as_secs(), 120 + WATCH_MARGIN.as_secs());
        // And so kube's, which asks for as long as it likes, each time that it begins.
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
    async fn only_a_write_that_has_no_answer_is_in_doubt() {
        let third = Duration::from_secs(5);
        let requests = Requests::default();
        for (kind, failed) in kinds(&client(Silence::Nothing, &requests)) {
            let is_write = ["create", "replace", "delete", "patch"].contains(&kind);
            assert!(tokio::time::timeout(Duration::from_secs(1), failed).await.is_err());
            let begin = Instant::now();
            requests.settled(third).await;
            assert_eq!(begin.elapsed() >= third, is_write, "{kind}");
        }
        let answered = Requests::default();
        for (_, failed) in kinds(&client(Silence::Head, &answered)) {
            assert!(tokio::time::timeout(Duration::from_secs(1), failed).await.is_err());
        }
        let begin = Instant::now();
        answered.settled(third).await;
        assert!(begin.elapsed() < third, "the answer had begun: it was carried out");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_finish_is_given_up() {
        let begin = Instant::now();
        finish(std::future::pending(), sleep(FINISH_LIMIT)).await;
        assert_eq!(begin.elapsed().as_secs(), 2 * FINISH_LIMIT.as_secs());
        finish(sleep(FINISH_LIMIT / 2), async {}).await;
        assert!(begin.elapsed() < 3 * FINISH_LIMIT);
    }
}
