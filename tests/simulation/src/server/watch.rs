//! Watches: which events each one gets, and when.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{
    Server, object,
    representation::Representation,
    resource::Resource,
    selector::Selection,
    state::{Change, State},
    watches::Lag,
};

/// How often an idle watch gets a bookmark with the current version.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// How long a watch without a timeout lasts.
const USUAL_DURATION: Duration = Duration::from_secs(1800);

/// The server's state of an open watch.
pub(super) struct Watch {
    pub user: String,
    pub resource: &'static Resource,
    selection: Selection,
    representation: Representation,
    /// Events up to this version are not sent: the version where it started, or that of the last event sent.
    told: u64,
    /// Lines to send next, regardless of lag: the initial events.
    pub ready: VecDeque<Bytes>,
    pub pending: VecDeque<Arc<Change>>,
    pub lag: Lag,
    bookmarks: bool,
    next_bookmark: Instant,
    pub end: Instant,
    pub state: Health,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Open,
    /// Open, but nothing arrives any more, not even the end.
    Silent,
    /// The connection is broken.
    Cut,
    /// Ends after the lines that are ready.
    Ending,
}

/// How a watch begins.
pub(super) struct Beginning {
    pub selection: Selection,
    pub representation: Representation,
    /// The version after which it starts.
    pub from: u64,
    /// The initial lines.
    pub initial: Vec<Bytes>,
    pub bookmarks: bool,
    pub timeout: Option<Duration>,
    /// Whether it ends after the initial lines.
    pub ends: bool,
}

impl Watch {
    fn new(state: &State, user: &str, resource: &'static Resource, beginning: Beginning) -> Self {
        let Beginning { selection, representation, from, initial, bookmarks, timeout, ends } = beginning;
        let silent = state.watch_settings.is_silent(user, resource.plural);
        let now = Instant::now();
        let log = state.store.log.iter();
        let mut watch = Self {
            user: user.to_owned(),
            resource,
            selection,
            representation,
            told: from,
            ready: initial.into(),
            pending: VecDeque::new(),
            lag: state.watch_settings.lag(user, resource.plural),
            bookmarks,
            next_bookmark: now + BOOKMARK_INTERVAL,
            end: now + timeout.unwrap_or(USUAL_DURATION),
            state: match (silent, ends) {
                (true, _) => Health::Silent,
                (false, true) => Health::Ending,
                (false, false) => Health::Open,
            },
            waker: None,
        };
        log.for_each(|change| watch.push(change));
        watch
    }

    /// Queues a change if it concerns this watch.
    pub fn push(&mut self, change: &Arc<Change>) {
        if change.resource == self.resource.plural && change.version > self.told && self.state != Health::Ending {
            self.pending.push_back(Arc::clone(change));
            self.wake();
        }
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next line, if one is due; `version` is that of the store.
    fn next_line(&mut self, version: u64) -> Option<Bytes> {
        if let Some(line) = self.ready.pop_front() {
            return Some(line);
        }
        while self.is_due() {
            let change = self.pending.pop_front()?;
            self.told = self.told.max(change.version);
            if let Some(line) = self.event(&change) {
                return Some(line);
            }
        }
        let now = Instant::now();
        if now >= self.next_bookmark {
            self.next_bookmark = now + BOOKMARK_INTERVAL;
            // A watch that waits for a later version gets no bookmark before that.
            if self.bookmarks && version >= self.told && self.pending.is_empty() {
                return Some(bookmark(self.resource, self.representation, version, false));
            }
        }
        None
    }

    fn is_due(&self) -> bool {
        let Some(first) = self.pending.front() else { return false };
        match self.lag {
            Lag::None => true,
            Lag::Events(number) => self.pending.len() > number,
            Lag::Time(lag) => first.at + lag <= Instant::now(),
        }
    }

    /// When something is next due if nothing else happens.
    fn next_time(&self) -> Instant {
        let due = match (self.lag, self.pending.front()) {
            (Lag::Time(lag), Some(first)) => first.at + lag,
            _ => self.end,
        };
        due.min(self.next_bookmark).min(self.end)
    }

    /// A change as this watch sees it: an object that is no longer selected counts as deleted.
    fn event(&self, change: &Change) -> Option<Bytes> {
        let selected = |object: &Option<Arc<Value>>| {
            object.as_ref().filter(|object| self.selection.allows(object)).map(|object| Value::clone(object))
        };
        let (before, after) = (selected(&change.before), selected(&change.after));
        let (word, object) = match (before, after) {
            (None, None) => return None,
            (None, Some(after)) => ("ADDED", after),
            (Some(_), Some(after)) => ("MODIFIED", after),
            (Some(mut before), None) => {
                object::set_metadata(&mut before, "resourceVersion", json!(change.version.to_string()));
                ("DELETED", before)
            }
        };
        Some(line(word, &self.representation.of(self.resource, &object)))
    }
}

/// One line of a watch.
pub(super) fn line(word: &str, object: &Value) -> Bytes {
    let mut text = json!({ "type": word, "object": object }).to_string();
    text.push('\n');
    text.into()
}

/// The line of a bookmark, which reports the version that a watch has reached.
pub(super) fn bookmark(resource: &Resource, representation: Representation, version: u64, ends_initial: bool) -> Bytes {
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if ends_initial {
        object::set_entry(&mut metadata, &["annotations"], "k8s.io/initial-events-end", json!("true"));
    }
    let object = representation.bookmark(resource, &metadata);
    line("BOOKMARK", &object)
}

/// The body of a watch.
pub(super) struct Stream {
    server: Server,
    id: u64,
    sleep: Pin<Box<Sleep>>,
    is_over: bool,
}

impl Stream {
    pub fn begin(server: &Server, state: &mut State, user: &str, resource: &'static Resource, how: Beginning) -> Self {
        let id = state.next_watch;
        state.next_watch += 1;
        let watch = Watch::new(state, user, resource, how);
        let sleep = Box::pin(sleep_until(watch.next_time()));
        state.watches.insert(id, watch);
        Self { server: server.clone(), id, sleep, is_over: false }
    }

    /// The next line, the end, or a broken connection.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let next = self.server.with(|state| {
                let version = state.store.version;
                let watch = state.watches.get_mut(&self.id)?;
                if watch.state == Health::Cut {
                    return Some(Err(None));
                }
                watch.waker = Some(context.waker().clone());
                if watch.state == Health::Silent {
                    return Some(Err(Some(Instant::now() + USUAL_DURATION)));
                }
                let line = watch.next_line(version);
                if watch.resource.plural == "namespaces" && watch.ready.is_empty() && watch.state == Health::Open {
                    state.sightings.note(&watch.user, watch.told);
                }
                if let Some(line) = line {
                    return Some(Ok(line));
                }
                if watch.state == Health::Ending || Instant::now() >= watch.end {
                    return None;
                }
                Some(Err(Some(watch.next_time())))
            });
            match next {
                Some(Ok(line)) => return Poll::Ready(Some(Ok(line))),
                Some(Err(Some(time))) => {
                    self.sleep.as_mut().reset(time);
                    if self.sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
                Some(Err(None)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                None => self.is_over = true,
            }
        }
    }

    /// The lines that are due now.
    pub fn drain(&mut self) -> Vec<Bytes> {
        self.server.with(|state| {
            let version = state.store.version;
            let watch = state.watches.get_mut(&self.id);
            watch.map(|watch| std::iter::from_fn(|| watch.next_line(version)).collect()).unwrap_or_default()
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.server.with(|state| drop(state.watches.remove(&self.id)));
    }
}
