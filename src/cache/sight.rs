//! Whether a watch is current.
//!
//! While the watch of the `KeyPair`s is not, the operator decides nothing and drops running reconciliations. When the API server returns,
//! it may have been restored to an older state, and would accept a write that was decided on a newer one. The watch detects that and
//! lists again.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a watch may be lost before it counts as interrupted. Most restart faster, and stopping an API server, replacing the data of
/// etcd and starting both takes longer.
pub const INTERRUPTION: Duration = Duration::from_secs(2);

/// Since when the watch is lost; `None` if it is current.
#[derive(Debug)]
pub struct Sight(watch::Sender<Option<Instant>>);

impl Default for Sight {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Sight {
    /// Sets whether the watch is current.
    pub fn note(&self, is_current: bool) {
        self.0.send_if_modified(|lost| {
            let before = *lost;
            *lost = if is_current { None } else { Some(lost.unwrap_or_else(Instant::now)) };
            *lost != before
        });
    }

    /// Whether the watch has been lost for longer than `time`.
    pub fn is_lost_for(&self, time: Duration) -> bool {
        self.0.borrow().is_some_and(|since| since.elapsed() > time)
    }

    /// Resolves when the watch has been lost for [`INTERRUPTION`].
    pub async fn until_lost(&self) {
        let mut lost = self.0.subscribe();
        loop {
            let since = *lost.borrow_and_update();
            let interrupted = async {
                match since {
                    Some(since) => sleep_until(since + INTERRUPTION).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = lost.changed() => {}
                () = interrupted => return,
            }
        }
    }

    /// Resolves when the watch is not interrupted.
    pub async fn until_there(&self) {
        let is_usable = |lost: &Option<Instant>| lost.is_none_or(|since| since.elapsed() < INTERRUPTION);
        // It cannot fail: `self` owns the sender.
        self.0.subscribe().wait_for(is_usable).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_is_lost_after_a_while_and_current_at_once() {
        let sight = Sight::default();
        timeout(SECOND, sight.until_there()).await.unwrap();
        assert!(timeout(10 * SECOND, sight.until_lost()).await.is_err());
        sight.note(false);
        timeout(SECOND, sight.until_there()).await.unwrap();
        assert!(timeout(SECOND, sight.until_lost()).await.is_err());
        // A second failure does not restart the time.
        sight.note(false);
        timeout(SECOND * 3 / 2, sight.until_lost()).await.unwrap();
        assert!(timeout(10 * SECOND, sight.until_there()).await.is_err());
        sight.note(true);
        timeout(SECOND, sight.until_there()).await.unwrap();
        assert!(timeout(10 * SECOND, sight.until_lost()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_notices_each_change() {
        let sight = Sight::default();
        let change = async {
            sight.note(false);
            tokio::time::sleep(SECOND).await;
            sight.note(true);
            tokio::time::sleep(SECOND).await;
            sight.note(false);
        };
        let started = Instant::now();
        tokio::join!(change, sight.until_lost());
        assert_eq!(started.elapsed().as_secs(), 4);
    }
}
