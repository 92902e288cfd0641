//! Fingerprints of byte strings: RFC 4716 §4 (MD5), and OpenSSH's SHA256 form.

use base64ct::{Base64Unpadded, Encoding as _};
use md5::Md5;
use sha2::{Digest as _, Sha256};

const SHA256_PREFIX: &str = "SHA256:";
/// The length of 32 bytes as base64 without padding.
const SHA256_CHARS: usize = 43;

/// The two fingerprints of a key, as `ssh-keygen -l` prints them. Those of a certificate are the ones of its plain key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// MD5, 16 pairs of lower hex digits with colons between them, without a prefix.
    pub md5: String,
    /// `SHA256:` and 43 characters of base64 without padding.
    pub sha256: String,
}

impl Fingerprints {
    /// The fingerprints of a key blob.
    #[must_use]
    pub(super) fn from_blob(blob: &[u8]) -> Self {
        Self { md5: md5_colons(blob), sha256: sha256_base64(blob) }
    }

    /// Whether both have the form that `ssh-keygen -l` prints.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        is_md5_colons(&self.md5) && is_sha256(&self.sha256)
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
    format!("{SHA256_PREFIX}{}", Base64Unpadded::encode_string(&Sha256::digest(bytes)))
}

/// Whether `text` has the form of [`sha256_base64`].
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    text.strip_prefix(SHA256_PREFIX).is_some_and(|base64| {
        let mut digest = [0; 32];
        base64.len() == SHA256_CHARS && Base64Unpadded::decode(base64, &mut digest).is_ok()
    })
}

/// Whether `text` is a fingerprint in the form of any profile: MD5 with or without colons, or SHA256.
#[must_use]
pub fn is_fingerprint(text: &str) -> bool {
    is_md5_colons(text) || text.len() == 32 && text.bytes().all(is_lower_hex) || is_sha256(text)
}

/// Whether `text` has the form of [`md5_colons`].
fn is_md5_colons(text: &str) -> bool {
    text.len() == 47 && text.split(':').all(|byte| byte.len() == 2 && byte.bytes().all(is_lower_hex))
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
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
    fn digests_of_empty_input_are_the_known_values() {
        assert_eq!(md5_hex(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(md5_colons(b""), "d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e");
        assert_eq!(sha256_base64(b""), "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU");
    }

    #[test]
    fn a_fingerprint_is_recognised_by_its_form() {
        let right = Fingerprints::from_blob(b"");
        assert!(right.is_well_formed());
        assert!(is_fingerprint(&right.md5) && is_fingerprint(&right.sha256) && is_fingerprint(&md5_hex(b"")));
        let sha256 = right.sha256.as_str();
        for wrong in [
            "",
            "SHA256:",
            "d4:1d",
            &right.md5.to_uppercase(),
            &right.md5.replace(':', "."),
            &md5_hex(b"").to_uppercase(),
            &sha256.replace("SHA256", "sha256"),
            &format!("{sha256}="),
            &sha256.replace('4', "\n"),
            &sha256.replace('4', "é"),
            // The unused bits in the last character are not zero.
            &sha256.replace("uFU", "uFV"),
            &"a".repeat(1 << 20),
        ] {
            assert!(!is_fingerprint(wrong), "{wrong:?}");
        }
    }
}
