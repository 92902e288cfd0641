//! The claim of a `KeyPair` to a slot and a name, and its state.

use std::sync::Arc;

use crate::domain::request::TokenUse;

/// The order of `KeyPair`s: the older first, and of two created in the same second the one whose name sorts first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seniority {
    /// `metadata.creationTimestamp`, in seconds since 1970.
    pub created: i64,
    /// `metadata.name`.
    pub object_name: Arc<str>,
}

/// The claim of a `KeyPair` with a valid request to a slot and a name in its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Its position in the queue.
    pub seniority: Seniority,
    /// The effective key pair name.
    pub key_pair_name: Arc<str>,
    /// Whether the status says that the pair is accepted, as a pair of its own rather than a replay.
    pub accepted: bool,
    /// The use of its client token, if it has one.
    pub token: Option<TokenUse>,
}

impl Claim {
    /// The state of this claim, given the original of its token.
    pub(super) fn state_as_replay_of(&self, original: &Self) -> ClaimState {
        let name = original.seniority.object_name.to_string();
        if original.token.as_ref().is_some_and(|token| !token.is_known()) {
            // The original could be decoded only in part, so it cannot be compared yet.
            ClaimState::ReplayOfPending(name)
        } else if !self.is_same_request(original) {
            ClaimState::TokenReused(name)
        } else if original.accepted {
            ClaimState::Replay(name)
        } else {
            ClaimState::ReplayOfPending(name)
        }
    }

    /// Whether two claims with the same client token have equal request parameters.
    pub(super) fn is_same_request(&self, other: &Self) -> bool {
        // If neither sets a name, both default to `metadata.name`, which is not part of the request.
        let named = |claim: &Self| claim.token.as_ref().is_some_and(|token| token.is_named);
        let same_name = self.key_pair_name == other.key_pair_name || (!named(self) && !named(other));
        let digest = |claim: &Self| claim.token.as_ref().map(|token| token.digest);
        same_name && digest(self) == digest(other)
    }
}

/// The state of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimState {
    /// The ledger does not know the claim.
    Unknown,
    /// It has its slot and its name.
    Granted,
    /// Another pair has the name, or an older claim waits for it.
    NameTaken,
    /// The name is free, but there is no slot.
    NoSlot,
    /// It repeats the request of the `KeyPair` of this name, which has been accepted.
    Replay(String),
    /// It repeats the request of the `KeyPair` of this name, which has not been accepted yet.
    ReplayOfPending(String),
    /// It has the client token of the `KeyPair` of this name, but other request parameters.
    TokenReused(String),
}
