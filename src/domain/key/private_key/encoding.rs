//! The encodings of a private key.

use std::fmt;

use super::super::algorithm::Algorithm;

/// How a private key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encoding {
    /// PKCS#8 v1 (RFC 5208), `PRIVATE KEY`: every algorithm.
    Pkcs8,
    /// The OpenSSH format (PROTOCOL.key), `OPENSSH PRIVATE KEY`: every algorithm.
    OpenSsh,
    /// PKCS#1 (RFC 8017 §A.1.2), `RSA PRIVATE KEY`: RSA.
    Pkcs1,
    /// SEC 1 (RFC 5915), `EC PRIVATE KEY`: ECDSA.
    Sec1,
}

impl Encoding {
    /// Every encoding.
    pub const ALL: &[Self] = &[Self::Pkcs8, Self::OpenSsh, Self::Pkcs1, Self::Sec1];

    /// Whether this text, which contains a private key, is in the OpenSSH format.
    #[must_use]
    pub fn is_openssh(text: &str) -> bool {
        text.trim_start().starts_with("-----BEGIN OPENSSH PRIVATE KEY-----")
    }

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

    /// Whether this encoding can represent private keys of this algorithm.
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
