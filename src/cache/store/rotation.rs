//! What the store keeps of each rotation, so that metrics need not decompress objects.

use std::num::NonZeroU32;

use jiff::Timestamp;

use crate::{
    api::{KeyPair, status::KeyStatus},
    domain::rotation::{Phase, parse_duration},
};

/// Marks, in [`Rotation::every`], a rotation whose switch waits for gates. Durations are shorter.
const HAS_CLOSED_GATES: u32 = 1 << 31;

/// The rotation of a `KeyPair` with `spec.rotation`, in three numbers, because every stored `KeyPair` has the space for them. Times
/// are in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Since when its key is current.
    current_since: NonZeroU32,
    /// The earliest time of the next switch; 0 if there is none.
    next_switch: u32,
    /// `spec.rotation.every` in seconds, 0 if there is none; and [`HAS_CLOSED_GATES`].
    every: u32,
}

impl Rotation {
    /// The rotation of `key_pair`; `None` if it is not rotated.
    pub fn of(key_pair: &KeyPair) -> Option<Self> {
        let spec = key_pair.spec.rotation.as_ref()?;
        let status = key_pair.status.as_ref()?;
        if key_pair.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let since = |key: &KeyStatus| key.since.parse().ok();
        let current_since = NonZeroU32::new(seconds(status.key(Phase::Current).and_then(since)?).max(1))?;
        let progress = status.rotation.as_ref();
        let next_switch = progress.and_then(|progress| progress.next_switch.as_ref()?.parse().ok());
        let every = spec.every.as_deref().and_then(parse_duration);
        // A shorter one counts as a second.
        let every = every.map_or(0, |every| u32::try_from(every.as_secs().max(1)).unwrap_or_default());
        let has_closed_gates =
            status.key(Phase::Next).is_some() && progress.is_some_and(|progress| !progress.waiting_for.is_empty());
        Some(Self {
            current_since,
            next_switch: next_switch.map_or(0, seconds),
            every: every & !HAS_CLOSED_GATES | if has_closed_gates { HAS_CLOSED_GATES } else { 0 },
        })
    }

    /// Since when only gates delay the switch.
    fn waiting_since(self, now: u32) -> Option<u32> {
        (self.every & HAS_CLOSED_GATES != 0 && self.next_switch > 0 && self.next_switch <= now)
            .then_some(self.next_switch)
    }

    /// Whether the current key is older than twice `every`.
    fn is_overdue(self, now: u32) -> bool {
        let every = u64::from(self.every & !HAS_CLOSED_GATES);
        every > 0 && u64::from(now) > u64::from(self.current_since.get()) + 2 * every
    }
}

/// The time in whole seconds since 1970.
fn seconds(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX)
}

/// The rotations of one namespace. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRotations {
    /// The namespace.
    pub namespace: String,
    /// The number of `KeyPair`s that are rotated.
    pub key_pairs: usize,
    /// Since when the oldest of their current keys is current.
    pub oldest_key: u32,
    /// The earliest switch that is still to come.
    pub next_switch: Option<u32>,
    /// The number of `KeyPair`s whose current key is older than twice `every`.
    pub overdue: usize,
    /// The number of rotations that wait for gates.
    pub waiting: usize,
    /// Since when the first of them waits.
    pub waiting_since: Option<u32>,
}

