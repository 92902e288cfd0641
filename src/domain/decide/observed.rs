//! The input of a decision: the request, the status, and the Secrets.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::accepted::AcceptedKeyPair;
use crate::domain::{
    key::PublicKey,
    publication::PublicationProgress,
    reason::Reason,
    request::Parameters,
    rotation::{HeldKeys, OpenGates},
};

/// What the `KeyPair` asks for.
#[derive(Debug, Clone)]
pub struct Desired {
    /// `metadata.uid`.
    pub uid: String,
    /// Whether the object is being deleted.
    pub deleting: bool,
    /// The request.
    pub parameters: Parameters,
    /// `metadata.creationTimestamp`.
    pub created: Timestamp,
}

impl Desired {
    /// The name of the Secret: the one in `recorded`, else one of `created_secrets` that differs from the spec, else the one in the spec.
    #[must_use]
    pub fn secret_name<'a>(
        &'a self,
        recorded: Option<&'a AcceptedKeyPair>,
        created_secrets: &'a BTreeSet<String>,
    ) -> &'a String {
        let wanted = &self.parameters.secret.name;
        let recorded = recorded.and_then(|accepted| accepted.secret_name.as_ref());
        recorded.or_else(|| created_secrets.iter().find(|name| *name != wanted)).unwrap_or(wanted)
    }
}

/// What the operator knows about the cluster.
#[derive(Debug, Clone)]
pub struct Observed {
    /// What the status records; `Some` once the pair has been accepted.
    pub recorded: Option<AcceptedKeyPair>,
    /// The original, if the ledger says that this pair is a replay.
    pub original: Option<Original>,
    /// The names of the Secrets that were or may have been created for this pair, or that have its UID: several after repeated edits of
    /// the name, or a crash.
    pub created_secrets: BTreeSet<String>,
    /// Why the status says that the pair is not Ready.
    pub refused: Option<Reason>,
    /// Whether this is a new pair, and other `KeyPair`s wait for the Secret name that it wants.
    pub is_contended: bool,
    /// Each Secret that the decision may involve, by name.
    pub secrets: BTreeMap<String, ObservedSecret>,
    /// The types of the conditions of other writers that are True.
    pub open_gates: OpenGates,
    /// Whether the publications that select the pair have its next key.
    pub publication: PublicationProgress,
    /// The present time.
    pub now: Timestamp,
}

impl Observed {
    /// What is known about the Secret of this name.
    pub(super) fn secret(&self, name: &str) -> &ObservedSecret {
        const NOTHING: &ObservedSecret = &ObservedSecret::Unread(None);
        self.secrets.get(name).unwrap_or(NOTHING)
    }
}

/// A pair whose request another one repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    /// What its status records.
    pub accepted: AcceptedKeyPair,
    /// Reason and message of its status, if it is not Ready.
    pub refused: Option<(Reason, String)>,
}

/// What is known about the Secret of a generated pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservedSecret {
    /// Not read yet. Its cached metadata, if the watch shows it.
    Unread(Option<CachedSecret>),
    /// Just requested, and absent.
    Absent,
    /// Just read or created.
    Read(ReadSecret),
    /// The API server answered that it is invalid, for this reason.
    Invalid(String),
    /// The API server does not let the operator create, read or change it, for this reason.
    Forbidden(String),
    /// Requests for it keep failing with this error, for example because an admission webhook is down.
    Failing(String),
}

/// What the metadata of a Secret says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedSecret {
    /// Whether it belongs to this `KeyPair`, by UID.
    pub owned: bool,
    /// The fingerprint in its annotation.
    pub sha256: Option<String>,
    /// Whether an annotation says that it was adopted.
    pub adopted: bool,
    /// The digest of the settings in its annotation.
    pub settings: Option<String>,
    /// The unfinished move that it belongs to.
    pub moved: Option<Move>,
    /// Its resource version.
    pub version: String,
}

/// An unfinished move of a key from one Secret to another, recorded on the copy until the source is gone.
///
/// It contains the name of the copy. So if somebody duplicates the copy, annotations and all, the duplicate is not taken for ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The name of the source.
    pub from: String,
    /// The name of the copy.
    pub to: String,
}

/// Who owns a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// This `KeyPair`, by UID.
    Ours,
    /// Somebody else, who offers it to this `KeyPair` for adoption.
    Offered,
    /// Somebody else.
    Foreign,
}

/// Why the settings cannot be applied to an offered or adopted Secret. Never contains a byte of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incompatibility {
    /// The private key is unusable, for this reason.
    Key(String),
    /// Another controller owns the Secret: kind and name of the owner.
    Owner(String),
    /// The settings use this data key for a key, and the entry holds something else.
    Entry(String),
}

/// What the content of a Secret says.
#[allow(clippy::struct_excessive_bools, reason = "they are independent findings, not states that exclude each other")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadSecret {
    /// Who owns it.
    pub ownership: Ownership,
    /// Whether it was adopted: except for what the operator added, it is still its owner's.
    pub adopted: bool,
    /// Whether a watch of our Secrets shows it. The watches select by label, and other tools may own a label.
    pub is_selected: bool,
    /// Kind and name of another owner, if it names one.
    pub owner: Option<String>,
    /// The unfinished move that it belongs to.
    pub moved: Option<Move>,
    /// The labels, annotations and owner references that the operator wrote and admission changed.
    pub admission_changes: Vec<String>,
    /// The public key, derived from its private key; `None` if that is unreadable.
    pub public_key: Option<PublicKey>,
    /// What prevents adopting the key, or storing it as the settings say.
    pub incompatibility: Option<Incompatibility>,
    /// Whether it matches the settings, apart from the private key.
    pub up_to_date: bool,
    /// Whether the settings allow its type, which is immutable.
    pub is_type_allowed: bool,
    /// The fingerprint (SHA256) of the lost key that this one replaces.
    pub replaces: Option<String>,
    /// What it holds for a rotation. Boxed, since most Secrets hold nothing.
    pub rotation: Box<RotationEntries>,
    /// Its resource version.
    pub version: String,
}

/// What a Secret holds for a rotation, besides the current key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotationEntries {
    /// The next key.
    pub next: Option<PublicKey>,
    /// The previous key.
    pub previous: Option<PublicKey>,
    /// Whether the operator has added a previous key and not removed it. Somebody else may have removed the entry.
    pub is_previous_kept: bool,
    /// The revision of the current key, if the Secret says it.
    pub revision: Option<u32>,
    /// The name of an entry that a rotation would write, and that belongs to somebody else.
    pub foreign_entry: Option<String>,
}

impl RotationEntries {
    pub(super) fn held_keys(&self) -> HeldKeys<'_> {
        let Self { next, previous, is_previous_kept, revision, .. } = self;
        HeldKeys {
            next: next.as_ref(),
            previous: previous.as_ref(),
            is_previous_kept: *is_previous_kept,
            revision: *revision,
        }
    }
}
