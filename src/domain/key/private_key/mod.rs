//! Private keys: unencrypted, in the four encodings that SSH tools read.
//!
//! A key in any encoding is read into borrowed [`Material`], checked, and stored as one PKCS#8
//! document. Every buffer that holds private bytes is allocated at its full size and erased when
//! dropped, so that no copy stays behind. AWS-LC does the mathematics, and erases what it frees.

mod asn1;
mod encoding;
mod error;
mod material;
mod openssh;
mod pem_block;
mod reduce;

use std::fmt;

use zeroize::Zeroizing;

pub use self::encoding::Encoding;
pub use self::error::PrivateKeyError;
use self::material::Material;
use super::algorithm::Algorithm;
use super::key_type::KeyType;
use super::public_key::PublicKey;
use super::spec::KeySpec;
use super::{comment, pem, private_key_detector};

/// An RSA, ECDSA or Ed25519 private key.
///
/// It holds a PKCS#8 v1 document (RFC 5208), erased on drop. `Debug` shows only public values, and
/// there is neither `Display` nor `Clone`: only [`PrivateKey::pkcs8_der`] and [`PrivateKey::encode`]
/// return the key.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl PrivateKey {
    /// Reads a PKCS#8 document, v1 (RFC 5208) or v2 (RFC 5958), in DER.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError`] if it is not DER to the last byte, the algorithm is not supported, or the
    /// parts do not match.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, PrivateKeyError> {
        Self::from_material(&asn1::read_pkcs8(der)?)
    }

    /// Reads an `RSAPrivateKey` of PKCS#1 (RFC 8017 §A.1.2) in DER.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError`] if it is not DER to the last byte, or the numbers do not match.
    pub fn from_pkcs1_der(der: &[u8]) -> Result<Self, PrivateKeyError> {
        Self::from_material(&asn1::read_pkcs1(der)?)
    }

    /// Reads an unencrypted PEM private key: PKCS#8, OpenSSH, PKCS#1 (RSA) or SEC 1 (ECDSA).
    ///
    /// White space around the text and CRLF line ends are ignored, as is an `EC PARAMETERS` block
    /// before a SEC 1 key, which `openssl ecparam -genkey` writes: the key names its curve itself.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError`] says what is wrong. No variant contains a byte of the text.
    pub fn parse(text: &str) -> Result<Self, PrivateKeyError> {
        let text = without_ec_parameters(text.trim());
        if text.is_empty() {
            return Err(PrivateKeyError::Empty);
        }
        let label = pem::label(text).ok_or_else(|| not_pem(text))?;
        let read: fn(&[u8]) -> Result<Self, PrivateKeyError> = match label {
            "PRIVATE KEY" => Self::from_pkcs8_der,
            "OPENSSH PRIVATE KEY" => openssh::read,
            "RSA PRIVATE KEY" => Self::from_pkcs1_der,
            "EC PRIVATE KEY" => |der| Self::from_material(&asn1::read_sec1(der, None)?),
            "ENCRYPTED PRIVATE KEY" => return Err(PrivateKeyError::Encrypted),
            "DSA PRIVATE KEY" => return Err(PrivateKeyError::UnsupportedAlgorithm),
            label if label.ends_with("PUBLIC KEY") => return Err(PrivateKeyError::PublicKey),
            _ => return Err(PrivateKeyError::UnsupportedFormat),
        };
        let lines = pem::inner_lines(text, label)?;
        // RFC 1421 headers, which OpenSSL's traditional encryption uses.
        if lines.first().is_some_and(|line| line.starts_with("Proc-Type:")) {
            return Err(PrivateKeyError::Encrypted);
        }
        read(&super::armor::decode(&lines)?)
    }

    /// Checks the material, derives its public key and writes the document to store.
    fn from_material(material: &Material<'_>) -> Result<Self, PrivateKeyError> {
        let blob = material.derive_public_blob()?;
        let public = PublicKey::from_blob(blob, "").map_err(|_| PrivateKeyError::Inconsistent)?;
        let pkcs8 = asn1::write_pkcs8(material, public.blob())?;
        Ok(Self { pkcs8, public })
    }

    /// The material, borrowed from the stored document.
    fn material(&self) -> Result<Material<'_>, PrivateKeyError> {
        asn1::read_pkcs8(&self.pkcs8)
    }

    /// The PKCS#8 v1 document in DER. These bytes are the private key.
    #[must_use]
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The type of the public key.
    #[must_use]
    pub const fn key_type(&self) -> KeyType {
        self.public.key_type()
    }

    /// The algorithm of the key.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// The size in bits as `ssh-keygen -l` prints it.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.public.bits()
    }

    /// The specification that generates keys of this kind, if there is one.
    #[must_use]
    pub fn spec(&self) -> Option<KeySpec> {
        KeySpec::from_parts(self.algorithm(), Some(self.bits()))
    }

    /// The public key with a comment.
    ///
    /// It was computed from the private key, or proven to match it, when the private key was read. A
    /// public part beside the private one is never trusted.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError::Comment`] if the comment is not valid in an OpenSSH line.
    pub fn public_key(&self, comment: &str) -> Result<PublicKey, PrivateKeyError> {
        PublicKey::from_blob(self.public.blob().to_vec(), comment).map_err(PrivateKeyError::Comment)
    }

    /// Whether `text`, from which this key was read, already has this encoding, in the form that OpenSSH and OpenSSL load.
    ///
    /// The OpenSSH encoding of a key is not unique, since it contains a comment; there the form of the PEM text decides.
    #[must_use]
    pub fn is_written(&self, text: &str, encoding: Encoding) -> bool {
        match encoding {
            Encoding::OpenSsh => pem_block::is_clean_pem("OPENSSH PRIVATE KEY", text),
            _ => self.encode(encoding, "").is_ok_and(|wanted| *wanted == text),
        }
    }

    /// The private key as PEM, ending with a newline. Only the OpenSSH encoding contains the comment.
    ///
    /// # Errors
    ///
    /// [`PrivateKeyError::UnsupportedEncoding`] if [`Encoding::supports`] is false, and
    /// [`PrivateKeyError::Comment`] if the comment is not valid in an OpenSSH line.
    pub fn encode(&self, encoding: Encoding, comment: &str) -> Result<Zeroizing<String>, PrivateKeyError> {
        let algorithm = self.algorithm();
        if !encoding.supports(algorithm) {
            return Err(PrivateKeyError::UnsupportedEncoding { encoding, algorithm });
        }
        let comment = comment::check(comment).map_err(PrivateKeyError::Comment)?;
        let (label, bytes) = match encoding {
            Encoding::Pkcs8 => return pem_block::to_pem("PRIVATE KEY", &self.pkcs8),
            Encoding::OpenSsh => ("OPENSSH PRIVATE KEY", openssh::write(self, comment)?),
            Encoding::Pkcs1 => ("RSA PRIVATE KEY", asn1::write_pkcs1(&self.material()?)?),
            Encoding::Sec1 => ("EC PRIVATE KEY", asn1::write_sec1(&self.material()?)?),
        };
        pem_block::to_pem(label, &bytes)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("key_type", &self.key_type())
            .field("bits", &self.bits())
            .finish_non_exhaustive()
    }
}

/// The text after an `EC PARAMETERS` block at its beginning, or the whole text.
fn without_ec_parameters(text: &str) -> &str {
    const END: &str = "-----END EC PARAMETERS-----";
    match text.split_once(END) {
        Some((parameters, key)) if parameters.starts_with("-----BEGIN EC PARAMETERS-----") => key.trim_start(),
        _ => text,
    }
}

/// Why a text without a proper PEM first line is refused.
fn not_pem(text: &str) -> PrivateKeyError {
    if text.starts_with("-----BEGIN ") {
        PrivateKeyError::BrokenArmor
    } else if private_key_detector::holds_private_key(text) {
        PrivateKeyError::UnsupportedFormat
    } else if PublicKey::parse(text).is_ok() {
        PrivateKeyError::PublicKey
    } else {
        PrivateKeyError::NotAKey
    }
}
