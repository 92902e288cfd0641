//! Translation of a decision to the status of a `KeyPair`.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use crate::{
    api::{
        key_pair::KeyPair,
        status::{
            AcceptedRequest, Fingerprints, GENERATED, IDEMPOTENT_REPLAY, IMPORTED, KeyPairStatus, KeyStatus, READY,
            ROTATING, RotationStatus, STALLED, StatusError, conditions,
        },
    },
    domain::{
        decide, key,
        profile::Profile,
        publication::PublicationProgress,
        reason::{Reason, Refusal},
        rotation::{Phase, PhasedKey, RotationState},
        rules::OWN_CONDITION_TYPES,
    },
};

/// Appended to the message of a pair that was a replay before.
const PROMOTED: &str = "This KeyPair was a replay of another KeyPair, which has been deleted; it is now a separate key pair with its own identifier.";

impl KeyPairStatus {
    /// The status of `key_pair` according to `report`.
    ///
    /// It equals the present status, timestamps included, if nothing has changed: then there is nothing to write.
    #[must_use]
    pub fn from_report(key_pair: &KeyPair, name: &str, report: decide::Report, now: Timestamp) -> Self {
        let error = report.refusals.first().map(|refusal| StatusError::new(key_pair.spec.profile, refusal));
        let before = key_pair.status.as_ref().map(|status| status.conditions.as_slice());
        let conditions =
            merge(before.unwrap_or_default(), own_conditions(key_pair, &report, now), &report.reset_gates, now);
        // An invalid name is not repeated: it may be a private key pasted by mistake.
        let named = report.accepted.is_some()
            || !report.refusals.iter().any(|refusal| refusal.reason == Reason::InvalidKeyPairName);
        let mut status = Self {
            observed_generation: key_pair.metadata.generation,
            key_pair_name: named.then(|| name.to_owned()),
            region: key_pair.metadata.namespace.clone(),
            error,
            conditions,
            ..Self::default()
        };
        if let Some(accepted) = report.accepted {
            // The pair keeps the name with which it was accepted, whatever the spec says now.
            if !report.refusals.is_empty() && !accepted.key_pair_name.is_empty() {
                status.key_pair_name = Some(accepted.key_pair_name);
            }
            status.accepted_request = accepted.request.map(|request| AcceptedRequest {
                token_digest: request.client_token,
                digest: request.digest,
                project_digest: request.project,
            });
            // Unknown values are omitted. A value is unknown only if somebody else wrote the status before.
            let known = |text: String| Some(text).filter(|text| !text.is_empty());
            let key::Fingerprints { md5, sha256 } = accepted.fingerprints;
            status.key_pair_id = Some(accepted.id);
            status.fingerprint = known(accepted.fingerprint);
            status.fingerprints = known(sha256).map(|sha256| Fingerprints { md5, sha256 });
            status.public_key = known(accepted.public_key);
            status.algorithm = known(accepted.algorithm);
            status.bits = i32::try_from(accepted.bits).ok().filter(|bits| *bits > 0);
            status.add_rotation(&accepted.rotation);
            status.secret_name = accepted.secret_name;
            status.secret_version = accepted.secret_version;
        }
        status
    }
}

impl KeyPairStatus {
    fn add_rotation(&mut self, state: &RotationState) {
        self.revision = (state.revision > 0).then_some(i64::from(state.revision));
        self.keys = state.keys.iter().map(KeyStatus::new).collect();
        let rotation = RotationStatus {
            handled_request: state.handled_request.clone(),
            next_switch: state.next_switch.map(|time| time.to_string()),
            waiting_for: state.waiting_for.clone(),
        };
        self.rotation = Some(rotation).filter(|rotation| *rotation != RotationStatus::default());
    }
}

