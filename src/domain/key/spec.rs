//! The kinds of key pairs that can be generated.

use super::algorithm::Algorithm;

/// A kind of key pair that the operator can generate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeySpec {
    /// RSA, 2048-bit modulus.
    Rsa2048,
    /// RSA, 3072-bit modulus.
    Rsa3072,
    /// RSA, 4096-bit modulus.
    Rsa4096,
    /// ECDSA over nistp256.
    EcdsaP256,
    /// ECDSA over nistp384.
    EcdsaP384,
    /// ECDSA over nistp521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
}

impl KeySpec {
    /// Every specification.
    pub const ALL: &[Self] = &[
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Ed25519,
    ];

    /// The algorithm of the key.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => Algorithm::Rsa,
            Self::EcdsaP256 | Self::EcdsaP384 | Self::EcdsaP521 => Algorithm::Ecdsa,
            Self::Ed25519 => Algorithm::Ed25519,
        }
    }

    /// The size in bits, as `ssh-keygen -l` prints it. An Ed25519 key has 256.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Rsa2048 => 2048,
            Self::Rsa3072 => 3072,
            Self::Rsa4096 => 4096,
            Self::EcdsaP256 | Self::Ed25519 => 256,
            Self::EcdsaP384 => 384,
            Self::EcdsaP521 => 521,
        }
    }

    /// The specification for an algorithm and a size in bits, or `None` if that cannot be generated.
    ///
    /// Without a size, RSA keys have 2048 bits and ECDSA keys 256. Ed25519 has only one size: `None` and 256 mean the same.
    #[must_use]
    pub fn from_parts(algorithm: Algorithm, bits: Option<u32>) -> Option<Self> {
        let default = match algorithm {
            Algorithm::Rsa => 2048,
            _ => 256,
        };
        let bits = bits.unwrap_or(default);
        Self::ALL.iter().copied().find(|spec| spec.algorithm() == algorithm && spec.bits() == bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_spec_is_rebuilt_from_its_parts() {
        for &spec in KeySpec::ALL {
            assert_eq!(KeySpec::from_parts(spec.algorithm(), Some(spec.bits())), Some(spec));
        }
    }

    #[test]
    fn defaults_are_as_documented() {
        assert_eq!(KeySpec::from_parts(Algorithm::Rsa, None), Some(KeySpec::Rsa2048));
        assert_eq!(KeySpec::from_parts(Algorithm::Ecdsa, None), Some(KeySpec::EcdsaP256));
        assert_eq!(KeySpec::from_parts(Algorithm::Ed25519, None), Some(KeySpec::Ed25519));
    }

    #[test]
    fn other_sizes_and_families_cannot_be_generated() {
        for (algorithm, bits) in [
            (Algorithm::Rsa, Some(1024)),
            (Algorithm::Ecdsa, Some(512)),
            (Algorithm::Ed25519, Some(512)),
            (Algorithm::Dsa, None),
            (Algorithm::EcdsaSk, None),
            (Algorithm::Ed25519Sk, None),
        ] {
            assert_eq!(KeySpec::from_parts(algorithm, bits), None);
        }
    }
}
