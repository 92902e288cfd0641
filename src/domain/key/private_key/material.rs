//! The numbers of a private key, borrowed from their source, and the public key derived from them.

use aws_lc_rs::agreement;
use aws_lc_rs::rsa::{self, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use pkcs1::{RsaPrivateKeyRef, UintRef};

use super::super::blob;
use super::super::curve::Curve;
use super::super::wire::bit_length;
use super::error::PrivateKeyError;

/// The sizes of an RSA modulus, in bits, that AWS-LC supports.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// A private key in parts, unchecked until [`Material::derive_public_blob`] has succeeded.
pub(super) enum Material<'a> {
    /// All the numbers of RFC 8017 §A.1.2.
    Rsa(RsaPrivateKeyRef<'a>),
    /// An elliptic curve key.
    Ecdsa {
        curve: Curve,
        /// Big-endian, exactly as long as the field.
        scalar: &'a [u8],
        /// The uncompressed point beside it, used only for comparison.
        point: Option<&'a [u8]>,
    },
    /// An Ed25519 key.
    Ed25519 {
        /// The 32 bytes of RFC 8032 §5.1.5 from which everything else is computed.
        seed: &'a [u8],
        /// The public key beside it, used only for comparison.
        public: Option<&'a [u8]>,
    },
}

impl Material<'_> {
    /// Computes the public key's blob and checks everything else against it.
    pub(super) fn derive_public_blob(&self) -> Result<Vec<u8>, PrivateKeyError> {
        match self {
            Self::Rsa(key) => derive_rsa(key),
            Self::Ecdsa { curve, scalar, point } => {
                let derived = agreement::PrivateKey::from_private_key(curve.agreement(), scalar)
                    .map_err(|_| PrivateKeyError::Inconsistent)?
                    .compute_public_key()
                    .map_err(|_| PrivateKeyError::Inconsistent)?;
                ensure_same(*point, derived.as_ref())?;
                Ok(blob::ecdsa(*curve, derived.as_ref()))
            }
            Self::Ed25519 { seed, public } => {
                let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| PrivateKeyError::Malformed)?;
                ensure_same(*public, pair.public_key().as_ref())?;
                Ok(blob::ed25519(pair.public_key().as_ref()))
            }
        }
    }
}

/// An RSA public key cannot be computed from `d` alone. AWS-LC proves that all eight numbers match,
/// above all that `n = p q` and `d e = 1` modulo `p - 1` and `q - 1`.
fn derive_rsa(key: &RsaPrivateKeyRef<'_>) -> Result<Vec<u8>, PrivateKeyError> {
    if key.other_prime_infos.is_some() {
        return Err(PrivateKeyError::UnsupportedAlgorithm);
    }
    let (n, e) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
    let others = [&key.private_exponent, &key.prime1, &key.prime2];
    check_rsa_lengths(n, &others.map(UintRef::as_bytes))?;
    rsa::KeyPair::from_components(&KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d: key.private_exponent.as_bytes(),
        p: key.prime1.as_bytes(),
        q: key.prime2.as_bytes(),
        dP: key.exponent1.as_bytes(),
        dQ: key.exponent2.as_bytes(),
        qInv: key.coefficient.as_bytes(),
    })
    .map_err(|_| PrivateKeyError::Inconsistent)?;
    Ok(blob::rsa(e, n))
}

/// Checks that the modulus has a supported size and no other number is longer: the size of the input
/// bounds the cost of the calculation.
pub(super) fn check_rsa_lengths(modulus: &[u8], others: &[&[u8]]) -> Result<(), PrivateKeyError> {
    let bits = bit_length(modulus);
    if !RSA_BITS.contains(&bits) {
        return Err(PrivateKeyError::RsaSize { bits });
    }
    if others.iter().any(|number| number.len() > modulus.len()) {
        return Err(PrivateKeyError::Inconsistent);
    }
    Ok(())
}

fn ensure_same(given: Option<&[u8]>, derived: &[u8]) -> Result<(), PrivateKeyError> {
    if given.is_none_or(|given| given == derived) { Ok(()) } else { Err(PrivateKeyError::Inconsistent) }
}