impl KeyStatus {
    fn new(phased: &PhasedKey) -> Self {
        let PhasedKey { revision, phase, key, fingerprint, since } = phased;
        let key::Fingerprints { md5, sha256 } = key.fingerprints();
        Self {
            revision: i64::from(*revision),
            phase: phase.as_str().to_owned(),
            public_key: key.to_openssh(),
            algorithm: key.algorithm().to_string(),
            bits: i32::try_from(key.bits()).unwrap_or_default(),
            fingerprint: fingerprint.clone(),
            fingerprints: Fingerprints { md5, sha256 },
            since: since.to_string(),
        }
    }
}

impl StatusError {
    fn new(profile: Profile, refusal: &Refusal) -> Self {
        let error = profile.error(refusal);
        Self {
            reason: error.reason.to_string(),
            code: error.code,
            message: error.message,
            http_status: i32::from(error.http_status),
        }
    }
}

/// The conditions `before`, with `ours` in place of the operator's own. `reset_gates` are set to False.
fn merge(before: &[Condition], mut ours: Vec<Condition>, reset_gates: &[String], now: Timestamp) -> Vec<Condition> {
    ours.extend(reset_gates.iter().map(|gate| Condition {
        type_: gate.clone(),
        status: "False".to_owned(),
        reason: "Pending".to_owned(),
        message:
            "The next key is published (status.keys). Set this condition to True when it is registered.".to_owned(),
        observed_generation: None,
        last_transition_time: Time(now),
    }));
    conditions::merge(before, ours, &OWN_CONDITION_TYPES)
}

fn own_conditions(key_pair: &KeyPair, report: &decide::Report, now: Timestamp) -> Vec<Condition> {
    let before = key_pair.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let condition = |type_: &str, status: &str, reason: &str, message: String| {
        conditions::condition(before, (type_, status), reason, message, key_pair.metadata.generation, now)
    };
    let rotating = rotating(key_pair, report, now)
        .map(|(status, reason, message)| condition(ROTATING, status, reason, message))
        .map(|rotating| recorded_if_halted(key_pair, report).unwrap_or(rotating));
    let Some(first) = report.refusals.first() else {
        let before = key_pair.status.as_ref();
        let was_promoted = |message: &str| {
            let has_message =
                |status: &KeyPairStatus| status.condition(READY).is_some_and(|ready| ready.message == message);
            before.is_some_and(|status| status.is_replay() || has_message(status))
        };
        let secret = report.accepted.as_ref().and_then(|accepted| accepted.secret_name.as_ref());
        let (reason, message) = match (&report.replay_of, secret) {
            (Some(original), _) => (
                IDEMPOTENT_REPLAY,
                format!(
                    "This KeyPair repeats the request of KeyPair {original:?}, which has the same client token, and shows its key pair."
                ),
            ),
            (None, Some(secret)) => {
                (GENERATED, format!("The key pair is generated; its private key is in Secret {secret:?}."))
            }
            (None, None) => (IMPORTED, "The public key is imported.".to_owned()),
        };
        // Kept until another message replaces it.
        let promoted = format!("{message} {PROMOTED}");
        let message = if report.replay_of.is_none() && was_promoted(&promoted) { promoted } else { message };
        return std::iter::once(condition(READY, "True", reason, message)).chain(rotating).collect();
    };
    let details: Vec<String> = report.refusals.iter().map(ToString::to_string).collect();
    let message = truncate(details.join("; "));
    let mut conditions = vec![condition(READY, "False", first.reason.as_str(), message.clone())];
    if report.refusals.iter().any(|refusal| refusal.reason.needs_edit()) {
        conditions.push(condition(STALLED, "True", first.reason.as_str(), message));
    }
    conditions.extend(rotating);
    conditions
}

