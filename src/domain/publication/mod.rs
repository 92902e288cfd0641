//! `AuthorizedKeys` and `KnownHosts`: texts made of the public halves of selected `KeyPair`s.
//!
//! [`check()`] reads the spec, [`render()`] makes the text of the keys that the entries select, and [`report()`] says what became of it.

pub mod bounds;
mod check;
mod hosts;
mod login;
mod progress;
mod published;
mod render;
mod report;

use std::{collections::BTreeMap, fmt};

pub use self::{
    check::{check, check_in},
    progress::{PublicationProgress, PublicationRef},
    published::{Problem, PublishedKey, PublishedKeys, PublishedPair, Resolved},
    render::{Rendered, render},
    report::{PublicationReason, PublicationReport, TargetOutcome, report},
};
pub use super::label_selector::SelectorParameters;
use super::{key::PublicKey, label_selector::LabelSelector};

/// The two kinds of publications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicationKind {
    /// The text is an `authorized_keys` file (sshd(8)).
    AuthorizedKeys,
    /// The text is a `known_hosts` file (sshd(8), ssh(1)).
    KnownHosts,
}

impl PublicationKind {
    /// Both kinds.
    pub const ALL: [Self; 2] = [Self::AuthorizedKeys, Self::KnownHosts];

    /// The kind of the custom resource.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizedKeys => "AuthorizedKeys",
            Self::KnownHosts => "KnownHosts",
        }
    }

    /// The default of `spec.target.*.key`.
    #[must_use]
    pub const fn default_data_key(self) -> &'static str {
        match self {
            Self::AuthorizedKeys => "authorized_keys",
            Self::KnownHosts => "known_hosts",
        }
    }
}

impl fmt::Display for PublicationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The spec of a publication as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicationParameters {
    /// The kind.
    pub kind: PublicationKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.entries`; none if the spec is too large.
    pub entries: Vec<EntryParameters>,
    /// Whether the spec is larger than [`bounds::SPEC_MAX_BYTES`].
    pub is_too_large: bool,
    /// `spec.target`.
    pub target: TargetParameters,
    /// `spec.layout`; always `File` for `KnownHosts`.
    pub layout: Layout,
    /// `spec.hashHosts` (`KnownHosts`).
    pub hash_hosts: bool,
}

/// One of `spec.entries` as written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EntryParameters {
    /// `keyPair`: the name of a `KeyPair`.
    pub key_pair: Option<String>,
    /// `selector`.
    pub selector: Option<SelectorParameters>,
    /// `publicKeys` (`KnownHosts`): literal public keys; `None` if the field is absent.
    pub public_keys: Option<Vec<String>>,
    /// `namespace`: where to look for key pairs. Default: the namespace of the publication.
    pub namespace: Option<String>,
    /// `options` (`AuthorizedKeys`).
    pub options: KeyOptions,
    /// `hosts` (`KnownHosts`).
    pub hosts: Vec<String>,
    /// `marker` (`KnownHosts`).
    pub marker: Option<Marker>,
}

/// The options of the lines of an `AuthorizedKeys` entry (sshd(8)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyOptions {
    /// `restrict`: forbids everything that no other option permits.
    pub restrict: Option<bool>,
    /// `from`: patterns and CIDR blocks of addresses and host names, with negation.
    pub from: Vec<String>,
    /// `command`: the forced command.
    pub command: Option<String>,
    /// `environment`.
    pub environment: BTreeMap<String, String>,
    /// `expiryTime` in RFC 3339, for example `2027-01-01T00:00:00Z`.
    pub expiry_time: Option<String>,
    /// `principals` of a certificate authority.
    pub principals: Vec<String>,
    /// `certAuthority`.
    pub cert_authority: Option<bool>,
    /// `permitOpen`: `host:port`.
    pub permit_open: Vec<String>,
    /// `permitListen`: `[host:]port`.
    pub permit_listen: Vec<String>,
    /// `tunnel`: the number of a tun device.
    pub tunnel: Option<String>,
    /// `agentForwarding`.
    pub agent_forwarding: Option<bool>,
    /// `portForwarding`.
    pub port_forwarding: Option<bool>,
    /// `pty`.
    pub pty: Option<bool>,
    /// `userRC`.
    pub user_rc: Option<bool>,
    /// `x11Forwarding`.
    pub x11_forwarding: Option<bool>,
    /// `noTouchRequired`.
    pub no_touch_required: Option<bool>,
    /// `verifyRequired`.
    pub verify_required: Option<bool>,
}

/// The marker of the lines of a `KnownHosts` entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Marker {
    /// `@cert-authority`.
    CertAuthority,
    /// `@revoked`.
    Revoked,
}

/// `spec.target` as written; at most one of both may be set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TargetParameters {
    /// `configMap`: its name and data key.
    pub config_map: Option<(Option<String>, Option<String>)>,
    /// `secret`: its name and data key.
    pub secret: Option<(Option<String>, Option<String>)>,
}

/// How the lines are distributed over the data of the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Layout {
    /// All lines in one data entry.
    #[default]
    File,
    /// A data entry for each key.
    EntryPerKey,
}

/// The spec of a publication, checked. What is right in it is published even if something else in it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The kind.
    pub kind: PublicationKind,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The entries in their order, at most [`bounds::MAX_ENTRIES`]; `None` for an invalid one. One that revokes keys has what is valid in it.
    pub entries: Vec<Option<Entry>>,
    /// The target; `None` if it is invalid.
    pub target: Option<Target>,
    /// The layout.
    pub layout: Layout,
    /// Whether host names are hashed.
    pub hash_hosts: bool,
    /// What is wrong, in the order of the spec.
    pub mistakes: Vec<Mistake>,
}

/// A valid entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the keys come from.
    pub source: Source,
    /// What precedes the key on its line.
    pub line: Line,
}

/// Where the keys of an entry come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The `KeyPair` of this namespace and name.
    KeyPair {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The `KeyPair`s of this namespace with these labels.
    Selector {
        /// Their namespace.
        namespace: String,
        /// Selects their labels.
        selector: LabelSelector,
    },
    /// Literal keys.
    PublicKeys(Vec<PublicKey>),
}

/// What precedes a key on its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// In `authorized_keys`.
    Login(KeyOptions),
    /// In `known_hosts`.
    Hosts {
        /// The patterns.
        hosts: Vec<String>,
        /// The marker.
        marker: Option<Marker>,
    },
}

impl Line {
    /// Whether the keys are revoked.
    pub(super) const fn revokes(&self) -> bool {
        matches!(self, Self::Hosts { marker: Some(Marker::Revoked), .. })
    }
}

/// The object that the text is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its kind.
    pub kind: TargetKind,
    /// Its name.
    pub name: String,
    /// The data key of the layout `File`.
    pub key: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// The kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl TargetKind {
    /// The kind of the object.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something wrong in the spec of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The field below `spec`, for example `entries[0].options.from[1]`.
    pub field: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

#[cfg(test)]
mod tests;
