//! The form of a certificate's signature: RFC 4253 §6.6, RFC 5656 §3.1.2, RFC 8332 §3, RFC 8709 §6, PROTOCOL.u2f,
//! draft-miller-sshm-mldsa44-ed25519-composite-sigs.

use super::error::PublicKeyError;
use super::key_type::KeyType;
use super::wire::{Reader, WireError};

/// The length of an Ed25519 signature in bytes.
const ED25519_SIGNATURE_LENGTH: usize = 64;
/// The length of an ML-DSA-44 signature in bytes, FIPS 204 §4.
const ML_DSA_44_SIGNATURE_LENGTH: usize = 2420;
/// The signature type of a FIDO token used through a browser.
const WEBAUTHN: &[u8] = b"webauthn-sk-ecdsa-sha2-nistp256@openssh.com";

/// Checks that `bytes` has the form of a signature by a key of the plain type `signer`, without verifying it.
pub(super) fn check_form(bytes: &[u8], signer: KeyType) -> Result<(), PublicKeyError> {
    match is_well_formed(bytes, signer) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(PublicKeyError::CertificateSignature),
    }
}

fn is_well_formed(bytes: &[u8], signer: KeyType) -> Result<bool, WireError> {
    let mut reader = Reader::new(bytes);
    let name = reader.string()?;
    let value = reader.string()?;
    let (name_fits, value_fits) = match signer {
        KeyType::Rsa => (matches!(name, b"ssh-rsa" | b"rsa-sha2-256" | b"rsa-sha2-512"), !value.is_empty()),
        KeyType::Ed25519 | KeyType::SkEd25519 => {
            (name == signer.name().as_bytes(), value.len() == ED25519_SIGNATURE_LENGTH)
        }
        KeyType::MlDsa44Ed25519 => {
            (name == signer.name().as_bytes(), value.len() == ML_DSA_44_SIGNATURE_LENGTH + ED25519_SIGNATURE_LENGTH)
        }
        KeyType::SkEcdsaP256 => (name == signer.name().as_bytes() || name == WEBAUTHN, is_two_mpints(value)?),
        KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::EcdsaP521 => {
            (name == signer.name().as_bytes(), is_two_mpints(value)?)
        }
        _ => (name == signer.name().as_bytes(), !value.is_empty()),
    };
    if matches!(signer, KeyType::SkEcdsaP256 | KeyType::SkEd25519) {
        let _flags = reader.u8()?;
        let _counter = reader.u32()?;
        if name == WEBAUTHN {
            for _ in ["origin", "client data", "extensions"] {
                reader.string()?;
            }
        }
    }
    reader.finish()?;
    Ok(name_fits && value_fits)
}

/// Whether `value` is exactly `mpint r, mpint s`.
fn is_two_mpints(value: &[u8]) -> Result<bool, WireError> {
    let mut reader = Reader::new(value);
    reader.positive_mpint()?;
    reader.positive_mpint()?;
    reader.finish()?;
    Ok(true)
}
