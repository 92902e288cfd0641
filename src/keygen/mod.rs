//! Drawing new key pairs. This is the one place where keys meet randomness: AWS-LC's generator,
//! seeded by the system.

mod bignum;
mod primes;
mod random;
mod rsa;
mod sieve;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, ED25519, EcdsaKeyPair,
    EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, Ed25519KeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};

use self::bignum::ArithmeticError;
use self::random::RandomError;
use crate::domain::key::wire::{Reader, WireError};
use crate::domain::key::{KeySpec, PrivateKey, PrivateKeyError};

/// What is signed to see that a new key pair is one.
const MESSAGE: &[u8] = b"keypair-operator pairwise consistency test";

/// Why a key pair could not be generated. None of these can be mended by the user; trying again may
/// help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// The library did not give a key.
    #[error("the key pair could not be generated")]
    Generation,
    /// No prime was found in as many attempts as FIPS 186-5 allows: less likely than 2^-40.
    #[error("no prime was found in as many attempts as FIPS 186-5 allows")]
    NoPrime,
    /// Primes were found, but FIPS 186-5 allows no key of them, or they have not the size that was asked for.
    #[error("the prime numbers that were found do not make a key")]
    Refused,
    /// The library gave a key that cannot be read again.
    #[error("the generated key pair cannot be read: {0}")]
    Unreadable(#[from] PrivateKeyError),
    /// What the private key signs, the public key does not verify.
    #[error("the generated private and public key do not belong together")]
    NotAPair,
}

impl From<ArithmeticError> for KeygenError {
    fn from(_: ArithmeticError) -> Self {
        Self::Generation
    }
}

impl From<RandomError> for KeygenError {
    fn from(_: RandomError) -> Self {
        Self::Generation
    }
}

impl From<der::Error> for KeygenError {
    fn from(_: der::Error) -> Self {
        Self::Generation
    }
}

/// Generates a key pair.
///
/// This computes on the calling thread without yielding: microseconds for ECDSA and Ed25519, but
/// from tenths of a second to several seconds for RSA. In asynchronous code it belongs on a
/// blocking thread.
///
/// AWS-LC tests new pairs itself only in its FIPS build, which this is not. So each pair is tested
/// here: the private key is taken from the document that will be handed out, it signs, and the
/// public key that was derived from it verifies.
///
/// # Errors
///
/// [`KeygenError`] if the library fails or the test does. Neither is expected.
pub fn generate(spec: KeySpec) -> Result<PrivateKey, KeygenError> {
    match spec {
        KeySpec::Rsa2048 => generate_rsa(2048, KeySize::Rsa2048),
        KeySpec::Rsa3072 => generate_rsa(3072, KeySize::Rsa3072),
        KeySpec::Rsa4096 => generate_rsa(4096, KeySize::Rsa4096),
        KeySpec::EcdsaP256 => generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1),
        KeySpec::EcdsaP384 => generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1),
        KeySpec::EcdsaP521 => generate_ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1),
        KeySpec::Ed25519 => generate_ed25519(),
    }
}

/// By FIPS 186-5 A.1.3 with AWS-LC's arithmetic where that was measured to be faster, and by AWS-LC's own generator elsewhere.
fn generate_rsa(bits: usize, size: KeySize) -> Result<PrivateKey, KeygenError> {
    let key = if cfg!(target_arch = "x86_64") {
        PrivateKey::from_pkcs1_der(&rsa::generate(bits, &mut SystemRandom::new())?)?
    } else {
        library_rsa(size)?
    };
    test_rsa(&key)?;
    Ok(key)
}

/// A key pair by AWS-LC's own generator.
fn library_rsa(size: KeySize) -> Result<PrivateKey, KeygenError> {
    let pair = KeyPair::generate(size).map_err(|_| KeygenError::Generation)?;
    let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeygenError::Generation)?;
    Ok(PrivateKey::from_pkcs8_der(der.as_ref())?)
}

