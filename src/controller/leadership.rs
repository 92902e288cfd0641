//! Whether this process may write, at this moment.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// For how long this process leads.
#[derive(Debug, Default)]
struct Term {
    /// Counts the terms: between two of them another may have led.
    number: u64,
    /// Until when; `None`: it does not lead.
    until: Option<Instant>,
}

/// Asked before every write. Who does not lead writes nothing, and nothing that is sent is waited for beyond the term.
#[derive(Debug, Clone)]
pub struct Leadership(Option<watch::Receiver<Term>>);

/// The other end, which says until when this process leads.
#[derive(Debug)]
pub struct Terms(watch::Sender<Term>);

impl Leadership {
    /// For a process that shares its work with no other.
    #[must_use]
    pub fn always() -> Self {
        Self(None)
    }

    /// For a process that leads only for terms.
    #[must_use]
    pub fn for_terms() -> (Self, Terms) {
        let (sender, receiver) = watch::channel(Term::default());
        (Self(Some(receiver)), Terms(sender))
    }

    /// For how long it leads from now on, if nothing else is heard; `None`: it does not.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let Some(term) = &self.0 else { return Some(Duration::MAX) };
        let remaining = term.borrow().until.map(|until| until.saturating_duration_since(Instant::now()));
        remaining.filter(|remaining| !remaining.is_zero())
    }

    /// Resolves as soon as it leads.
    pub async fn acquired(&self) {
        if let Some(mut term) = self.0.clone() {
            while self.remaining().is_none() {
                if term.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Resolves as soon as it leads no more, even if it leads again by then.
    pub async fn lost(&self) {
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
    /// Says until when this process leads. It is another term if the last one is over.
    pub fn leads_until(&self, until: Instant) {
        self.0.send_modify(|term| {
            if term.until.is_none_or(|until| until <= Instant::now()) {
                term.number += 1;
            }
            term.until = Some(until);
        });
    }

    /// Says that it does not lead, from now on.
    pub fn ended(&self) {
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
        assert!(timeout(SECOND, leadership.acquired()).await.is_err());
        terms.leads_until(Instant::now() + 2 * SECOND);
        timeout(SECOND / 2, leadership.acquired()).await.unwrap();
        assert!(timeout(SECOND, leadership.lost()).await.is_err());
        advance(SECOND * 3 / 2).await;
        assert_eq!(leadership.remaining(), None);
        timeout(SECOND / 2, leadership.lost()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_is_prolonged_or_ended() {
        let (leadership, terms) = Leadership::for_terms();
        terms.leads_until(Instant::now() + SECOND);
        advance(SECOND / 2).await;
        terms.leads_until(Instant::now() + SECOND);
        advance(SECOND * 3 / 4).await;
        assert!(leadership.remaining().is_some());
        terms.ended();
        assert_eq!(leadership.remaining(), None);
        timeout(SECOND, leadership.lost()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_term_that_ended_unnoticed_is_lost_all_the_same() {
        let (leadership, terms) = Leadership::for_terms();
        for pause in [Duration::ZERO, 2 * SECOND] {
            terms.leads_until(Instant::now() + SECOND);
            let mut lost = poll(leadership.lost());
            assert!(!lost());
            if pause.is_zero() {
                terms.ended();
            }
            advance(pause).await;
            terms.leads_until(Instant::now() + SECOND);
            assert!(lost());
        }
    }

    /// Polls this future, and says whether it is ready.
    fn poll(future: impl Future<Output = ()>) -> impl FnMut() -> bool {
        let mut future = Box::pin(future);
        move || futures::FutureExt::now_or_never(future.as_mut()).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_alone_always_leads() {
        let leadership = Leadership::always();
        leadership.acquired().await;
        assert_eq!(leadership.remaining(), Some(Duration::MAX));
        assert!(timeout(SECOND, leadership.lost()).await.is_err());
    }
}
