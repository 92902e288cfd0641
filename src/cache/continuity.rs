//! Detects that a watch would resume in another history than the one it has seen.
//!
//! If etcd is restored from an older snapshot, it assigns the same resource versions again, to other changes. An API server accepts a
//! watch from a version that it has not reached yet, and sends nothing until it has. If it has passed that version in the meantime, it
//! sends only the later changes, and nothing about what the restore undid. The client sees no error in either case.
//!
//! But etcd cannot be restored under a running API server: its watches end, and for some seconds nothing answers. So the end of each
//! watch decides what happens before the next one resumes:
//!
//! | the watch | before it resumes |
//! |---|---|
//! | ended at its timeout, and restarts at once | nothing, not even a request |
//! | the same, but it received nothing for [`SILENCE`], not even a bookmark | read the newest version; list again if it is behind |
//! | was cut, or ended early, and restarts at once | the same, and list again within [`RELIST_INTERVAL`] in any case |
//! | could not be restarted for [`INTERRUPTION`] | list again |
//!
//! Versions are compared as numbers: all API servers count them, and since Kubernetes 1.35 they guarantee it. If a version is not a
//! number, the comparison detects nothing; the other rules still apply.

mod version;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use http::{Request, Response, Uri};
use http_body_util::BodyStream;
use hyper::body::{self, Bytes, Frame};
use kube::client::Body;
use tokio::time::{Instant, sleep_until};

use self::version::{is_behind, newest_request, version_in};
use super::{WATCH_SECONDS, watch_status::INTERRUPTION};

/// The shortest interval between lists that are made because watches are cut. Some load balancers cut them each minute.
const RELIST_INTERVAL: Duration = Duration::from_secs(600);
/// A watch that ends this much before its timeout counts as ended normally.
const TIMEOUT_TOLERANCE: Duration = Duration::from_secs(5);
/// How long a watch may be silent. API servers send a bookmark each minute if they know of a newer version. Many hear from etcd every
/// few seconds, some only of changes.
const SILENCE: Duration = Duration::from_secs(90);
/// The event with which an API server reports that it cannot resume from a version. It makes kube's watcher list again.
const EXPIRED: &str = concat!(
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
    r#""message":"the API server may have been restored to an older state","reason":"Expired","code":410}}"#,
    "\n"
);

/// What is known about the history that one watch shows. All requests of the watch go through one client.
#[derive(Debug, Default)]
pub struct Continuity(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The time of the last list.
    listed: Option<Instant>,
    /// The last time at which the history was known to be the same.
    certain: Option<Instant>,
    /// Whether a request has failed since.
    has_failed: bool,
    doubt: Doubt,
}

/// The reason to doubt that the history is still the same.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    #[default]
    None,
    /// The watch received nothing, which is normal where nothing changes.
    Silent,
    /// The watch was cut, but the API server answered at once.
    Cut,
    /// The API server was unavailable.
    Interrupted,
}

impl Doubt {
    /// The minimum age of the last list before this doubt alone causes another.
    const fn relist_after(self) -> Option<Duration> {
        match self {
            Self::None => None,
            Self::Silent => Some(Duration::MAX),
            Self::Cut => Some(RELIST_INTERVAL),
            // However recent the last list is: a restore may have undone what it showed. The back-off limits repeated lists.
            Self::Interrupted => Some(Duration::ZERO),
        }
    }
}

/// What to do when a watch restarts.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Resume,
    /// Resume unless the newest version is older than the last one seen.
    Compare,
    Relist,
}

impl Continuity {
    /// Records that a request failed.
    pub fn record_failure(&self) {
        self.lock().has_failed = true;
    }

    /// Records that a list begins, from the current state of the API server.
    pub fn record_list(&self) {
        let now = Instant::now();
        *self.lock() = State { listed: Some(now), certain: Some(now), has_failed: false, doubt: Doubt::None };
    }