/// Status, reason and message of the condition [`ROTATING`].
fn rotating(
    key_pair: &KeyPair,
    report: &decide::Report,
    now: Timestamp,
) -> Option<(&'static str, &'static str, String)> {
    let state = report.accepted.as_ref().map(|accepted| &accepted.rotation)?;
    if report.replay_of.is_some() || key_pair.spec.rotation.is_none() && state.keys.is_empty() {
        return None;
    }
    Some(if let Some(next) = state.key(Phase::Next) {
        let (revision, gates) = (next.revision, state.waiting_for.join(", "));
        match state.next_switch {
            Some(switch) if switch > now => published(revision, switch),
            Some(switch) if gates.is_empty() => {
                waiting_for_publication(&report.publication, revision).unwrap_or_else(|| published(revision, switch))
            }
            _ => (
                "True",
                "WaitingForGates",
                format!("Key {revision} becomes current when these conditions are True: {gates}."),
            ),
        }
    } else if let Some(previous) = state.key(Phase::Previous) {
        (
            "True",
            "KeepingPrevious",
            format!("Key {} is current; key {} is still to be trusted.", state.revision, previous.revision),
        )
    } else {
        ("False", "Idle", format!("Key {} is the only key.", state.revision))
    })
}

fn published(revision: u32, switch: Timestamp) -> (&'static str, &'static str, String) {
    let message = format!("Key {revision} is published, and becomes current at {switch} at the earliest.");
    ("True", "Published", message)
}

/// `None` if the switch does not wait for publications.
fn waiting_for_publication(
    progress: &PublicationProgress,
    revision: u32,
) -> Option<(&'static str, &'static str, String)> {
    const MAX_NAMES: usize = 3;
    let message = match progress {
        PublicationProgress::Published => return None,
        PublicationProgress::Unknown => format!(
            "Key {revision} becomes current when every AuthorizedKeys and KnownHosts that selects this KeyPair has published it. The operator cannot list them at the moment."
        ),
        PublicationProgress::Waiting(publications) => {
            let names: Vec<String> = publications.iter().take(MAX_NAMES).map(ToString::to_string).collect();
            let more = match publications.len().saturating_sub(MAX_NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("Key {revision} becomes current when it is published by {}{more}.", names.join(", "))
        }
    };
    Some(("True", "WaitingForPublication", message))
}

/// The condition [`ROTATING`] as the status records it, if a refusal prevents the next step: then no time that passes changes anything.
fn recorded_if_halted(key_pair: &KeyPair, report: &decide::Report) -> Option<Condition> {
    let before = key_pair.status.as_ref().filter(|_| !report.refusals.is_empty())?;
    let state = report.accepted.as_ref().map(|accepted| &accepted.rotation)?;
    let recorded = before.condition(ROTATING).filter(|_| before.rotation_state() == *state)?;
    Some(Condition { observed_generation: key_pair.metadata.generation, ..recorded.clone() })
}

/// Truncates a message to the limit of an Event (1024 bytes), so that it reads the same everywhere.
fn truncate(mut message: String) -> String {
    const MAX_BYTES: usize = 1024;
    const ELLIPSIS: &str = "…";
    if message.len() > MAX_BYTES {
        let end = (0..=MAX_BYTES - ELLIPSIS.len()).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
        message.push_str(ELLIPSIS);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::publication::{PublicationKind, PublicationRef};

    #[test]
    fn at_most_three_publications_are_named() {
        let waiting = |count: usize| {
            let publication = |number| PublicationRef {
                kind: PublicationKind::AuthorizedKeys,
                namespace: "shop".to_owned(),
                name: format!("admins-{number}"),
            };
            let progress = PublicationProgress::Waiting((0..count).map(publication).collect());
            waiting_for_publication(&progress, 2).unwrap().2
        };
        assert_eq!(waiting(1), "Key 2 becomes current when it is published by AuthorizedKeys shop/admins-0.");
        let many = waiting(12);
        assert!(many.ends_with("AuthorizedKeys shop/admins-2 and 9 more.") && many.len() < 200, "{many}");
        assert_eq!(waiting_for_publication(&PublicationProgress::Published, 2), None);
        let unknown = waiting_for_publication(&PublicationProgress::Unknown, 2).unwrap();
        assert_eq!((unknown.0, unknown.1), ("True", "WaitingForPublication"));
    }
}
