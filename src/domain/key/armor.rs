//! The common form of RFC 4716 and PEM (RFC 7468): base64 lines between a BEGIN and an END line.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

/// Errors in an armored block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArmorError {
    /// No END line matches the BEGIN line.
    NoEnd,
    /// Another BEGIN line follows.
    SecondBlock,
    /// Other text follows the END line.
    TextAfterEnd,
    /// The content is not base64.
    NotBase64,
}

/// The lines between the first line and the line `end`, which must be the last one.
///
/// White space around lines and blank lines are ignored, because blocks are often indented in YAML.
pub(super) fn inner_lines<'a>(text: &'a str, end: &str) -> Result<Vec<&'a str>, ArmorError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).skip(1);
    let mut inner = Vec::new();
    loop {
        let line = lines.next().ok_or(ArmorError::NoEnd)?;
        if line == end {
            break;
        }
        if line.starts_with("-----") || line.starts_with("---- ") {
            return Err(ArmorError::NoEnd);
        }
        inner.push(line);
    }
    match lines.next() {
        None => Ok(inner),
        Some(line) if line.contains("BEGIN") => Err(ArmorError::SecondBlock),
        Some(_) => Err(ArmorError::TextAfterEnd),
    }
}

/// The decoded bytes of base64 lines.
///
/// They may be a private key, so the joined text and the bytes are each allocated once at full size, and zeroized.
pub(super) fn decode(lines: &[&str]) -> Result<Zeroizing<Vec<u8>>, ArmorError> {
    let length = lines.iter().map(|line| line.len()).sum();
    let mut text = Zeroizing::new(String::with_capacity(length));
    for line in lines {
        text.push_str(line);
    }
    let mut bytes = Zeroizing::new(vec![0; length / 4 * 3]);
    let decoded = Base64::decode(text.as_bytes(), &mut bytes).map_err(|_| ArmorError::NotBase64)?.len();
    bytes.truncate(decoded);
    if bytes.is_empty() { Err(ArmorError::NotBase64) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "-----END X-----";

    fn parse(text: &str) -> Result<Vec<u8>, ArmorError> {
        decode(&inner_lines(text, END)?).map(|bytes| bytes.to_vec())
    }

    #[test]
    fn lines_are_joined_and_indentation_ignored() {
        assert_eq!(parse("-----BEGIN X-----\n  AAEC\r\n\n AwQ=\n-----END X-----\n"), Ok(vec![0, 1, 2, 3, 4]));
    }

    #[test]
    fn damaged_armor_has_distinct_errors() {
        assert_eq!(parse("-----BEGIN X-----\nAAEC\n"), Err(ArmorError::NoEnd));
        assert_eq!(parse("-----BEGIN X-----\nAAEC\n-----END Y-----"), Err(ArmorError::NoEnd));
        assert_eq!(parse("-----BEGIN X-----\nAAEC\n-----END X-----\nx"), Err(ArmorError::TextAfterEnd));
        assert_eq!(parse("-----BEGIN X-----\nAAEC\n-----END X-----\n-----BEGIN X-----"), Err(ArmorError::SecondBlock));
        assert_eq!(parse("-----BEGIN X-----\nAAE\n-----END X-----"), Err(ArmorError::NotBase64));
        assert_eq!(parse("-----BEGIN X-----\n-----END X-----"), Err(ArmorError::NotBase64));
        // The unused bits in the last character before the padding must be zero.
        assert_eq!(parse("-----BEGIN X-----\nAAF=\n-----END X-----"), Err(ArmorError::NotBase64));
    }
}