    /// Whether a watch from `version`, whose request was sent at `sent` and succeeded, may resume. `request_newest` sends the
    /// request for the newest version.
    ///
    /// # Errors
    ///
    /// If the newest version cannot be read.
    pub async fn may_resume<F>(
        &self,
        version: &str,
        uri: &Uri,
        sent: Instant,
        request_newest: impl FnOnce(Request<Body>) -> F,
    ) -> Result<bool, kube::Error>
    where
        F: Future<Output = Result<Response<Body>, kube::Error>>,
    {
        match self.assess(sent) {
            Verdict::Resume => return Ok(true),
            Verdict::Relist => {
                let path = uri.path();
                tracing::info!(
                    path,
                    "a watch was interrupted; listing again, because the API server may have been restored"
                );
                return Ok(false);
            }
            Verdict::Compare => {}
        }
        let newest = request_newest(newest_request(uri)?).await.inspect_err(|_| self.record_failure())?;
        let newest = version_in(newest).await?;
        let is_behind = is_behind(newest.as_deref(), version);
        if is_behind {
            let path = uri.path();
            tracing::warn!(
                path,
                newest,
                seen = version,
                "the API server was restored to an older state; listing again"
            );
            return Ok(false);
        }
        let mut state = self.lock();
        if state.doubt == Doubt::Silent {
            state.doubt = Doubt::None;
        }
        Ok(true)
    }

    fn assess(&self, sent: Instant) -> Verdict {
        let now = Instant::now();
        let mut state = self.lock();
        let gap = state.certain.map_or(Duration::ZERO, |certain| now - certain);
        if gap > INTERRUPTION {
            // If no request failed, this process may have been slow.
            let was_unavailable = state.has_failed || now - sent > INTERRUPTION;
            state.doubt = state.doubt.max(if was_unavailable { Doubt::Interrupted } else { Doubt::Cut });
        }
        state.certain = Some(now);
        state.has_failed = false;
        let list_age = state.listed.map_or(Duration::MAX, |listed| now - listed);
        match state.doubt.relist_after() {
            None => Verdict::Resume,
            Some(min_age) if list_age >= min_age => Verdict::Relist,
            Some(_) => Verdict::Compare,
        }
    }

    /// When to end a watch that resumed in doubt, so that the next one lists again.
    fn relist_at(&self) -> Option<Instant> {
        let state = self.lock();
        state.listed?.checked_add(state.doubt.relist_after()?)
    }

    /// Passes on the body of a response and records how it ends. `is_watch` tells a watch from a list; `None` if the request was
    /// refused, whose end proves nothing.
    pub fn follow<B>(
        self: &Arc<Self>,
        body: B,
        is_watch: Option<bool>,
    ) -> impl Stream<Item = Result<Frame<Bytes>, B::Error>> + Send + use<B>
    where
        B: body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Send,
    {
        let relist_at = self.relist_at().filter(|_| is_watch == Some(true));
        let end = is_watch.map(|is_watch| BodyEnd {
            continuity: Arc::clone(self),
            started: Instant::now(),
            is_watch,
            last_frame: None,
            doubt: Doubt::Cut,
        });
        let frames = stream::unfold((BodyStream::new(body), end), async |(mut frames, mut end)| {
            let frame = frames.next().await;
            if let Some(end) = &mut end {
                match &frame {
                    Some(Ok(_)) => end.last_frame = Some(Instant::now()),
                    Some(Err(_)) => {}
                    None => end.record_complete(),
                }
            }
            Some((frame?, (frames, end)))
        });
        frames.take_until(async move {
            match relist_at {
                Some(time) => sleep_until(time).await,
                None => std::future::pending().await,
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records how the body of a response ended, when it is dropped.
#[derive(Debug)]
struct BodyEnd {
    continuity: Arc<Continuity>,
    started: Instant,
    is_watch: bool,
    last_frame: Option<Instant>,
    /// The doubt that remains if the body ends now.
    doubt: Doubt,
}

impl BodyEnd {
    /// The API server completed the body.
    fn record_complete(&mut self) {
        let is_early = self.started.elapsed() + TIMEOUT_TOLERANCE < Duration::from_secs(WATCH_SECONDS.into());
        let is_silent = self.last_frame.is_none_or(|frame| frame.elapsed() >= SILENCE);
        self.doubt = match self.is_watch {
            true if is_early => Doubt::Cut,
            true if is_silent => Doubt::Silent,
            _ => Doubt::None,
        };
    }
}

impl Drop for BodyEnd {
    fn drop(&mut self) {
        let mut state = self.continuity.lock();
        // A watch sends one request at a time, so there is only one body.
        state.certain = state.certain.map(|_| Instant::now());
        state.doubt = state.doubt.max(self.doubt);
    }
}

/// A response that makes kube's watcher list again.
pub fn expired() -> Response<Body> {
    Response::new(Body::from(EXPIRED.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests;
