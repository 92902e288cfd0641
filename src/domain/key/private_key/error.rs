//! Errors of private keys.

use super::super::algorithm::Algorithm;
use super::super::armor::ArmorError;
use super::super::error::PublicKeyError;
use super::super::wire::WireError;
use super::encoding::Encoding;

/// Why a private key is refused or cannot be written.
///
/// The messages never repeat a byte of the key: they contain at most the size of an RSA modulus and
/// names of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// Only white space.
    #[error("the private key is empty")]
    Empty,
    /// The key is encrypted, in any format.
    #[error("the private key is encrypted; remove its passphrase, for example with ssh-keygen -p")]
    Encrypted,
    /// A public key instead of a private key.
    #[error("this is a public key; give the private key")]
    PublicKey,
    /// A private key in another format, for example that of `puttygen`.
    #[error("the format of the private key is not supported; convert it to PKCS#8, OpenSSH, PKCS#1 or SEC 1 PEM")]
    UnsupportedFormat,
    /// No key at all.
    #[error("this is not a private key in PEM format, which begins with a BEGIN line")]
    NotAKey,
    /// The END line is missing.
    #[error("the private key is incomplete; give all its lines, from BEGIN to END, without joining them")]
    BrokenArmor,
    /// More than one key.
    #[error("there is more than one private key; give exactly one")]
    SeveralKeys,
    /// Text after the END line.
    #[error("there is text after the END line of the private key; give the key alone")]
    TextAfterKey,
    /// The lines between BEGIN and END are not base64.
    #[error("the private key is not valid base64; it may be truncated or damaged")]
    NotBase64,
    /// The structure is not the one that the label names.
    #[error("the private key is damaged: its content does not match its format")]
    Malformed,
    /// Bytes after the end of a structure.
    #[error("there are extra bytes after the end of the private key data")]
    TrailingBytes,
    /// An algorithm other than RSA, ECDSA and Ed25519, or an RSA key with more than two primes.
    #[error("the algorithm of the private key is not supported; use RSA, ECDSA or Ed25519")]
    UnsupportedAlgorithm,
    /// A curve other than nistp256, nistp384 and nistp521.
    #[error("the elliptic curve of the private key is not supported; use nistp256, nistp384 or nistp521")]
    UnsupportedCurve,
    /// An RSA modulus of fewer than 2048 or more than 8192 bits.
    #[error("the RSA private key has {bits} bits; 2048 to 8192 are supported")]
    RsaSize {
        /// The length of the modulus in bits.
        bits: u32,
    },
    /// The numbers of the key do not match, or its public part belongs to another key.
    #[error("the parts of the private key do not match; it is damaged or was assembled from several keys")]
    Inconsistent,
    /// The encoding does not support keys of this algorithm.
    #[error("{algorithm} private keys cannot be written as {encoding}")]
    UnsupportedEncoding {
        /// The requested encoding.
        encoding: Encoding,
        /// The algorithm of the key.
        algorithm: Algorithm,
    },
    /// The comment is not valid in an OpenSSH line.
    #[error("the comment cannot be used: {0}")]
    Comment(#[source] PublicKeyError),
}

impl From<WireError> for PrivateKeyError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::TrailingBytes => Self::TrailingBytes,
            WireError::Truncated | WireError::NotPositive | WireError::NotMinimal | WireError::TooLong => {
                Self::Malformed
            }
        }
    }
}

impl From<der::Error> for PrivateKeyError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            der::ErrorKind::TrailingData { .. } => Self::TrailingBytes,
            _ => Self::Malformed,
        }
    }
}

impl From<ArmorError> for PrivateKeyError {
    fn from(error: ArmorError) -> Self {
        match error {
            ArmorError::NoEnd => Self::BrokenArmor,
            ArmorError::SecondBlock => Self::SeveralKeys,
            ArmorError::TextAfterEnd => Self::TextAfterKey,
            ArmorError::NotBase64 => Self::NotBase64,
        }
    }
}
