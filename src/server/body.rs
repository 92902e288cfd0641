//! Reads the bodies of requests, with limits on size, time and memory.

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

/// How many bytes of bodies a connection can buffer outside of the pool, before its first answer and after.
const NEW_SHARE: usize = 32 * 1024;
const ESTABLISHED_SHARE: usize = 128 * 1024;

/// Reads the bodies of one connection; an extension of every request.
#[derive(Debug, Clone)]
pub struct BodyReader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Arc<Connection>,
    overhead: Arc<Overhead>,
    pool: Arc<Pool>,
    /// How many bytes the connection buffers outside of the pool.
    used: AtomicUsize,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// The body exceeds the maximum size.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The pool is full, or the buffer was evicted for another body.
    NoCapacity,
    /// The connection failed before the end of the body.
    Incomplete,
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
            Self::NoCapacity => (StatusCode::SERVICE_UNAVAILABLE, "the server has no memory for the body: try again\n"),
            Self::Incomplete => (StatusCode::BAD_REQUEST, "the body is incomplete\n"),
        };
        (status, text).into_response()
    }
}

impl BodyReader {
    pub(super) fn new(connection: Arc<Connection>, overhead: Arc<Overhead>, pool: Arc<Pool>) -> Self {
        Self(Arc::new(Inner { connection, overhead, pool, used: AtomicUsize::new(0) }))
    }

    /// Reads a body of at most `max_bytes` within `time_limit`.
    ///
    /// # Errors
    ///
    /// If the body is too large, too slow or incomplete, or there is no memory for it.
    pub async fn read(&self, body: Body, max_bytes: usize, time_limit: Duration) -> Result<Received, BodyError> {
        // The declared size is enough to refuse the body, but memory is never reserved for it.
        if body.size_hint().lower() > u64::try_from(max_bytes).unwrap_or(u64::MAX) {
            return Err(BodyError::TooLarge);
        }
        let read = tokio::time::timeout(time_limit, self.read_all(body, max_bytes)).await;
        let received = read.unwrap_or(Err(BodyError::TooSlow))?;
        self.0.connection.received();
        Ok(received)
    }

    async fn read_all(&self, body: Body, max_bytes: usize) -> Result<Received, BodyError> {
        let mut chunks = body.into_data_stream();
        let mut buffer = Buffer { reader: &self.0, storage: Storage::Connection(Vec::new()) };
        let mut length = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| BodyError::Incomplete)?;
            self.0.overhead.read_body(chunk.len());
            length += chunk.len();
            if length > max_bytes {
                return Err(BodyError::TooLarge);
            }
            buffer.extend(&chunk)?;
        }
        buffer.complete()
    }
}

impl Inner {
    fn try_reserve(&self, more: usize) -> bool {
        let share = if self.connection.is_established() { ESTABLISHED_SHARE } else { NEW_SHARE };
        let add = |used: usize| used.checked_add(more).filter(|sum| *sum <= share);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }
}

/// The buffer of a body that is being read.
struct Buffer<'a> {
    reader: &'a Arc<Inner>,
    storage: Storage,
}

enum Storage {
    /// In the share of the connection.
    Connection(Vec<u8>),
    /// In the pool, under this identifier.
    Pool(u64),
}

impl Buffer<'_> {
    fn extend(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let pool = &self.reader.pool;
        let id = match &mut self.storage {
            Storage::Pool(id) => *id,
            Storage::Connection(body) => {
                let more = growth(body, bytes.len());
                if self.reader.try_reserve(more) {
                    body.reserve_exact(body.capacity() - body.len() + more);
                    body.extend_from_slice(bytes);
                    return Ok(());
                }
                let (id, body) = (pool.begin(), std::mem::take(body));
                let moved = pool.extend(id, &body);
                self.reader.used.fetch_sub(body.capacity(), Ordering::Relaxed);
                self.storage = Storage::Pool(id);
                if !moved {
                    return Err(BodyError::NoCapacity);
                }
                id
            }
        };
        if pool.extend(id, bytes) { Ok(()) } else { Err(BodyError::NoCapacity) }
    }

    fn complete(mut self) -> Result<Received, BodyError> {
        let pool = &self.reader.pool;
        // The reservation passes to the returned body, so dropping this buffer must not release it.
        match std::mem::replace(&mut self.storage, Storage::Connection(Vec::new())) {
            Storage::Connection(bytes) => {
                let reservation = Reservation::Connection(Arc::clone(self.reader), bytes.capacity());
                Ok(Received { bytes, _reservation: reservation })
            }
            Storage::Pool(id) => {
                let bytes = pool.take(id).ok_or(BodyError::NoCapacity)?;
                let reservation = Reservation::Pool(Arc::clone(pool), bytes.capacity());
                Ok(Received { bytes, _reservation: reservation })
            }
        }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        match &self.storage {
            Storage::Connection(body) => drop(self.reader.used.fetch_sub(body.capacity(), Ordering::Relaxed)),
            Storage::Pool(id) => self.reader.pool.discard(*id),
        }
    }
}

/// A complete body.
pub struct Received {
    bytes: Vec<u8>,
    /// The last field, so that the bytes are dropped before their memory is released.
    _reservation: Reservation,
}

enum Reservation {
    Connection(Arc<Inner>, usize),
    Pool(Arc<Pool>, usize),
}

impl Drop for Reservation {
    fn drop(&mut self) {
        match self {
            Self::Connection(reader, capacity) => drop(reader.used.fetch_sub(*capacity, Ordering::Relaxed)),
            Self::Pool(pool, capacity) => pool.release(*capacity),
        }
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Omits the bytes, which can contain a private key.
impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Received").field("length", &self.bytes.len()).finish_non_exhaustive()
    }
}
