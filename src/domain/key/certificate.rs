//! OpenSSH certificates: PROTOCOL.certkeys, in its current form (v01) and the form of OpenSSH 5.4 (v00).
//!
//! The signature is not verified. The server that accepts the certificate decides whom it trusts, with `TrustedUserCAKeys`. The
//! operator trusts no authority, so a valid signature would prove only that the certificate is undamaged. The form of the
//! signature is checked, so that it cannot carry other bytes. The validity period is not checked, because this module has no clock;
//! callers that have one get its end.

use super::blob::{self, KeyFields};
use super::error::PublicKeyError;
use super::key_type::{CertificateVersion, KeyType};
use super::signature;
use super::wire::{Reader, WireError};

/// The types of user and host certificates.
const CERTIFICATE_TYPES: [u32; 2] = [1, 2];

/// The contents of a certificate.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    /// The fields of the certified key.
    pub(super) key: KeyFields<'a>,
    /// When it expires, in seconds since 1970.
    pub(super) valid_before: u64,
}

/// Reads a certificate after its type name, to the end.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    key_type: KeyType,
    version: CertificateVersion,
) -> Result<Certificate<'a>, PublicKeyError> {
    let (key, valid_before) = match version {
        CertificateVersion::V01 => {
            let _nonce = reader.string()?;
            let key = blob::read_fields(reader, key_type.plain())?;
            let _serial = reader.u64()?;
            let valid_before = read_subject(reader)?;
            check_list(reader.string()?, Entry::Option)?; // critical options
            check_list(reader.string()?, Entry::Option)?; // extensions
            let _reserved = reader.string()?;
            (key, valid_before)
        }
        CertificateVersion::V00 => {
            let key = blob::read_fields(reader, key_type.plain())?;
            let valid_before = read_subject(reader)?;
            check_list(reader.string()?, Entry::Option)?; // constraints
            let _nonce = reader.string()?;
            let _reserved = reader.string()?;
            (key, valid_before)
        }
    };
    let signer = read_signature_key(reader.string()?)?;
    signature::check_form(reader.string()?, signer)?;
    reader.finish()?;
    Ok(Certificate { key, valid_before })
}

/// Reads the fields that both versions share, the type, key ID, principals and validity. Returns the end of the validity.
fn read_subject(reader: &mut Reader<'_>) -> Result<u64, PublicKeyError> {
    if !CERTIFICATE_TYPES.contains(&reader.u32()?) {
        return Err(PublicKeyError::CertificateType);
    }
    let _key_id = reader.string()?;
    check_list(reader.string()?, Entry::Principal)?;
    let _valid_after = reader.u64()?;
    Ok(reader.u64()?)
}

/// The entries of a list in a certificate.
#[derive(Clone, Copy)]
enum Entry {
    /// A name.
    Principal,
    /// A name and its value.
    Option,
}

fn check_list(list: &[u8], entry: Entry) -> Result<(), PublicKeyError> {
    let mut reader = Reader::new(list);
    let mut read_entry = || -> Result<(), WireError> {
        while !reader.is_empty() {
            reader.string()?;
            if matches!(entry, Entry::Option) {
                reader.string()?;
            }
        }
        Ok(())
    };
    read_entry().map_err(|_| PublicKeyError::CertificateList)
}

/// Reads the signature key, which must not be a certificate: PROTOCOL.certkeys forbids chains.
fn read_signature_key(bytes: &[u8]) -> Result<KeyType, PublicKeyError> {
    let mut reader = Reader::new(bytes);
    let read = |reader: &mut Reader<'_>| -> Result<KeyType, PublicKeyError> {
        let signer = blob::read_type(reader)?;
        if signer.is_certificate() {
            return Err(PublicKeyError::CertificateAuthority);
        }
        blob::read_fields(reader, signer)?;
        reader.finish()?;
        Ok(signer)
    };
    read(&mut reader).map_err(|_| PublicKeyError::CertificateAuthority)
}
