//! A watch of an API server that may be restored to an older state, on a paused clock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::channel::mpsc;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, ResourceExt as _, runtime::watcher::Event};
use serde_json::json;
use tokio::time::{advance, timeout};
use tower::service_fn;

use super::*;
use crate::{
    cache::stream::{on_watch_success, watch_config, watch_events},
    client::randomness::Randomness,
};

const SECOND: Duration = Duration::from_secs(1);
const WHOLE: Duration = Duration::from_secs(WATCH_SECONDS as u64);

/// Where the events of a watch go.
type Events = mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

/// An API server with one object, which may change and be restored to an older state.
#[derive(Clone, Default)]
struct Server(Arc<Inner>);

#[derive(Default)]
struct Inner {
    version: AtomicU64,
    is_away: AtomicBool,
    /// Whether a load balancer answers 503 in its place.
    is_refused: AtomicBool,
    /// Whether it sends no bookmark at the end of a watch.
    is_silent: AtomicBool,
    asked: Mutex<Vec<&'static str>>,
    watch: Mutex<Option<Events>>,
}

impl Server {
    fn at(version: u64) -> Self {
        let server = Self::default();
        server.0.version.store(version, Ordering::Relaxed);
        server
    }

    fn client(&self) -> Client {
        let server = self.clone();
        let service = service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request.uri()) }
        });
        Client::new(service, "default")
    }

    fn answer(&self, uri: &Uri) -> Result<Response<UnsyncBoxBody<Bytes, std::io::Error>>, std::io::Error> {
        let query = uri.query().unwrap_or_default();
        let version = self.0.version.load(Ordering::Relaxed);
        if self.0.is_refused.load(Ordering::Relaxed) {
            let body = Full::from("away").map_err(|never| match never {});
            return Ok(Response::builder().status(503).body(body.boxed_unsync()).unwrap());
        }
        if self.0.is_away.load(Ordering::Relaxed) {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        if !query.contains("watch=true") {
            self.0.asked.lock().unwrap().push("newest");
            assert!(query.contains("limit=1") && query.contains("fieldSelector=metadata.name%3Dweb"), "{query}");
            let list = json!({ "metadata": { "resourceVersion": version.to_string() }, "items": [{}] });
            let body = Full::from(list.to_string()).map_err(|never| match never {});
            return Ok(Response::new(body.boxed_unsync()));
        }
        let initial = query.contains("sendInitialEvents=true");
        self.0.asked.lock().unwrap().push(if initial { "list" } else { "watch" });
        let (sender, events) = mpsc::unbounded();
        if initial {
            send(&sender, "ADDED", version, false);
            send(&sender, "BOOKMARK", version, true);
        }
        *self.0.watch.lock().unwrap() = Some(sender);
        Ok(Response::new(StreamBody::new(events).boxed_unsync()))
    }

    /// Ends the watch at its timeout, after which the client starts another.
    async fn time_out(&self) {
        advance(WHOLE).await;
        let sender = self.0.watch.lock().unwrap().take().unwrap();
        if !self.0.is_silent.load(Ordering::Relaxed) {
            send(&sender, "BOOKMARK", self.0.version.load(Ordering::Relaxed), false);
        }
    }

    /// Cuts the connection of the watch.
    fn cut(&self) {
        let sender = self.0.watch.lock().unwrap().take().unwrap();
        sender.unbounded_send(Err(std::io::ErrorKind::ConnectionReset.into())).unwrap();
    }

    async fn be_unavailable_for(&self, time: Duration) {
        self.0.is_away.store(true, Ordering::Relaxed);
        self.cut();
        tokio::time::sleep(time).await;
        self.0.is_away.store(false, Ordering::Relaxed);
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.asked.lock().unwrap())
    }
}

fn send(to: &Events, what: &str, version: u64, ends_the_list: bool) {
    let annotations = if ends_the_list { json!({ "k8s.io/initial-events-end": "true" }) } else { json!({}) };
    let metadata = json!({ "name": "web", "resourceVersion": version.to_string(), "annotations": annotations });
    let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata });
    let event = json!({ "type": what, "object": object });
    to.unbounded_send(Ok(Frame::data(format!("{event}\n").into()))).unwrap();
}

