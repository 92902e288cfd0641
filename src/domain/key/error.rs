//! What can be wrong with a public key body.

use super::wire::WireError;
use crate::domain::display;

/// Why a public key body is refused.
///
/// The messages say what is wrong and what to do about it. They never repeat a byte of the input,
/// because what was pasted can be a private key; the only things they carry from it are the size of
/// an RSA modulus, and an invisible character, which no key has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// Nothing but white space.
    #[error("the public key is empty; give one public key")]
    Empty,
    /// A private key in any format, or something that looks like one.
    #[error(
        "this contains a private key; give the public key instead (the .pub file), and replace the key pair if others \
         can have seen this text"
    )]
    PrivateKey,
    /// `authorized_keys` options stand before the key.
    #[error("authorized_keys options stand before the key; remove them and begin with the key type")]
    Options,
    /// A line of a `known_hosts` file.
    #[error("this is a known_hosts line; remove the host name and begin with the key type")]
    KnownHostsLine,
    /// More than one key.
    #[error("there is more than one public key; give exactly one")]
    SeveralKeys,
    /// One key broken over several lines, or a key among other lines.
    #[error("an OpenSSH public key must be a single line, with nothing before or after it; join or remove the others")]
    SeveralLines,
    /// A key of SSH protocol 1, three decimal numbers.
    #[error("this is an SSH protocol 1 key, which nothing accepts any more; generate a new key pair")]
    Ssh1,
    /// Neither a line, nor RFC 4716, nor PEM.
    #[error("this is not a public key; give an OpenSSH line (type and base64), an RFC 4716 block or a PEM public key")]
    NotAKey,
    /// The base64 stands alone.
    #[error("the key type is missing; put it, for example ssh-rsa, and a space before the base64")]
    MissingType,
    /// A type name stands alone.
    #[error("the base64 part after the key type is missing; give the whole line of the .pub file")]
    MissingKey,
    /// A key type that OpenSSH or this operator does not know.
    #[error("the key type is unknown; use RSA, ECDSA, Ed25519 or one of the other OpenSSH key types")]
    UnknownType,
    /// The word before the base64 is not the type in the blob.
    #[error("the key type before the base64 is not the type of the key inside it; copy the whole line again")]
    TypeMismatch,
    /// The base64 part is not one token of padded base64.
    #[error("the key is not valid base64; it may be cut off or broken, copy it again")]
    NotBase64,
    /// An armoured block without its last line, or with something else in a header's place.
    #[error("the block of the key is incomplete; copy all its lines, from BEGIN to END, without joining them")]
    BrokenArmor,
    /// Text after the END line.
    #[error("there is text after the END line of the key; give the key alone")]
    TextAfterKey,
    /// A PEM block of another kind, for example an X.509 certificate.
    #[error("this PEM block is not a public key; give one that begins with PUBLIC KEY or RSA PUBLIC KEY")]
    UnsupportedPem,
    /// A PEM public key of a family that SSH does not have, or with restrictions that SSH cannot
    /// keep.
    #[error("the algorithm of this PEM public key is not one of SSH's; use RSA, DSA, ECDSA on a NIST curve or Ed25519")]
    UnsupportedPemAlgorithm,
    /// An EC key with its curve spelt out instead of named, or on another curve than the three of
    /// RFC 5656.
    #[error("the elliptic curve is not named nistp256, nistp384 or nistp521; use one of these")]
    UnsupportedCurve,
    /// A structure that ends too early or has a wrong length, tag or value.
    #[error("the key is damaged: its inner structure is not that of its type; copy it again")]
    Malformed,
    /// Bytes after the end of a structure.
    #[error("there are extra bytes after the end of the key data; copy the key again")]
    TrailingBytes,
    /// A negative or zero number where a positive one belongs.
    #[error("a number in the key is not positive; the key is damaged, generate or copy it again")]
    NotPositive,
    /// A number with needless leading zero bytes.
    #[error("a number in the key is not in its shortest form; write the key again with ssh-keygen")]
    NotMinimal,
    /// A number of more than 16384 bits, the most that OpenSSH reads.
    #[error("a number in the key is longer than 16384 bits, the most that OpenSSH reads; use a smaller key")]
    NumberTooLong,
    /// A point in compressed form.
    #[error("the elliptic curve point is compressed, which OpenSSH does not accept; write the key uncompressed")]
    CompressedPoint,
    /// A point that does not satisfy the equation of its curve.
    #[error("the elliptic curve point is not on its curve; the key is damaged, copy or generate it again")]
    PointNotOnCurve,
    /// An RSA modulus of fewer than 1024 bits.
    #[error("the RSA key has only {bits} bits; at least 1024 are needed, and 2048 or more are advisable")]
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
    /// A certificate that is neither for a user (1) nor for a host (2).
    #[error("the certificate is neither a user nor a host certificate; sign the key again with ssh-keygen -s")]
    CertificateType,
    /// A certificate signed by another certificate, or by a key that cannot be read.
    #[error("the key that signed the certificate is not a usable plain key; sign the key again with ssh-keygen -s")]
    CertificateAuthority,
    /// A signature that cannot have been made by the certificate's signature key.
    #[error("the signature of the certificate is damaged or of another type than its key; sign the key again")]
    CertificateSignature,
    /// A list of principals, options or extensions that is not well formed.
    #[error("a list in the certificate is damaged; sign the key again with ssh-keygen -s")]
    CertificateList,
    /// A control character in the comment.
    #[error("there is a control character or line break in the comment; remove it")]
    ControlCharacter,
    /// A character that nobody sees, anywhere in the body: a byte order mark, a zero-width space, a bidirectional override; or
    /// a space in or before the key that is not the one OpenSSH knows. No key consists of such characters, so naming it tells
    /// nothing of one.
    #[error("there is an invisible character, {}, at character {place} of the text; remove it", display::name_of(*.character))]
    InvisibleCharacter {
        /// The character.
        character: char,
        /// Which character of the text it is, from 1.
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
