//! SHA-256 digests, to compare texts without keeping them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The digest of a list of texts. The length of each text is hashed first, so different lists never hash the same bytes.
#[must_use]
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or_default().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The digest of `text` in hex; empty for an empty text. For texts that must not be kept, since a user may have pasted a
/// private key into them.
#[must_use]
pub fn of_text(text: &str) -> String {
    if text.is_empty() { String::new() } else { hex(&of_parts([text])) }
}

/// Whether `text` has the form of a digest in hex.
#[must_use]
pub fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `digest` in lower-case hex.
#[must_use]
pub fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(2 * digest.len()), |mut text, byte| {
        // Writing to a `String` does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
