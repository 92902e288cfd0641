//! The comment of a public key: free text that ends up in status and Secret, and on terminals.
//!
//! It is kept as it is or refused, never changed: whoever reads it elsewhere reads the same text. A tab is part of it, as for
//! `ssh-keygen -l`.

use super::error::PublicKeyError;
use super::{another, leak};
use crate::domain::display;

/// Checks a comment and takes the white space around it away.
///
/// # Errors
///
/// A control or invisible character, a private key, or another public key within the comment.
/// The last comes of lines that were joined, for example by a folded YAML scalar or a list with commas, and taking the
/// first key alone would lose the others.
pub(super) fn check(comment: &str) -> Result<&str, PublicKeyError> {
    let comment = comment.trim();
    if leak::holds_private_key(comment) {
        return Err(PublicKeyError::PrivateKey);
    }
    if another::stands_in(comment) {
        return Err(PublicKeyError::SeveralKeys);
    }
    if comment.chars().any(|c| c.is_control() && c != '\t') {
        return Err(PublicKeyError::ControlCharacter);
    }
    if let Some((character, place)) = display::first_invisible(comment) {
        return Err(PublicKeyError::InvisibleCharacter { character, place });
    }
    Ok(comment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_comments_are_kept_and_trimmed() {
        assert_eq!(check("  user@host 密钥 #1 \n"), Ok("user@host 密钥 #1"));
        assert_eq!(check("ops\tlab ❤️\t"), Ok("ops\tlab ❤️"));
        assert_eq!(check(""), Ok(""));
    }

    #[test]
    fn control_characters_and_other_keys_are_refused() {
        for text in ["a\nb", "a\rb", "a\0b", "a\u{85}b", "a\u{1b}[31mb", "a\u{7f}b", "a\u{9b}b"] {
            assert_eq!(check(text), Err(PublicKeyError::ControlCharacter));
        }
        for character in
            ['\u{202e}', '\u{200b}', '\u{feff}', '\u{2028}', '\u{2029}', '\u{e000}', '\u{fffe}', '\u{e0041}']
        {
            let error = PublicKeyError::InvisibleCharacter { character, place: 2 };
            assert_eq!(check(&format!("a{character}b")), Err(error));
        }
        assert_eq!(check("a ssh-ed25519 AAAAC3Nz"), Err(PublicKeyError::SeveralKeys));
        assert_eq!(check("-----BEGIN PRIVATE KEY-----"), Err(PublicKeyError::PrivateKey));
    }
}
