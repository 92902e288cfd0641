//! The results of a decision.

use jiff::Timestamp;

use super::{Refusal, accepted::AcceptedKeyPair};
use crate::domain::{key::KeySpec, publication::PublicationProgress, rotation::Change};

/// What the status is to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What the status records about the pair, if it is accepted.
    pub accepted: Option<AcceptedKeyPair>,
    /// The name of the original that this `KeyPair` replays; `accepted` is then that of the original.
    pub replay_of: Option<String>,
    /// What is wrong, first the error that the cloud API would return; empty if the pair is Ready.
    pub refusals: Vec<Refusal>,
    /// Whether to requeue: the cause can go away without an event. A watch of the awaited Secret replaces that, if there is one.
    pub requeue: bool,
    /// Whether requests keep failing; they are retried with the usual back-off of failures.
    pub failing: bool,
    /// Whether admission changed what the operator wrote. No event says when admission stops doing so, hence the retry.
    pub changed_by_admission: bool,
    /// The name of a Secret whose change ends the state that is reported, and that the watch by label may not show.
    pub awaited_secret: Option<String>,
    /// Gates that are set to False, because a next key was just published.
    pub reset_gates: Vec<String>,
    /// What the switch to the next key waits for besides gates.
    pub publication: PublicationProgress,
    /// When to decide again, although nothing has happened.
    pub due: Option<Timestamp>,
}

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing to do until the object changes.
    Rest,
    /// Read the Secret of this name, then decide again.
    ReadSecret(String),
    /// Generate a key pair and create the Secret of this name with it, unless that exists; then decide again.
    CreateSecret {
        /// The Secret's name.
        name: String,
        /// What to generate.
        spec: KeySpec,
        /// The fingerprint (SHA256) of the lost key that it replaces.
        replaces: Option<String>,
    },
    /// Apply the settings and the ownership of this `KeyPair` to the Secret, if it still has this version, and keep its key; then
    /// decide again.
    UpdateSecret {
        /// The Secret's name.
        name: String,
        /// The version on which the decision is based.
        version: String,
        /// The name of the Secret that the key moves from, to be recorded on this one.
        moved_from: Option<String>,
    },
    /// Create the Secret `to` with the key in the Secret `from`, unless `to` exists; then decide again.
    CopySecret {
        /// The name of the Secret that holds the key.
        from: String,
        /// The name of the Secret to create.
        to: String,
    },
    /// Make the status name this Secret, which holds the key of the pair, and change nothing else in it. The event of that write
    /// triggers the next decision.
    RecordMove {
        /// The Secret's name.
        name: String,
        /// Its version.
        version: String,
    },
    /// Remove the record of a move from the Secret of this name, if it still has this version; then decide again.
    EndMove {
        /// The Secret's name.
        name: String,
        /// The version on which the decision is based.
        version: String,
    },
    /// Make this change for a rotation to the Secret of this name, if it still has this version; then decide again.
    RotateSecret {
        /// The Secret's name.
        name: String,
        /// The version on which the decision is based.
        version: String,
        /// The change.
        change: Change,
    },
    /// Delete the Secret of this name, whose key another Secret now holds; then decide again.
    DeleteSecret(String),
    /// Release an adopted Secret to its owner, without what the operator added to it; then decide again.
    ReleaseSecret(String),
    /// Write this to the status, if it differs; then nothing is left to do.
    Report(Box<Report>),
}
