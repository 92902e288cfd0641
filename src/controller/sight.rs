//! Whether a watch shows what there is.
//!
//! While that of the `KeyPair`s does not, nothing is decided, and what is under way is dropped: when the API server is there again, it may have been put
//! back to an older state, in which a write that rests on a newer one would still be taken. The watch finds out, and lists anew.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a watch may be lost: most are begun again in less, and nobody stops an API server, exchanges the data of etcd and starts both in
/// less.
pub const INTERRUPTION: Duration = Duration::from_secs(2);

/// Since when the watch is lost; `None`: it is there.
#[derive(Debug)]
pub struct Sight(watch::Sender<Option<Instant>>);

impl Default for Sight {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Sight {
    /// Notes whether the watch shows what there is.
    pub fn note(&self, is_there: bool) {
        self.0.send_if_modified(|lost| {
            let before = *lost;
            *lost = if is_there { None } else { Some(lost.unwrap_or_else(Instant::now)) };
            *lost != before
        });
    }

    /// Whether the watch has been lost for longer than this.
    pub fn is_lost_for(&self, time: Duration) -> bool {
        self.0.borrow().is_some_and(|since| since.elapsed() > time)
    }

    /// Resolves when the watch has been lost for [`INTERRUPTION`].
    pub async fn until_lost(&self) {
        let mut lost = self.0.subscribe();
        loop {
            let since = *lost.borrow_and_update();
            let is_over = async {
                match since {
                    Some(since) => sleep_until(since + INTERRUPTION).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = lost.changed() => {}
                () = is_over => return,
            }
        }
    }

    /// Resolves when the watch has not been lost for so long.
    pub async fn until_there(&self) {
        let is_there = |lost: &Option<Instant>| lost.is_none_or(|since| since.elapsed() < INTERRUPTION);
        // Its sender is here.
        self.0.subscribe().wait_for(is_there).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_is_lost_after_a_while_and_there_at_once() {
        let sight = Sight::default();
        timeout(SECOND, sight.until_there()).await.unwrap();
        assert!(timeout(10 * SECOND, sight.until_lost()).await.is_err());
        sight.note(false);
        timeout(SECOND, sight.until_there()).await.unwrap();
        assert!(timeout(SECOND, sight.until_lost()).await.is_err());
        // Once more does not put it off.
        sight.note(false);
        timeout(SECOND * 3 / 2, sight.until_lost()).await.unwrap();
        assert!(timeout(10 * SECOND, sight.until_there()).await.is_err());
        sight.note(true);
        timeout(SECOND, sight.until_there()).await.unwrap();
        assert!(timeout(10 * SECOND, sight.until_lost()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_hears_of_it() {
        let sight = Sight::default();
        let change = async {
            sight.note(false);
            tokio::time::sleep(SECOND).await;
            sight.note(true);
            tokio::time::sleep(SECOND).await;
            sight.note(false);
        };
        let begun = Instant::now();
        tokio::join!(change, sight.until_lost());
        assert_eq!(begun.elapsed().as_secs(), 4);
    }
}
