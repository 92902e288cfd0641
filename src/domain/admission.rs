//! The decision about a `KeyPair` at admission, before it is stored.
//!
//! It is the controller's decision, for a `KeyPair` that the ledger does not know yet. It is a preview and grants nothing:
//! two requests for the last slot may both be admitted, and the controller accepts one of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::domain::{
    decide::{AcceptedKeyPair, Desired, NextStep, Observed, decide_as},
    immutable,
    ledger::{Claim, ClaimState},
    publication::PublicationProgress,
    reason::{Parameter, Reason, Refusal},
    region::Region,
    request::Parameters,
    rotation::OpenGates,
};

/// A `KeyPair` as it is stored or would be stored.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The desired state.
    pub desired: Desired,
    /// What its status records; `Some` once the pair is accepted.
    pub recorded: Option<AcceptedKeyPair>,
    /// Its claim to a slot and a name; `None`: the request is invalid.
    pub claim: Option<Claim>,
}

/// The reasons to refuse `new` in `region`, as a new object or as an update of `old`. Empty: admit it.
///
/// The first refusal is the error that the cloud would have answered with. `preview` returns the state that a claim would
/// have.
///
/// An update is refused for new mistakes, and for fields that it changes but leaves invalid. So an update may change the
/// labels and the description of an object that is older than a rule. It may also correct an object that waits, which then
/// keeps waiting.
#[must_use]
pub fn review(
    new: &Candidate,
    old: Option<&Candidate>,
    region: &Region,
    preview: impl Fn(&Claim) -> ClaimState,
) -> Vec<Refusal> {
    if new.desired.deleting {
        return Vec::new();
    }
    let Some(old) = old else { return refusals(new, region, preview) };
    let (before, after) = (&old.desired.parameters, &new.desired.parameters);
    if before == after {
        return Vec::new();
    }
    let mut found = if old.recorded.is_some() { immutable::refusals(before, after) } else { Vec::new() };
    let known = refusals(old, region, &preview);
    let is_worse = |refusal: &Refusal| {
        let waits = matches!(refusal.reason, Reason::QuotaExceeded | Reason::IdempotentProcessing);
        !waits && (!known.contains(refusal) || is_affected(refusal.parameter, before, after))
    };
    found.extend(refusals(new, region, preview).into_iter().filter(is_worse));
    found.sort_by_key(|refusal| refusal.reason);
    found
}

/// Whether the update changes a field that `parameter` depends on.
fn is_affected(parameter: Parameter, before: &Parameters, after: &Parameters) -> bool {
    let profile = before.profile != after.profile;
    let key = profile || before.public_key != after.public_key || before.generate != after.generate;
    match parameter {
        Parameter::Profile => profile,
        Parameter::KeyPairName => {
            profile || before.key_pair_name != after.key_pair_name || before.is_import() != after.is_import()
        }
        Parameter::PublicKey | Parameter::Generate => key,
        Parameter::Description => before.description != after.description,
        Parameter::TagKey | Parameter::TagValue => before.tags != after.tags,
        Parameter::ClientToken => before.client_token != after.client_token,
        Parameter::Project => before.project != after.project,
        Parameter::Secret => key || before.secret != after.secret,
        // The rotation is checked against the names of the data keys.
        Parameter::Rotation => key || before.rotation != after.rotation || before.secret != after.secret,
        Parameter::ShareWith => before.share_with != after.share_with,
        Parameter::Region | Parameter::Quota => false,
    }
}

fn refusals(candidate: &Candidate, region: &Region, preview: impl Fn(&Claim) -> ClaimState) -> Vec<Refusal> {
    let claim_state = candidate.claim.as_ref().map_or(ClaimState::Unknown, preview);
    if matches!(claim_state, ClaimState::Replay(_)) {
        // A replay gets the answer of the original.
        return Vec::new();
    }
    let observed = Observed {
        recorded: candidate.recorded.clone(),
        original: None,
        created_secrets: BTreeSet::new(),
        refused: None,
        is_contended: false,
        secrets: BTreeMap::new(),
        // Without a Secret, nothing depends on the time.
        open_gates: OpenGates::default(),
        publication: PublicationProgress::default(),
        now: Timestamp::UNIX_EPOCH,
    };
    match decide_as(&candidate.desired, &observed, region, claim_state) {
        NextStep::Report(report) => report.refusals,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
