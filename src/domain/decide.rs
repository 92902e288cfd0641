//! Decides what to do about one `KeyPair`: the whole state machine as one pure function.
//!
//! [`decide`] returns the next step. The controller takes that step, adds the result to the observation and calls it again, until
//! it returns [`NextStep::Report`], [`NextStep::Rest`] or [`NextStep::RecordMove`].
//!
//! The order of the steps makes a generated pair safe: the Secret is created before the status says that the pair exists, and an
//! existing Secret is adopted instead of created a second time. So a crash between the two steps neither loses nor duplicates a key.
//! To move a key, the operator copies the Secret, then updates the status, and deletes the old Secret only after it has read the
//! copy. So the Secret that the status names always holds the key.

mod accepted;
mod case;
mod generated;
mod immutability;
mod moves;
mod next_step;
mod observed;
mod outcome;
mod refusals;
mod rotate;

use self::outcome::{
    accept_import, accepted_key_pair, fingerprint, refuse, refuse_failed_request, refuse_until_changed, report_of,
};
pub use self::{
    accepted::{AcceptedKeyPair, AcceptedRequest},
    next_step::{NextStep, Report},
    observed::{
        CachedSecret, Desired, Incompatibility, Move, Observed, ObservedSecret, Original, Ownership, ReadSecret,
        RotationEntries,
    },
};
use crate::domain::{
    ledger::{ClaimState, Ledger},
    reason::Refusal,
    region::Region,
    request::{self, Source},
    rotation::RotationState,
};

/// Decides the next step for one `KeyPair`.
#[must_use]
pub fn decide(desired: &Desired, observed: &Observed, ledger: &Ledger) -> NextStep {
    if desired.deleting {
        // There is no finalizer: the API server frees the name, the garbage collector takes the Secret.
        return NextStep::Rest;
    }
    decide_as(desired, observed, ledger.region(), ledger.claim_state(&desired.uid))
}

/// Decides for a `KeyPair` that is not being deleted and has this claim state in `region`.
pub(super) fn decide_as(desired: &Desired, observed: &Observed, region: &Region, claim_state: ClaimState) -> NextStep {
    // An accepted pair keeps its Secret name: the name was allowed when the pair was accepted.
    let held = observed.recorded.as_ref().and_then(|accepted| accepted.secret_name.as_deref());
    let source = match request::check_in(region, &desired.parameters, held) {
        Ok(source) => source,
        Err(refusals) => return refuse(observed, refusals),
    };
    match claim_state {
        ClaimState::Granted => {}
        // The index has not seen this version of the object, or has a later one: the event of that version triggers a reconciliation.
        ClaimState::Unknown => return NextStep::Rest,
        ClaimState::NameTaken => return refuse(observed, vec![refusals::name_taken(&desired.parameters)]),
        ClaimState::NoSlot => return refuse(observed, vec![region.no_slot()]),
        ClaimState::Replay(original) => return replay(observed, original),
        ClaimState::ReplayOfPending(original) => return refuse(observed, vec![refusals::in_process(&original)]),
        ClaimState::TokenReused(original) => return refuse(observed, vec![refusals::token_reused(&original)]),
    }
    if let Some(recorded) = &observed.recorded {
        let refusals = immutability::refusals(&desired.parameters, recorded, region, &source);
        if !refusals.is_empty() {
            return refuse(observed, refusals);
        }
    }
    match source {
        Source::Import(key) => accept_import(desired, observed, region, &key),
        Source::Generate(spec) => generated::decide(desired, observed, region, spec),
    }
}

/// Reports the result of the original.
fn replay(observed: &Observed, name: String) -> NextStep {
    match &observed.original {
        Some(Original { accepted, refused: None }) => {
            let accepted = Some(AcceptedKeyPair {
                secret_version: None,
                request: None,
                rotation: RotationState::default(),
                ..accepted.clone()
            });
            NextStep::Report(Box::new(Report { accepted, replay_of: Some(name), ..Report::default() }))
        }
        // `accepted` stays empty: otherwise this replay, which is not Ready, would count as accepted itself.
        Some(Original { refused: Some((reason, words)), .. }) => {
            let refusals = vec![refusals::original_not_ready(&name, *reason, words)];
            NextStep::Report(Box::new(Report { refusals, ..Report::default() }))
        }
        None => refuse(observed, vec![refusals::in_process(&name)]),
    }
}

#[cfg(test)]
mod tests;
