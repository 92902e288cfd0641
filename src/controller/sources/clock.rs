//! Jumps of the wall clock.
//!
//! When a key is rotated, depends on the wall clock; a reconciliation that is due later waits by tokio's clock, which does not jump, and
//! which stands still while the machine is suspended.

use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep};

use crate::{client::wall_clock::WallClock, controller::queue::Trigger};

/// How often the clocks are compared.
const INTERVAL: Duration = Duration::from_secs(30);
/// Smaller differences do not count: a clock that is being adjusted runs a little faster or slower.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Triggers all `KeyPair`s when the wall clock has jumped.
pub fn clock_jumps(clock: WallClock) -> impl Stream<Item = Trigger> + Send {
    let start = (clock.now(), Instant::now());
    stream::unfold((clock, start), async |(clock, (wall_before, before))| {
        sleep(INTERVAL).await;
        let (wall, now) = (clock.now(), Instant::now());
        let expected = wall_before.checked_add(now.duration_since(before)).unwrap_or(wall);
        let jump = wall.duration_since(expected).unsigned_abs();
        let has_jumped = jump > TOLERANCE;
        if has_jumped {
            tracing::info!(seconds = jump.as_secs(), "the clock has jumped: reconciling all KeyPairs");
        }
        Some((has_jumped.then_some(Trigger::All), (clock, (wall, now))))
    })
    .filter_map(std::future::ready)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    };

    use jiff::Timestamp;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_jump_in_either_direction_triggers_once() {
        let (start, offset) = (Instant::now(), Arc::new(AtomicI64::new(1_800_000_000)));
        let seen = Arc::clone(&offset);
        let clock = WallClock::simulated(move || {
            let since = i64::try_from(start.elapsed().as_secs()).unwrap();
            Timestamp::from_second(seen.load(Ordering::Relaxed) + since).unwrap()
        });
        let mut jumps = clock_jumps(clock).boxed();
        assert!(timeout(INTERVAL * 10, jumps.next()).await.is_err());
        for seconds in [86_400, -3600] {
            offset.fetch_add(seconds, Ordering::Relaxed);
            assert_eq!(timeout(INTERVAL * 10, jumps.next()).await, Ok(Some(Trigger::All)));
            assert!(timeout(INTERVAL * 10, jumps.next()).await.is_err());
        }
    }
}
