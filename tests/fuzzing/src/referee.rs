//! The crate `ssh-key` as the referee: an independent parser of the same formats.
//!
//! If the two disagree, one of them is wrong, or the difference is known and is in a table here, with its reason. Each row
//! is as narrow as possible: a row that covers too much hides the next bug.

use keypair_operator::domain::key::{
    Algorithm, CertificateVersion, KeyType, PrivateKeyError, PublicKey, PublicKeyError,
};
use ssh_key::{Certificate, Error, private::KeypairData, public::KeyData};

use crate::armor;

/// A public key as the referee parses it.
#[derive(Debug)]
pub struct Reading {
    /// The blob, encoded again from the parsed key.
    pub blob: Vec<u8>,
    /// The comment of the line.
    pub comment: String,
    /// The key; for a certificate, the certified one.
    pub key: KeyData,
    /// Whether it is a certificate.
    pub is_certificate: bool,
}

/// Parses a line with `ssh-key`, which has a type for keys and another one for certificates.
///
/// # Errors
///
/// If `ssh-key` refuses the line.
pub fn read_public(body: &str) -> Result<Reading, Error> {
    if body.split_whitespace().next().unwrap_or_default().contains("-cert-v0") {
        let certificate = Certificate::from_openssh(body)?;
        let (blob, comment) = (certificate.to_bytes()?, certificate.comment().to_owned());
        Ok(Reading { blob, comment, key: certificate.public_key().clone(), is_certificate: true })
    } else {
        let key = ssh_key::PublicKey::from_openssh(body)?;
        let (blob, comment) = (key.to_bytes()?, key.comment().as_str_lossy().to_owned());
        Ok(Reading { blob, comment, key: key.key_data().clone(), is_certificate: false })
    }
}

/// A known difference.
pub struct Gap<T: ?Sized> {
    /// What the difference is about.
    pub what: &'static str,
    /// Why the operator is right.
    pub why: &'static str,
    covers: fn(&T) -> bool,
}

impl<T: ?Sized> Gap<T> {
    const fn new(what: &'static str, why: &'static str, covers: fn(&T) -> bool) -> Self {
        Self { what, why, covers }
    }
}

/// Whether a row covers this difference.
#[must_use]
pub fn is_known<T: ?Sized>(gaps: &[Gap<T>], difference: &T) -> bool {
    gaps.iter().any(|gap| (gap.covers)(difference))
}

/// A public key that the operator accepts and the referee refuses.
pub struct Unread {
    /// As the operator parses it.
    pub ours: PublicKey,
    /// The error of the referee.
    pub theirs: Error,
}

/// Public keys that `ssh-key` cannot read, though `ssh-keygen` can. The referee always gets the normalised line without its
/// comment, because it supports neither RFC 4716, PEM, bare tokens nor tabs.
pub const UNREAD_PUBLIC: &[Gap<Unread>] = &[
    Gap::new("v00 certificates", "they are older than the draft that it implements", |it| {
        it.ours.key_type().certificate_version() == Some(CertificateVersion::V00)
    }),
    Gap::new(
        "certificate options that are repeated, or not in order",
        "PROTOCOL.certkeys demands the order; ssh-keygen reads any, and the servers decide",
        |it| it.ours.key_type().is_certificate() && matches!(it.theirs, Error::FormatEncoding),
    ),
    Gap::new(
        "certificate options whose value is not exactly one string",
        "the value is opaque to ssh-keygen as long as nobody asks for that option",
        |it| it.ours.key_type().is_certificate() && matches!(it.theirs, Error::Encoding(_)),
    ),
    Gap::new("certificates with a signature made in a browser", "it does not know webauthn signatures", |it| {
        it.ours.key_type().is_certificate()
            && matches!(it.theirs, Error::AlgorithmUnknown | Error::AlgorithmUnsupported { .. })
    }),
    Gap::new("applications of FIDO tokens that are not UTF-8", "it keeps them as String", |it| {
        matches!(it.ours.algorithm(), Algorithm::EcdsaSk | Algorithm::Ed25519Sk)
            && matches!(it.theirs, Error::Encoding(_))
    }),
];

/// A public key that the referee accepts and the operator refuses.
pub struct Refused {
    /// The error of the operator.
    pub ours: PublicKeyError,
    /// As the referee parses it.
    pub theirs: Reading,
}

fn is_ecdsa(key: &KeyData) -> bool {
    matches!(key, KeyData::Ecdsa(_) | KeyData::SkEcdsaSha2NistP256(_))
}

