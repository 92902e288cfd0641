//! Rotation: the settings, and what happens to the keys of a pair when.
//!
//! A key is first published as `Next`, then becomes `Current`, and stays published as `Previous` for a while. [`plan()`] compares what
//! the status records with what the Secret holds, and says which keys the status is to show and how the Secret is to change next.
//! The Secret changes first, with one patch for each transition; the status follows. So after a crash between the two, the
//! Secret shows what happened.

mod outcome;
mod plan;
mod schedule;
mod settings;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use self::{
    outcome::RotationOutcome,
    plan::{Change, HeldKeys, Input, Plan, plan},
    settings::{MAX_GATES, MAX_HOURS, RotationSettings, RotationTexts, check, parse_duration},
};
use super::key::PublicKey;

/// The annotation of a `KeyPair` that requests a rotation, with a value that `status.rotation.handledRequest` does not have.
pub const ROTATE_ANNOTATION: &str = "keypairs.dev/rotate";

/// Where a key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It was current, and stays published for `keepAfter`.
    Previous,
    /// It is the key of the pair.
    Current,
    /// It is published, and becomes current.
    Next,
}

impl Phase {
    /// Every phase, in the order of revisions.
    pub const ALL: [Self; 3] = [Self::Previous, Self::Current, Self::Next];

    /// The name of the phase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Previous => "Previous",
            Self::Current => "Current",
            Self::Next => "Next",
        }
    }

    /// The phase of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }

    /// What the data keys of a key in this phase end with.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Previous => ".previous",
            Self::Current => "",
            Self::Next => ".next",
        }
    }
}

/// A key of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhasedKey {
    /// 1 for the first key of the pair, one more for each that follows.
    pub revision: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// The key.
    pub key: PublicKey,
    /// Its fingerprint in the profile's form; empty if not known yet.
    pub fingerprint: String,
    /// When the phase began, in whole seconds.
    pub since: Timestamp,
}

/// What the status records about the rotation of a pair.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotationState {
    /// The revision of the current key; 0 if unknown.
    pub revision: u32,
    /// The keys in the order of their revisions; empty for a pair without rotation that has only its current key.
    pub keys: Vec<PhasedKey>,
    /// The value of the last request that has led to a rotation.
    pub handled_request: Option<String>,
    /// When the next key becomes current at the earliest, if that is known.
    pub next_switch: Option<Timestamp>,
    /// The gates for which the switch waits.
    pub waiting_for: Vec<String>,
}

impl RotationState {
    /// The key in this phase.
    #[must_use]
    pub fn key(&self, phase: Phase) -> Option<&PhasedKey> {
        self.keys.iter().find(|key| key.phase == phase)
    }

    /// Whether there is nothing to record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The types of the conditions that are True, among the gates of a rotation.
pub type OpenGates = BTreeSet<String>;

#[cfg(test)]
mod tests;
