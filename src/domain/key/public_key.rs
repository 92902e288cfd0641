//! A validated public key.

use base64ct::{Base64, Encoding as _};

use super::algorithm::Algorithm;
use super::error::PublicKeyError;
use super::fingerprint::Fingerprints;
use super::key_type::KeyType;
use super::line::DeclaredType;
use super::wire::Reader;
use super::{blob, certificate, comment, line, pem, private_key_detector, rfc4716, second_key};
use crate::domain::display;

/// A public key or certificate, with its comment.
///
/// # Examples
///
/// ```
/// use keypair_operator::domain::key::{Algorithm, PublicKey};
///
/// let body = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf  me@example.com\n";
/// let key = PublicKey::parse(body)?;
/// assert_eq!(key.algorithm(), Algorithm::Ed25519);
/// assert_eq!(key.comment(), "me@example.com");
/// assert_eq!(key.fingerprints().md5, "32:03:14:e7:7e:cd:22:a6:da:41:31:ca:22:25:a6:14");
/// # Ok::<(), keypair_operator::domain::key::PublicKeyError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key_type: KeyType,
    bits: u32,
    blob: Vec<u8>,
    /// The blob of the certified key, if this is a certificate.
    certified: Option<Vec<u8>>,
    /// The end of the validity, if this is a certificate.
    valid_before: Option<u64>,
    comment: String,
}

impl PublicKey {
    /// Reads a body that is exactly one key: an OpenSSH line, an RFC 4716 block or a PEM public
    /// key.
    ///
    /// White space around the body and CRLF line ends are ignored.
    ///
    /// # Errors
    ///
    /// [`PublicKeyError`] says which rule the body breaks. It contains no key bytes of the body.
    pub fn parse(body: &str) -> Result<Self, PublicKeyError> {
        let given = body;
        let body = given.trim();
        if body.is_empty() {
            return Err(PublicKeyError::Empty);
        }
        // This check comes first, because a leaked private key matters more than any other error.
        if private_key_detector::holds_private_key(body) {
            return Err(PublicKeyError::PrivateKey);
        }
        // In every form: headers that are dropped and a leading byte order mark are checked like the comment.
        if let Some(found) = display::first_invisible(given) {
            return Err(invisible_character(found));
        }
        // An invisible character explains any other syntax error.
        let explain = |error| display::first_invisible_in_key(given).map_or(error, invisible_character);
        if body.starts_with(rfc4716::BEGIN) {
            let (blob, comment) = rfc4716::parse(body).map_err(explain)?;
            Self::from_blob(blob, &comment)
        } else if body.starts_with("-----BEGIN ") {
            Self::from_blob(pem::parse(body).map_err(explain)?, "")
        } else {
            let line = line::parse(body).map_err(explain)?;
            Self::from_line(line.declared, line.blob, line.comment)
        }
    }

    fn from_line(declared: DeclaredType, blob: Vec<u8>, comment: &str) -> Result<Self, PublicKeyError> {
        // Before the fields are read, so that a wrong type is reported as such and not as a wrong field.
        if !declared.allows(blob::read_type(&mut Reader::new(&blob))?) {
            return Err(PublicKeyError::TypeMismatch);
        }
        Self::from_blob(blob, comment)
    }

    /// Checks a key blob (RFC 4253 §6.6, or a certificate) and adds a comment.
    ///
    /// # Errors
    ///
    /// As [`PublicKey::parse`].
    pub(super) fn from_blob(blob: Vec<u8>, comment: &str) -> Result<Self, PublicKeyError> {
        let mut reader = Reader::new(&blob);
        let key_type = blob::read_type(&mut reader)?;
        let (bits, certified, valid_before) = if let Some(version) = key_type.certificate_version() {
            let certificate = certificate::read(&mut reader, key_type, version)?;
            let plain = blob::from_fields(key_type.plain(), certificate.key.raw);
            (certificate.key.bits, Some(plain), Some(certificate.valid_before))
        } else {
            let fields = blob::read_fields(&mut reader, key_type)?;
            if second_key::starts_with_key(reader.rest()) {
                return Err(PublicKeyError::SeveralKeys);
            }
            reader.finish()?;
            (fields.bits, None, None)
        };
        let comment = comment::check(comment)?.to_owned();
        Ok(Self { key_type, bits, blob, certified, valid_before, comment })
    }

    /// The type of the key or certificate.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The algorithm of the key; for a certificate, of the certified key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.key_type.algorithm()
    }

    /// The size in bits as `ssh-keygen -l` prints it: of the RSA modulus, of the DSA prime, of the
    /// curve.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// The blob, which the line contains in base64; for a certificate, the whole certificate.
    #[must_use]
    pub fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// The blob of the plain key, which fingerprints are computed from; for a certificate, of the certified key.
    #[must_use]
    pub fn plain_blob(&self) -> &[u8] {
        self.certified.as_deref().unwrap_or(&self.blob)
    }

    /// When the certificate expires, in seconds since 1970; `u64::MAX` means never. `None` if this is not a certificate.
    #[must_use]
    pub const fn valid_before(&self) -> Option<u64> {
        self.valid_before
    }

    /// The comment, or an empty string. It has no control characters except tabs, no invisible characters and no white space around
    /// it.
    #[must_use]
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// The normalized OpenSSH line: type, base64 and the comment, if any, separated by single spaces, without a newline.
    #[must_use]
    pub fn to_openssh(&self) -> String {
        let base64 = Base64::encode_string(&self.blob);
        let line = format!("{} {base64} {}", self.key_type, self.comment);
        line.trim_end().to_owned()
    }

    /// Both fingerprints of the plain key.
    #[must_use]
    pub fn fingerprints(&self) -> Fingerprints {
        Fingerprints::from_blob(self.plain_blob())
    }
}

const fn invisible_character((character, place): (char, usize)) -> PublicKeyError {
    PublicKeyError::InvisibleCharacter { character, place }
}
