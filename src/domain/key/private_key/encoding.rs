//! The encodings of a private key, and the PEM around them.

use std::fmt;

use pem_rfc7468::LineEnding;
use zeroize::{Zeroize as _, Zeroizing};

use super::super::algorithm::Algorithm;
use super::error::PrivateKeyError;

/// How a private key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// PKCS#8 v1 (RFC 5208), `PRIVATE KEY`: every algorithm.
    Pkcs8,
    /// OpenSSH's own format (PROTOCOL.key), `OPENSSH PRIVATE KEY`: every algorithm.
    OpenSsh,
    /// PKCS#1 (RFC 8017 §A.1.2), `RSA PRIVATE KEY`: RSA.
    Pkcs1,
    /// SEC 1 (RFC 5915), `EC PRIVATE KEY`: ECDSA.
    Sec1,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: &[Self] = &[Self::Pkcs8, Self::OpenSsh, Self::Pkcs1, Self::Sec1];

    /// The name that `spec.secret.encoding` uses: `PKCS8`, `OpenSSH`, `PKCS1` or `SEC1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pkcs8 => "PKCS8",
            Self::OpenSsh => "OpenSSH",
            Self::Pkcs1 => "PKCS1",
            Self::Sec1 => "SEC1",
        }
    }

    /// Whether private keys of this family can be written so.
    #[must_use]
    pub const fn supports(self, algorithm: Algorithm) -> bool {
        match self {
            Self::Pkcs8 | Self::OpenSsh => {
                matches!(algorithm, Algorithm::Rsa | Algorithm::Ecdsa | Algorithm::Ed25519)
            }
            Self::Pkcs1 => matches!(algorithm, Algorithm::Rsa),
            Self::Sec1 => matches!(algorithm, Algorithm::Ecdsa),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// PEM with 64 characters a line, ending with a newline.
pub(super) fn to_pem(label: &str, bytes: &[u8]) -> Result<Zeroizing<String>, PrivateKeyError> {
    let length = pem_rfc7468::encoded_len(label, LineEnding::LF, bytes).map_err(|_| PrivateKeyError::Malformed)?;
    let mut text = Zeroizing::new(vec![0; length]);
    let written =
        pem_rfc7468::encode(label, LineEnding::LF, bytes, &mut text).map_err(|_| PrivateKeyError::Malformed)?.len();
    text.truncate(written);
    // The allocation moves from the vector into the string; there is no second one to erase.
    String::from_utf8(std::mem::take(&mut *text)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        PrivateKeyError::Malformed
    })
}
