//! OpenSSH certificates: PROTOCOL.certkeys, in its present form (v01) and that of OpenSSH 5.4
//! (v00).
//!
//! The signature is not verified. Who may sign for whom is decided where the certificate is used,
//! by the `TrustedUserCAKeys` of a server; here nobody is trusted, so a valid signature would prove
//! nothing but that the certificate has not been damaged. Its form is checked, so that no other
//! bytes can be carried in its place. Nor is the period of validity judged, for this module has no
//! clock; its end is read for those who have one.

use super::blob::{self, KeyFields};
use super::error::PublicKeyError;
use super::key_type::{CertificateVersion, KeyType};
use super::signature;
use super::wire::{Reader, WireError};

/// A certificate for a user, and one for a host.
const TYPES: [u32; 2] = [1, 2];

/// What a certificate says.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    /// The fields of the certified key.
    pub(super) key: KeyFields<'a>,
    /// When it expires, in seconds since 1970.
    pub(super) valid_before: u64,
}

/// Reads everything after the type name of a certificate, to the end.
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
    let signer = read_authority(reader.string()?)?;
    signature::check_form(reader.string()?, signer)?;
    reader.finish()?;
    Ok(Certificate { key, valid_before })
}

/// For whom and for how long: the fields that both versions have in common. Gives the end of the validity.
fn read_subject(reader: &mut Reader<'_>) -> Result<u64, PublicKeyError> {
    if !TYPES.contains(&reader.u32()?) {
        return Err(PublicKeyError::CertificateType);
    }
    let _key_id = reader.string()?;
    check_list(reader.string()?, Entry::Principal)?;
    let _valid_after = reader.u64()?;
    Ok(reader.u64()?)
}

/// What a list within a certificate is made of.
#[derive(Clone, Copy)]
enum Entry {
    /// A name alone.
    Principal,
    /// A name, and its value as a string.
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

/// Reads the key that signed, which must not be a certificate itself: PROTOCOL.certkeys forbids
/// chains.
fn read_authority(bytes: &[u8]) -> Result<KeyType, PublicKeyError> {
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
