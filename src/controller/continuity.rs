//! Whether a watch that begins again goes on in the history that it has seen.
//!
//! etcd may be put back to an older snapshot, and then gives the same resource versions once more, to other changes. An API server
//! takes a watch from a version that it has not reached yet, and shows nothing until that has passed; from one that it has passed
//! meanwhile, it shows what came after it, and nothing of what became undone before. Either way nobody is told.
//!
//! But nothing can be put back while an API server runs: its watches end, and for seconds nobody answers. So every end of a watch is
//! looked at, and what follows it:
//!
//! | the watch | before it goes on |
//! |---|---|
//! | ended when its time was over, and begins again at once | nothing: no request is made for this |
//! | the same, but it brought nothing for [`SILENCE`], not even a bookmark | the newest version is asked for: if it is behind, everything is listed anew |
//! | broke off, or ended early, and begins again at once | the same, and everything is listed anew once within [`PATIENCE`] in any case |
//! | could not be begun again for [`INTERRUPTION`] | everything is listed anew |
//!
//! Versions are compared as numbers, as all API servers count them and those since Kubernetes 1.35 promise. Where they are no
//! numbers, the comparison says nothing, and the rest holds.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use http::{HeaderValue, Request, Response, Uri, header::ACCEPT};
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper::body::{self, Bytes, Frame};
use kube::client::Body;
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::{sight::INTERRUPTION, watching::WATCH_SECONDS};

/// How often everything is listed anew at most because watches break off, which some load balancers let them do each minute.
const PATIENCE: Duration = Duration::from_secs(600);
/// How much earlier than asked for a watch may end without having been cut.
const EARLY: Duration = Duration::from_secs(5);
/// How long a watch may bring nothing. API servers say each minute how far they are, if they know that they are further: many hear
/// every few seconds from etcd, some only of changes.
const SILENCE: Duration = Duration::from_secs(90);
/// How much of an answer is read that tells the newest version: it has one object in it, without its content.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// Asks for the metadata of a list alone: the objects, Secrets among them, are of no interest.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
/// What an API server says when it cannot go on from a version, and what lets everything be listed anew.
const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"the history may be another one","reason":"Expired","code":410}}"#,
    "\n"
);

/// What one watch, of which all requests go through one client, knows of the history that it shows.
#[derive(Debug, Default)]
pub struct Continuity(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When everything was listed last.
    listed: Option<Instant>,
    /// Until when it was certain that the API server goes on in the same history.
    certain: Option<Instant>,
    /// Whether it has not answered since, or late.
    missed: bool,
    doubt: Doubt,
}

/// How doubtful it is that the history is still the same.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    #[default]
    None,
    /// Nothing was heard, as where nothing happens.
    Silent,
    /// Something broke off, but the API server has answered at once.
    BrokenOff,
    /// The API server was away.
    Interrupted,
}

impl Doubt {
    /// How old the last list is at least when everything is listed for this reason alone.
    const fn pause(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Silent => Some(Duration::MAX),
            Self::BrokenOff => Some(PATIENCE),
            // However new the last list is: what it showed may be undone. The pauses between lists that lead nowhere grow by themselves.
            Self::Interrupted => Some(Duration::ZERO),
        }
    }
}

/// What is to be done about a watch that begins again.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    GoOn,
    /// If the newest version is not behind.
    Compare,
    ListAnew,
}

impl Continuity {
    /// Notes that the API server did not answer, or refused.
    pub fn missed(&self) {
        self.lock().missed = true;
    }

    /// Notes that what is there is being told from the beginning.
    pub fn listing(&self) {
        let now = Instant::now();
        *self.lock() = State { listed: Some(now), certain: Some(now), missed: false, doubt: Doubt::None };
    }

    /// Whether a watch from `version`, which was asked for at `sent` and is answered, may go on. `ask` sends a request.
    ///
    /// # Errors
    ///
    /// If the API server does not say what the newest version is.
    pub async fn goes_on<F>(
        &self,
        version: &str,
        uri: &Uri,
        sent: Instant,
        ask: impl FnOnce(Request<Body>) -> F,
    ) -> Result<bool, kube::Error>
    where
        F: Future<Output = Result<Response<Body>, kube::Error>>,
    {
        match self.judge(sent) {
            Verdict::GoOn => return Ok(true),
            Verdict::ListAnew => {
                let path = uri.path();
                tracing::info!(path, "a watch was interrupted; listing anew, in case the API server was put back");
                return Ok(false);
            }
            Verdict::Compare => {}
        }
        let newest = ask(newest_request(uri)?).await.inspect_err(|_| self.missed())?;
        let newest = version_in(newest).await?;
        let is_behind = is_behind(newest.as_deref(), version);
        if is_behind {
            let path = uri.path();
            tracing::warn!(path, newest, seen = version, "the API server was put back to an older state; listing anew");
            return Ok(false);
        }
        let mut state = self.lock();
        if state.doubt == Doubt::Silent {
            state.doubt = Doubt::None;
        }
        Ok(true)
    }

