//! Digests of lists of texts, by which two lists are compared without keeping them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The SHA-256 digest of the parts, each with its length before it, so that no two lists give the same bytes.
#[must_use]
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or_default().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The digest in hex of a text that is compared and not kept: somebody may have pasted a private key into it. Empty: that of none.
#[must_use]
pub fn of_text(text: &str) -> String {
    if text.is_empty() { String::new() } else { hex(&of_parts([text])) }
}

/// Whether this can be a digest in hex.
#[must_use]
pub fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A digest in lower hex.
#[must_use]
pub fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
