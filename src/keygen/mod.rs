//! Drawing new key pairs. This is the one place where keys meet randomness: AWS-LC's generator,
//! seeded by the system.

// With the FIPS module all RSA keys are made by it.
#[cfg(not(feature = "fips"))]
mod bignum;
#[cfg(not(feature = "fips"))]
mod components;
#[cfg(not(feature = "fips"))]
mod primes;
#[cfg(not(feature = "fips"))]
mod random;
#[cfg(not(feature = "fips"))]
mod rsa;
#[cfg(not(feature = "fips"))]
mod sieve;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_ASN1_SIGNING, ED25519, EcdsaKeyPair,
    EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, Ed25519KeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};

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
    /// A number that had passed the operator's primality test failed AWS-LC's, so no key was made of it. The number is not in
    /// the message, since it may have been a prime.
    #[error(
        "AWS-LC's primality test contradicts the operator's, so the key was dropped; \
         set --rsa-generator=library and report this"
    )]
    NotPrime,
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

/// What generates RSA keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaGenerator {
    /// FIPS 186-5 A.1.3 with AWS-LC's arithmetic, on x86-64, where that was measured to be faster; elsewhere and with the FIPS
    /// module it is [`RsaGenerator::Library`].
    Fast,
    /// AWS-LC's own generator.
    Library,
}

impl RsaGenerator {
    /// What [`generate`] uses: the faster one that this build has.
    pub const DEFAULT: Self = if FIPS { Self::Library } else { Self::Fast };

    /// Whether this build can be told to use it: with the FIPS module, keys are the module's.
    #[must_use]
    pub const fn is_available(self) -> bool {
        !FIPS || matches!(self, Self::Library)
    }
}

/// Whether this build has the FIPS module of AWS-LC in it, instead of AWS-LC as it is developed.
pub const FIPS: bool = cfg!(feature = "fips");

/// Generates a key pair, RSA by [`RsaGenerator::DEFAULT`].
///
/// # Errors
///
/// As [`generate_with`].
pub fn generate(spec: KeySpec) -> Result<PrivateKey, KeygenError> {
    generate_with(spec, RsaGenerator::DEFAULT)
}

/// Generates a key pair, with this generator if it is RSA.
///
/// This computes on the calling thread without yielding: microseconds for ECDSA and Ed25519, but
/// from tenths of a second to several seconds for RSA. In asynchronous code it belongs on a
/// blocking thread.
///
/// AWS-LC tests new pairs itself only in its FIPS module. So each pair is tested
/// here: the private key is taken from the document that will be handed out, it signs, and the
/// public key that was derived from it verifies.
///
/// # Errors
///
/// [`KeygenError`] if the library fails or the test does. Neither is expected. Nothing is tried again here.
pub fn generate_with(spec: KeySpec, rsa: RsaGenerator) -> Result<PrivateKey, KeygenError> {
    match spec {
        KeySpec::Rsa2048 => generate_rsa(rsa, 2048, KeySize::Rsa2048),
        KeySpec::Rsa3072 => generate_rsa(rsa, 3072, KeySize::Rsa3072),
        KeySpec::Rsa4096 => generate_rsa(rsa, 4096, KeySize::Rsa4096),
        KeySpec::EcdsaP256 => generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P256_SHA256_ASN1),
        KeySpec::EcdsaP384 => generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1),
        KeySpec::EcdsaP521 => generate_ecdsa(&ECDSA_P521_SHA512_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1),
        KeySpec::Ed25519 => generate_ed25519(),
    }
}

fn generate_rsa(generator: RsaGenerator, bits: usize, size: KeySize) -> Result<PrivateKey, KeygenError> {
    let key = match generator {
        RsaGenerator::Fast => fast_rsa(bits, size)?,
        RsaGenerator::Library => library_rsa(size)?,
    };
    test_rsa(&key)?;
    Ok(key)
}

#[cfg(not(feature = "fips"))]
fn fast_rsa(bits: usize, size: KeySize) -> Result<PrivateKey, KeygenError> {
    if cfg!(target_arch = "x86_64") {
        Ok(PrivateKey::from_pkcs1_der(&rsa::generate(bits, &mut SystemRandom::new())?)?)
    } else {
        library_rsa(size)
    }
}

#[cfg(feature = "fips")]
fn fast_rsa(_: usize, size: KeySize) -> Result<PrivateKey, KeygenError> {
    library_rsa(size)
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

    #[test]
    fn both_generators_make_keys() {
        for generator in [RsaGenerator::Fast, RsaGenerator::Library] {
            let key = generate_with(KeySpec::Rsa2048, generator).unwrap();
            assert_eq!(key.spec(), Some(KeySpec::Rsa2048), "{generator:?}");
            assert_eq!(test_rsa(&key), Ok(()), "{generator:?}");
        }
    }

    #[test]
    fn the_build_has_the_library_that_it_says() {
        assert_eq!(aws_lc_rs::try_fips_mode().is_ok(), FIPS);
        assert!(RsaGenerator::DEFAULT.is_available() && RsaGenerator::Library.is_available());
        assert_eq!(RsaGenerator::Fast.is_available(), !FIPS);
    }

    /// Also on architectures where it is not used.
    #[cfg(not(feature = "fips"))]
    #[test]
    fn our_own_makes_keys() {
        let der = rsa::generate(2048, &mut SystemRandom::new()).unwrap();
        let key = PrivateKey::from_pkcs1_der(&der).unwrap();
        assert_eq!(key.spec(), Some(KeySpec::Rsa2048));
        assert_eq!(test_rsa(&key), Ok(()));
    }
}