    fn judge(&self, sent: Instant) -> Verdict {
        let now = Instant::now();
        let mut state = self.lock();
        let gap = state.certain.map_or(Duration::ZERO, |certain| now - certain);
        if gap > INTERRUPTION {
            // Without a request that went wrong it may be this process that took its time.
            let is_away = state.missed || now - sent > INTERRUPTION;
            state.doubt = state.doubt.max(if is_away { Doubt::Interrupted } else { Doubt::BrokenOff });
        }
        state.certain = Some(now);
        state.missed = false;
        let since = state.listed.map_or(Duration::MAX, |listed| now - listed);
        match state.doubt.pause() {
            None => Verdict::GoOn,
            Some(pause) if since >= pause => Verdict::ListAnew,
            Some(_) => Verdict::Compare,
        }
    }

    /// When a watch is to end that goes on in doubt, so that everything is listed anew.
    fn due(&self) -> Option<Instant> {
        let state = self.lock();
        state.listed?.checked_add(state.doubt.pause()?)
    }

    /// The same body of the answer to a request, whose end is looked at. `is_watch`: whether it is that of a watch, or of a list;
    /// `None`: the request was refused, and so it says nothing.
    pub fn follow<B>(
        self: &Arc<Self>,
        body: B,
        is_watch: Option<bool>,
    ) -> impl Stream<Item = Result<Frame<Bytes>, B::Error>> + Send + use<B>
    where
        B: body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Send,
    {
        let due = self.due().filter(|_| is_watch == Some(true));
        let end = is_watch.map(|is_watch| Ending {
            continuity: Arc::clone(self),
            begun: Instant::now(),
            is_watch,
            heard: None,
            doubt: Doubt::BrokenOff,
        });
        let frames = stream::unfold((BodyStream::new(body), end), async |(mut frames, mut end)| {
            let frame = frames.next().await;
            if let Some(end) = &mut end {
                match &frame {
                    Some(Ok(_)) => end.heard = Some(Instant::now()),
                    Some(Err(_)) => {}
                    None => end.in_order(),
                }
            }
            Some((frame?, (frames, end)))
        });
        frames.take_until(async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notes how the body of an answer ended.
#[derive(Debug)]
struct Ending {
    continuity: Arc<Continuity>,
    begun: Instant,
    is_watch: bool,
    /// When it brought something last.
    heard: Option<Instant>,
    /// What its end leaves in doubt, if it ends just now.
    doubt: Doubt,
}

impl Ending {
    /// It ended as the API server ends it.
    fn in_order(&mut self) {
        let is_cut = self.begun.elapsed() + EARLY < Duration::from_secs(WATCH_SECONDS.into());
        let is_heard = self.heard.is_some_and(|heard| heard.elapsed() < SILENCE);
        self.doubt = match self.is_watch {
            true if is_cut => Doubt::BrokenOff,
            true if !is_heard => Doubt::Silent,
            _ => Doubt::None,
        };
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.continuity.lock();
        // Which of several is over does not matter: a watch asks for one thing at a time.
        state.certain = state.certain.map(|_| Instant::now());
        state.doubt = state.doubt.max(self.doubt);
    }
}

/// An answer that lets everything be listed anew.
pub fn expired() -> Response<Body> {
    Response::new(Body::from(EXPIRED.as_bytes().to_vec()))
}

/// A request of as little as possible from where `watch` watches, whose answer says which version is the newest.
fn newest_request(watch: &Uri) -> Result<Request<Body>, kube::Error> {
    // Who may watch one object may not list others. By label a page of one may take a look at all.
    let only = watch.query().into_iter().flat_map(|query| query.split('&'));
    let only = only.filter(|word| word.starts_with("fieldSelector="));
    let query = only.fold("limit=1".to_owned(), |query, word| format!("{query}&{word}"));
    let request = Request::get(format!("{}?{query}", watch.path())).header(ACCEPT, METADATA_ONLY);
    request.body(Body::empty()).map_err(kube::Error::HttpError)
}

/// The version of a list; `None`: the list is refused.
async fn version_in(answer: Response<Body>) -> Result<Option<String>, kube::Error> {
    #[derive(Deserialize)]
    struct List {
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: Option<String>,
    }
    let status = answer.status();
    if status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS {
        return Err(kube::Error::Service(format!("the newest version is not told: {status}").into()));
    }
    if !status.is_success() {
        return Ok(None);
    }
    let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(kube::Error::Service)?;
    let list: List = serde_json::from_slice(&body.to_bytes()).map_err(kube::Error::SerdeError)?;
    Ok(list.metadata.resource_version)
}

/// Whether the API server has not reached what was seen. Where nothing can be said, it is not said.
fn is_behind(newest: Option<&str>, seen: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    matches!((newest.and_then(number), number(seen)), (Some(newest), Some(seen)) if newest < seen)
}

#[cfg(test)]
mod tests;
