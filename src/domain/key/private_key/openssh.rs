//! The OpenSSH private key format: PROTOCOL.key, with the fields of draft-miller-ssh-agent.

use der::asn1::UintRef;
use pkcs1::RsaPrivateKeyRef;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::super::blob::ED25519_LENGTH;
use super::super::curve::Curve;
use super::super::key_type::KeyType;
use super::super::wire::{Reader, put_mpint, put_string, put_u32};
use super::PrivateKey;
use super::error::PrivateKeyError;
use super::material::{Material, check_rsa_lengths};
use super::reduce::mod_prime_minus_one;

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// The names of the cipher and of the key derivation function of an unencrypted key.
const NONE: &[u8] = b"none";
/// The block size in bytes to which the private section is padded when there is no cipher.
const BLOCK: usize = 8;

/// Reads an unencrypted key.
pub(super) fn read(bytes: &[u8]) -> Result<PrivateKey, PrivateKeyError> {
    let mut reader = Reader::new(bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(PrivateKeyError::Malformed);
    }
    let (cipher, derivation, options) = (reader.string()?, reader.string()?, reader.string()?);
    if cipher != NONE || derivation != NONE {
        return Err(PrivateKeyError::Encrypted);
    }
    if !options.is_empty() {
        return Err(PrivateKeyError::Malformed);
    }
    if reader.u32()? != 1 {
        return Err(PrivateKeyError::SeveralKeys);
    }
    let public_blob = reader.string()?;
    let section = reader.string()?;
    reader.finish()?;
    let key = read_section(section)?;
    if key.public.blob() != public_blob {
        return Err(PrivateKeyError::Inconsistent);
    }
    Ok(key)
}

/// Reads the private section: two equal check integers, the key, its comment, and the padding 1, 2,
/// 3 and so on.
fn read_section(section: &[u8]) -> Result<PrivateKey, PrivateKeyError> {
    let mut reader = Reader::new(section);
    if reader.u32()? != reader.u32()? {
        return Err(PrivateKeyError::Malformed);
    }
    let name = std::str::from_utf8(reader.string()?).map_err(|_| PrivateKeyError::Malformed)?;
    let key = match KeyType::from_name(name) {
        Some(KeyType::Rsa) => read_rsa(&mut reader)?,
        Some(KeyType::Ed25519) => read_ed25519(&mut reader)?,
        Some(key_type @ (KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521)) => {
            read_ecdsa(&mut reader, Curve::of(key_type).ok_or(PrivateKeyError::UnsupportedCurve)?)?
        }
        _ => return Err(PrivateKeyError::UnsupportedAlgorithm),
    };
    let _comment = reader.string()?;
    // OpenSSH accepts padding of any length: PuTTYgen pads to a multiple of 16, and always adds some.
    let expected = (1..=u8::MAX).chain([0]).cycle();
    if !section.len().is_multiple_of(BLOCK) || !reader.rest().iter().zip(expected).all(|(byte, right)| *byte == right) {
        return Err(PrivateKeyError::Malformed);
    }
    Ok(key)
}

fn read_rsa(reader: &mut Reader<'_>) -> Result<PrivateKey, PrivateKeyError> {
    let mut number = || reader.positive_mpint();
    let (modulus, public_exponent, private_exponent) = (number()?, number()?, number()?);
    let (coefficient, prime1, prime2) = (number()?, number()?, number()?);
    check_rsa_lengths(modulus, &[private_exponent, prime1, prime2])?;
    let exponent1 = mod_prime_minus_one(private_exponent, prime1).ok_or(PrivateKeyError::Malformed)?;
    let exponent2 = mod_prime_minus_one(private_exponent, prime2).ok_or(PrivateKeyError::Malformed)?;
    PrivateKey::from_material(&Material::Rsa(RsaPrivateKeyRef {
        modulus: UintRef::new(modulus)?,
        public_exponent: UintRef::new(public_exponent)?,
        private_exponent: UintRef::new(private_exponent)?,
        prime1: UintRef::new(prime1)?,
        prime2: UintRef::new(prime2)?,
        exponent1: UintRef::new(&exponent1)?,
        exponent2: UintRef::new(&exponent2)?,
        coefficient: UintRef::new(coefficient)?,
        other_prime_infos: None,
    }))
}

