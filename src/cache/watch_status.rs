//! Whether a watch is current, or interrupted.
//!
//! A watch is current until it fails, and again when it resumes. It is *interrupted* when it has not been current for [`INTERRUPTION`].
//! A cache is *outdated* when one of its watches has not been current for a minute.
//!
//! While the watch of the `KeyPair`s is interrupted, the operator decides nothing and drops running reconciliations. When the API server
//! returns, it may have been restored to an older state, and would accept a write that was decided on a newer one. The watch detects
//! that and lists again.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a watch may fail before it counts as interrupted. Most restart faster, and stopping an API server, replacing the data of
/// etcd and starting both takes longer.
pub const INTERRUPTION: Duration = Duration::from_secs(2);

/// Since when the watch fails; `None` if it is current.
#[derive(Debug)]
pub struct WatchStatus(watch::Sender<Option<Instant>>);

impl Default for WatchStatus {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl WatchStatus {
    /// Sets whether the watch is current.
    pub fn set_current(&self, is_current: bool) {
        self.0.send_if_modified(|failing_since| {
            let before = *failing_since;
            *failing_since = if is_current { None } else { Some(failing_since.unwrap_or_else(Instant::now)) };
            *failing_since != before
        });
    }

    /// Whether the watch has not been current for longer than `time`.
    pub fn is_failing_for(&self, time: Duration) -> bool {
        self.0.borrow().is_some_and(|since| since.elapsed() > time)
    }

    /// Resolves when the watch is interrupted.
    pub async fn wait_until_interrupted(&self) {
        let mut failing_since = self.0.subscribe();
        loop {
            let since = *failing_since.borrow_and_update();
            let interrupted = async {
                match since {
                    Some(since) => sleep_until(since + INTERRUPTION).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = failing_since.changed() => {}
                () = interrupted => return,
            }
        }
    }

    /// Resolves when the watch is not interrupted.
    pub async fn wait_until_current(&self) {
        let is_usable =
            |failing_since: &Option<Instant>| failing_since.is_none_or(|since| since.elapsed() < INTERRUPTION);
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
    async fn a_watch_is_interrupted_late_and_current_at_once() {
        let status = WatchStatus::default();
        timeout(SECOND, status.wait_until_current()).await.unwrap();
        assert!(timeout(10 * SECOND, status.wait_until_interrupted()).await.is_err());
        status.set_current(false);
        timeout(SECOND, status.wait_until_current()).await.unwrap();
        assert!(timeout(SECOND, status.wait_until_interrupted()).await.is_err());
        // A second failure does not restart the time.
        status.set_current(false);
        timeout(SECOND * 3 / 2, status.wait_until_interrupted()).await.unwrap();
        assert!(timeout(10 * SECOND, status.wait_until_current()).await.is_err());
        status.set_current(true);
        timeout(SECOND, status.wait_until_current()).await.unwrap();
        assert!(timeout(10 * SECOND, status.wait_until_interrupted()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_notices_each_change() {
        let status = WatchStatus::default();
        let change = async {
            status.set_current(false);
            tokio::time::sleep(SECOND).await;
            status.set_current(true);
            tokio::time::sleep(SECOND).await;
            status.set_current(false);
        };
        let started = Instant::now();
        tokio::join!(change, status.wait_until_interrupted());
        assert_eq!(started.elapsed().as_secs(), 4);
    }
}
