//! Fingerprints of byte strings: RFC 4716 §4 (MD5), and OpenSSH's SHA256 form.

use base64ct::{Base64Unpadded, Encoding as _};
use md5::Md5;
use sha2::{Digest as _, Sha256};

/// The two fingerprints of a key, as `ssh-keygen -l` prints them. A certificate's are those of its
/// plain key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints {
    /// MD5, 16 pairs of lower hex digits with colons between them, without a prefix.
    pub md5: String,
    /// `SHA256:` and 43 characters of base64 without padding.
    pub sha256: String,
}

impl Fingerprints {
    /// The fingerprints of a key blob.
    #[must_use]
    pub(super) fn of(blob: &[u8]) -> Self {
        Self { md5: md5_colons(blob), sha256: sha256_base64(blob) }
    }
}

/// MD5 as 16 pairs of lower hex digits with colons between them.
#[must_use]
pub fn md5_colons(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(47);
    for byte in Md5::digest(bytes) {
        if !text.is_empty() {
            text.push(':');
        }
        push_hex(&mut text, byte);
    }
    text
}

/// MD5 as 32 lower hex digits.
#[must_use]
pub fn md5_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    for byte in Md5::digest(bytes) {
        push_hex(&mut text, byte);
    }
    text
}

/// `SHA256:` and the digest in base64 without padding.
#[must_use]
pub fn sha256_base64(bytes: &[u8]) -> String {
    format!("SHA256:{}", Base64Unpadded::encode_string(&Sha256::digest(bytes)))
}

fn push_hex(text: &mut String, byte: u8) {
    for nibble in [byte >> 4, byte & 15] {
        text.push(char::from_digit(nibble.into(), 16).unwrap_or('?'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digests_of_nothing_are_the_known_ones() {
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(md5_colons(b""), "d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e");
        assert_eq!(sha256_base64(b""), "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU");
    }
}
