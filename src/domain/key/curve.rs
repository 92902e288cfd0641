//! The three NIST curves of RFC 5656 §10.1.

use aws_lc_rs::agreement;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use der::asn1::ObjectIdentifier;

use super::error::PublicKeyError;
use super::key_type::KeyType;

/// The first byte of an uncompressed point, SEC 1 §2.3.3.
const UNCOMPRESSED: u8 = 4;

/// A NIST curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// The identifier in a key blob.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "nistp256",
            Self::P384 => "nistp384",
            Self::P521 => "nistp521",
        }
    }

    /// The size of the curve in bits, as `ssh-keygen -l` prints it.
    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }

    /// The length in bytes of a coordinate, and of a private scalar.
    pub(super) const fn field_length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The object identifier of RFC 5480 §2.1.1.1.
    pub(super) const fn oid(self) -> ObjectIdentifier {
        const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
        const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
        const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
        match self {
            Self::P256 => P256,
            Self::P384 => P384,
            Self::P521 => P521,
        }
    }

    pub(super) fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|curve| curve.oid() == oid)
    }

    /// The curve of a plain ECDSA key type, including the type for FIDO tokens.
    pub(super) const fn of(key_type: KeyType) -> Option<Self> {
        match key_type {
            KeyType::EcdsaP256 | KeyType::SkEcdsaP256 => Some(Self::P256),
            KeyType::EcdsaP384 => Some(Self::P384),
            KeyType::EcdsaP521 => Some(Self::P521),
            _ => None,
        }
    }

    /// The type of a key on this curve that is not on a FIDO token.
    pub(super) const fn key_type(self) -> KeyType {
        match self {
            Self::P256 => KeyType::EcdsaP256,
            Self::P384 => KeyType::EcdsaP384,
            Self::P521 => KeyType::EcdsaP521,
        }
    }

    /// Checks that `point` is an uncompressed point of this curve (RFC 5656 §3.1, SEC 1 §2.3.3).
    pub(super) fn check_point(self, point: &[u8]) -> Result<(), PublicKeyError> {
        let algorithm: &'static dyn VerificationAlgorithm = match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        };
        match point.split_first() {
            Some((&UNCOMPRESSED, coordinates)) if coordinates.len() == 2 * self.field_length() => {}
            Some((2 | 3, coordinate)) if coordinate.len() == self.field_length() => {
                return Err(PublicKeyError::CompressedPoint);
            }
            _ => return Err(PublicKeyError::Malformed),
        }
        ParsedPublicKey::new(algorithm, point).map(drop).map_err(|_| PublicKeyError::PointNotOnCurve)
    }

    /// The algorithm that computes the public point of a private scalar.
    pub(super) const fn agreement(self) -> &'static agreement::Algorithm {
        match self {
            Self::P256 => &agreement::ECDH_P256,
            Self::P384 => &agreement::ECDH_P384,
            Self::P521 => &agreement::ECDH_P521,
        }
    }
}
