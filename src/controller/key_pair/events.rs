//! Kubernetes Events.
//!
//! A `KeyPair` that is accepted at once causes no Event: its status says so, and each Event is another write. A refusal causes a Warning,
//! once for each new message, and its end a Normal Event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::{
    api::{KeyPairStatus, status::READY},
    domain::rotation::{Phase, RotationOutcome},
};

/// The reason of the Event that a new key pair has replaced a lost one.
const REGENERATED: &str = "PrivateKeyRegenerated";

/// The reason of the Event that a replay has become an independent request, because its original was deleted.
const PROMOTED: &str = "ReplayPromoted";

/// The Events for the change from one status to the next: one for each step of a rotation, and at most one about anything else.
#[must_use]
pub fn transitions(before: Option<&KeyPairStatus>, after: Option<&KeyPairStatus>) -> Vec<Event> {
    let steps = rotations(before, after);
    let is_rotated = steps.iter().any(|(outcome, _)| *outcome == RotationOutcome::KeyRotated);
    // The key of a rotation is another one, too.
    let other = transition(before, after).filter(|event| !is_rotated || event.reason != REGENERATED);
    let steps = steps.iter().map(|(outcome, note)| event(EventType::Normal, outcome.as_str(), note));
    steps.chain(other).collect()
}

fn transition(before: Option<&KeyPairStatus>, after: Option<&KeyPairStatus>) -> Option<Event> {
    if let (Some(before), Some(after)) = (before, after)
        && before.key_pair_id.is_some()
        && before.key_pair_id == after.key_pair_id
        && before.fingerprints.as_ref().is_some_and(|before| before.checked_sha256().is_some())
        && before.fingerprints != after.fingerprints
    {
        let now = after.fingerprints.as_ref().map(|fingerprints| fingerprints.sha256.as_str()).unwrap_or_default();
        let note = format!(
            "The Secret was missing, so a new key pair was generated, as spec.secret.onLoss requests. Authorize the new public key ({now}) wherever the old one was authorized."
        );
        return Some(event(EventType::Warning, REGENERATED, &note));
    }
    if let (Some(before), Some(after)) = (before, after)
        && before.is_replay()
        && let (Some(lost), Some(now)) = (&before.key_pair_id, &after.key_pair_id)
        && lost != now
        && !after.is_replay()
    {
        let key = if after.secret_name.is_some() { " The key is new as well." } else { "" };
        let note = format!(
            "The KeyPair whose request this one repeated was deleted. This KeyPair is now an independent request: its identifier changed from {lost} to {now}.{key} Use {now} wherever you use {lost}."
        );
        return Some(event(EventType::Warning, PROMOTED, &note));
    }
    let before = before.and_then(|status| status.condition(READY));
    let after = after.and_then(|status| status.condition(READY))?;
    let refused = |condition: &Condition| condition.status != "True";
    let type_ = match before {
        _ if refused(after) => {
            let is_new =
                before.is_none_or(|before| (&before.reason, &before.message) != (&after.reason, &after.message));
            if !is_new {
                return None;
            }
            EventType::Warning
        }
        Some(before) if refused(before) => EventType::Normal,
        _ => return None,
    };
    Some(event(type_, &after.reason, &after.message))
}

/// What a rotation did between one status and the next, each with the note of an Event.
#[must_use]
pub fn rotations(before: Option<&KeyPairStatus>, after: Option<&KeyPairStatus>) -> Vec<(RotationOutcome, String)> {
    let (Some(before), Some(after)) = (before, after) else { return Vec::new() };
    if before.key_pair_id != after.key_pair_id {
        return Vec::new();
    }
    let find = |status: &KeyPairStatus, phase| {
        status.key(phase).map(|key| Key { revision: key.revision, sha256: key.fingerprints.sha256.clone() })
    };
    let (next_before, next) = (find(before, Phase::Next), find(after, Phase::Next));
    let (current, previous) = (find(after, Phase::Current), find(after, Phase::Previous));
    let is_same_key = |one: &Option<Key>, other: &Option<Key>| {
        one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| one.sha256 == other.sha256)
    };
    let is_rotated = is_same_key(&next_before, &current);
    let mut outcomes = Vec::new();
    if let Some(Key { revision, sha256 }) = current.as_ref().filter(|_| is_rotated) {
        let trusted = previous
            .as_ref()
            .map_or_else(String::new, |previous| format!(" Key {} is still to be trusted.", previous.revision));
        outcomes.push((RotationOutcome::KeyRotated, format!("Key {revision} ({sha256}) is current.{trusted}")));
    }
    if let Some(Key { revision, sha256 }) = next.as_ref().filter(|_| next != next_before) {
        outcomes.push((
            RotationOutcome::NextKeyPublished,
            format!(
                "Key {revision} ({sha256}) is published. Authorize its public key (status.keys) wherever the current one is authorized."
            ),
        ));
    }
    if let Some(Key { revision, sha256 }) = next_before.filter(|_| !is_rotated && next.is_none()) {
        outcomes.push((
            RotationOutcome::RotationCancelled,
            format!("Key {revision} ({sha256}) was removed before it became current."),
        ));
    }
    // With a short `keepAfter`, one status may show the key as current and the next one no longer show it.
    let replaced = find(before, Phase::Current).filter(|_| is_rotated);
    for gone in [find(before, Phase::Previous), replaced].into_iter().filter(|key| !is_same_key(key, &previous)) {
        outcomes.extend(gone.map(|Key { revision, sha256 }| {
            let note = format!(
                "Key {revision} ({sha256}) is no longer to be trusted, and its private key is removed from the Secret."
            );
            (RotationOutcome::PreviousKeyRemoved, note)
        }));
    }
    outcomes
}

