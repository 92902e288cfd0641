//! A stream that yields to other connections, slows down peers that send overhead, and ends if its peer does not read.

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How many bytes are read before the stream yields: at most some hundred HTTP/2 frames.
const READ_BUDGET: usize = 4 * 1024;
/// The same for writes. Each write counts as at least `MIN_WRITE_COST`, because a response costs more than its bytes.
const WRITE_BUDGET: usize = 64 * 1024;
const MIN_WRITE_COST: usize = 16 * 1024;
/// How many bytes of overhead (pings, settings, resets, endless heads) are free before each read is followed by a pause. Bodies and
/// answered requests are not overhead.
const FREE_OVERHEAD: usize = 16 * 1024;
/// How many more bytes are free while a request is in progress: the HTTP/2 windows and further heads. The bytes of a body count as
/// overhead until the body is read.
const FREE_IN_REQUEST: usize = 96 * 1024;
const PAUSE: Duration = Duration::from_millis(100);
/// How many bytes of overhead an answered request makes up for.
const REQUEST_CREDIT: usize = 16 * 1024;
/// How long a peer may leave a response unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The overhead that a connection has received.
#[derive(Debug, Default)]
pub struct Overhead {
    bytes: AtomicUsize,
    /// Requests in progress.
    requests: AtomicUsize,
}

/// A request in progress, until it is dropped.
#[derive(Debug)]
pub struct RequestGuard(Arc<Overhead>);

impl Overhead {
    /// Records a request in progress, until the guard is dropped.
    pub fn begin_request(self: &Arc<Self>) -> RequestGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        RequestGuard(Arc::clone(self))
    }

    /// Records that `bytes` were part of a body.
    pub fn read_body(&self, bytes: usize) {
        // Never fails, because the closure always returns a value.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(bytes)));
    }

    /// Records that a valid request was answered.
    pub fn answered_request(&self) {
        self.read_body(REQUEST_CREDIT);
    }

    /// Records that `bytes` were received, and returns whether the overhead exceeds what is free.
    fn received(&self, bytes: usize) -> bool {
        let in_request = self.requests.load(Ordering::Relaxed) > 0;
        let free = FREE_OVERHEAD + if in_request { FREE_IN_REQUEST } else { 0 };
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > free
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that yields to other connections, however much data arrives.
#[derive(Debug)]
pub struct FairStream<S> {
    inner: S,
    /// How many bytes can be read and written before the stream yields.
    read_budget: usize,
    write_budget: usize,
    overhead: Arc<Overhead>,
    /// The pause until the next read.
    pause: Option<Pin<Box<Sleep>>>,
    /// The timeout of a pending write.
    write_timeout: Option<Pin<Box<Sleep>>>,
}

impl<S> FairStream<S> {
    pub fn new(inner: S, overhead: Arc<Overhead>) -> Self {
        Self { inner, read_budget: READ_BUDGET, write_budget: WRITE_BUDGET, overhead, pause: None, write_timeout: None }
    }

    /// Fails a write that is pending for too long.
    fn with_timeout<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let write_timeout = self.write_timeout.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
            ready!(write_timeout.as_mut().poll(context));
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        self.write_timeout = None;
        written
    }
}

/// Yields to the other tasks.
fn yield_to_others<T>(context: &mut Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

impl<S: AsyncRead + Unpin> AsyncRead for FairStream<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(context));
            this.pause = None;
        }
        if this.read_budget == 0 {
            this.read_budget = READ_BUDGET;
            return yield_to_others(context);
        }
        let mut piece = [0; READ_BUDGET];
        let length = this.read_budget.min(buffer.remaining());
        let mut piece = ReadBuf::new(piece.get_mut(..length).unwrap_or_default());
        ready!(Pin::new(&mut this.inner).poll_read(context, &mut piece))?;
        let read = piece.filled().len();
        buffer.put_slice(piece.filled());
        this.read_budget -= read;
        if this.overhead.received(read) {
            this.pause = Some(Box::pin(sleep(PAUSE)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FairStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.write_budget == 0 {
            this.write_budget = WRITE_BUDGET;
            return yield_to_others(context);
        }
        let bytes = bytes.get(..this.write_budget).unwrap_or(bytes);
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        let written = ready!(this.with_timeout(written, context))?;
        this.write_budget = this.write_budget.saturating_sub(written.max(MIN_WRITE_COST));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_flush(context);
        this.with_timeout(written, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_shutdown(context);
        this.with_timeout(written, context)
    }
}
