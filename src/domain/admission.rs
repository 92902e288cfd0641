//! What is said of a `KeyPair` before it is stored.
//!
//! The same decision as the controller's, about a `KeyPair` that the ledger does not know yet. It is an early answer and
//! grants nothing: two requests for the last slot may both be let in, and the controller accepts one of them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    decide::{Desired, Facts, Observed, Plan, decide_as},
    immutable,
    ledger::{Claim, Standing},
    reason::{Parameter, Reason, Refusal},
    region::Region,
    request::Parameters,
};

/// A `KeyPair` as it is stored, or is to be.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What it asks for.
    pub desired: Desired,
    /// The facts that its status records; `Some` once the pair has been accepted.
    pub recorded: Option<Facts>,
    /// The claim that it lays to a slot and a name; `None`: its request is not valid.
    pub claim: Option<Claim>,
}

/// Why `new` must not be stored in `region`, in the place of `old` if there is one; the error that the cloud would have answered
/// with first. Empty: nothing speaks against it. `foresee` says how a claim would stand.
///
/// An update is refused for what it makes worse, and for what it touches and leaves wrong. So an object that is older than a
/// rule can still be labelled and described, and one that waits can be mended: it goes on waiting.
#[must_use]
pub fn review(
    new: &Candidate,
    old: Option<&Candidate>,
    region: &Region,
    foresee: impl Fn(&Claim) -> Standing,
) -> Vec<Refusal> {
    if new.desired.deleting {
        return Vec::new();
    }
    let Some(old) = old else { return refusals(new, region, foresee) };
    let (before, after) = (&old.desired.parameters, &new.desired.parameters);
    if before == after {
        return Vec::new();
    }
    let mut found = if old.recorded.is_some() { immutable::refusals(before, after) } else { Vec::new() };
    let known = refusals(old, region, &foresee);
    let is_worse = |refusal: &Refusal| {
        let waits = matches!(refusal.reason, Reason::QuotaExceeded | Reason::IdempotentProcessing);
        !waits && (!known.contains(refusal) || is_touched(refusal.parameter, before, after))
    };
    found.extend(refusals(new, region, foresee).into_iter().filter(is_worse));
    found.sort_by_key(|refusal| refusal.reason);
    found
}

/// Whether anything that decides about `parameter` differs.
fn is_touched(parameter: Parameter, before: &Parameters, after: &Parameters) -> bool {
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
        Parameter::Region | Parameter::Quota => false,
    }
}

fn refusals(candidate: &Candidate, region: &Region, foresee: impl Fn(&Claim) -> Standing) -> Vec<Refusal> {
    let standing = candidate.claim.as_ref().map_or(Standing::Unknown, foresee);
    if matches!(standing, Standing::Replay(_)) {
        // It will have the answer that the original has had.
        return Vec::new();
    }
    let observed = Observed {
        recorded: candidate.recorded.clone(),
        original: None,
        noted: BTreeSet::new(),
        refused: None,
        secrets: BTreeMap::new(),
    };
    match decide_as(&candidate.desired, &observed, region, standing) {
        Plan::Report(report) => report.refusals,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
