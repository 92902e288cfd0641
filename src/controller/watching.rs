//! How something is watched: how a watch begins, what is done when it breaks off, and how it is known to work.

use std::{
    borrow::Cow,
    fmt::{self, Debug},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::{Stream, StreamExt, stream};
use http::{Request, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::{
    Api, Client, Resource,
    client::Body,
    core::Status,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tower::service_fn;

use super::{
    answer::{Answer, in_brief},
    backoff::Backoff,
    metrics::Metrics,
};

/// How long a watch lasts before it is begun again.
pub const WATCH_SECONDS: u32 = 120;

/// How many objects a page of a list has, as long as they are of a usual size: what kube asks for.
const MAX_PAGE: u32 = 500;
/// How many it has at the least. Any one object fits into [`MAX_PAGE_BYTES`]: etcd stores 1.5 MiB, of which control characters make
/// several times as much JSON.
const MIN_PAGE: u32 = 1;
/// How much of one page of a list is read, in bytes.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// How everything is watched: begun again after a while, so that a connection that has silently died is noticed.
pub fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// The events of a watch that begins with a stream of what there is, or with a list from an API server that has no such stream
/// (those of Kubernetes 1.33, and before 1.32) or does not get to its end.
///
/// A stream because a page of a list is in memory whole, with all that is dropped of it, and what that takes is never given back; and
/// because each page costs the API server the more the more objects there are.
pub fn watched<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut is_whole = true;
    let streamed = watcher(api.clone(), config.clone().streaming_lists()).take_while(move |event| {
        let goes_on = match event {
            Ok(Event::Init) => std::mem::replace(&mut is_whole, false),
            Ok(Event::InitDone) => {
                is_whole = true;
                true
            }
            Err(error) => !calls_for_a_list(error),
            Ok(_) => true,
        };
        std::future::ready(goes_on)
    });
    patient(streamed.chain(watcher(api, config)))
}

/// The events of a watch, with a pause after each failure that grows until the watch brings something again.
///
/// Not kube's own back-off: that begins anew with each try to list, which the watch announces as an event.
fn patient<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Send,
{
    const WATCH: &str = "watch";
    let start = (Box::pin(events), Backoff::default(), None);
    stream::unfold(start, async |(mut events, backoff, pause)| {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let event = events.next().await?;
        let pause = match &event {
            Err(_) => Some(backoff.failed(WATCH)),
            Ok(Event::Init) => None,
            Ok(_) => {
                backoff.forget(WATCH);
                None
            }
        };
        Some((event, (events, backoff, pause)))
    })
}

/// The same client, which calls `heard` whenever it is let watch something.
///
/// A watch that goes on where it was broken off brings no event before something happens, which may be never: only the answer
/// to its request tells that it works again.
///
/// No page of a list is read beyond [`MAX_PAGE_BYTES`]: there may be hundreds of objects on it, each of the greatest size that
/// the API server stores. The list fails then, and pages of fewer objects are asked for from now on.
pub fn listening(client: &Client, heard: impl Fn() + Clone + Send + 'static) -> Client {
    let inner = client.clone();
    let page = Arc::new(AtomicU32::new(MAX_PAGE));
    let service = service_fn(move |mut request: Request<Body>| {
        let (inner, heard, page) = (inner.clone(), heard.clone(), Arc::clone(&page));
        let watches = has_word(request.uri(), "watch=true");
        let begins = has_word(request.uri(), "sendInitialEvents=true");
        let asked = if watches { without_resource_version(request.uri()) } else { with_limit(request.uri(), &page) };
        if let Some(uri) = asked {
            *request.uri_mut() = uri;
        }
        async move {
            let response = inner.send(request).await?;
            // That a stream of what there is begins tells nothing: it tells when it has come to its end.
            if watches && !begins && response.status().is_success() {
                heard();
            }
            // The events of a watch come one by one.
            let limit = if watches { usize::MAX } else { MAX_PAGE_BYTES };
            Ok::<_, kube::Error>(response.map(|body| {
                Limited::new(body, limit).map_err(move |error| {
                    if error.is::<LengthLimitError>() {
                        page.store((page.load(Ordering::Acquire) / 8).max(MIN_PAGE), Ordering::Release);
                        tracing::warn!("a list is larger than {MAX_PAGE_BYTES} bytes; listing in smaller pages");
                    }
                    error
                })
            }))
        }
    });
    Client::new(service, client.default_namespace())
}

/// The same request of a list, for no more objects than this at once.
fn with_limit(uri: &Uri, page: &AtomicU32) -> Option<Uri> {
    const LIMIT: &str = "limit=";
    let page = page.load(Ordering::Acquire);
    let words = uri.query()?.split('&').map(|word| {
        let fits = word.strip_prefix(LIMIT).and_then(|limit| limit.parse().ok()).is_none_or(|limit: u32| limit <= page);
        if fits { Cow::Borrowed(word) } else { Cow::Owned(format!("{LIMIT}{page}")) }
    });
    with_query(uri, words.collect::<Vec<_>>().join("&"))
}

fn with_query(uri: &Uri, query: impl fmt::Display) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(format!("{}?{query}", uri.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn has_word(uri: &Uri, word: &str) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|there| there == word))
}

/// What to ask for instead, if this asks for a stream of what there is.
///
/// The watcher of kube lets the API server answer with whatever its cache has, which may be old: where there are several API
/// servers, older than what another has told before. Who does not see a slot or a token that has been taken since would give it away
/// again. A request that names no version is answered with the newest state.
fn without_resource_version(uri: &Uri) -> Option<Uri> {
    const ANY_VERSION: &str = "resourceVersion=0";
    if !has_word(uri, "sendInitialEvents=true") {
        return None;
    }
    let words: Vec<&str> = uri.query()?.split('&').filter(|word| *word != ANY_VERSION).collect();
    with_query(uri, words.join("&"))
}

/// Whether this is a watch that the operator has no right to.
pub fn is_forbidden(error: &watcher::Error) -> bool {
    refusal(error).is_some_and(Status::is_forbidden)
}

/// Whether the API server has no stream of what there is, or one that is not up to date in time.
fn calls_for_a_list(error: &watcher::Error) -> bool {
    const TIMEOUT: u16 = 504;
    refusal(error).is_some_and(|status| status.is_invalid() || status.code == TIMEOUT)
}

/// What the API server answered.
fn refusal(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// What a watch failed with, without a word of the API server's.
pub fn in_brief_of_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => in_brief(error),
        watcher::Error::WatchError(status) => Answer::of(status).to_string(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Says that a watch failed; it is begun again after a pause.
pub fn log_failure<T>(what: &'static str, event: Result<T, watcher::Error>, metrics: &Metrics) -> Option<T> {
    metrics.watch(what, event.is_ok());
    event
        .inspect_err(|error| tracing::warn!(error = in_brief_of_watch(error), "cannot watch {what}; trying again"))
        .ok()
}

#[cfg(test)]
mod tests {
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

    /// What `watched` tells until everything is there, of an API server that answers this to a request for a stream; and what
    /// was asked for.
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
            async move {
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap())
            }
        });
        let client = listening(&Client::new(server, "default"), || ());
        let mut events = Box::pin(watched(Api::<ConfigMap>::default_namespaced(client), watch_config()));
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
    async fn begins_with_a_stream_of_the_newest() {
        let (told, asked) = begin(200, &format!("{ADDED}\n{}\n", END.replace('\n', ""))).await;
        assert_eq!(told, ["init", "streamed"]);
        let [query] = &asked[..] else { panic!("{asked:?}") };
        assert!(query.contains("sendInitialEvents=true") && query.contains("allowWatchBookmarks=true"), "{query}");
        assert!(query.contains("resourceVersionMatch=NotOlderThan"), "{query}");
        assert!(!query.contains("resourceVersion="), "an old state would do: {query}");
    }

    #[tokio::test]
    async fn lists_where_there_is_no_such_stream() {
        for (code, reason) in [(422, "Invalid"), (504, "Timeout")] {
            let refusal = json!({ "status": "Failure", "message": "no", "reason": reason, "code": code }).to_string();
            let (told, asked) = begin(code, &refusal).await;
            assert_eq!(told, ["init", "listed"], "{code}");
            assert_eq!(asked.len(), 2, "{code}: {asked:?}");
        }
    }

    #[tokio::test]
    async fn lists_when_a_stream_does_not_get_to_its_end() {
        let (told, asked) = begin(200, &format!("{ADDED}\n")).await;
        assert_eq!(told, ["init", "streamed", "init", "listed"]);
        assert_eq!(asked.len(), 3, "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let server = service_fn(move |request: Request<Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let limit = query.split('&').find_map(|word| word.strip_prefix("limit=")?.parse::<usize>().ok());
            log.lock().unwrap().extend(limit);
            let (status, body) = match limit {
                None => (422, json!({ "status": "Failure", "reason": "Invalid", "code": 422 }).to_string()),
                Some(limit) => {
                    let large =
                        json!({ "metadata": { "name": "large" }, "data": { "a": "x".repeat(limit * 100_000) } });
                    (200, json!({ "metadata": { "resourceVersion": "2" }, "items": [large] }).to_string())
                }
            };
            async move {
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::from(body.into_bytes())).unwrap())
            }
        });
        let client = listening(&Client::new(server, "default"), || ());
        let mut events = Box::pin(watched(Api::<ConfigMap>::default_namespaced(client), watch_config()));
        while !matches!(events.next().await.unwrap(), Ok(Event::InitDone)) {}
        assert_eq!(*asked.lock().unwrap(), [500, 62]);
    }
}
