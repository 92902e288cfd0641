//! The one-line form of OpenSSH's `.pub` files: type, base64, comment (manual page sshd(8)).

use base64ct::{Base64, Encoding as _};

use super::error::PublicKeyError;
use super::key_type::{BARE_TOKENS, KeyType};
use super::second_key::{self, BLOB_START};

/// The names of `authorized_keys` options, which distinguish such a line from a `known_hosts` line.
const OPTIONS: &[&str] = &[
    "agent-forwarding",
    "cert-authority",
    "command",
    "environment",
    "expiry-time",
    "from",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-touch-required",
    "no-user-rc",
    "no-x11-forwarding",
    "permitlisten",
    "permitopen",
    "port-forwarding",
    "principals",
    "pty",
    "restrict",
    "touch-required",
    "tunnel",
    "user-rc",
    "verify-required",
    "x11-forwarding",
];

/// The type that the word before the base64 declares.
#[derive(Clone, Copy, Debug)]
pub(super) enum DeclaredType {
    /// A type name.
    Type(KeyType),
    /// A bare token, which allows several types.
    AnyOf(&'static [KeyType]),
}

impl DeclaredType {
    fn from_token(token: &str) -> Option<Self> {
        let bare = || BARE_TOKENS.iter().find(|(bare, _)| *bare == token).map(|(_, types)| Self::AnyOf(types));
        KeyType::from_name(token).map(Self::Type).or_else(bare)
    }

    pub(super) fn allows(self, key_type: KeyType) -> bool {
        match self {
            Self::Type(declared) => declared == key_type,
            Self::AnyOf(types) => types.contains(&key_type),
        }
    }
}

/// The parts of a line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) declared: DeclaredType,
    pub(super) blob: Vec<u8>,
    pub(super) comment: &'a str,
}

/// Parses a trimmed body, which must be a single line.
pub(super) fn parse(body: &str) -> Result<Line<'_>, PublicKeyError> {
    if body.contains('\n') {
        return Err(several_lines_error(body));
    }
    let (first, rest) = split_word(body);
    let declared = DeclaredType::from_token(first).ok_or_else(|| missing_type_error(first, rest))?;
    let (base64, comment) = split_word(rest);
    if base64.is_empty() {
        return Err(PublicKeyError::MissingKey);
    }
    let blob = Base64::decode_vec(base64).map_err(|_| {
        if second_key::contains_separate_key(rest) { PublicKeyError::SeveralKeys } else { PublicKeyError::NotBase64 }
    })?;
    Ok(Line { declared, blob, comment })
}

/// The first word and the rest of the text. As in OpenSSH, only spaces and tabs separate words.
fn split_word(text: &str) -> (&str, &str) {
    let separators = [' ', '\t'];
    let (word, rest) = text.split_once(separators).unwrap_or((text, ""));
    (word, rest.trim_start_matches(separators))
}

/// Whether the text contains a type name. Bare tokens do not count, because they also occur in other texts.
fn contains_type_name(text: &str) -> bool {
    text.split_whitespace().any(|word| KeyType::from_name(word).is_some())
}

/// The error for a body of several lines.
fn several_lines_error(body: &str) -> PublicKeyError {
    let is_key = |line: &&str| {
        contains_type_name(line) || line.contains("BEGIN ") || DeclaredType::from_token(split_word(line).0).is_some()
    };
    match body.lines().filter(is_key).count() {
        0 => PublicKeyError::NotAKey,
        1 => PublicKeyError::SeveralLines,
        _ => PublicKeyError::SeveralKeys,
    }
}

/// The error for a line that does not begin with a type.
fn missing_type_error(first: &str, rest: &str) -> PublicKeyError {
    let is_number = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let second = split_word(rest).0;
    if first.starts_with(BLOB_START) {
        PublicKeyError::MissingType
    } else if second.starts_with(BLOB_START) {
        PublicKeyError::UnknownType
    } else if is_number(first) && is_number(second) {
        PublicKeyError::Ssh1
    } else if !contains_type_name(rest) {
        PublicKeyError::NotAKey
    } else if is_option(first) {
        PublicKeyError::Options
    } else {
        PublicKeyError::KnownHostsLine
    }
}

/// Whether a word begins with the name of an `authorized_keys` option.
fn is_option(word: &str) -> bool {
    let name = word.split(['=', ',', '"']).next().unwrap_or_default();
    OPTIONS.iter().any(|option| option.eq_ignore_ascii_case(name))
}
