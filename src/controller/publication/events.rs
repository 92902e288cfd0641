//! Kubernetes Events.

use kube::runtime::events::{Event, EventType};

use crate::api::{publication::PublicationStatus, status::READY};

/// The Event for the change from one status to the next: when everything is published at last, and for each new reason why it is not.
#[must_use]
pub fn transition(before: Option<&PublicationStatus>, after: &PublicationStatus) -> Option<Event> {
    let before = before.and_then(|status| status.condition(READY));
    let after = after.condition(READY)?;
    let is_ready = after.status == "True";
    let is_new = before.is_none_or(|before| (&before.status, &before.reason) != (&after.status, &after.reason));
    is_new.then(|| Event {
        type_: if is_ready { EventType::Normal } else { EventType::Warning },
        reason: after.reason.clone(),
        note: Some(after.message.clone()),
        action: "Reconcile".to_owned(),
        secondary: None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(ready: &str, reason: &str, message: &str) -> PublicationStatus {
        serde_json::from_value(json!({ "conditions": [{
            "type": "Ready", "status": ready, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }] }))
        .unwrap()
    }

    #[test]
    fn an_event_tells_each_new_reason_once() {
        let published = status("True", "Published", "1 key");
        let missing = status("False", "KeyPairNotFound", "web");
        for (before, after, expected) in [
            (None, &published, Some("Published")),
            (None, &missing, Some("KeyPairNotFound")),
            (Some(&published), &status("True", "Published", "2 keys"), None),
            (Some(&published), &missing, Some("KeyPairNotFound")),
            (Some(&missing), &status("False", "KeyPairNotFound", "db"), None),
            (Some(&missing), &status("False", "TooLarge", ""), Some("TooLarge")),
            (Some(&missing), &published, Some("Published")),
        ] {
            let event = transition(before, after);
            assert_eq!(event.as_ref().map(|event| event.reason.as_str()), expected);
            let is_warning = event.is_some_and(|event| matches!(event.type_, EventType::Warning));
            assert_eq!(is_warning, expected.is_some_and(|reason| reason != "Published"));
        }
    }
}
