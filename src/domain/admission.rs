//! What is said of a `KeyPair` before it is stored.
//!
//! The same decision as the controller's, about a `KeyPair` that the ledger does not know yet. It is an early answer and
//! grants nothing: two requests for the last slot may both be let in, and the controller accepts one of them.

use super::{
    decide::{Desired, Facts, Observed, Plan, SecretView, decide_as},
    immutable,
    ledger::{Claim, Ledger, Standing},
    reason::Refusal,
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

/// Why `new` must not be stored, in the place of `old` if there is one; the error that the cloud would have answered with
/// first. Empty: nothing speaks against it.
///
/// An update is refused only for what it changes for the worse. An object that is older than a rule, or waits for a slot,
/// can still be labelled, deleted, and mended step by step.
#[must_use]
pub fn review(new: &Candidate, old: Option<&Candidate>, ledger: &Ledger) -> Vec<Refusal> {
    if new.desired.deleting {
        return Vec::new();
    }
    let Some(old) = old else { return refusals(new, ledger) };
    let (before, after) = (&old.desired.parameters, &new.desired.parameters);
    if before == after {
        return Vec::new();
    }
    let mut found = if old.recorded.is_some() { immutable::refusals(before, after) } else { Vec::new() };
    let known = refusals(old, ledger);
    let worse = |refusal: &Refusal| refusal.reason.needs_edit() || !known.contains(refusal);
    found.extend(refusals(new, ledger).into_iter().filter(worse));
    found.sort_by_key(|refusal| refusal.reason);
    found
}

fn refusals(candidate: &Candidate, ledger: &Ledger) -> Vec<Refusal> {
    let standing = candidate.claim.as_ref().map_or(Standing::Unknown, |claim| ledger.foresee(claim));
    if matches!(standing, Standing::Replay(_)) {
        // It will have the answer that the original has had.
        return Vec::new();
    }
    let unread = || SecretView::Unread(None);
    let observed = Observed {
        recorded: candidate.recorded.clone(),
        original: None,
        left: None,
        refused: None,
        secret: unread(),
        target: unread(),
    };
    match decide_as(&candidate.desired, &observed, ledger.region(), standing) {
        Plan::Report(report) => report.refusals,
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
