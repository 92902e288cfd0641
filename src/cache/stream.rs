//! Watch streams: how a watch starts, how it recovers from a failure, and how its success is detected.

mod query;

use std::{
    fmt::Debug,
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
use http::{Request, StatusCode};
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

use self::query::{has_parameter, has_parameter_named, resumed_from, with_limit, without_resource_version};
use super::WATCH_SECONDS;
use super::continuity::{Continuity, expired};
use crate::{
    client::{
        answer::{Answer, summarize},
        backoff::Backoff,
        randomness::Randomness,
    },
    observe::metrics::Metrics,
};

/// The read timeout of a client. A watch ends earlier, and any other request has been given up earlier.
pub const READ_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 15);

/// The number of objects on a page of a list, unless they are unusually large. It is kube's default.
const MAX_PAGE: u32 = 500;
/// The smallest page. Any single object fits into [`MAX_PAGE_BYTES`]: etcd stores at most 1.5 MiB, and JSON escapes make that several
/// times larger at most.
const MIN_PAGE: u32 = 1;
/// The size limit of a page in bytes.
const MAX_PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The configuration of all watches. The timeout makes a silently dead connection noticeable.
#[must_use]
pub fn watch_config() -> watcher::Config {
    watcher::Config::default().timeout(WATCH_SECONDS)
}

/// The events of a watch. It starts with a streaming list, or with a paged list if the API server has no streaming lists (Kubernetes 1.33,
/// and before 1.32) or does not complete one.
///
/// A streaming list is preferred because a page is held in memory as a whole, including the fields that are dropped, and that memory is
/// never returned; and because the cost of each page for the API server grows with the number of objects.
pub fn watch_events<K>(
    api: Api<K>,
    config: watcher::Config,
    jitter: Randomness,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = move |is_streaming: bool| {
        let config = if is_streaming { config.clone().streaming_lists() } else { config.clone() };
        watcher(api.clone(), config).boxed()
    };
    let first = Attempt { events: start(true), is_streaming: true, is_listed: true, refusals: 0 };
    with_backoff(
        stream::unfold((first, start), async |(mut attempt, start)| {
            loop {
                if attempt.refusals == MAX_REFUSALS {
                    attempt = Attempt { events: start(attempt.is_streaming), is_listed: true, refusals: 0, ..attempt };
                }
                let event = attempt.events.next().await?;
                if attempt.accept(&event) {
                    return Some((event, (attempt, start)));
                }
                attempt = Attempt { events: start(false), is_streaming: false, is_listed: true, refusals: 0 };
            }
        }),
        jitter,
    )
}

/// How often the API server may refuse to resume from a version before everything is listed again.
const MAX_REFUSALS: u8 = 2;

/// A watcher of kube.
struct Attempt<K> {
    events: BoxStream<'static, Result<Event<K>, watcher::Error>>,
    /// Whether it uses streaming lists.
    is_streaming: bool,
    /// Whether the last list was completed.
    is_listed: bool,
    /// The consecutive refusals to resume from a version. kube would repeat the same request for ever.
    refusals: u8,
}

impl<K> Attempt<K> {
    /// Takes note of an event. Returns false if a paged list has to replace this watcher.
    fn accept(&mut self, event: &Result<Event<K>, watcher::Error>) -> bool {
        match event {
            Ok(Event::Init) => return std::mem::replace(&mut self.is_listed, false) || !self.is_streaming,
            Ok(Event::InitDone) => (self.is_listed, self.refusals) = (true, 0),
            Ok(Event::Apply(_) | Event::Delete(_)) => self.refusals = 0,
            Err(error) if self.is_streaming && needs_list_fallback(error) => return false,
            Err(error) if refuses_version(error) => self.refusals += 1,
            Ok(Event::InitApply(_)) | Err(_) => {}
        }
        true
    }
}

/// The back-off restarts if the last failure is older than this.
const BACKOFF_RESET: Duration = Duration::from_secs(120);

