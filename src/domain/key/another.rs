//! Finds another public key in a text that should hold none: in the comment of the first, whatever stands between the two.

use base64ct::{Base64, Encoding as _};

use super::key_type::KeyType;
use super::wire::Reader;

/// How every base64 key blob begins: three zero bytes of the length of its type name.
pub(super) const BLOB_START: &str = "AAAA";

/// The longest type name that is looked for; the longest that there is has 47 characters.
const TYPE_MAX_CHARS: usize = 64;
/// So many characters of a type name must be there, where the blob is cut off.
const TYPE_MIN_CHARS: usize = 5;
/// The base64 of the length and of the longest type name.
const PROBE: usize = (4 + TYPE_MAX_CHARS) / 3 * 4;

/// Whether a public key in any form begins somewhere in the text.
pub(super) fn stands_in(text: &str) -> bool {
    let begins_block = |line: &str| line.contains("PUBLIC KEY") && line.contains("BEGIN ");
    beginnings(text).any(|at| text.get(at..).is_some_and(begins_blob))
        || text.contains("---") && begins_block(text)
        || names_type_and_blob(text)
}

/// The same for what follows the beginning of a blob, where base64 that has no end yet may only seem to begin anew: the blob of
/// a certificate has others within it.
pub(super) fn stands_apart_in(text: &str) -> bool {
    let is_apart = |at: usize| {
        let before = text.get(..at).and_then(|before| before.chars().next_back());
        before.is_some_and(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/')))
    };
    beginnings(text).any(|at| is_apart(at) && text.get(at..).is_some_and(begins_blob))
}

/// Where a blob may begin; two of these places can be so near to each other that they overlap.
fn beginnings(text: &str) -> impl Iterator<Item = usize> {
    let is_beginning = |at: &usize| text.get(*at..).is_some_and(|rest| rest.starts_with(BLOB_START));
    text.char_indices().map(|(at, _)| at).filter(is_beginning)
}

/// Whether a key blob begins in `bytes`, which follow another.
pub(super) fn begins_in(bytes: &[u8]) -> bool {
    let name = Reader::new(bytes).string().ok().and_then(|name| std::str::from_utf8(name).ok());
    name.and_then(KeyType::from_name).is_some()
}

/// A type name and, as the next word, what may be an abbreviated blob.
fn names_type_and_blob(text: &str) -> bool {
    let words = || text.split_whitespace();
    words().zip(words().skip(1)).any(|(word, next)| KeyType::from_name(word).is_some() && next.starts_with(BLOB_START))
}

/// Whether the text begins with base64 of a length, and of as much as there is of a type name, known or not.
fn begins_blob(text: &str) -> bool {
    let run = text.bytes().take(PROBE).take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let length = run.count() / 4 * 4;
    let mut bytes = [0; PROBE / 4 * 3];
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
    fn a_key_is_found_whatever_stands_before_it() {
        for before in
            ["", "ssh-rsa ", "me,ssh-rsa ", "me", "me;", "|", "\\n", "me\0", "rsa\t", "ssh-unknown ", "command=\"x\" "]
        {
            assert!(stands_in(&format!("{before}{RSA}")), "{before}");
        }
        assert!(stands_in("me ssh-rsa AAAA..."));
        assert!(stands_in("me -----BEGIN PUBLIC KEY----- MCow"));
        assert!(stands_in("me ---- BEGIN SSH2 PUBLIC KEY ---- AAAA"));
    }

    #[test]
    fn other_words_are_none() {
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
            assert!(!stands_in(text), "{text}");
        }
    }

    #[test]
    fn within_base64_no_key_begins() {
        assert!(!stands_apart_in(RSA));
        assert!(!stands_apart_in(&format!("abcd{RSA}")));
        assert!(stands_apart_in(&format!("abcd,{RSA}")));
        assert!(stands_apart_in(&format!("abcd==ssh-rsa {RSA}")));
    }
}
