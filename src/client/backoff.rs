//! Exponential back-off with jitter for each object.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::randomness::Randomness;

const INITIAL_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// The longest delay after a refusal that a person has to act on. If no watch event shows the fix, it takes effect after this time.
const MAX_REFUSAL_DELAY: Duration = Duration::from_secs(300);

/// The number of consecutive failures, or the time, after which failures are reported.
const REPORTED_FAILURES: u32 = 3;
const REPORTED_AFTER: Duration = Duration::from_secs(5);

/// The delays of the objects that failed. A delay doubles with each failure, and the first success resets it.
#[derive(Debug)]
pub struct Backoff {
    failures: Mutex<HashMap<String, Failures>>,
    jitter: Randomness,
}

/// The consecutive failures of one object.
#[derive(Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Backoff {
    /// A back-off without failures, whose jitter is drawn from `jitter`.
    #[must_use]
    pub fn new(jitter: Randomness) -> Self {
        Self { failures: Mutex::default(), jitter }
    }

    /// Whether the object with this UID has failed often or long enough to report it, after a request failed that was sent after `started`.
    pub fn is_persistent(&self, uid: &str, started: Instant) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = failures.get(uid).map_or((0, started), |failures| (failures.count, failures.since));
        count + 1 >= REPORTED_FAILURES || since.min(started).elapsed() >= REPORTED_AFTER
    }

    /// Records a failure of the object with this UID, and returns how long to wait.
    ///
    /// That is between half the delay and all of it, so that objects which failed together are not retried together.
    pub fn delay_after_failure(&self, uid: &str) -> Duration {
        self.delay(uid, MAX_DELAY)
    }

    /// Records a refusal of the object with this UID, which may end without a watch event, and returns how long to wait.
    pub fn delay_after_refusal(&self, uid: &str) -> Duration {
        self.delay(uid, MAX_REFUSAL_DELAY)
    }

    /// How long to wait for an object that is watched, in case the watch misses a change. It records nothing.
    pub fn resync_delay(&self, uid: &str) -> Duration {
        self.jittered(uid, 0, MAX_REFUSAL_DELAY)
    }

    fn delay(&self, uid: &str, max: Duration) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || Failures { count: 0, since: Instant::now() };
        let Failures { count, .. } = failures.entry(uid.to_owned()).or_insert_with(none);
        let delay = INITIAL_DELAY.saturating_mul(1 << (*count).min(16)).min(max);
        *count = count.saturating_add(1);
        self.jittered(uid, *count, delay)
    }

    fn jittered(&self, uid: &str, count: u32, delay: Duration) -> Duration {
        let jitter = self.jitter.draw((uid, count)) % 1024;
        let delay = delay / 2 + delay / 2 * u32::try_from(jitter).unwrap_or_default() / 1024;
        // Whole milliseconds, as timers have: the order of two delays must not depend on rounding.
        Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }

    /// Resets the delay of an object that succeeded or is deleted.
    pub fn forget(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_retried_after_minutes() {
        let backoff = Backoff::new(Randomness::of_this_process());
        let mut total = Duration::ZERO;
        for _ in 0..12 {
            total += backoff.delay_after_refusal("uid");
        }
        assert!(total > Duration::from_secs(600), "{total:?}");
        for delay in [backoff.delay_after_refusal("uid"), backoff.resync_delay("uid")] {
            assert!(delay >= MAX_REFUSAL_DELAY / 2 && delay <= MAX_REFUSAL_DELAY, "{delay:?}");
        }
        assert!(backoff.delay_after_failure("uid") <= MAX_DELAY, "an error is retried sooner");
    }

    #[tokio::test(start_paused = true)]
    async fn persistent_failures_are_reported() {
        let backoff = Backoff::new(Randomness::of_this_process());
        let started = Instant::now();
        for _ in 0..2 {
            assert!(!backoff.is_persistent("uid", started), "it may be temporary");
            backoff.delay_after_failure("uid");
        }
        assert!(backoff.is_persistent("uid", started) && !backoff.is_persistent("other", started));
        tokio::time::advance(REPORTED_AFTER).await;
        assert!(backoff.is_persistent("other", started), "one request took long");
        backoff.forget("uid");
        assert!(!backoff.is_persistent("uid", Instant::now()));
    }

    #[test]
    fn the_delay_doubles_up_to_a_limit_and_resets() {
        let backoff = Backoff::new(Randomness::of_this_process());
        let mut expected = INITIAL_DELAY;
        for _ in 0..40 {
            let delay = backoff.delay_after_failure("uid");
            assert!(delay >= expected / 2 && delay <= expected, "{delay:?} of {expected:?}");
            expected = (expected * 2).min(MAX_DELAY);
        }
        backoff.forget("uid");
        assert!(backoff.delay_after_failure("uid") <= INITIAL_DELAY);
    }
}
