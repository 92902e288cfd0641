//! How something is watched: how a watch begins, what is done when it breaks off, and how it is known to work.

use std::{
    borrow::Cow,
    fmt::{self, Debug},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use kube::{
    Api, Client, Resource,
    client::Body,
    core::Status,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tower::service_fn;

use super::{
    answer::{Answer, in_brief},
    backoff::Backoff,
    continuity::{Continuity, expired},
    metrics::Metrics,
    randomness::Randomness,
};

/// How long a watch lasts before it is begun again.
pub const WATCH_SECONDS: u32 = 120;
/// How long a client waits for the next bytes of an answer: a watch ends before this, and whatever else is asked has been given up.
pub const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// How many objects a page of a list has, as long as they are of a usual size: what kube asks for.
const MAX_PAGE: u32 = 500;
/// How many it has at the least. Any one object fits into [`MAX_PAGE_BYTES`]: etcd stores 1.5 MiB, of which control characters make
/// several times as much JSON.
const MIN_PAGE: u32 = 1;
/// How much of one page of a list is read, in bytes.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// How everything is watched: begun again after a while, so that a connection that has silently died is noticed.
#[must_use]
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
    jitter: Randomness,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let begin = move |streams: bool| {
        let config = if streams { config.clone().streaming_lists() } else { config.clone() };
        watcher(api.clone(), config).boxed()
    };
    let start = Attempt { events: begin(true), streams: true, is_whole: true, refusals: 0 };
    patient(
        stream::unfold((start, begin), async |(mut attempt, begin)| {
            loop {
                if attempt.refusals == MAX_REFUSALS {
                    attempt = Attempt { events: begin(attempt.streams), is_whole: true, refusals: 0, ..attempt };
                }
                let event = attempt.events.next().await?;
                if attempt.goes_on(&event) {
                    return Some((event, (attempt, begin)));
                }
                attempt = Attempt { events: begin(false), streams: false, is_whole: true, refusals: 0 };
            }
        }),
        jitter,
    )
}

/// How often a watch from one version may be refused before everything is listed anew.
const MAX_REFUSALS: u8 = 2;

/// A watch of kube.
struct Attempt<K> {
    events: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    /// Whether it asks for a stream of what there is.
    streams: bool,
    /// Whether what there is has been told to the end.
    is_whole: bool,
    /// How often in succession it was refused to go on from where it was, for which kube would ask for ever.
    refusals: u8,
}

impl<K> Attempt<K> {
    /// Whether it is of use to go on after this event, or everything is to be listed instead.
    fn goes_on(&mut self, event: &Result<Event<K>, watcher::Error>) -> bool {
        match event {
            Ok(Event::Init) => return std::mem::replace(&mut self.is_whole, false) || !self.streams,
            Ok(Event::InitDone) => (self.is_whole, self.refusals) = (true, 0),
            Ok(Event::Apply(_) | Event::Delete(_)) => self.refusals = 0,
            Err(error) if self.streams && calls_for_a_list(error) => return false,
            Err(error) if refuses_version(error) => self.refusals += 1,
            Ok(Event::InitApply(_)) | Err(_) => {}
        }
        true
    }
}

/// A failure that is longer ago says nothing about the next.
const FORGIVEN_AFTER: Duration = Duration::from_secs(120);

/// The events of a watch, with a pause after each failure that grows until the watch brings something again, or everything has been
/// listed; that before a list grows until the watch after it brings something.
///
/// Not kube's own back-off: that begins anew with each try to list, which the watch announces as an event.
fn patient<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    jitter: Randomness,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Send,
{
    const WATCH: &str = "watch";
    const LIST: &str = "list";
    let start = (Box::pin(events), Backoff::new(jitter), None, None);
    stream::unfold(start, async |(mut events, backoff, pause, mut failed)| {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let event = events.next().await?;
        if failed.is_some_and(|failed: Instant| failed.elapsed() > FORGIVEN_AFTER) {
            backoff.forget(WATCH);
            backoff.forget(LIST);
            failed = None;
        }
        let pause = match &event {
            Err(error) => {
                failed = Some(Instant::now());
                // A list that succeeds does not show that the watch after it does, and costs much.
                Some(backoff.failed(if leads_to_a_list(error) { LIST } else { WATCH }))
            }
            Ok(Event::Init | Event::InitApply(_)) => None,
            Ok(Event::InitDone) => {
                backoff.forget(WATCH);
                None
            }
            Ok(Event::Apply(_) | Event::Delete(_)) => {
                backoff.forget(WATCH);
                backoff.forget(LIST);
                None
            }
        };
        Some((event, (events, backoff, pause, failed)))
    })
}

/// The same client for one watch, which calls `heard` whenever that goes on where it was broken off.
///
/// A watch that goes on where it was broken off brings no event before something happens, which may be never: only the answer
/// to its request tells that it works again.
///
/// Whether a watch goes on in the history that it has seen is looked at: [`continuity`](super::continuity).
///
/// No page of a list is read beyond [`MAX_PAGE_BYTES`]: there may be hundreds of objects on it, each of the greatest size that
/// the API server stores. The list fails then, and pages of fewer objects are asked for from now on.
pub fn listening(client: &Client, heard: impl Fn() + Clone + Send + 'static) -> Client {
    let inner = client.clone();
    let page = Arc::new(AtomicU32::new(MAX_PAGE));
    let continuity = Arc::<Continuity>::default();
    let service = service_fn(move |mut request: Request<Body>| {
        let (inner, heard, page) = (inner.clone(), heard.clone(), Arc::clone(&page));
        let continuity = Arc::clone(&continuity);
        let watches = has_word(request.uri(), "watch=true");
        let asked = if watches { without_resource_version(request.uri()) } else { with_limit(request.uri(), &page) };
        if let Some(uri) = asked {
            *request.uri_mut() = uri;
        }
        let (uri, sent) = (request.uri().clone(), Instant::now());
        let version = resumed_from(&uri);
        async move {
            let mut response = inner.send(request).await.inspect_err(|_| continuity.missed())?;
            let (mut works, goes_on) = (response.status().is_success(), version.is_some());
            if let Some(version) = version {
                // As an answer and not as an event, it would let kube ask for the same again and again.
                let is_gone = response.status() == StatusCode::GONE;
                if is_gone || works && !continuity.goes_on(&version, &uri, sent, |request| inner.send(request)).await? {
                    works = false;
                    response = expired();
                }
            } else if works && !has_parameter(&uri, "continue") {
                continuity.listing();
            }
            if !works {
                continuity.missed();
            } else if goes_on {
                heard();
            }
            // The events of a watch come one by one.
            let limit = if watches { usize::MAX } else { MAX_PAGE_BYTES };
            Ok::<_, kube::Error>(response.map(|body| {
                let body = StreamBody::new(Box::pin(continuity.follow(body, works.then_some(watches))));
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

/// The version from which a watch is to go on, if it is one that does.
fn resumed_from(uri: &Uri) -> Option<String> {
    if !has_word(uri, "watch=true") || has_word(uri, "sendInitialEvents=true") {
        return None;
    }
    uri.query()?.split('&').find_map(|word| word.strip_prefix("resourceVersion=")).map(str::to_owned)
}

fn has_parameter(uri: &Uri, name: &str) -> bool {
    let is_it = |word: &str| word.split_once('=').is_some_and(|(found, _)| found == name);
    uri.query().is_some_and(|query| query.split('&').any(is_it))
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

/// Whether it is refused to go on from a version, for another reason than that it is too old.
fn refuses_version(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => !is_gone(status),
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 400 || status.is_invalid(),
        _ => false,
    }
}

/// Whether everything is listed after this failure, or may be.
fn leads_to_a_list(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(_)) || refuses_version(error)
}

fn is_gone(status: &Status) -> bool {
    status.code == StatusCode::GONE.as_u16()
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
mod tests;
