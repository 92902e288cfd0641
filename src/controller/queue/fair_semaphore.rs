//! A semaphore that is fair between namespaces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::round_robin::RoundRobinQueue;

/// A limited number of permits. Waiting namespaces get one each before any of them gets another, so that thousands of requests in one
/// namespace do not delay the others.
#[derive(Debug, Clone)]
pub struct FairSemaphore(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    waiting: RoundRobinQueue<oneshot::Sender<Permit>>,
}

/// A permit, which is returned when it is dropped.
#[derive(Debug)]
pub struct Permit(FairSemaphore);

impl FairSemaphore {
    /// A semaphore with this number of permits.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, waiting: RoundRobinQueue::default() })))
    }

    /// Waits for a permit for this namespace. Dropping the future ends the waiting.
    pub async fn acquire(&self, namespace: &str) -> Permit {
        let receiver = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Permit(self.clone());
            }
            state.wait(namespace)
        };
        // The queue keeps the sender as long as the receiver exists.
        match receiver.await {
            Ok(permit) => permit,
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, namespace: &str) -> oneshot::Receiver<Permit> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push(namespace, sender);
        receiver
    }

    /// The next waiter that has not given up.
    fn next(&mut self) -> Option<oneshot::Sender<Permit>> {
        self.waiting.pop(|sender| !sender.is_closed())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.lock();
            let next = state.next();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // If the waiter has just given up, the permit comes back, and dropping it passes it on.
            drop(next.send(Self(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Lets the namespaces request in this order while the only permit is taken, and returns the order in which they get it.
    fn order(requests: &[&'static str]) -> Vec<&'static str> {
        let semaphore = FairSemaphore::new(1);
        let first = semaphore.acquire("first").now_or_never().unwrap();
        let mut waiting: Vec<_> =
            requests.iter().map(|namespace| (*namespace, Box::pin(semaphore.acquire(namespace)))).collect();
        for (_, permit) in &mut waiting {
            assert!(permit.now_or_never().is_none());
        }
        drop(first);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let ready = waiting.iter_mut().enumerate().find_map(|(at, (_, permit))| Some((at, permit.now_or_never()?)));
            let (at, permit) = ready.unwrap();
            order.push(waiting.remove(at).0);
            drop(permit);
        }
        assert_eq!(semaphore.lock().free, 1);
        order
    }

    #[test]
    fn a_namespace_with_many_requests_does_not_delay_others() {
        assert_eq!(order(&["a", "a", "a", "b", "c", "b"]), ["a", "b", "c", "a", "b", "a"]);
    }

    #[test]
    fn a_waiter_that_has_given_up_gets_no_permit() {
        let semaphore = FairSemaphore::new(1);
        let first = semaphore.acquire("a").now_or_never().unwrap();
        let mut gone = Box::pin(semaphore.acquire("a"));
        let mut stays = Box::pin(semaphore.acquire("a"));
        assert!(gone.as_mut().now_or_never().is_none() && stays.as_mut().now_or_never().is_none());
        drop(gone);
        drop(first);
        drop(stays.now_or_never().unwrap());
        assert_eq!(semaphore.lock().free, 1);
    }

    #[test]
    fn a_permit_that_came_too_late_is_passed_on() {
        let semaphore = FairSemaphore::new(1);
        let first = semaphore.acquire("a").now_or_never().unwrap();
        let mut gone = Box::pin(semaphore.acquire("a"));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(first);
        assert!(semaphore.acquire("b").now_or_never().is_none(), "it is on its way to another waiter");
        drop(gone);
        assert!(semaphore.acquire("b").now_or_never().is_some());
    }
}