/// Public keys that `ssh-key` accepts, though OpenSSH, or this operator, does not.
pub const REFUSED_PUBLIC: &[Gap<Refused>] = &[
    Gap::new("any key type", "it keeps what it does not know as opaque bytes", |it| {
        KeyType::from_name(armor::type_name(&it.theirs.blob).unwrap_or_default()).is_none()
    }),
    Gap::new("ML-DSA-44 with Ed25519 of any length", "it does not know this type and keeps opaque bytes", |it| {
        armor::type_name(&it.theirs.blob) == Some(KeyType::MlDsa44Ed25519.name())
    }),
    Gap::new(
        "any RSA numbers that are positive",
        "it checks neither the least size of OpenSSH nor that modulus and exponent can be those of a key",
        |it| {
            matches!(it.theirs.key, KeyData::Rsa(_))
                && matches!(
                    it.ours,
                    PublicKeyError::RsaTooShort { .. }
                        | PublicKeyError::RsaEvenModulus
                        | PublicKeyError::RsaExponent
                        | PublicKeyError::NumberTooLong
                )
        },
    ),
    Gap::new("DSA numbers of any length", "it has no bound of 16384 bits", |it| {
        matches!(it.theirs.key, KeyData::Dsa(_)) && it.ours == PublicKeyError::NumberTooLong
    }),
    Gap::new(
        "points that are compressed, compact, at infinity, or on no curve",
        "it knows the forms of SEC 1, and calculates only with its optional libraries of curves",
        |it| {
            is_ecdsa(&it.theirs.key)
                && matches!(
                    it.ours,
                    PublicKeyError::CompressedPoint | PublicKeyError::Malformed | PublicKeyError::PointNotOnCurve
                )
        },
    ),
    Gap::new("any comment", "it takes whatever follows the second space", |it| {
        !it.theirs.comment.is_empty() && PublicKey::parse(&armor::line(&it.theirs.blob)).is_ok()
    }),
    Gap::new(
        "certificates whose authority or signature is not that of a usable key",
        "it takes an authority's key by its form, and a signature of any type",
        |it| {
            it.theirs.is_certificate
                && matches!(it.ours, PublicKeyError::CertificateAuthority | PublicKeyError::CertificateSignature)
        },
    ),
];

/// A private key that the referee accepts and the operator refuses.
pub struct RefusedPrivate {
    /// The error of the operator.
    pub ours: PrivateKeyError,
    /// As the referee parses it.
    pub theirs: ssh_key::PrivateKey,
}

/// Private keys that `ssh-key` accepts, though the operator does not.
pub const REFUSED_PRIVATE: &[Gap<RefusedPrivate>] = &[
    Gap::new("encrypted keys", "it keeps them until a passphrase comes", |it| {
        it.ours == PrivateKeyError::Encrypted && it.theirs.is_encrypted()
    }),
    Gap::new("DSA keys, keys in FIDO tokens, any key type", "the operator keeps what it can calculate with", |it| {
        it.ours == PrivateKeyError::UnsupportedAlgorithm
            && !matches!(it.theirs.key_data(), KeypairData::Rsa(_) | KeypairData::Ecdsa(_) | KeypairData::Ed25519(_))
    }),
    Gap::new(
        "parts that do not belong together",
        "it compares the public halves that are written down, and calculates nothing",
        |it| matches!(it.ours, PrivateKeyError::Inconsistent | PrivateKeyError::RsaSize { .. }),
    ),
    Gap::new(
        "numbers that are none of a key: a prime of one, a scalar with a needless zero byte in front",
        "nobody writes them; it says so of the latter in a TODO",
        |it| {
            it.ours == PrivateKeyError::Malformed
                && matches!(it.theirs.key_data(), KeypairData::Ecdsa(_) | KeypairData::Rsa(_))
        },
    ),
];

/// Parses the bytes of an OpenSSH private key with `ssh-key`.
///
/// # Errors
///
/// If `ssh-key` refuses the bytes.
pub fn read_private(bytes: &[u8]) -> Result<ssh_key::PrivateKey, Error> {
    ssh_key::PrivateKey::from_bytes(bytes)
}

/// A private key that the operator parses or writes, and that the referee refuses.
pub struct UnreadPrivate {
    /// The family of the key.
    pub algorithm: Algorithm,
    /// The bytes of the file, without the armor.
    pub file: Vec<u8>,
    /// The error of the referee.
    pub theirs: Error,
}

/// Private keys in OpenSSH's own format that `ssh-key` cannot read, though `ssh-keygen` can.
pub const UNREAD_PRIVATE: &[Gap<UnreadPrivate>] = &[
    Gap::new(
        "ECDSA scalars of fewer than 32 bytes",
        "it takes a short number for a broken one: about one P-256 key in 512, whose scalar begins with a zero byte and \
         then a byte below 128",
        |it| it.algorithm == Algorithm::Ecdsa && matches!(it.theirs, Error::Encoding(_)),
    ),
    Gap::new("a filling of more than 16 bytes", "it knows that of OpenSSH and that of PuTTYgen", |it| {
        it.file.last().is_some_and(|last| *last > 16) && matches!(it.theirs, Error::Encoding(_))
    }),
];
