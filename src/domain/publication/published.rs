//! The public keys that entries select, and those that are in a text.

use std::sync::Arc;

use crate::domain::{digest, key::KeyType};

/// What a `KeyPair` offers to publications: the public keys of an accepted pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPair {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Its keys of all phases, in the order of their revisions; never empty.
    pub keys: Vec<PublishedKey>,
}

/// A public key of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedKey {
    /// Its revision: 1, 2, …
    pub revision: u32,
    /// Type and base64 of the OpenSSH line, without a comment.
    pub line: Arc<str>,
    /// Whether it is a certificate.
    pub is_certificate: bool,
}

impl PublishedKey {
    /// The key of an OpenSSH line of a status, without its comment; `None` if the line has not the form of a key.
    ///
    /// The line was parsed when its pair was accepted. So this checks only what keeps the text of a publication intact, whoever wrote the
    /// status: a known type, and nothing but base64 after it.
    #[must_use]
    pub fn from_line(revision: u32, line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, base64) = (words.next()?, words.next()?);
        let key_type = KeyType::from_name(name)?;
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let is_valid = !base64.is_empty() && base64.bytes().all(is_base64);
        let line = is_valid.then(|| format!("{name} {base64}").into())?;
        Some(Self { revision, line, is_certificate: key_type.is_certificate() })
    }
}

/// What an entry selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The pairs in any order; empty for literal keys, an invalid entry, and an entry with a problem other than `TooMany`.
    pub pairs: Vec<Arc<PublishedPair>>,
    /// Why the entry selects nothing, or not all.
    pub problem: Option<Problem>,
}

/// Why an entry selects nothing, or not all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Problem {
    /// The `KeyPair` of another namespace does not exist, or is not shared. Both are told alike, so that nobody learns which pairs another
    /// namespace has.
    NotShared,
    /// The `KeyPair` does not exist in the namespace of the publication.
    KeyPairNotFound,
    /// The `KeyPair` exists (and is shared), but has no key that is published: it is not accepted, being deleted, or a replay. Its reason is
    /// `KeyPairNotFound`, too.
    NotAccepted,
    /// The selector selects no pair.
    NothingSelected,
    /// The selectors of the publication select more pairs than there is room for: those of this entry are not all there.
    TooMany,
}

/// The keys that are in a text, each on every line on which the spec wants it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedKeys(Box<[Digest]>);

/// The first half of a digest: short, because a publication may have many thousand keys, and still without collisions.
type Digest = [u8; 16];

impl PublishedKeys {
    /// The keys of these namespaces, names and lines.
    pub fn new(keys: impl Iterator<Item = (Arc<str>, Arc<str>, Arc<str>)>) -> Self {
        let mut digests: Vec<Digest> = keys.map(|(namespace, name, line)| digest(&namespace, &name, &line)).collect();
        digests.sort_unstable();
        digests.dedup();
        Self(digests.into())
    }

    /// Whether the key of this line (type and base64) of this pair is in the text.
    #[must_use]
    pub fn contains(&self, namespace: &str, name: &str, line: &str) -> bool {
        self.0.binary_search(&digest(namespace, name, line)).is_ok()
    }
}

fn digest(namespace: &str, name: &str, line: &str) -> Digest {
    let digest = digest::of_parts([namespace, name, line]);
    digest.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_key_is_not_published() {
        let key = PublishedKey::from_line(2, "ssh-ed25519 AAAAC3Nz+/= me@example.com").unwrap();
        assert_eq!((&*key.line, key.revision, key.is_certificate), ("ssh-ed25519 AAAAC3Nz+/=", 2, false));
        assert!(PublishedKey::from_line(1, "ssh-ed25519-cert-v01@openssh.com AAAA").unwrap().is_certificate);
        for line in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 ",
            "ssh-ed25519  AAAA",
            "ssh-ed25519 AAAA\nssh-ed25519 BBBB",
            "ssh-ed25519 AAAA\r",
            "ssh-ed25519 AA\0A",
            "ed25519 AAAA",
            "command=\"x\" ssh-ed25519 AAAA",
            "\nssh-ed25519 AAAA",
        ] {
            assert_eq!(PublishedKey::from_line(1, line), None, "{line:?}");
        }
    }

    #[test]
    fn published_keys_are_told_from_others() {
        let keys = PublishedKeys::new(
            [("a".into(), "b".into(), "k".into()), ("a".into(), "b".into(), "k".into())].into_iter(),
        );
        assert!(keys.contains("a", "b", "k"));
        assert!(!keys.contains("a", "b", "K") && !keys.contains("ab", "", "k") && !keys.contains("a", "bk", ""));
    }
}