/// A key of a status.
#[derive(PartialEq, Eq)]
struct Key {
    revision: i64,
    sha256: String,
}

fn event(type_: EventType, reason: &str, note: &str) -> Event {
    Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note.to_owned()),
        action: "Reconcile".to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;
    use crate::api::status::{Fingerprints, KeyStatus};

    fn status(ready: &str, reason: &str) -> KeyPairStatus {
        KeyPairStatus {
            conditions: vec![Condition {
                type_: READY.to_owned(),
                status: ready.to_owned(),
                reason: reason.to_owned(),
                message: format!("because of {reason}"),
                observed_generation: None,
                last_transition_time: Time(Timestamp::UNIX_EPOCH),
            }],
            ..KeyPairStatus::default()
        }
    }

    fn keys(keys: &[(&str, i64)]) -> KeyPairStatus {
        let keys = keys.iter().map(|(phase, revision)| KeyStatus {
            revision: *revision,
            phase: (*phase).to_owned(),
            fingerprints: Fingerprints { sha256: format!("SHA256:{revision}"), ..Fingerprints::default() },
            ..KeyStatus::default()
        });
        KeyPairStatus { keys: keys.collect(), ..KeyPairStatus::default() }
    }

    #[test]
    fn every_step_of_a_rotation_causes_an_event() {
        const IDLE: &[(&str, i64)] = &[("Current", 1)];
        const PUBLISHED: &[(&str, i64)] = &[("Current", 1), ("Next", 2)];
        const SWITCHED: &[(&str, i64)] = &[("Previous", 1), ("Current", 2)];
        for (before, after, expected) in [
            (IDLE, PUBLISHED, &["NextKeyPublished"] as &[_]),
            (PUBLISHED, PUBLISHED, &[]),
            (PUBLISHED, SWITCHED, &["KeyRotated"]),
            (SWITCHED, &[("Current", 2)], &["PreviousKeyRemoved"]),
            (PUBLISHED, IDLE, &["RotationCancelled"]),
            // The next key was lost or is of another kind than the spec asks for.
            (PUBLISHED, &[("Current", 1), ("Next", 3)], &["NextKeyPublished"]),
            // Several steps between two statuses.
            (SWITCHED, &[("Current", 2), ("Next", 3)], &["NextKeyPublished", "PreviousKeyRemoved"]),
            (PUBLISHED, &[("Current", 2)], &["KeyRotated", "PreviousKeyRemoved"]),
            (PUBLISHED, &[("Current", 2), ("Next", 3)], &["KeyRotated", "NextKeyPublished", "PreviousKeyRemoved"]),
            // A lost key was replaced.
            (IDLE, &[("Current", 2)], &[]),
        ] {
            let (before, after) = (keys(before), keys(after));
            let events = transitions(Some(&before), Some(&after));
            let reasons: Vec<_> = events.iter().map(|event| event.reason.as_str()).collect();
            assert_eq!(reasons, expected, "{:?} {:?}", before.keys, after.keys);
        }
    }

    fn reason(before: Option<&KeyPairStatus>, after: &KeyPairStatus) -> Option<String> {
        transitions(before, Some(after)).pop().map(|event| event.reason)
    }

    #[test]
    fn only_changes_cause_events() {
        let ready = status("True", "Imported");
        let refused = status("False", "InvalidPublicKey");
        let other = status("False", "QuotaExceeded");
        assert_eq!(reason(None, &ready), None);
        assert_eq!(reason(Some(&ready), &ready), None);
        assert_eq!(reason(None, &refused).as_deref(), Some("InvalidPublicKey"));
        assert_eq!(reason(Some(&refused), &refused), None);
        assert_eq!(reason(Some(&refused), &other).as_deref(), Some("QuotaExceeded"));
        assert_eq!(reason(Some(&refused), &ready).as_deref(), Some("Imported"));
    }
}