impl NamespaceRotations {
    /// The sums of these rotations at the time `now`; `None` if there are none.
    pub fn sum(namespace: &str, rotations: impl Iterator<Item = Rotation>, now: Timestamp) -> Option<Self> {
        let now = seconds(now);
        let mut sum = Self {
            namespace: String::new(),
            key_pairs: 0,
            oldest_key: u32::MAX,
            next_switch: None,
            overdue: 0,
            waiting: 0,
            waiting_since: None,
        };
        let earliest = |one: Option<u32>, other: Option<u32>| one.into_iter().chain(other).min();
        for rotation in rotations {
            sum.key_pairs += 1;
            sum.oldest_key = sum.oldest_key.min(rotation.current_since.get());
            sum.next_switch = earliest(sum.next_switch, Some(rotation.next_switch).filter(|switch| *switch > now));
            sum.overdue += usize::from(rotation.is_overdue(now));
            let waiting_since = rotation.waiting_since(now);
            sum.waiting += usize::from(waiting_since.is_some());
            sum.waiting_since = earliest(sum.waiting_since, waiting_since);
        }
        (sum.key_pairs > 0).then(|| Self { namespace: namespace.to_owned(), ..sum })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key_pair(rotation: &Value, status: &Value) -> KeyPair {
        serde_json::from_value(json!({
            "metadata": { "name": "web" }, "spec": { "rotation": rotation }, "status": status,
        }))
        .unwrap()
    }

    fn key(phase: &str, since: &str) -> Value {
        json!({
            "revision": 1, "phase": phase, "publicKey": "", "algorithm": "Ed25519", "bits": 256, "fingerprint": "",
            "fingerprints": { "md5": "", "sha256": "" }, "since": since,
        })
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-01-{time}Z").parse().unwrap()
    }

    fn sum(key_pairs: &[KeyPair], now: &str) -> Option<NamespaceRotations> {
        NamespaceRotations::sum("shop", key_pairs.iter().filter_map(Rotation::of), at(now))
    }

    const DAY: u32 = 86400;

    #[test]
    fn a_key_is_overdue_after_twice_its_interval() {
        let since = "2026-01-01T00:00:00Z";
        let start = seconds(since.parse().unwrap());
        let scheduled = key_pair(
            &json!({ "every": "48h" }),
            &json!({ "keys": [key("Current", since)], "rotation": { "nextSwitch": "2026-01-03T00:00:00Z" } }),
        );
        let on_request = key_pair(&json!({}), &json!({ "keys": [key("Current", "2026-01-01T00:00:01Z")] }));
        let both = [on_request, scheduled];
        let sum = |now| sum(&both, now).unwrap();
        let before = sum("02T00:00:00");
        assert_eq!((before.namespace.as_str(), before.key_pairs, before.oldest_key), ("shop", 2, start));
        assert_eq!((before.overdue, before.next_switch), (0, Some(start + 2 * DAY)));
        // What is past is no next switch.
        assert_eq!(sum("03T00:00:00").next_switch, None);
        assert_eq!(sum("05T00:00:00").overdue, 0);
        assert_eq!(sum("05T00:00:01").overdue, 1);
        assert_eq!(sum("31T00:00:00").overdue, 1, "a key without `every` is never overdue");
        assert_eq!(sum("31T00:00:00").waiting, 0);
    }

    #[test]
    fn a_rotation_waits_from_the_time_at_which_only_gates_delay_it() {
        let rotation = json!({ "gates": ["example.com/registered"] });
        let current = key("Current", "2026-01-01T00:00:00Z");
        let status = |keys: &[&Value], switch: &str, waiting_for: &[&str]| json!({ "keys": keys, "rotation": { "nextSwitch": switch, "waitingFor": waiting_for } });
        let next = key("Next", "2026-01-02T00:00:00Z");
        let gates = ["example.com/registered"];
        let pairs = [
            status(&[&current, &next], "2026-01-04T00:00:00Z", &gates),
            status(&[&current, &next], "2026-01-03T00:00:00Z", &gates),
            // The gates are open: the operator is about to switch.
            status(&[&current, &next], "2026-01-02T00:00:00Z", &[]),
        ]
        .map(|status| key_pair(&rotation, &status));
        let sum = |now| sum(&pairs, now).unwrap();
        assert_eq!((sum("02T12:00:00").waiting, sum("02T12:00:00").waiting_since), (0, None));
        let third = seconds(at("03T00:00:00"));
        assert_eq!((sum("03T00:00:00").waiting, sum("03T00:00:00").waiting_since), (1, Some(third)));
        assert_eq!((sum("05T00:00:00").waiting, sum("05T00:00:00").waiting_since), (2, Some(third)));
    }

    #[test]
    fn other_key_pairs_do_not_count() {
        let (rotation, status) = (json!({}), json!({ "keys": [key("Current", "2026-01-01T00:00:00Z")] }));
        assert!(sum(&[key_pair(&rotation, &status)], "02T00:00:00").is_some());
        let mut deleted = key_pair(&rotation, &status);
        deleted.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let not_rotated = key_pair(&Value::Null, &status);
        let not_accepted = key_pair(&rotation, &json!({}));
        let without_status = key_pair(&rotation, &Value::Null);
        assert_eq!(sum(&[deleted, not_rotated, not_accepted, without_status], "02T00:00:00"), None);
    }

    /// Whoever may write statuses may write any text.
    #[test]
    fn strange_times_and_durations_do_no_harm() {
        for (every, since, switch) in [
            ("87600h", "9999-12-30T00:00:00Z", "9999-12-30T00:00:00Z"),
            ("99999h", "-009998-01-01T00:00:00Z", "soon"),
            ("1ms", "1969-12-31T00:00:00Z", ""),
        ] {
            let status = json!({ "keys": [key("Current", since)], "rotation": { "nextSwitch": switch } });
            let found = sum(&[key_pair(&json!({ "every": every }), &status)], "02T00:00:00").unwrap();
            assert_eq!((found.key_pairs, found.overdue, found.waiting), (1, usize::from(every == "1ms"), 0));
        }
        let status = json!({ "keys": [key("Current", "yesterday")] });
        assert_eq!(sum(&[key_pair(&json!({}), &status)], "02T00:00:00"), None);
    }
}
