//! How the body of a request is read: what may come, in which time, and where it is kept meanwhile.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, HttpBody as _},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;

use super::{
    connections::Connection,
    pool::{Pool, growth},
    stream::Overhead,
};

/// How much of bodies a connection keeps by itself, before it has been answered and after.
const NEWCOMERS_SHARE: usize = 32 * 1024;
const REGULARS_SHARE: usize = 128 * 1024;

/// How a body is read from the connection it comes over; an extension of every request.
#[derive(Debug, Clone)]
pub struct Bodies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Arc<Connection>,
    overhead: Arc<Overhead>,
    pool: Arc<Pool>,
    /// How much this connection keeps by itself at present.
    used: AtomicUsize,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is greater than it may be.
    TooLarge,
    /// It did not come to its end in time.
    TooSlow,
    /// Others needed the room, or there is none.
    NoRoom,
    /// It broke off.
    Broken,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
            Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "there is no room for the body: try again\n"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body broke off\n"),
        };
        (status, text).into_response()
    }
}

impl Bodies {
    pub(super) fn new(connection: Arc<Connection>, overhead: Arc<Overhead>, pool: Arc<Pool>) -> Self {
        Self(Arc::new(Inner { connection, overhead, pool, used: AtomicUsize::new(0) }))
    }

    /// Reads a body of at most `most` bytes, for `time` at most.
    ///
    /// # Errors
    ///
    /// If it is larger, slower, or there is no room for it.
    pub async fn read(&self, body: Body, most: usize, time: Duration) -> Result<Received, Refused> {
        // What it says itself is enough to refuse it, and never to make room for it.
        if body.size_hint().lower() > u64::try_from(most).unwrap_or(u64::MAX) {
            return Err(Refused::TooLarge);
        }
        let read = tokio::time::timeout(time, self.read_all(body, most)).await;
        let received = read.unwrap_or(Err(Refused::TooSlow))?;
        self.0.connection.received();
        Ok(received)
    }

    async fn read_all(&self, body: Body, most: usize) -> Result<Received, Refused> {
        let mut chunks = body.into_data_stream();
        let mut buffer = Buffer { bodies: &self.0, place: Place::Share(Vec::new()) };
        let mut length = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| Refused::Broken)?;
            self.0.overhead.was_body(chunk.len());
            length += chunk.len();
            if length > most {
                return Err(Refused::TooLarge);
            }
            buffer.extend(&chunk)?;
        }
        buffer.complete()
    }
}

impl Inner {
    fn may_keep(&self, more: usize) -> bool {
        let share = if self.connection.is_known() { REGULARS_SHARE } else { NEWCOMERS_SHARE };
        let add = |used: usize| used.checked_add(more).filter(|sum| *sum <= share);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}

/// A body that comes.
struct Buffer<'a> {
    bodies: &'a Arc<Inner>,
    place: Place,
}

enum Place {
    /// In the share of its connection.
    Share(Vec<u8>),
    Pool(u64),
}

impl Buffer<'_> {
    fn extend(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let pool = &self.bodies.pool;
        let id = match &mut self.place {
            Place::Pool(id) => *id,
            Place::Share(body) => {
                let more = growth(body, bytes.len());
                if self.bodies.may_keep(more) {
                    body.reserve_exact(body.capacity() - body.len() + more);
                    body.extend_from_slice(bytes);
                    return Ok(());
                }
                let (id, body) = (pool.begin(), std::mem::take(body));
                let moved = pool.extend(id, &body);
                self.bodies.used.fetch_sub(body.capacity(), Ordering::Relaxed);
                self.place = Place::Pool(id);
                if !moved {
                    return Err(Refused::NoRoom);
                }
                id
            }
        };
        if pool.extend(id, bytes) { Ok(()) } else { Err(Refused::NoRoom) }
    }

    fn complete(mut self) -> Result<Received, Refused> {
        let pool = &self.bodies.pool;
        // It is not given back when this is dropped, but with what is returned.
        match std::mem::replace(&mut self.place, Place::Share(Vec::new())) {
            Place::Share(bytes) => {
                let room = Room::Share(Arc::clone(self.bodies), bytes.capacity());
                Ok(Received { bytes, _room: room })
            }
            Place::Pool(id) => {
                let bytes = pool.take(id).ok_or(Refused::NoRoom)?;
                let room = Room::Pool(Arc::clone(pool), bytes.capacity());
                Ok(Received { bytes, _room: room })
            }
        }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        match &self.place {
            Place::Share(body) => drop(self.bodies.used.fetch_sub(body.capacity(), Ordering::Relaxed)),
            Place::Pool(id) => self.bodies.pool.forget(*id),
        }
    }
}

/// A whole body.
pub struct Received {
    bytes: Vec<u8>,
    /// After the bytes: it is free when they are.
    _room: Room,
}

enum Room {
    Share(Arc<Inner>, usize),
    Pool(Arc<Pool>, usize),
}

impl Drop for Room {
    fn drop(&mut self) {
        match self {
            Self::Share(bodies, capacity) => drop(bodies.used.fetch_sub(*capacity, Ordering::Relaxed)),
            Self::Pool(pool, capacity) => pool.give_back(*capacity),
        }
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Without the bytes: there may be a private key among them.
impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Received").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}
