//! When a rotation is due.

use jiff::{SignedDuration, Timestamp};

use super::settings::RotationSettings;
use crate::domain::digest;

/// The part of `every` over which the rotations of many pairs spread: a tenth.
const SPREAD: i64 = 10;

/// When to look again at publications that are not known. No event tells that they are.
pub(super) const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// How much earlier than `every` says this key of this pair is replaced: the same at each call, and spread evenly over pairs and
/// keys, so that pairs that were created together are not replaced together.
fn jitter(every: SignedDuration, uid: &str, revision: u32) -> SignedDuration {
    let digest = digest::of_parts([uid, &revision.to_string()]);
    let draw = digest.iter().take(4).fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    SignedDuration::from_secs((every.as_secs() / SPREAD).saturating_mul(draw) >> 32)
}

/// A time after another; the latest possible one on overflow.
pub(super) fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// A time before another; the earliest possible one on overflow.
fn before(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

/// The key that a schedule is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scheduled<'a> {
    /// The UID of the pair.
    pub(super) uid: &'a str,
    /// The revision of its current key.
    pub(super) revision: u32,
    /// Since when that key is current.
    pub(super) since: Timestamp,
    /// The next switch that the status records.
    pub(super) recorded: Option<Timestamp>,
}

/// When the next key of the pair is to be current according to `every`; `None`: on request only.
///
/// A pair that is overdue, for example because rotation was just configured for an old key, gets a time that also spreads. The status
/// records it, so that it stays the same.
pub(super) fn next_switch(settings: &RotationSettings, key: Scheduled<'_>, now: Timestamp) -> Option<Timestamp> {
    let every = settings.every?;
    let jitter = jitter(every, key.uid, key.revision);
    let latest = after(key.since, every);
    let due = before(latest, jitter);
    if begin(settings, due) > now {
        return Some(due);
    }
    if begin(settings, latest) >= now {
        return Some(after(now, settings.publish_before));
    }
    let spread = after(after(now, settings.publish_before), jitter);
    Some(key.recorded.map_or(spread, |recorded| recorded.min(spread)))
}

/// When the next key must be published for a switch at this time.
pub(super) fn begin(settings: &RotationSettings, switch: Timestamp) -> Timestamp {
    before(switch, settings.publish_before)
}
