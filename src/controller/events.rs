//! Kubernetes Events, for what a person should see.
//!
//! A pair that is accepted at once makes no Event: its status says it, and each Event is one more write. A refusal makes a
//! Warning, once for each new message, and its end makes a Normal Event.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType};

use crate::api::{KeyPairStatus, status::READY};

/// The reason of the Event that another key has been generated in the place of a lost one.
const REGENERATED: &str = "PrivateKeyRegenerated";

/// The reason of the Event that a replay is a request of its own, since the original is gone.
const PROMOTED: &str = "ReplayPromoted";

/// The Event, if any, that the change from one status to the next deserves.
#[must_use]
pub fn transition(before: Option<&KeyPairStatus>, after: Option<&KeyPairStatus>) -> Option<Event> {
    if let (Some(before), Some(after)) = (before, after)
        && before.key_pair_id.is_some()
        && before.key_pair_id == after.key_pair_id
        && before.fingerprints.as_ref().is_some_and(|before| before.checked_sha256().is_some())
        && before.fingerprints != after.fingerprints
    {
        let now = after.fingerprints.as_ref().map(|fingerprints| fingerprints.sha256.as_str()).unwrap_or_default();
        let note = format!(
            "The Secret was gone, and another key pair is generated in its place, as spec.secret.onLoss says. The new public key, {now}, must be put wherever the old one was."
        );
        return Some(event(EventType::Warning, REGENERATED, &note));
    }
    if let (Some(before), Some(after)) = (before, after)
        && before.is_replay()
        && let (Some(lost), Some(now)) = (&before.key_pair_id, &after.key_pair_id)
        && lost != now
        && !after.is_replay()
    {
        let key = if after.secret_name.is_some() { " It has another key, too." } else { "" };
        let note = format!(
            "The KeyPair whose request this one repeated is gone. This is a request of its own now: the key pair {now}, where {lost} was answered before.{key} Whoever uses {lost} must use {now} instead."
        );
        return Some(event(EventType::Warning, PROMOTED, &note));
    }
    let before = before.and_then(|status| status.condition(READY));
    let after = after.and_then(|status| status.condition(READY))?;
    let refused = |condition: &Condition| condition.status != "True";
    let type_ = match before {
        _ if refused(after) => {
            let news = before.is_none_or(|before| (&before.reason, &before.message) != (&after.reason, &after.message));
            if !news {
                return None;
            }
            EventType::Warning
        }
        Some(before) if refused(before) => EventType::Normal,
        _ => return None,
    };
    Some(event(type_, &after.reason, &after.message))
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
    fn tells_news_only() {
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