/// Adds a pause after each failure of a watch. The pause grows until the watch delivers an event or a list is complete. The pause before
/// a list grows until the watch after it delivers an event.
///
/// kube's own back-off does not fit: it restarts with each attempt to list, because the watcher announces that with an event.
fn with_backoff<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    jitter: Randomness,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Send,
{
    const WATCH: &str = "watch";
    const LIST: &str = "list";
    let start = (Box::pin(events), Backoff::new(jitter), None, None);
    stream::unfold(start, async |(mut events, backoff, pause, mut last_failure)| {
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        let event = events.next().await?;
        if last_failure.is_some_and(|failure: Instant| failure.elapsed() > BACKOFF_RESET) {
            backoff.forget(WATCH);
            backoff.forget(LIST);
            last_failure = None;
        }
        let pause = match &event {
            Err(error) => {
                last_failure = Some(Instant::now());
                // A list is expensive, and its success does not prove that the watch after it works.
                Some(backoff.delay_after_failure(if causes_list(error) { LIST } else { WATCH }))
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
        Some((event, (events, backoff, pause, last_failure)))
    })
}

/// Wraps a client for one watch. The wrapper calls `on_success` whenever the watch resumes.
///
/// A watch that resumes delivers no event until something changes, which may be never. Only the response to its request shows that it
/// works again.
///
/// The wrapper also checks that the watch resumes in the history that it has seen: [`continuity`](crate::cache::continuity).
///
/// It reads no page of a list beyond [`MAX_PAGE_BYTES`]: hundreds of objects of the maximum size may be on it. Such a list fails, and all
/// later lists use smaller pages.
pub fn on_watch_success(client: &Client, on_success: impl Fn() + Clone + Send + 'static) -> Client {
    let inner = client.clone();
    let page = Arc::new(AtomicU32::new(MAX_PAGE));
    let continuity = Arc::<Continuity>::default();
    let service = service_fn(move |mut request: Request<Body>| {
        let (inner, on_success, page) = (inner.clone(), on_success.clone(), Arc::clone(&page));
        let continuity = Arc::clone(&continuity);
        let is_watch = has_parameter(request.uri(), "watch=true");
        let changed = if is_watch { without_resource_version(request.uri()) } else { with_limit(request.uri(), &page) };
        if let Some(uri) = changed {
            *request.uri_mut() = uri;
        }
        let (uri, sent) = (request.uri().clone(), Instant::now());
        let version = resumed_from(&uri);
        async move {
            let mut response = inner.send(request).await.inspect_err(|_| continuity.record_failure())?;
            let (mut succeeded, is_resumed) = (response.status().is_success(), version.is_some());
            if let Some(version) = version {
                // kube lists again only after an event with 410. After a response with 410 it would repeat the same request.
                let is_gone = response.status() == StatusCode::GONE;
                if is_gone
                    || succeeded && !continuity.may_resume(&version, &uri, sent, |request| inner.send(request)).await?
                {
                    succeeded = false;
                    response = expired();
                }
            } else if succeeded && !has_parameter_named(&uri, "continue") {
                continuity.record_list();
            }
            if !succeeded {
                continuity.record_failure();
            } else if is_resumed {
                on_success();
            }
            // The events of a watch are read one by one.
            let limit = if is_watch { usize::MAX } else { MAX_PAGE_BYTES };
            let path = uri.path().to_owned();
            Ok::<_, kube::Error>(response.map(|body| {
                let body = StreamBody::new(Box::pin(continuity.follow(body, succeeded.then_some(is_watch))));
                Limited::new(body, limit).map_err(move |error| {
                    if error.is::<LengthLimitError>() {
                        page.store((page.load(Ordering::Acquire) / 8).max(MIN_PAGE), Ordering::Release);
                        tracing::warn!(
                            path,
                            "a page of a list is larger than {MAX_PAGE_BYTES} bytes; retrying with smaller pages"
                        );
                    }
                    error
                })
            }))
        }
    });
    Client::new(service, client.default_namespace())
}

/// Whether RBAC forbids the watch.
pub fn is_forbidden(error: &watcher::Error) -> bool {
    refusal(error).is_some_and(Status::is_forbidden)
}

/// Whether the API server has no streaming lists, or its cache is not current in time.
fn needs_list_fallback(error: &watcher::Error) -> bool {
    const TIMEOUT: u16 = 504;
    refusal(error).is_some_and(|status| status.is_invalid() || status.code == TIMEOUT)
}

/// Whether the API server refuses to resume from a version, for another reason than its age.
fn refuses_version(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => !is_gone(status),
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 400 || status.is_invalid(),
        _ => false,
    }
}

/// Whether this failure causes a list, or may cause one.
fn causes_list(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(_)) || refuses_version(error)
}

fn is_gone(status: &Status) -> bool {
    status.code == StatusCode::GONE.as_u16()
}

/// The status with which the API server answered.
pub(super) fn refusal(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Describes the failure of a watch without any text from the API server.
pub fn summarize_watch_error(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => summarize(error),
        watcher::Error::WatchError(status) => Answer::of(status).to_string(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

/// Logs and counts the failure of a watch, which restarts after a pause.
pub fn log_failure<T>(resource: &'static str, event: Result<T, watcher::Error>, metrics: &Metrics) -> Option<T> {
    metrics.record_watch(resource, event.is_ok());
    event
        .inspect_err(|error| {
            tracing::warn!(error = summarize_watch_error(error), "cannot watch {resource}; trying again");
        })
        .ok()
}

#[cfg(test)]
mod tests;
