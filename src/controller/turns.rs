//! Turns at something of which there is only so much, fair between namespaces.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::rounds::Rounds;

/// Hands out a limited number of turns. Namespaces that wait for some have one each before any of them has another, so that
/// thousands of requests in one hold up nobody else.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// Who waits.
    waiting: Rounds<oneshot::Sender<Turn>>,
}

/// A turn, which is over when this is dropped.
#[derive(Debug)]
pub struct Turn(Turns);

impl Turns {
    /// So many turns at once.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: count, waiting: Rounds::default() })))
    }

    /// Waits for a turn of this namespace. Whoever waits no more has no turn.
    pub async fn take(&self, namespace: &str) -> Turn {
        let receiver = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Turn(self.clone());
            }
            state.wait(namespace)
        };
        // The sender is in the queue for as long as there is one.
        match receiver.await {
            Ok(turn) => turn,
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wait(&mut self, namespace: &str) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push(namespace, sender);
        receiver
    }

    /// Whose turn it is next, those who have given up aside.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.waiting.pop(|sender| !sender.is_closed())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.lock();
            let next = state.next();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some(next) = next {
            // Where they have just given up, the turn comes back, is dropped and so goes to the one after.
            drop(next.send(Self(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    /// Lets the namespaces ask in this order while the only turn is taken, and says in which they have it.
    fn order(asking: &[&'static str]) -> Vec<&'static str> {
        let turns = Turns::new(1);
        let first = turns.take("first").now_or_never().unwrap();
        let mut waiting: Vec<_> =
            asking.iter().map(|namespace| (*namespace, Box::pin(turns.take(namespace)))).collect();
        for (_, turn) in &mut waiting {
            assert!(turn.now_or_never().is_none());
        }
        drop(first);
        let mut had = Vec::new();
        while !waiting.is_empty() {
            let turn = waiting.iter_mut().enumerate().find_map(|(at, (_, turn))| Some((at, turn.now_or_never()?)));
            let (at, turn) = turn.unwrap();
            had.push(waiting.remove(at).0);
            drop(turn);
        }
        assert_eq!(turns.lock().free, 1);
        had
    }

    #[test]
    fn a_namespace_that_asks_for_much_holds_up_nobody_else() {
        assert_eq!(order(&["a", "a", "a", "b", "c", "b"]), ["a", "b", "c", "a", "b", "a"]);
    }

    #[test]
    fn who_has_given_up_has_no_turn() {
        let turns = Turns::new(1);
        let first = turns.take("a").now_or_never().unwrap();
        let mut gone = Box::pin(turns.take("a"));
        let mut stays = Box::pin(turns.take("a"));
        assert!(gone.as_mut().now_or_never().is_none() && stays.as_mut().now_or_never().is_none());
        drop(gone);
        drop(first);
        drop(stays.now_or_never().unwrap());
        assert_eq!(turns.lock().free, 1);
    }

    #[test]
    fn a_turn_that_came_too_late_goes_on() {
        let turns = Turns::new(1);
        let first = turns.take("a").now_or_never().unwrap();
        let mut gone = Box::pin(turns.take("a"));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(first);
        assert!(turns.take("b").now_or_never().is_none(), "it is on its way to somebody");
        drop(gone);
        assert!(turns.take("b").now_or_never().is_some());
    }
}
