//! How far the publications of a key are.

use std::fmt;

use super::PublicationKind;

/// The kind, namespace and name of a publication.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicationRef {
    /// Its kind.
    pub kind: PublicationKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PublicationRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        write!(f, "{kind} {namespace}/{name}")
    }
}

/// Whether every publication that selects a pair has a key of it in its target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PublicationProgress {
    /// Each of them has, or there is none.
    #[default]
    Published,
    /// These have not yet.
    Waiting(Vec<PublicationRef>),
    /// The publications are not known: they are being listed, or cannot be watched.
    Unknown,
}

impl PublicationProgress {
    /// Whether nothing is left to wait for.
    #[must_use]
    pub fn is_published(&self) -> bool {
        *self == Self::Published
    }
}
