//! The comment of a public key: free text that appears in the status, in Secrets and on terminals.
//!
//! It is either kept unchanged or refused, so that every reader sees the same text. Tabs are allowed, as in `ssh-keygen -l`.

use super::error::PublicKeyError;
use super::{private_key_detector, second_key};
use crate::domain::display;

/// Checks a comment and trims white space around it.
///
/// # Errors
///
/// If the comment contains a control or invisible character, a private key, or another public key. Several keys are in one line
/// when lines were joined, for example by a folded YAML scalar or a comma-separated list. Accepting only the first key would lose
/// the others.
pub(super) fn check(comment: &str) -> Result<&str, PublicKeyError> {
    let comment = comment.trim();
    if private_key_detector::holds_private_key(comment) {
        return Err(PublicKeyError::PrivateKey);
    }
    if second_key::contains_key(comment) {
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
