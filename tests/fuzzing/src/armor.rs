//! Text encodings of bytes. With them, a fuzzer can change the bytes themselves: base64 that it has changed is seldom valid.

use base64ct::{Base64, Encoding as _};

/// Base64 with padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

/// The bytes between the last BEGIN line of a text and its END line, whatever the label; `None` without such lines.
#[must_use]
pub fn inner(text: &str) -> Option<Vec<u8>> {
    let lines = text[text.rfind("--- BEGIN").or_else(|| text.rfind("---BEGIN"))?..].lines().map(str::trim).skip(1);
    let body: String = lines.take_while(|line| !line.starts_with("----")).filter(|line| !line.contains(':')).collect();
    Base64::decode_vec(&body).ok()
}

/// PEM (RFC 7468).
#[must_use]
pub fn pem(label: &str, bytes: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}-----END {label}-----\n", wrapped(bytes, 64))
}

/// An RFC 4716 block with these header lines, each of which ends with a newline.
#[must_use]
pub fn rfc4716(headers: &str, blob: &[u8]) -> String {
    format!("---- BEGIN SSH2 PUBLIC KEY ----\n{headers}{}---- END SSH2 PUBLIC KEY ----\n", wrapped(blob, 70))
}

/// An OpenSSH line, with the type that the blob names, or else `ssh-rsa`.
#[must_use]
pub fn line(blob: &[u8]) -> String {
    format!("{} {}", type_name(blob).unwrap_or("ssh-rsa"), base64(blob))
}

/// The type that a key blob names.
#[must_use]
pub fn type_name(blob: &[u8]) -> Option<&str> {
    let (length, rest) = blob.split_first_chunk()?;
    let name = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    std::str::from_utf8(name).ok()
}

fn wrapped(bytes: &[u8], width: usize) -> String {
    let text = base64(bytes);
    let mut lines = String::with_capacity(text.len() + text.len() / width + 1);
    for (place, character) in text.chars().enumerate() {
        if place > 0 && place % width == 0 {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines.push('\n');
    lines
}
