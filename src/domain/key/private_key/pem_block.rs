//! The PEM block of a private key.

use pem_rfc7468::LineEnding;
use zeroize::{Zeroize as _, Zeroizing};

use super::error::PrivateKeyError;

/// PEM with 64 characters per line, ending with a newline.
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

/// Whether a valid PEM block has none of the irregularities that some programs reject: extra white space, carriage returns, lines of
/// different lengths, no line break at the end.
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

/// The longest line of base64 that MIME allows (RFC 2045 §6.8), as PEM did before it.
const LONGEST_LINE: usize = 76;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strictly_formatted_pem_is_clean() {
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
