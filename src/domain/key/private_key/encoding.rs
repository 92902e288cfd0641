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

    /// Whether a private key that was read from this text is in OpenSSH's own format there.
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

/// Whether a PEM block, which has been read, has nothing about it that the programs which load keys stumble over: white space and
/// carriage returns, lines of different lengths, no line break at the end.
pub(super) fn is_clean_pem(label: &str, text: &str) -> bool {
    let (begin, end) = (format!("-----BEGIN {label}-----\n"), format!("\n-----END {label}-----\n"));
    let Some(body) = text.strip_prefix(&begin).and_then(|rest| rest.strip_suffix(&end)) else { return false };
    let mut lengths = body.split('\n').map(|line| {
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        if line.bytes().all(is_base64) { line.len() } else { 0 }
    });
    let last = lengths.next_back().unwrap_or_default();
    let width = lengths.next().unwrap_or(last);
    (1..=LONGEST_LINE).contains(&width) && (1..=width).contains(&last) && lengths.all(|length| length == width)
}

/// The longest lines of base64 that MIME allows (RFC 2045 §6.8), and PEM before it.
const LONGEST_LINE: usize = 76;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_is_what_every_program_loads() {
        let is_clean = |text: &str| is_clean_pem("X", text);
        let text = to_pem("X", &[7; 100]).unwrap();
        assert!(is_clean(&text));
        assert!(is_clean("-----BEGIN X-----\nAAEC\n-----END X-----\n"));
        let broken = [
            text.trim_end().to_owned(),
            text.replace('\n', "\r\n"),
            format!(" {}", *text),
            format!("{}\n", *text),
            text.replace('\n', "\n "),
            text.replacen('\n', "\n\n", 2),
            text.replacen("Bw", "B\nw", 1),
            text.replace("BEGIN X", "BEGIN Y"),
            format!("-----BEGIN X-----\n{}\n-----END X-----\n", "A".repeat(80)),
            "-----BEGIN X-----\n-----END X-----\n".to_owned(),
        ];
        for text in broken {
            assert!(!is_clean(&text), "{text}");
        }
    }
}
