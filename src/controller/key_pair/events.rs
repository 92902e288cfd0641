//! Kubernetes Events.
//!
//! A `KeyPair` that is accepted at once causes no Event: its status says so, and each Event is another write. A refusal causes a Warning,
//! once for each new message, and its end a Normal Event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::{
    api::{KeyPairStatus, status::READY},
    domain::rotation::Phase,
};

/// The reason of the Event that a new key pair has replaced a lost one.
const REGENERATED: &str = "PrivateKeyRegenerated";

/// The reason of the Event that a replay has become an independent request, because its original was deleted.
const PROMOTED: &str = "ReplayPromoted";

/// The reason of the Event that the next key of a rotation is published.
const NEXT_KEY_PUBLISHED: &str = "NextKeyPublished";
/// The reason of the Event that the next key has become the current one.
const KEY_ROTATED: &str = "KeyRotated";
/// The reason of the Event that the previous key is no longer to be trusted.
const PREVIOUS_KEY_REMOVED: &str = "PreviousKeyRemoved";
/// The reason of the Event that the next key was removed before it became current.
const ROTATION_CANCELLED: &str = "RotationCancelled";

/// The Event for the change from one status to the next, if there is one.
#[must_use]
pub fn transition(before: Option<&KeyPairStatus>, after: Option<&KeyPairStatus>) -> Option<Event> {
    if let (Some(before), Some(after)) = (before, after)
        && before.key_pair_id == after.key_pair_id
        && let Some((reason, note)) = rotation(before, after)
    {
        return Some(event(EventType::Normal, reason, &note));
    }
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

/// The reason and the note of the Event about a rotation.
fn rotation(before: &KeyPairStatus, after: &KeyPairStatus) -> Option<(&'static str, String)> {
    let find =
        |status: &KeyPairStatus, phase| status.key(phase).map(|key| (key.revision, key.fingerprints.sha256.clone()));
    let [next_before, next_after] = [before, after].map(|status| find(status, Phase::Next));
    let current = find(after, Phase::Current);
    let sha256 = |key: &Option<(i64, String)>| key.as_ref().map(|(_, sha256)| sha256.clone());
    if next_before.is_some() && sha256(&next_before) == sha256(&current) {
        let (revision, sha256) = current?;
        let previous = find(after, Phase::Previous)
            .map_or_else(String::new, |(revision, _)| format!(" Key {revision} is still to be trusted."));
        return Some((KEY_ROTATED, format!("Key {revision} ({sha256}) is current.{previous}")));
    }
    if let Some((revision, sha256)) = next_after.filter(|next| Some(next) != next_before.as_ref()) {
        return Some((
            NEXT_KEY_PUBLISHED,
            format!(
                "Key {revision} ({sha256}) is published. Authorize its public key (status.keys) wherever the current one is authorized."
            ),
        ));
    }
    if let (Some((revision, sha256)), None) = (next_before, find(after, Phase::Next)) {
        return Some((ROTATION_CANCELLED, format!("Key {revision} ({sha256}) was removed before it became current.")));
    }
    let (revision, sha256) = find(before, Phase::Previous).filter(|_| find(after, Phase::Previous).is_none())?;
    Some((
        PREVIOUS_KEY_REMOVED,
        format!(
            "Key {revision} ({sha256}) is no longer to be trusted, and its private key is removed from the Secret."
        ),
    ))
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

    fn reason(before: Option<&KeyPairStatus>, after: &KeyPairStatus) -> Option<String> {
        transition(before, Some(after)).map(|event| event.reason)
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