/// Watches the server in the background, and returns the resource versions that arrive.
async fn follow(server: &Server) -> mpsc::UnboundedReceiver<String> {
    let api = Api::<ConfigMap>::default_namespaced(on_watch_success(&server.client(), || ()));
    let (sender, mut told) = mpsc::unbounded();
    tokio::spawn(async move {
        let mut events =
            Box::pin(watch_events(api, watch_config().fields("metadata.name=web"), Randomness::from_seed(1)));
        while let Some(event) = events.next().await {
            if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
                sender.unbounded_send(object.resource_version().unwrap()).unwrap();
            }
        }
    });
    assert!(told.next().await.is_some());
    settle().await;
    assert_eq!(server.asked(), ["list"]);
    told
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_times_out_resumes_without_a_further_request() {
    let server = Server::at(100);
    let _told = follow(&server).await;
    for _ in 0..3 {
        server.time_out().await;
        settle().await;
    }
    assert_eq!(server.asked(), ["watch"; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_probed_instead_of_listed() {
    let server = Server::at(100);
    let _told = follow(&server).await;
    server.0.is_silent.store(true, Ordering::Relaxed);
    for _ in 0..30 {
        server.time_out().await;
        settle().await;
    }
    assert_eq!(server.asked(), ["watch", "newest"].repeat(30));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_unavailable_is_listed_again() {
    // However recent the last list is.
    for (is_refused, since) in [(false, 60), (true, 60), (false, 1), (true, 1)] {
        let server = Server::at(100);
        let mut told = follow(&server).await;
        advance(since * SECOND).await;
        // It has passed the last version seen, in another history.
        server.0.version.store(101, Ordering::Relaxed);
        server.0.is_refused.store(is_refused, Ordering::Relaxed);
        server.be_unavailable_for(5 * SECOND).await;
        server.0.is_refused.store(false, Ordering::Relaxed);
        assert_eq!(timeout(40 * SECOND, told.next()).await.unwrap().unwrap(), "101");
        let asked = server.asked();
        assert_eq!(asked.last(), Some(&"list"), "{asked:?}");
        assert!(!asked.contains(&"newest"), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_behind_is_listed_at_once() {
    for ends_at_timeout in [true, false] {
        let server = Server::at(100);
        let mut told = follow(&server).await;
        server.0.version.store(99, Ordering::Relaxed);
        if ends_at_timeout {
            server.0.is_silent.store(true, Ordering::Relaxed);
            server.time_out().await;
        } else {
            server.cut();
        }
        assert_eq!(timeout(3 * SECOND, told.next()).await.unwrap().unwrap(), "99");
        assert_eq!(server.asked(), ["watch", "newest", "list"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_cut_repeatedly_causes_few_lists() {
    let server = Server::at(100);
    let _told = follow(&server).await;
    for _ in 0..60 {
        advance(30 * SECOND).await;
        settle().await;
        server.cut();
        tokio::time::sleep(31 * SECOND).await;
    }
    let asked = server.asked();
    let lists = asked.iter().filter(|asked| **asked == "list").count();
    assert!((3..=7).contains(&lists), "{lists} lists in an hour: {asked:?}");
}

/// A watch may be cut just after a list, and then not again for a long time. The doubt must end earlier.
#[tokio::test(start_paused = true)]
async fn an_uncertainly_resumed_watch_is_listed_again_in_time() {
    let server = Server::at(100);
    let mut told = follow(&server).await;
    server.be_unavailable_for(5 * SECOND).await;
    server.0.version.store(101, Ordering::Relaxed);
    assert_eq!(timeout(60 * SECOND, told.next()).await.unwrap().unwrap(), "101");
    advance(SECOND).await;
    server.cut();
    server.0.version.store(102, Ordering::Relaxed);
    assert_eq!(timeout(RELIST_INTERVAL + 5 * SECOND, told.next()).await.unwrap().unwrap(), "102");
}

#[tokio::test(start_paused = true)]
async fn versions_that_are_not_numbers_are_not_compared() {
    assert!(is_behind(Some("9"), "10") && !is_behind(Some("10"), "9") && !is_behind(Some("10"), "10"));
    assert!(!is_behind(Some("a9"), "b10") && !is_behind(None, "10"));
}

#[tokio::test]
async fn a_refused_list_has_no_version_and_overload_is_a_failure() {
    let answer = |status: u16| Response::builder().status(status).body(Body::empty()).unwrap();
    assert_eq!(version_in(answer(403)).await.unwrap(), None);
    for status in [429, 500, 503] {
        assert!(version_in(answer(status)).await.is_err());
    }
}
