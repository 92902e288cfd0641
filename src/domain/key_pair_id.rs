//! The identifier of a key pair.

use std::fmt;

use sha2::{Digest, Sha256};

/// `kp-` and 20 characters of `[a-z0-9]`, in the form of Volcengine's `KeyPairId`.
///
/// Derived from the UID of the `KeyPair`, so that it survives every restart and no two pairs share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyPairId(String);

impl KeyPairId {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    const LENGTH: usize = 20;
    const PREFIX: &str = "kp-";

    /// The identifier of the object with this UID.
    #[must_use]
    pub fn from_uid(uid: &str) -> Self {
        let digest = Sha256::digest(uid.as_bytes());
        // 36^20 is below 2^104: 16 bytes are enough, and favor some identifiers by less than 2^-24.
        let mut rest = digest.iter().take(16).fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
        let mut id = String::from(Self::PREFIX);
        for _ in 0..Self::LENGTH {
            let symbol = usize::try_from(rest % 36).unwrap_or_default();
            id.extend(Self::ALPHABET.get(symbol).copied().map(char::from));
            rest /= 36;
        }
        Self(id)
    }

    /// Parses a recorded identifier; `None` if it does not have this form.
    #[must_use]
    pub fn parse(id: &str) -> Option<Self> {
        let symbols = id.strip_prefix(Self::PREFIX)?;
        let is_valid = symbols.len() == Self::LENGTH && symbols.bytes().all(|byte| Self::ALPHABET.contains(&byte));
        is_valid.then(|| Self(id.to_owned()))
    }

    /// A recorded identifier, without validation.
    #[must_use]
    pub fn from_text(id: &str) -> Self {
        Self(id.to_owned())
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyPairId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_identifier_is_stable() {
        let id = KeyPairId::from_uid("5f2c7c62-9c5c-4a3b-8d0c-0f4e6a0b7d11");
        assert_eq!(id, KeyPairId::from_uid("5f2c7c62-9c5c-4a3b-8d0c-0f4e6a0b7d11"));
        let (prefix, symbols) = id.as_str().split_at(3);
        assert_eq!(prefix, "kp-");
        assert_eq!(symbols.len(), 20);
        assert!(symbols.bytes().all(|byte| KeyPairId::ALPHABET.contains(&byte)));
    }

    #[test]
    fn an_identifier_parses_only_its_own_form() {
        let id = KeyPairId::from_uid("5f2c7c62-9c5c-4a3b-8d0c-0f4e6a0b7d11");
        assert_eq!(KeyPairId::parse(id.as_str()), Some(id));
        for wrong in [
            "",
            "kp-",
            "kp-0123456789abcdefghiJ",
            "kp-0123456789abcdefghijk",
            "kp_0123456789abcdefghij",
            "kp-../../../../../../..",
        ] {
            assert_eq!(KeyPairId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn identifiers_differ_for_each_uid() {
        let ids: HashSet<KeyPairId> = (0..10_000).map(|n| KeyPairId::from_uid(&format!("uid-{n}"))).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
