//! Generates key pairs. This is the only module that uses randomness for keys: AWS-LC's generator, which the system seeds.

// With the FIPS module, the module generates all RSA keys.
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

use crate::domain::key::{
    KeySpec, PrivateKey, PrivateKeyError,
    wire::{Reader, WireError},
};

/// The message that is signed to test a new key pair.
const MESSAGE: &[u8] = b"keypair-operator pairwise consistency test";

/// Why a key pair could not be generated. The user cannot fix any of these errors; a retry may succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// The cryptographic library failed.
    #[error("the cryptographic library failed to generate the key pair")]
    Generation,
    /// No prime was found in the number of attempts that FIPS 186-5 allows. The probability is below 2^-40.
    #[error("no prime was found in the number of attempts that FIPS 186-5 allows")]
    NoPrime,
    /// A number passed the operator's primality test and failed AWS-LC's, so no key was built from it. The message does not contain
    /// the number, because it may be prime.
    #[error(
        "AWS-LC's primality test contradicts the operator's, so the key was discarded; \
         set --rsa-generator=library and report this"
    )]
    PrimalityTestsDisagree,
    /// Primes were found, but FIPS 186-5 allows no key with them, or they have the wrong size.
    #[error("the primes that were found do not form a valid key")]
    UnusablePrimes,
    /// The generated private key cannot be parsed.
    #[error("the generated key pair cannot be parsed: {0}")]
    Unreadable(#[from] PrivateKeyError),
    /// The public key does not verify a signature of the private key.
    #[error("the generated private key and public key do not match")]
    NotAPair,
}

/// The generator of RSA keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaGenerator {
    /// FIPS 186-5 A.1.3 with AWS-LC's arithmetic on x86-64, where measurements show that it is faster. On other processors and with
    /// the FIPS module, the same as [`RsaGenerator::Library`].
    Fast,
    /// AWS-LC's own generator.
    Library,
}

impl RsaGenerator {
    /// The generator that [`generate`] uses: the faster one in this build.
    pub const DEFAULT: Self = if FIPS { Self::Library } else { Self::Fast };

    /// The name of the generator.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Library => "library",
        }
    }

    /// Whether this build has the generator: with the FIPS module, only [`RsaGenerator::Library`].
    #[must_use]
    pub const fn is_available(self) -> bool {
        !FIPS || matches!(self, Self::Library)
    }
}

/// Whether this build uses the FIPS module of AWS-LC instead of the development version.
pub const FIPS: bool = cfg!(feature = "fips");

/// Generates a key pair, an RSA key with [`RsaGenerator::DEFAULT`].
///
/// # Errors
///
/// As [`generate_with`].
pub fn generate(spec: KeySpec) -> Result<PrivateKey, KeygenError> {
    generate_with(spec, RsaGenerator::DEFAULT)
}

/// Generates a key pair, an RSA key with the generator `rsa`.
///
/// This blocks the calling thread: microseconds for ECDSA and Ed25519, but tenths of a second to several seconds for RSA. In
/// asynchronous code, run it on a blocking thread.
///
/// AWS-LC tests new key pairs only in its FIPS module, so each key pair is tested here: the private key from the document that the
/// user gets signs a message, and the derived public key verifies it.
///
/// # Errors
///
/// [`KeygenError`] if the library or the test fails. Neither is expected. There is no retry here.
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

/// Generates a key pair with AWS-LC's own generator.
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
    let point = string_field(&blob, 2).map_err(|_| KeygenError::NotAPair)?;
    UnparsedPublicKey::new(verification, point).verify(MESSAGE, signed.as_ref()).map_err(|_| KeygenError::NotAPair)?;
    Ok(key)
}

fn generate_ed25519() -> Result<PrivateKey, KeygenError> {
    let pair = Ed25519KeyPair::generate().map_err(|_| KeygenError::Generation)?;
    let der = pair.to_pkcs8v1().map_err(|_| KeygenError::Generation)?;
    let key = PrivateKey::from_pkcs8_der(der.as_ref())?;

    // The checked constructor requires the public key in the document, and version 1 does not contain it.
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.pkcs8_der()).map_err(|_| KeygenError::NotAPair)?;
    let signed = pair.try_sign(MESSAGE).map_err(|_| KeygenError::NotAPair)?;
    let blob = public_blob(&key)?;
    let public = string_field(&blob, 1).map_err(|_| KeygenError::NotAPair)?;
    UnparsedPublicKey::new(&ED25519, public).verify(MESSAGE, signed.as_ref()).map_err(|_| KeygenError::NotAPair)?;
    Ok(key)
}

fn public_blob(key: &PrivateKey) -> Result<Vec<u8>, KeygenError> {
    Ok(key.public_key("")?.blob().to_vec())
}

/// The exponent and modulus in an RSA blob (RFC 4253 §6.6).
fn rsa_fields(blob: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut reader = Reader::new(blob);
    let _type = reader.string()?;
    Ok((reader.positive_mpint()?, reader.positive_mpint()?))
}

/// The string at `index` in a blob.
fn string_field(blob: &[u8], index: usize) -> Result<&[u8], WireError> {
    let mut reader = Reader::new(blob);
    for _ in 0..index {
        reader.string()?;
    }
    reader.string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_generators_generate_valid_keys() {
        for generator in [RsaGenerator::Fast, RsaGenerator::Library] {
            let key = generate_with(KeySpec::Rsa2048, generator).unwrap();
            assert_eq!(key.spec(), Some(KeySpec::Rsa2048), "{generator:?}");
            assert_eq!(test_rsa(&key), Ok(()), "{generator:?}");
        }
    }

    #[test]
    fn the_build_links_the_library_it_reports() {
        assert_eq!(aws_lc_rs::try_fips_mode().is_ok(), FIPS);
        assert!(RsaGenerator::DEFAULT.is_available() && RsaGenerator::Library.is_available());
        assert_eq!(RsaGenerator::Fast.is_available(), !FIPS);
    }

    /// Also on architectures that do not use it.
    #[cfg(not(feature = "fips"))]
    #[test]
    fn the_fast_generator_generates_valid_keys() {
        let der = rsa::generate(2048, &mut SystemRandom::new()).unwrap();
        let key = PrivateKey::from_pkcs1_der(&der).unwrap();
        assert_eq!(key.spec(), Some(KeySpec::Rsa2048));
        assert_eq!(test_rsa(&key), Ok(()));
    }
}
