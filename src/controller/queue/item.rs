//! The objects that are reconciled.

use kube::runtime::reflector::ObjectRef;

use crate::{api::KeyPair, domain::publication::PublicationRef};

/// One object to reconcile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Item {
    /// A `KeyPair`.
    KeyPair(ObjectRef<KeyPair>),
    /// An `AuthorizedKeys` or a `KnownHosts`. Boxed, since there are more `KeyPair`s.
    Publication(Box<PublicationRef>),
}

impl Item {
    /// The `KeyPair` of this namespace and name.
    #[must_use]
    pub fn key_pair(namespace: &str, name: &str) -> Self {
        Self::KeyPair(ObjectRef::new(name).within(namespace))
    }

    /// The namespace of the object.
    #[must_use]
    pub fn namespace(&self) -> &str {
        match self {
            Self::KeyPair(reference) => reference.namespace.as_deref().unwrap_or_default(),
            Self::Publication(publication) => &publication.namespace,
        }
    }
}

impl From<ObjectRef<KeyPair>> for Item {
    fn from(reference: ObjectRef<KeyPair>) -> Self {
        // Versions and UIDs are not needed here, and need memory.
        let plain = ObjectRef::new(&reference.name);
        Self::KeyPair(match reference.namespace {
            Some(namespace) => plain.within(&namespace),
            None => plain,
        })
    }
}

impl From<PublicationRef> for Item {
    fn from(publication: PublicationRef) -> Self {
        Self::Publication(Box::new(publication))
    }
}

/// What to reconcile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// One object.
    One(Item),
    /// All `KeyPair`s and all publications.
    All,
}

impl<T: Into<Item>> From<T> for Trigger {
    fn from(object: T) -> Self {
        Self::One(object.into())
    }
}
