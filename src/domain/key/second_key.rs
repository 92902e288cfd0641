//! Detects a second public key in a text that must not contain one, such as the comment of the first key.

use base64ct::{Base64, Encoding as _};

use super::key_type::KeyType;
use super::wire::Reader;

/// The first characters of every base64 key blob: the three zero bytes of the length of its type name.
pub(super) const BLOB_START: &str = "AAAA";

/// The longest type name that is detected. The longest existing one has 47 characters.
const TYPE_MAX_CHARS: usize = 64;
/// The minimum number of characters of a type name in a truncated blob.
const TYPE_MIN_CHARS: usize = 5;
/// The length of the base64 of the longest type name and its length field.
const PROBE_CHARS: usize = (4 + TYPE_MAX_CHARS) / 3 * 4;

/// Whether the text contains the beginning of a public key in any form.
pub(super) fn contains_key(text: &str) -> bool {
    let begins_block = |line: &str| line.contains("PUBLIC KEY") && line.contains("BEGIN ");
    blob_starts(text).any(|at| text.get(at..).is_some_and(is_blob_start))
        || text.contains("---") && begins_block(text)
        || contains_type_and_blob(text)
}

/// As [`contains_key`], for text that begins within a blob. A second blob must follow a character that is not base64, because the
/// blob of a certificate contains other blobs.
pub(super) fn contains_separate_key(text: &str) -> bool {
    let is_apart = |at: usize| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_some_and(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/')))
    };
    blob_starts(text).any(|at| is_apart(at) && text.get(at..).is_some_and(is_blob_start))
}

/// The positions at which a blob may begin. They can overlap.
fn blob_starts(text: &str) -> impl Iterator<Item = usize> {
    let is_start = |at: &usize| text.get(*at..).is_some_and(|rest| rest.starts_with(BLOB_START));
    text.char_indices().map(|(at, _)| at).filter(is_start)
}

/// Whether `bytes`, which follow a key blob, begin another one.
pub(super) fn starts_with_key(bytes: &[u8]) -> bool {
    let name = Reader::new(bytes).string().ok().and_then(|name| std::str::from_utf8(name).ok());
    name.and_then(KeyType::from_name).is_some()
}

/// Whether the text contains a type name followed by a word that may be an abbreviated blob.
fn contains_type_and_blob(text: &str) -> bool {
    let words = || text.split_whitespace();
    words().zip(words().skip(1)).any(|(word, next)| KeyType::from_name(word).is_some() && next.starts_with(BLOB_START))
}

/// Whether the text begins with the base64 of a length and of a type name, known or not, perhaps truncated.
fn is_blob_start(text: &str) -> bool {
    let run =
        text.bytes().take(PROBE_CHARS).take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let length = run.count() / 4 * 4;
    let mut bytes = [0; PROBE_CHARS / 4 * 3];
    let Some(Ok(bytes)) = text.get(..length).map(|base64| Base64::decode(base64, &mut bytes)) else {
        return false;
    };
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return false;
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    let name = rest.get(..length).unwrap_or(rest);
    let is_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'@' | b'.');
    length <= TYPE_MAX_CHARS && name.len() >= TYPE_MIN_CHARS && name.contains(&b'-') && name.iter().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RSA: &str = "AAAAB3NzaC1yc2EAAAADAQABAAAB";

    #[test]
    fn a_second_key_is_found_after_any_text() {
        for before in
            ["", "ssh-rsa ", "me,ssh-rsa ", "me", "me;", "|", "\\n", "me\0", "rsa\t", "ssh-unknown ", "command=\"x\" "]
        {
            assert!(contains_key(&format!("{before}{RSA}")), "{before}");
        }
        assert!(contains_key("me ssh-rsa AAAA..."));
        assert!(contains_key("me -----BEGIN PUBLIC KEY----- MCow"));
        assert!(contains_key("me ---- BEGIN SSH2 PUBLIC KEY ---- AAAA"));
    }

    #[test]
    fn other_words_are_not_keys() {
        for text in [
            "",
            "AAAA",
            "my AAAA battery",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "ssh-rsa",
            "ssh-rsa key of me",
            "begin PUBLIC KEY",
            "é AAAA",
        ] {
            assert!(!contains_key(text), "{text}");
        }
    }

    #[test]
    fn no_key_begins_within_base64() {
        assert!(!contains_separate_key(RSA));
        assert!(!contains_separate_key(&format!("abcd{RSA}")));
        assert!(contains_separate_key(&format!("abcd,{RSA}")));
        assert!(contains_separate_key(&format!("abcd==ssh-rsa {RSA}")));
    }
}