fn test_rsa(key: &PrivateKey) -> Result<(), KeygenError> {
    let pair = KeyPair::from_pkcs8(key.pkcs8_der()).map_err(|_| KeygenError::NotAPair)?;
    let mut signed = vec![0; pair.public_modulus_len()];
    pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), MESSAGE, &mut signed)
        .map_err(|_| KeygenError::NotAPair)?;
    let blob = public_blob(key)?;
    let (e, n) = rsa_fields(&blob).map_err(|_| KeygenError::NotAPair)?;
    RsaPublicKeyComponents { n, e }
        .verify(&signature::RSA_PKCS1_2048_8192_SHA256, MESSAGE, &signed)
        .map_err(|_| KeygenError::NotAPair)
}

fn generate_ecdsa(
    signing: &'static EcdsaSigningAlgorithm,
    verification: &'static EcdsaVerificationAlgorithm,
) -> Result<PrivateKey, KeygenError> {
    let pair = EcdsaKeyPair::generate(signing).map_err(|_| KeygenError::Generation)?;
    let der = pair.to_pkcs8v1().map_err(|_| KeygenError::Generation)?;
    let key = PrivateKey::from_pkcs8_der(der.as_ref())?;

    let pair = EcdsaKeyPair::from_pkcs8(signing, key.pkcs8_der()).map_err(|_| KeygenError::NotAPair)?;
    let signed = pair.sign(&SystemRandom::new(), MESSAGE).map_err(|_| KeygenError::NotAPair)?;
    let blob = public_blob(&key)?;
    let point = last_field(&blob, 2).map_err(|_| KeygenError::NotAPair)?;
    UnparsedPublicKey::new(verification, point).verify(MESSAGE, signed.as_ref()).map_err(|_| KeygenError::NotAPair)?;
    Ok(key)
}

fn generate_ed25519() -> Result<PrivateKey, KeygenError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| KeygenError::Generation)?;
    let der = pair.to_pkcs8v1().map_err(|_| KeygenError::Generation)?;
    let key = PrivateKey::from_pkcs8_der(der.as_ref())?;

    // The checked reader wants the public key in the document; there is none in version 1.
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.pkcs8_der()).map_err(|_| KeygenError::NotAPair)?;
    let signed = pair.try_sign(MESSAGE).map_err(|_| KeygenError::NotAPair)?;
    let blob = public_blob(&key)?;
    let public = last_field(&blob, 1).map_err(|_| KeygenError::NotAPair)?;
    UnparsedPublicKey::new(&ED25519, public).verify(MESSAGE, signed.as_ref()).map_err(|_| KeygenError::NotAPair)?;
    Ok(key)
}

fn public_blob(key: &PrivateKey) -> Result<Vec<u8>, KeygenError> {
    Ok(key.public_key("")?.blob().to_vec())
}

/// Exponent and modulus within an RSA blob (RFC 4253 §6.6).
fn rsa_fields(blob: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut reader = Reader::new(blob);
    let _type = reader.string()?;
    Ok((reader.positive_mpint()?, reader.positive_mpint()?))
}

/// The string after the first `skip` strings of a blob.
fn last_field(blob: &[u8], skip: usize) -> Result<&[u8], WireError> {
    let mut reader = Reader::new(blob);
    for _ in 0..skip {
        reader.string()?;
    }
    reader.string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator of other architectures works on this one, too.
    #[test]
    fn the_library_makes_keys_as_well() {
        let key = library_rsa(KeySize::Rsa2048).unwrap();
        assert_eq!(key.spec(), Some(KeySpec::Rsa2048));
        assert_eq!(test_rsa(&key), Ok(()));
    }

    /// And this one's works on others.
    #[test]
    fn our_own_makes_keys() {
        let der = rsa::generate(2048, &mut SystemRandom::new()).unwrap();
        let key = PrivateKey::from_pkcs1_der(&der).unwrap();
        assert_eq!(key.spec(), Some(KeySpec::Rsa2048));
        assert_eq!(test_rsa(&key), Ok(()));
    }
}
