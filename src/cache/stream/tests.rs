//! Watches of API servers with and without streaming lists, and of servers that refuse.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::Response;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::json;

use super::*;

const ADDED: &str = r#"{"type":"ADDED","object":{"metadata":{"name":"streamed","resourceVersion":"1"}}}"#;
const END: &str = r#"{"type":"BOOKMARK","object":{"apiVersion":"v1","kind":"ConfigMap","metadata":{"resourceVersion":"1",
    "annotations":{"k8s.io/initial-events-end":"true"}}}}"#;

/// The events of the ConfigMaps of an API server.
fn events_of(server: &Client) -> impl Stream<Item = Result<Event<ConfigMap>, watcher::Error>> + Send + use<> {
    let client = on_watch_success(server, || ());
    watch_events(Api::default_namespaced(client), watch_config(), Randomness::of_this_process())
}

/// The events of `watched` until the list is complete, from an API server that answers a streaming list with `status` and `stream`; and
/// the queries of the requests.
async fn begin(status: u16, stream: &str) -> (Vec<String>, Vec<String>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, stream) = (Arc::clone(&asked), stream.to_owned());
    let server = service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let (status, body) = if query.contains("watch=true") {
            (status, stream.clone())
        } else {
            let listed = json!({ "metadata": { "name": "listed" } });
            (200, json!({ "metadata": { "resourceVersion": "2" }, "items": [listed] }).to_string())
        };
        log.lock().unwrap().push(query);
        async move { Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap()) }
    });
    let mut events = Box::pin(events_of(&Client::new(server, "default")));
    let mut told = Vec::new();
    loop {
        match events.next().await.unwrap().unwrap() {
            Event::Init => told.push("init".to_owned()),
            Event::InitApply(object) => told.push(object.name_any()),
            Event::InitDone => break,
            event => panic!("{event}"),
        }
    }
    let asked = asked.lock().unwrap().clone();
    (told, asked)
}

#[tokio::test]
async fn a_watch_begins_with_a_streaming_list() {
    let (told, asked) = begin(200, &format!("{ADDED}\n{}\n", END.replace('\n', ""))).await;
    assert_eq!(told, ["init", "streamed"]);
    let [query] = &asked[..] else { panic!("{asked:?}") };
    assert!(query.contains("sendInitialEvents=true") && query.contains("allowWatchBookmarks=true"), "{query}");
    assert!(query.contains("resourceVersionMatch=NotOlderThan"), "{query}");
    assert!(!query.contains("resourceVersion="), "an old state would do: {query}");
}

#[tokio::test]
async fn a_watch_lists_pages_without_streaming_lists() {
    for (code, reason) in [(422, "Invalid"), (504, "Timeout")] {
        let refusal = json!({ "status": "Failure", "message": "no", "reason": reason, "code": code }).to_string();
        let (told, asked) = begin(code, &refusal).await;
        assert_eq!(told, ["init", "listed"], "{code}");
        assert_eq!(asked.len(), 2, "{code}: {asked:?}");
    }
}

#[tokio::test]
async fn a_watch_lists_pages_after_an_incomplete_streaming_list() {
    let (told, asked) = begin(200, &format!("{ADDED}\n")).await;
    assert_eq!(told, ["init", "streamed", "init", "listed"]);
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn an_oversized_page_is_retried_with_smaller_pages() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let server = service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let limit = query.split('&').find_map(|word| word.strip_prefix("limit=")?.parse::<usize>().ok());
        log.lock().unwrap().extend(limit);
        let (status, body) = match limit {
            None => (422, json!({ "status": "Failure", "reason": "Invalid", "code": 422 }).to_string()),
            Some(limit) => {
                let large = json!({ "metadata": { "name": "large" }, "data": { "a": "x".repeat(limit * 100_000) } });
                (200, json!({ "metadata": { "resourceVersion": "2" }, "items": [large] }).to_string())
            }
        };
        async move { Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap()) }
    });
    let mut events = Box::pin(events_of(&Client::new(server, "default")));
    while !matches!(events.next().await.unwrap(), Ok(Event::InitDone)) {}
    assert_eq!(*asked.lock().unwrap(), [500, 62]);
}

/// How an API server reports that it refuses a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    Event,
    Response,
}

/// The watch requests of `watched`, by time, to an API server that lists and then answers each watch with this error.
async fn refused(code: u16, refusal: Refusal, time: Duration) -> Vec<(Duration, bool)> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, begun) = (Arc::clone(&asked), Instant::now());
    let server = service_fn(move |request: Request<Body>| {
        let initial = has_parameter(request.uri(), "sendInitialEvents=true");
        let status = json!({ "kind": "Status", "status": "Failure", "reason": "no", "message": "no", "code": code });
        let (answered, text) = if has_parameter(request.uri(), "watch=true") {
            log.lock().unwrap().push((begun.elapsed(), initial));
            match refusal {
                _ if initial => (200, format!("{ADDED}\n{}\n", END.replace('\n', ""))),
                Refusal::Event => (200, format!("{}\n", json!({ "type": "ERROR", "object": status }))),
                Refusal::Response => (code, status.to_string()),
            }
        } else {
            (200, json!({ "metadata": { "resourceVersion": "1" }, "items": [] }).to_string())
        };
        let response = Response::builder().status(answered).body(Body::from(text.into_bytes())).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let events = events_of(&Client::new(server, "default"));
    tokio::time::timeout(time, events.for_each(|_| std::future::ready(()))).await.unwrap_err();
    asked.lock().unwrap().clone()
}

/// Otherwise kube would repeat the same request for ever.
#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_resume_lists_again() {
    let events = [400, 403, 410, 500].map(|code| (code, Refusal::Event));
    let responses = [400, 410].map(|code| (code, Refusal::Response));
    for (code, refusal) in events.into_iter().chain(responses) {
        let asked = refused(code, refusal, Duration::from_secs(20)).await;
        let lists = asked.iter().filter(|(_, initial)| *initial).count();
        assert!(lists > 1, "{code} as {refusal:?}: {asked:?}");
    }
}

/// Each list succeeds, and no watch after it does.
#[tokio::test(start_paused = true)]
async fn repeated_lists_back_off() {
    for code in [410, 500] {
        let asked = refused(code, Refusal::Event, Duration::from_secs(600)).await;
        let lists = asked.iter().filter(|(_, initial)| *initial).count();
        assert!((2..=40).contains(&lists), "{code}: {lists} lists in ten minutes: {asked:?}");
    }
}
