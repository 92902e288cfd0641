//! How long to wait before an object is tried again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::randomness::Randomness;

const FIRST: Duration = Duration::from_millis(500);
const LAST: Duration = Duration::from_secs(30);
/// The longest delay of what failed by an answer that a person has to act on: whoever does so tells by an event, or waits this long.
const SELDOM: Duration = Duration::from_secs(300);

/// How many failures in a row are told, and after how long any.
const TOLD: u32 = 3;
const TOLD_AFTER: Duration = Duration::from_secs(5);

/// The delays of the objects that failed: doubled with each failure, forgotten with the first success.
#[derive(Debug)]
pub struct Backoff {
    failures: Mutex<HashMap<String, Failures>>,
    jitter: Randomness,
}

/// The failures of one object in a row.
#[derive(Debug)]
struct Failures {
    count: u32,
    since: Instant,
}

impl Backoff {
    /// Nothing has failed yet. The jitter is drawn from `jitter`.
    #[must_use]
    pub fn new(jitter: Randomness) -> Self {
        Self { failures: Mutex::default(), jitter }
    }

    /// Whether the object with this UID, about which a request has failed that was sent after `begun`, has failed so often or for so
    /// long that it is to be told.
    pub fn persists(&self, uid: &str, begun: Instant) -> bool {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, since) = failures.get(uid).map_or((0, begun), |failures| (failures.count, failures.since));
        count + 1 >= TOLD || since.min(begun).elapsed() >= TOLD_AFTER
    }

    /// Notes a failure of the object with this UID and returns how long to wait.
    ///
    /// Between half and the whole of the delay, so that objects which failed together are not tried together.
    pub fn failed(&self, uid: &str) -> Duration {
        self.delay(uid, LAST)
    }

    /// The same of an object about which there is an answer, that may pass without an event.
    pub fn refused(&self, uid: &str) -> Duration {
        self.delay(uid, SELDOM)
    }

    /// How long to wait for what is watched, should the watch miss something. Nothing is noted.
    pub fn seldom(&self, uid: &str) -> Duration {
        self.jittered(uid, 0, SELDOM)
    }

    fn delay(&self, uid: &str, last: Duration) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let now = || Failures { count: 0, since: Instant::now() };
        let Failures { count, .. } = failures.entry(uid.to_owned()).or_insert_with(now);
        let delay = FIRST.saturating_mul(1 << (*count).min(16)).min(last);
        *count = count.saturating_add(1);
        self.jittered(uid, *count, delay)
    }

    fn jittered(&self, uid: &str, count: u32, delay: Duration) -> Duration {
        let jitter = self.jitter.draw((uid, count)) % 1024;
        let delay = delay / 2 + delay / 2 * u32::try_from(jitter).unwrap_or_default() / 1024;
        // Timers have no finer steps, and what is due first is not to depend on how they round.
        Duration::from_millis(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }

    /// Notes that the object is settled, or gone.
    pub fn forget(&self, uid: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_has_to_act_on_is_asked_about_in_minutes() {
        let backoff = Backoff::new(Randomness::of_this_process());
        let mut total = Duration::ZERO;
        for _ in 0..12 {
            total += backoff.refused("uid");
        }
        assert!(total > Duration::from_secs(600), "{total:?}");
        for delay in [backoff.refused("uid"), backoff.seldom("uid")] {
            assert!(delay >= SELDOM / 2 && delay <= SELDOM, "{delay:?}");
        }
        assert!(backoff.failed("uid") <= LAST, "an error is tried again as soon as ever");
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_failing_is_told() {
        let backoff = Backoff::new(Randomness::of_this_process());
        let begun = Instant::now();
        for _ in 0..2 {
            assert!(!backoff.persists("uid", begun), "it may pass by itself");
            backoff.failed("uid");
        }
        assert!(backoff.persists("uid", begun) && !backoff.persists("other", begun));
        tokio::time::advance(TOLD_AFTER).await;
        assert!(backoff.persists("other", begun), "one request has taken long");
        backoff.forget("uid");
        assert!(!backoff.persists("uid", Instant::now()));
    }

    #[test]
    fn doubles_up_to_a_limit_and_starts_again() {
        let backoff = Backoff::new(Randomness::of_this_process());
        let mut expected = FIRST;
        for _ in 0..40 {
            let delay = backoff.failed("uid");
            assert!(delay >= expected / 2 && delay <= expected, "{delay:?} of {expected:?}");
            expected = (expected * 2).min(LAST);
        }
        backoff.forget("uid");
        assert!(backoff.failed("uid") <= FIRST);
    }
}
