//! Whether this process leads, and so may write KeyPairs and their Secrets.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// A term of this process as leader.
#[derive(Debug, Default)]
struct Term {
    /// The number of the term: another replica may have led between two terms.
    number: u64,
    /// The end of the term; `None` if this process does not lead.
    until: Option<Instant>,
}

/// Checked before every write of the reconciler. Without the lead, the reconciler writes nothing, and no write waits for a response beyond
/// the term. Leader election and the webhook's certificate do not need the lead.
#[derive(Debug, Clone)]
pub struct Leadership(Option<watch::Receiver<Term>>);

/// The sending end, by which leader election sets the term.
#[derive(Debug)]
pub struct Terms(watch::Sender<Term>);

impl Leadership {
    /// For a process without leader election.
    #[must_use]
    pub fn always() -> Self {
        Self(None)
    }

    /// For a process with leader election.
    #[must_use]
    pub fn for_terms() -> (Self, Terms) {
        let (sender, receiver) = watch::channel(Term::default());
        (Self(Some(receiver)), Terms(sender))
    }

    /// The remaining time of the term, unless it is extended; `None` if this process does not lead.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let Some(term) = &self.0 else { return Some(Duration::MAX) };
        let remaining = term.borrow().until.map(|until| until.saturating_duration_since(Instant::now()));
        remaining.filter(|remaining| !remaining.is_zero())
    }

    /// Resolves as soon as this process leads.
    pub async fn wait_until_acquired(&self) {
        if let Some(mut term) = self.0.clone() {
            while self.remaining().is_none() {
                if term.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Resolves as soon as the term ends, even if another one has started by then.
    pub async fn wait_until_lost(&self) {
        let Some(mut term) = self.0.clone() else { return std::future::pending().await };
        let number = term.borrow().number;
        while let Some(remaining) = self.remaining()
            && term.borrow().number == number
        {
            tokio::select! {
                biased;
                () = tokio::time::sleep(remaining) => {}
                changed = term.changed() => if changed.is_err() {
                    tokio::time::sleep(remaining).await;
                },
            }
        }
    }
}

impl Terms {
    /// Sets the end of the term. This starts another term if the last one is over.
    pub fn extend_until(&self, until: Instant) {
        self.0.send_modify(|term| {
            if term.until.is_none_or(|until| until <= Instant::now()) {
                term.number += 1;
            }
            term.until = Some(until);
        });
    }

    /// Ends the term now.
    pub fn end(&self) {
        self.0.send_modify(|term| term.until = None);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_itself() {
        let (leadership, terms) = Leadership::for_terms();
        assert_eq!(leadership.remaining(), None);
        assert!(timeout(SECOND, leadership.wait_until_acquired()).await.is_err());
        terms.extend_until(Instant::now() + 2 * SECOND);
        timeout(SECOND / 2, leadership.wait_until_acquired()).await.unwrap();
        assert!(timeout(SECOND, leadership.wait_until_lost()).await.is_err());
        advance(SECOND * 3 / 2).await;
        assert_eq!(leadership.remaining(), None);
        timeout(SECOND / 2, leadership.wait_until_lost()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_can_be_extended_or_ended() {
        let (leadership, terms) = Leadership::for_terms();
        terms.extend_until(Instant::now() + SECOND);
        advance(SECOND / 2).await;
        terms.extend_until(Instant::now() + SECOND);
        advance(SECOND * 3 / 4).await;
        assert!(leadership.remaining().is_some());
        terms.end();
        assert_eq!(leadership.remaining(), None);
        timeout(SECOND, leadership.wait_until_lost()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_ended_unnoticed_is_lost() {
        let (leadership, terms) = Leadership::for_terms();
        for pause in [Duration::ZERO, 2 * SECOND] {
            terms.extend_until(Instant::now() + SECOND);
            let mut lost = poll(leadership.wait_until_lost());
            assert!(!lost());
            if pause.is_zero() {
                terms.end();
            }
            advance(pause).await;
            terms.extend_until(Instant::now() + SECOND);
            assert!(lost());
        }
    }

    /// Polls this future, and returns whether it is ready.
    fn poll(future: impl Future<Output = ()>) -> impl FnMut() -> bool {
        let mut future = Box::pin(future);
        move || futures::FutureExt::now_or_never(future.as_mut()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn without_leader_election_it_always_leads() {
        let leadership = Leadership::always();
        leadership.wait_until_acquired().await;
        assert_eq!(leadership.remaining(), Some(Duration::MAX));
        assert!(timeout(SECOND, leadership.wait_until_lost()).await.is_err());
    }
}
