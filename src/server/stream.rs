//! A stream that takes its turns, moves on or ends.

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

/// How many bytes are read before the other connections have their turn: some hundred frames of HTTP/2 at most.
const TURN: usize = 4 * 1024;
/// The same for what is written, of which each piece counts as much as `PIECE` at least: an answer costs more than its bytes.
const WRITE_TURN: usize = 64 * 1024;
const PIECE: usize = 16 * 1024;
/// How many bytes may come that are neither a body nor belong to a request that can be answered (pings, settings, resets, heads
/// without end) before each turn is followed by a pause.
const FREE_OVERHEAD: usize = 16 * 1024;
/// How many more they may be while a request is under way: what the windows of HTTP/2 let in, and heads beside it. A body is
/// known to be one only when it is read.
const FREE_WHILE_ASKED: usize = 96 * 1024;
const PAUSE: Duration = Duration::from_millis(100);
/// What of this a request is worth that can be answered.
const WORTH: usize = 16 * 1024;
/// How long a peer may leave what it is sent unread.
const STALL: Duration = Duration::from_secs(5);

/// How much has come over a connection that was of no use.
#[derive(Debug, Default)]
pub struct Overhead {
    bytes: AtomicUsize,
    /// Requests under way.
    requests: AtomicUsize,
}

/// A request under way.
#[derive(Debug)]
pub struct Asked(Arc<Overhead>);

impl Overhead {
    /// Notes that a request is under way, until what is returned is dropped.
    pub fn asked(self: &Arc<Self>) -> Asked {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Asked(Arc::clone(self))
    }

    /// Notes that so many bytes were part of a body.
    pub fn was_body(&self, bytes: usize) {
        // It never fails, for there is always a next value.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(bytes)));
    }

    /// Notes that a request could be answered.
    pub fn was_request(&self) {
        self.was_body(WORTH);
    }

    /// Notes that so many bytes came, and says whether that is too much.
    fn came(&self, bytes: usize) -> bool {
        let asked = self.requests.load(Ordering::Relaxed) > 0;
        let free = FREE_OVERHEAD + if asked { FREE_WHILE_ASKED } else { 0 };
        self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > free
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that lets others have their turn, however much is sent over it.
#[derive(Debug)]
pub struct FairStream<S> {
    inner: S,
    /// What is left of its turns.
    turn: usize,
    write_turn: usize,
    overhead: Arc<Overhead>,
    /// Until when nothing is read.
    pause: Option<Pin<Box<Sleep>>>,
    /// Until when what is sent must have been taken.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> FairStream<S> {
    pub fn new(inner: S, overhead: Arc<Overhead>) -> Self {
        Self { inner, turn: TURN, write_turn: WRITE_TURN, overhead, pause: None, stalled: None }
    }

    /// Gives up sending to whom takes nothing.
    fn unless_stalled<T>(&mut self, sent: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if sent.is_pending() {
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
            ready!(stalled.as_mut().poll(context));
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        self.stalled = None;
        sent
    }
}

/// Comes back when all others have had their turn.
fn let_others<T>(context: &mut Context<'_>) -> Poll<T> {
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
        if this.turn == 0 {
            this.turn = TURN;
            return let_others(context);
        }
        let mut piece = [0; TURN];
        let length = this.turn.min(buffer.remaining());
        let mut piece = ReadBuf::new(piece.get_mut(..length).unwrap_or_default());
        ready!(Pin::new(&mut this.inner).poll_read(context, &mut piece))?;
        let read = piece.filled().len();
        buffer.put_slice(piece.filled());
        this.turn -= read;
        if this.overhead.came(read) {
            this.pause = Some(Box::pin(sleep(PAUSE)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FairStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.write_turn == 0 {
            this.write_turn = WRITE_TURN;
            return let_others(context);
        }
        let bytes = bytes.get(..this.write_turn).unwrap_or(bytes);
        let sent = Pin::new(&mut this.inner).poll_write(context, bytes);
        let sent = ready!(this.unless_stalled(sent, context))?;
        this.write_turn = this.write_turn.saturating_sub(sent.max(PIECE));
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.inner).poll_flush(context);
        this.unless_stalled(sent, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let sent = Pin::new(&mut this.inner).poll_shutdown(context);
        this.unless_stalled(sent, context)
    }
}
