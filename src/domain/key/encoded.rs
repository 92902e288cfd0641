//! Decodes the base64 (in both alphabets), hex and percent escapes in a text, even with line breaks or other characters between
//! them.
//!
//! The result may be a private key, so every buffer is zeroized.

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

/// The shortest run of hex digits that is decoded: more than an MD5 fingerprint has.
const MIN_HEX_DIGITS: usize = 48;

/// The base64 characters of a text, in the standard alphabet, without the characters between them.
pub(super) struct Base64Text {
    text: Zeroizing<String>,
    /// The start positions of the runs, which have no other character between them in the original text.
    run_starts: Vec<usize>,
}

impl Base64Text {
    /// Extracts the base64 of `text`, without the runs that begin with `ignored_prefix`.
    pub(super) fn extract(text: &str, ignored_prefix: &str) -> Self {
        let mut extracted = Self { text: Zeroizing::new(String::with_capacity(text.len())), run_starts: Vec::new() };
        for run in text.split(|c| !is_base64(c)) {
            // The letter of the escape sequence `\n` is not base64.
            let run = if is_escape(text, run) { run.get(1..).unwrap_or_default() } else { run };
            if run.is_empty() || run.starts_with(ignored_prefix) {
                continue;
            }
            extracted.run_starts.push(extracted.text.len());
            extracted.text.extend(run.chars().map(|c| match c {
                '-' => '+',
                '_' => '/',
                other => other,
            }));
        }
        extracted
    }

    /// The first `number` characters from the start of each run. A shorter run continues with the next one.
    pub(super) fn prefixes(&self, number: usize) -> impl Iterator<Item = &str> {
        self.run_starts.iter().filter_map(move |start| self.text.get(*start..start.saturating_add(number)))
    }

    /// The decoded bytes, for each of the four alignments: other text made of base64 characters may precede the encoded one.
    pub(super) fn decoded(&self) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
        (0..4).filter_map(|offset| {
            let text = self.text.get(offset..)?;
            let whole = text.get(..text.len() / 4 * 4)?;
            let mut bytes = Zeroizing::new(vec![0; whole.len() / 4 * 3]);
            Base64::decode(whole, &mut bytes).ok()?;
            Some(bytes)
        })
    }
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_')
}

/// Whether `run`, a part of `text`, begins with the letter of an escape sequence `\n` or `\r`.
fn is_escape(text: &str, run: &str) -> bool {
    let at = (run.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    run.starts_with(['n', 'r']) && text.get(..at).is_some_and(|before| before.ends_with('\\'))
}

/// The bytes of hex digits, with or without colons, spaces, commas, `0x` or `\x` between them: of the whole sequence, and of the
/// beginning of each run in it.
pub(super) fn hex(text: &str) -> Vec<Zeroizing<Vec<u8>>> {
    let mut found = Vec::new();
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut starts = Vec::new();
    let mut before = ' ';
    // The final character ends the last sequence.
    for c in text.chars().chain([';']) {
        if let Some(digit) = c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()) {
            if !before.is_ascii_hexdigit() {
                starts.push(digits.len());
            }
            digits.push(digit);
        } else if matches!(c, 'x' | 'X') && before == '0' {
            // The zero of `0x` is not a digit of the number.
            digits.pop();
        } else if !(c.is_whitespace() || matches!(c, ':' | ',' | '\\' | 'x' | 'X')) {
            if digits.len() >= MIN_HEX_DIGITS {
                found.extend([0, 1].into_iter().filter_map(|offset| digits.get(offset..)).map(bytes_from_digits));
                let ends = starts.iter().map(|start| start + MIN_HEX_DIGITS);
                found.extend(
                    starts.iter().zip(ends).filter_map(|(start, end)| digits.get(*start..end)).map(bytes_from_digits),
                );
            }
            digits.clear();
            starts.clear();
        }
        before = c;
    }
    found
}

fn bytes_from_digits(digits: &[u8]) -> Zeroizing<Vec<u8>> {
    let bytes = digits.chunks_exact(2).map(|pair| pair.iter().fold(0_u8, |byte, digit| byte << 4 | digit));
    Zeroizing::new(bytes.collect())
}

/// The text with percent escapes decoded, and plus signs replaced by spaces, as in URLs and forms. `None` if there is nothing to
/// decode.
pub(super) fn percent(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !text.contains('%') && !text.contains("PRIVATE+KEY") {
        return None;
    }
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(if first == b'+' { b' ' } else { first }));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    Some(decoded)
}

/// The bytes as ASCII text, with a space for each other byte. Zero bytes are dropped, so UTF-16 becomes readable. The second value
/// says whether at least half of the text is ASCII; of random bytes, six of ten are not.
pub(super) fn ascii(bytes: &[u8]) -> (Zeroizing<String>, bool) {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len()));
    let mut other_bytes = 0_usize;
    for byte in bytes.iter().copied().filter(|byte| *byte != 0) {
        let is_text = byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        other_bytes += usize::from(!is_text);
        text.push(if is_text { char::from(byte) } else { ' ' });
    }
    let is_text = !text.is_empty() && other_bytes.saturating_mul(2) <= text.len();
    (text, is_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_found_in_other_text() {
        let extracted = Base64Text::extract("x: 'aGVs\\nbG8_\r\n> Pz8-' AAAAqqqq", "AAAA");
        assert_eq!(*extracted.text, "xaGVsbG8/Pz8+");
        assert_eq!(extracted.prefixes(4).collect::<Vec<_>>(), ["xaGV", "aGVs", "bG8/", "Pz8+"]);
        assert!(extracted.decoded().any(|bytes| *bytes == b"hello???>"));
        assert_eq!(Base64Text::extract("", "AAAA").decoded().map(|bytes| bytes.len()).sum::<usize>(), 0);
    }

    #[test]
    fn hex_is_found_in_every_notation() {
        let bytes = [0x30_u8; 24];
        let write = |separator: &str, prefix: &str| {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{prefix}{byte:02X}")).collect();
            format!("it is {};", bytes.join(separator))
        };
        for text in [write("", ""), write(":", ""), write(", ", "0x"), write("", "\\x"), write("\n", "")] {
            let found = hex(&text);
            assert!(found.iter().any(|found| found.ends_with(&bytes)), "{text}: {found:?}");
        }
        assert_eq!(hex("MD5:32:03:14:e7:7e:cd:22:a6:da:41:31:ca:22:25:a6:14").len(), 0);
    }

    #[test]
    fn escapes_and_utf_16_are_read() {
        assert_eq!(percent("a%2D+b%zz%").unwrap().as_slice(), b"a- b%zz%");
        assert!(percent("a+b").is_none());
        assert_eq!(
            ascii(b"\xff\xfea\0b\0c\0d\0e\0f\0g\0h\0i\0j\0k\0l\0m\0n\0"),
            (Zeroizing::new("  abcdefghijklmn".to_owned()), true)
        );
        assert!(!ascii(&[1, 2, 3, b'a']).1);
    }
}
