//! Key blobs of plain keys: RFC 4253 §6.6 (RSA, DSA), RFC 5656 §3.1 (ECDSA), RFC 8709 §4
//! (Ed25519), OpenSSH's PROTOCOL.u2f (keys on FIDO tokens) and
//! draft-miller-sshm-mldsa44-ed25519-composite-sigs (ML-DSA-44 with Ed25519).

use super::curve::Curve;
use super::error::PublicKeyError;
use super::key_type::KeyType;
use super::wire::{Reader, bit_length, put_mpint, put_string};

/// The minimum size of an RSA modulus in bits, as OpenSSH's `SSH_RSA_MINIMUM_MODULUS_SIZE`. The maximum, 16384, is the limit of
/// [`Reader::positive_mpint`].
const RSA_MIN_BITS: u32 = 1024;
/// The length of an Ed25519 public key in bytes.
pub(super) const ED25519_LENGTH: usize = 32;
/// The length of an ML-DSA-44 public key in bytes, FIPS 204 §4.
const ML_DSA_44_LENGTH: usize = 1312;

/// The fields of a plain key in a blob or a certificate.
#[derive(Debug)]
pub(super) struct KeyFields<'a> {
    /// The encoded fields, without the type name before them.
    pub(super) raw: &'a [u8],
    /// The size as `ssh-keygen -l` prints it.
    pub(super) bits: u32,
}

/// Reads the type name at the beginning of a blob.
pub(super) fn read_type(reader: &mut Reader<'_>) -> Result<KeyType, PublicKeyError> {
    let name = std::str::from_utf8(reader.string()?).map_err(|_| PublicKeyError::UnknownType)?;
    KeyType::from_name(name).ok_or(PublicKeyError::UnknownType)
}

/// Reads and checks the fields of a plain key of the given type.
pub(super) fn read_fields<'a>(reader: &mut Reader<'a>, plain: KeyType) -> Result<KeyFields<'a>, PublicKeyError> {
    let start = reader.rest();
    let bits = match plain {
        KeyType::Rsa => read_rsa(reader)?,
        KeyType::Dss => read_dss(reader)?,
        KeyType::Ed25519 | KeyType::SkEd25519 => read_ed25519(reader)?,
        KeyType::MlDsa44Ed25519 => read_ml_dsa_44_ed25519(reader)?,
        _ => read_ecdsa(reader, plain)?,
    };
    if matches!(plain, KeyType::SkEcdsaP256 | KeyType::SkEd25519) {
        // The application is an arbitrary string that the owner of the token chose.
        reader.string()?;
    }
    let length = start.len() - reader.rest().len();
    Ok(KeyFields { raw: start.get(..length).unwrap_or_default(), bits })
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<u32, PublicKeyError> {
    let exponent = reader.positive_mpint()?;
    let modulus = reader.positive_mpint()?;
    let bits = bit_length(modulus);
    if bits < RSA_MIN_BITS {
        return Err(PublicKeyError::RsaTooShort { bits });
    }
    if is_even(modulus) {
        return Err(PublicKeyError::RsaEvenModulus);
    }
    if is_even(exponent) || exponent == [1] {
        return Err(PublicKeyError::RsaExponent);
    }
    Ok(bits)
}

/// Checks only the form of a DSA key. OpenSSH does not check the group either.
fn read_dss(reader: &mut Reader<'_>) -> Result<u32, PublicKeyError> {
    let prime = reader.positive_mpint()?;
    for _ in ["q", "g", "y"] {
        reader.positive_mpint()?;
    }
    Ok(bit_length(prime))
}

fn read_ecdsa(reader: &mut Reader<'_>, plain: KeyType) -> Result<u32, PublicKeyError> {
    let curve = Curve::of(plain).ok_or(PublicKeyError::UnknownType)?;
    if reader.string()? != curve.name().as_bytes() {
        return Err(PublicKeyError::TypeMismatch);
    }
    curve.check_point(reader.string()?)?;
    Ok(curve.bits())
}

/// Checks only the length of an Ed25519 key, as OpenSSH does. About half of all 32-byte strings are not points, and some are in
/// use as placeholder keys. They are harmless, because no signature is valid under them.
fn read_ed25519(reader: &mut Reader<'_>) -> Result<u32, PublicKeyError> {
    if reader.string()?.len() != ED25519_LENGTH {
        return Err(PublicKeyError::Malformed);
    }
    Ok(256)
}

/// The two keys are one string. OpenSSH checks only the length, and any bytes of that length are an ML-DSA-44 key. `ssh-keygen -l`
/// prints 256 bits.
fn read_ml_dsa_44_ed25519(reader: &mut Reader<'_>) -> Result<u32, PublicKeyError> {
    if reader.string()?.len() != ML_DSA_44_LENGTH + ED25519_LENGTH {
        return Err(PublicKeyError::Malformed);
    }
    Ok(256)
}

fn is_even(magnitude: &[u8]) -> bool {
    magnitude.last().is_none_or(|last| last % 2 == 0)
}

/// The blob of a plain key from its type and its encoded fields.
pub(super) fn from_fields(plain: KeyType, raw: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(4 + plain.name().len() + raw.len());
    put_string(&mut blob, plain.name().as_bytes());
    blob.extend_from_slice(raw);
    blob
}

/// The blob of an RSA key from the big-endian magnitudes of its exponent and modulus.
pub(super) fn rsa(exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let mut blob = from_fields(KeyType::Rsa, &[]);
    put_mpint(&mut blob, exponent);
    put_mpint(&mut blob, modulus);
    blob
}

/// The blob of a DSA key from the big-endian magnitudes `p`, `q`, `g`, `y`.
pub(super) fn dss(numbers: [&[u8]; 4]) -> Vec<u8> {
    let mut blob = from_fields(KeyType::Dss, &[]);
    for number in numbers {
        put_mpint(&mut blob, number);
    }
    blob
}

/// The blob of an ECDSA key from its point.
pub(super) fn ecdsa(curve: Curve, point: &[u8]) -> Vec<u8> {
    let mut blob = from_fields(curve.key_type(), &[]);
    put_string(&mut blob, curve.name().as_bytes());
    put_string(&mut blob, point);
    blob
}

/// The blob of an Ed25519 key from its 32 bytes.
pub(super) fn ed25519(key: &[u8]) -> Vec<u8> {
    let mut blob = from_fields(KeyType::Ed25519, &[]);
    put_string(&mut blob, key);
    blob
}
