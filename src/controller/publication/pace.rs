//! How often the target of a publication is written.

use std::time::Duration;

use tokio::time::Instant;

const FIRST_INTERVAL: Duration = Duration::from_millis(100);
const LAST_INTERVAL: Duration = Duration::from_millis(800);
/// After this time without a write, the intervals start over.
const QUIET: Duration = Duration::from_secs(2);

/// The writes of one publication. The first is made at once, and the intervals after it double while changes keep coming, so that a
/// burst of changes is gathered into few writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace(Option<(Instant, Duration)>);

impl Pace {
    /// How long to wait before the next write.
    #[must_use]
    pub fn delay(self) -> Duration {
        self.0.map_or(Duration::ZERO, |(last, interval)| interval.saturating_sub(last.elapsed()))
    }

    /// Records a write.
    pub fn record(&mut self) {
        let interval = match self.0 {
            Some((last, interval)) if last.elapsed() < QUIET => (interval * 2).min(LAST_INTERVAL),
            _ => FIRST_INTERVAL,
        };
        self.0 = Some((Instant::now(), interval));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn intervals_double_while_changes_keep_coming() {
        let mut pace = Pace::default();
        for milliseconds in [0, 100, 200, 400, 800, 800, 800] {
            let delay = pace.delay();
            assert_eq!(delay.as_millis(), milliseconds);
            tokio::time::advance(delay).await;
            pace.record();
        }
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(pace.delay().as_millis(), 500);
        tokio::time::advance(QUIET).await;
        assert_eq!(pace.delay(), Duration::ZERO);
        pace.record();
        assert_eq!(pace.delay(), FIRST_INTERVAL);
    }

    /// A thousand `KeyPair`s that one publication selects are created within ten seconds.
    #[tokio::test(start_paused = true)]
    async fn a_burst_is_gathered_into_few_writes() {
        let (mut pace, mut writes) = (Pace::default(), 0);
        for _ in 0..1000 {
            if pace.delay().is_zero() {
                pace.record();
                writes += 1;
            }
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(writes <= 19 && pace.delay() <= LAST_INTERVAL, "{writes}");
    }
}