fn read_ecdsa(reader: &mut Reader<'_>, curve: Curve) -> Result<PrivateKey, PrivateKeyError> {
    if reader.string()? != curve.name().as_bytes() {
        return Err(PrivateKeyError::Malformed);
    }
    let point = Some(reader.string()?);
    let number = reader.positive_mpint()?;
    let mut scalar = Zeroizing::new(vec![0; curve.field_length()]);
    let zeros = scalar.len().checked_sub(number.len()).ok_or(PrivateKeyError::Malformed)?;
    for (to, from) in scalar.iter_mut().skip(zeros).zip(number) {
        *to = *from;
    }
    PrivateKey::from_material(&Material::Ecdsa { curve, scalar: &scalar, point })
}

fn read_ed25519(reader: &mut Reader<'_>) -> Result<PrivateKey, PrivateKeyError> {
    let public = reader.string()?;
    let (seed, public_copy) = reader.string()?.split_at_checked(ED25519_LENGTH).ok_or(PrivateKeyError::Malformed)?;
    if public_copy != public {
        return Err(PrivateKeyError::Inconsistent);
    }
    PrivateKey::from_material(&Material::Ed25519 { seed, public: Some(public) })
}

/// Writes an unencrypted key.
pub(super) fn write(key: &PrivateKey, comment: &str) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let public_blob = key.public.blob();
    let section = write_section(key, comment)?;
    // More than enough: growing the vector would leave private bytes behind.
    let mut out = Zeroizing::new(Vec::with_capacity(section.len() + public_blob.len() + 64));
    out.extend_from_slice(MAGIC);
    put_string(&mut out, NONE);
    put_string(&mut out, NONE);
    put_string(&mut out, b"");
    put_u32(&mut out, 1);
    put_string(&mut out, public_blob);
    put_string(&mut out, &section);
    Ok(out)
}

fn write_section(key: &PrivateKey, comment: &str) -> Result<Zeroizing<Vec<u8>>, PrivateKeyError> {
    let public_blob = key.public.blob();
    // The fields of the PKCS#8 document and of the blob, plus less than 128 bytes of lengths and padding.
    let capacity = key.pkcs8.len() + public_blob.len() + comment.len() + 128;
    let mut out = Zeroizing::new(Vec::with_capacity(capacity));
    let check = check_integer(public_blob);
    put_u32(&mut out, check);
    put_u32(&mut out, check);
    match key.material()? {
        Material::Rsa(rsa) => {
            put_string(&mut out, KeyType::Rsa.name().as_bytes());
            let numbers =
                [rsa.modulus, rsa.public_exponent, rsa.private_exponent, rsa.coefficient, rsa.prime1, rsa.prime2];
            for number in numbers {
                put_mpint(&mut out, number.as_bytes());
            }
        }
        Material::Ecdsa { scalar, .. } => {
            // The public fields are the same as in the blob.
            out.extend_from_slice(public_blob);
            put_mpint(&mut out, scalar);
        }
        Material::Ed25519 { seed, .. } => {
            out.extend_from_slice(public_blob);
            let public = public_blob.get(public_blob.len().saturating_sub(ED25519_LENGTH)..).unwrap_or_default();
            put_u32(&mut out, 2 * 32);
            out.extend_from_slice(seed);
            out.extend_from_slice(public);
        }
    }
    put_string(&mut out, comment.as_bytes());
    for padding in 1.. {
        if out.len().is_multiple_of(BLOCK) {
            break;
        }
        out.push(padding);
    }
    debug_assert!(out.len() <= capacity, "the private section outgrew its buffer");
    Ok(out)
}

/// The number that appears twice before the key, so that a reader can tell whether the passphrase was
/// right.
///
/// OpenSSH draws it at random. Without a passphrase it protects nothing, so it is derived from the
/// public key here: the same key always produces the same file.
fn check_integer(public_blob: &[u8]) -> u32 {
    let digest = Sha256::digest(public_blob);
    digest.first_chunk().copied().map_or(0, u32::from_be_bytes)
}
