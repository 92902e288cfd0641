//! The share of a server's thread that new connections get.
//!
//! Each connection is limited by itself, but hundreds of new ones can be ready at once, and a request on an established connection, such
//! as that of an API server, would wait until each of them had its turn. So the time that the server works for new connections is
//! limited. It is measured, because what costs time depends on the attack and on the machine.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;
use tokio::time::Instant;

use super::stream::Overhead;

/// How often the share is granted anew.
const PERIOD: Duration = Duration::from_millis(100);
/// How long the server works for new connections in each period before they have to wait.
const GRANTED: Duration = Duration::from_millis(50);

/// The share of all new connections of a server.
#[derive(Debug, Clone, Default)]
pub struct Share(Arc<Mutex<Option<Used>>>);

/// What is used of the share in the present period.
#[derive(Debug, Clone, Copy)]
struct Used {
    since: Instant,
    time: Duration,
}

impl Share {
    /// Until when no new connection may read; `None` if it may now.
    pub fn exhausted_until(&self) -> Option<Instant> {
        let used = self.0.lock().unwrap_or_else(PoisonError::into_inner).filter(|used| used.time >= GRANTED)?;
        let end = used.since + PERIOD;
        (end > Instant::now()).then_some(end)
    }

    /// Records that the server has worked for new connections from `begun` until now.
    fn spend(&self, begun: Instant) {
        let now = Instant::now();
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let present =
            used.filter(|used| now < used.since + PERIOD).unwrap_or(Used { since: begun, time: Duration::ZERO });
        *used = Some(Used { time: present.time + (now - begun), ..present });
    }
}

/// A part of the work for a connection, which counts as long as the connection is new.
#[derive(Debug)]
pub struct Counted<F> {
    work: Pin<Box<F>>,
    overhead: Arc<Overhead>,
}

impl<F> Counted<F> {
    pub fn new(work: F, overhead: Arc<Overhead>) -> Self {
        Self { work: Box::pin(work), overhead }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let begun = Instant::now();
        let result = self.work.as_mut().poll(context);
        if let Some(share) = self.overhead.share() {
            share.spend(begun);
        }
        result
    }
}

/// Runs the streams of a connection as [`Counted`] tasks.
#[derive(Debug, Clone)]
pub struct CountingExecutor(pub Arc<Overhead>);

impl<F> Executor<F> for CountingExecutor
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, work: F) {
        tokio::spawn(Counted::new(work, Arc::clone(&self.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn new_connections_wait_while_their_share_is_used_up() {
        let share = Share::default();
        let (one, other) = (Arc::new(Overhead::new(share.clone())), Arc::new(Overhead::new(share.clone())));
        let work = |overhead: &Arc<Overhead>| Counted::new(tokio::time::advance(GRANTED), Arc::clone(overhead));
        assert_eq!(share.exhausted_until(), None);
        let begun = Instant::now();
        work(&one).await;
        assert_eq!(other.share().unwrap().exhausted_until(), Some(begun + PERIOD));
        tokio::time::advance(PERIOD).await;
        assert_eq!(share.exhausted_until(), None);
        // An established connection neither waits nor uses the share.
        one.answered_request();
        assert!(one.share().is_none());
        work(&one).await;
        assert_eq!(share.exhausted_until(), None);
    }
}
