//! Errors in a public key body.

use super::wire::WireError;
use crate::domain::display;

/// Why a public key body is refused.
///
/// The messages say what is wrong and what to do. They never repeat bytes of the input, because it can be a private key. They
/// contain only the size of an RSA modulus, and an invisible character, which is not part of any key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// Only white space.
    #[error("the public key is empty; provide one public key")]
    Empty,
    /// A private key in any format, or something that looks like one.
    #[error(
        "this contains a private key; provide the public key (the .pub file) instead, and replace the key pair if others \
         may have seen this text"
    )]
    PrivateKey,
    /// `authorized_keys` options precede the key.
    #[error("authorized_keys options precede the key; remove them and begin with the key type")]
    Options,
    /// A line of a `known_hosts` file.
    #[error("this is a known_hosts line; remove the host name and begin with the key type")]
    KnownHostsLine,
    /// More than one key.
    #[error("there is more than one public key; provide exactly one")]
    SeveralKeys,
    /// One key on several lines, or a key among other lines.
    #[error("an OpenSSH public key must be a single line; join the lines of the key, or remove the other lines")]
    SeveralLines,
    /// A key of SSH protocol 1, three decimal numbers.
    #[error("this is an SSH protocol 1 key, which is no longer supported; generate a new key pair")]
    Ssh1,
    /// Neither a line, nor RFC 4716, nor PEM.
    #[error(
        "this is not a public key; provide an OpenSSH line (type and base64), an RFC 4716 block or a PEM public key"
    )]
    NotAKey,
    /// The base64 without a type name.
    #[error("the key type is missing; add it, for example ssh-rsa, and a space before the base64")]
    MissingType,
    /// A type name without base64.
    #[error("the base64 after the key type is missing; provide the whole line of the .pub file")]
    MissingKey,
    /// A key type that OpenSSH or this operator does not know.
    #[error("the key type is unknown; use RSA, ECDSA, Ed25519 or one of the other OpenSSH key types")]
    UnknownType,
    /// The word before the base64 is not the type in the blob.
    #[error("the key type before the base64 does not match the type of the encoded key; copy the whole line again")]
    TypeMismatch,
    /// The base64 part is not one token of padded base64.
    #[error("the key is not valid base64 and may be truncated; copy it again")]
    NotBase64,
    /// An armored block without its last line, or with a malformed header.
    #[error("the key block is incomplete; copy all its lines, from BEGIN to END, without joining them")]
    BrokenArmor,
    /// Text after the END line.
    #[error("there is text after the END line of the key; remove it")]
    TextAfterKey,
    /// A PEM block of another kind, for example an X.509 certificate.
    #[error("this PEM block is not a public key; provide one with the label PUBLIC KEY or RSA PUBLIC KEY")]
    UnsupportedPem,
    /// A PEM public key of an algorithm that SSH does not support, or with restrictions that SSH cannot enforce.
    #[error(
        "SSH does not support the algorithm of this PEM public key; use RSA, DSA, ECDSA on a NIST curve or Ed25519"
    )]
    UnsupportedPemAlgorithm,
    /// An EC key with an explicit curve instead of a named one, or on another curve than the three of RFC 5656.
    #[error("the elliptic curve is not supported; use one of the named curves nistp256, nistp384 or nistp521")]
    UnsupportedCurve,
    /// A truncated structure, or a wrong length, tag or value.
    #[error("the key is damaged: its structure does not match its type; copy it again")]
    Malformed,
    /// Bytes after the end of a structure.
    #[error("there are extra bytes after the end of the key data; copy the key again")]
    TrailingBytes,
    /// A negative number or zero where a positive number is required.
    #[error("a number in the key is zero or negative; the key is damaged, copy or generate it again")]
    NotPositive,
    /// A number with unnecessary leading zero bytes.
    #[error("a number in the key is not in its shortest form; export the key again with ssh-keygen")]
    NotMinimal,
    /// A number of more than 16384 bits, the OpenSSH limit.
    #[error("a number in the key is longer than 16384 bits, the OpenSSH limit; use a smaller key")]
    NumberTooLong,
    /// A point in compressed form.
    #[error("the elliptic curve point is compressed, which OpenSSH does not support; export it in uncompressed form")]
    CompressedPoint,
    /// A point that does not satisfy the equation of its curve.
    #[error("the elliptic curve point is not on its curve; the key is damaged, copy or generate it again")]
    PointNotOnCurve,
    /// An RSA modulus of fewer than 1024 bits.
    #[error("the RSA key has only {bits} bits; at least 1024 are required, and 2048 or more are recommended")]
    RsaTooShort {
        /// The length of the modulus in bits.
        bits: u32,
    },
    /// An even RSA modulus.
    #[error("the RSA modulus is even, so this is not an RSA key; copy or generate it again")]
    RsaEvenModulus,
    /// An RSA exponent that is even or less than 3.
    #[error("the RSA exponent is even or less than 3, so this is not an RSA key; copy or generate it again")]
    RsaExponent,
    /// A certificate that is neither a user certificate (1) nor a host certificate (2).
    #[error("the certificate is neither a user nor a host certificate; sign the key again with ssh-keygen -s")]
    CertificateType,
    /// A certificate that is signed by another certificate, or by an invalid key.
    #[error("the signature key of the certificate is a certificate or invalid; sign the key again with ssh-keygen -s")]
    CertificateAuthority,
    /// A signature that does not have the form for the certificate's signature key.
    #[error(
        "the certificate's signature is damaged or does not match its key type; sign the key again with ssh-keygen -s"
    )]
    CertificateSignature,
    /// A malformed list of principals, options or extensions.
    #[error("a list in the certificate is damaged; sign the key again with ssh-keygen -s")]
    CertificateList,
    /// A control character in the comment.
    #[error("the comment contains a control character or line break; remove it")]
    ControlCharacter,
    /// An invisible character anywhere in the body, such as a byte order mark, a zero-width space or a bidirectional override; or a
    /// space, in or before the key, that OpenSSH does not treat as one. No key contains such characters, so the message reveals
    /// nothing about it.
    #[error("the public key contains an invisible character, {}, at character {place} of the text; remove it", display::name_of(*.character))]
    InvisibleCharacter {
        /// The character.
        character: char,
        /// Its position in the text in characters, from 1.
        place: usize,
    },
}

impl From<WireError> for PublicKeyError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Truncated => Self::Malformed,
            WireError::TrailingBytes => Self::TrailingBytes,
            WireError::NotPositive => Self::NotPositive,
            WireError::NotMinimal => Self::NotMinimal,
            WireError::TooLong => Self::NumberTooLong,
        }
    }
}
