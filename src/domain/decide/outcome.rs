//! How a decision ends: the pair is accepted, or refused for a reason.

use super::{AcceptedKeyPair, AcceptedRequest, Desired, NextStep, Observed, ObservedSecret, Report, refusals};
use crate::domain::{
    key::PublicKey, key_pair_id::KeyPairId, reason::Refusal, region::Region, request::Parameters,
    rotation::RotationState,
};

/// The imported pair is Ready.
pub(super) fn accept_import(desired: &Desired, observed: &Observed, region: &Region, key: &PublicKey) -> NextStep {
    let accepted = Some(accepted_key_pair(desired, observed, region, key, None));
    NextStep::Report(Box::new(Report { accepted, ..Report::default() }))
}

/// A report of these refusals. It keeps what the status records about the pair.
pub(super) fn report_of(observed: &Observed, refusals: Vec<Refusal>) -> Report {
    Report { accepted: observed.recorded.clone(), refusals, ..Report::default() }
}

pub(super) fn refuse(observed: &Observed, refusals: Vec<Refusal>) -> NextStep {
    NextStep::Report(Box::new(report_of(observed, refusals)))
}

/// Refuses for a cause that can go away without an event.
pub(super) fn refuse_and_retry(observed: &Observed, refusal: Refusal) -> NextStep {
    NextStep::Report(Box::new(Report { requeue: true, ..report_of(observed, vec![refusal]) }))
}

/// Refuses if requests for the Secret of this name failed.
pub(super) fn refuse_failed_request(observed: &Observed, name: &str, secret: &ObservedSecret) -> Option<NextStep> {
    let step = match secret {
        ObservedSecret::Invalid(why) => refuse_and_retry(observed, refusals::secret_invalid(name, why)),
        ObservedSecret::Forbidden(why) => refuse_and_retry(observed, refusals::secret_forbidden(name, why)),
        ObservedSecret::Failing(why) => {
            let report = report_of(observed, vec![refusals::secret_failing(name, why)]);
            NextStep::Report(Box::new(Report { failing: true, ..report }))
        }
        ObservedSecret::Unread(_) | ObservedSecret::Absent | ObservedSecret::Read(_) => return None,
    };
    Some(step)
}

/// Refuses until the Secret of this name changes.
pub(super) fn refuse_until_changed(observed: &Observed, secret: &str, refusal: Refusal) -> NextStep {
    let awaited_secret = Some(secret.to_owned());
    NextStep::Report(Box::new(Report { requeue: true, awaited_secret, ..report_of(observed, vec![refusal]) }))
}

/// The fingerprint of a key of the pair with this identifier, in the profile's form.
pub(super) fn fingerprint(parameters: &Parameters, region: &Region, key: &PublicKey, id: &str) -> String {
    let line = key.to_openssh();
    let body = parameters.public_key.as_ref().unwrap_or(&line);
    let project = region.effective_project(&parameters.project);
    parameters.profile.fingerprint(key, body, project, &KeyPairId::from_text(id))
}

pub(super) fn accepted_key_pair(
    desired: &Desired,
    observed: &Observed,
    region: &Region,
    key: &PublicKey,
    secret: Option<(&str, &str)>,
) -> AcceptedKeyPair {
    // Set once: it survives even a restore that gives the object another UID.
    let recorded = observed.recorded.as_ref().map(|accepted| KeyPairId::from_text(&accepted.id));
    let id = recorded.unwrap_or_else(|| KeyPairId::from_uid(&desired.uid));
    let request = observed.recorded.as_ref().and_then(|accepted| accepted.request.clone());
    AcceptedKeyPair {
        fingerprint: fingerprint(&desired.parameters, region, key, id.as_str()),
        id: id.to_string(),
        public_key: key.to_openssh(),
        algorithm: key.algorithm().to_string(),
        bits: key.bits(),
        key_pair_name: desired.parameters.key_pair_name.clone(),
        request: request.or_else(|| AcceptedRequest::of(&desired.parameters)),
        fingerprints: key.fingerprints(),
        secret_name: secret.map(|(name, _)| name.to_owned()),
        secret_version: secret.map(|(_, version)| version.to_owned()),
        rotation: RotationState::default(),
    }
}
