//! Reads the text of a target, as far as histories need it.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding as _};
use serde_json::Value;

use super::model::{Line, Prefix};
use crate::oracle::facts::text;

/// The entries of a target, as text.
pub fn entries(target: &Value) -> BTreeMap<&str, String> {
    let is_secret = text(target, "/kind") == Some("Secret");
    let read = |value: &str| {
        if !is_secret {
            return value.to_owned();
        }
        String::from_utf8_lossy(&Base64::decode_vec(value).unwrap_or_default()).into_owned()
    };
    let data = target.get("data").and_then(Value::as_object).into_iter().flatten();
    data.filter_map(|(key, value)| Some((key.as_str(), read(value.as_str()?)))).collect()
}

/// The keys in a target: type and base64.
pub fn keys_in(target: &Value) -> BTreeSet<String> {
    let entries = entries(target);
    let lines = entries.values().flat_map(|text| text.lines());
    lines.filter_map(|line| Some(read_line(line)?.key)).collect()
}

/// Splits a text at a character that is not in quotes. In quotes, a backslash hides a quotation mark.
fn split(text: &str, at: char) -> Vec<String> {
    let (mut parts, mut is_quoted, mut before) = (vec![String::new()], false, ' ');
    for character in text.chars() {
        is_quoted ^= character == '"' && before != '\\';
        if character == at && !is_quoted {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(character);
        }
        before = character;
    }
    parts
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix))
}

/// A line of `authorized_keys` or `known_hosts`.
pub fn read_line(line: &str) -> Option<Line> {
    let words = split(line, ' ');
    let start = words.iter().position(|word| is_key_type(word))?;
    let (before, rest) = words.split_at_checked(start)?;
    let [kind, base64, comment @ ..] = rest else { return None };
    let (key, comment) = (format!("{kind} {base64}"), comment.join(" "));
    let is_options = |word: &String| {
        let name = word.split(['=', ',']).next().unwrap_or_default();
        OPTIONS.iter().any(|option| name.trim_start_matches("no-").eq_ignore_ascii_case(option))
    };
    let prefix = match before {
        [] => Prefix::Options(BTreeSet::new()),
        [options] if is_options(options) => {
            Prefix::Options(split(options, ',').iter().map(|option| with_small_name(option)).collect())
        }
        [hosts] => Prefix::Hosts(String::new(), hosts.clone()),
        [marker, hosts] => Prefix::Hosts(marker.clone(), hosts.clone()),
        _ => return None,
    };
    Some(Line { prefix, key, comment })
}

const OPTIONS: [&str; 14] = [
    "restrict",
    "cert-authority",
    "pty",
    "port-forwarding",
    "agent-forwarding",
    "x11-forwarding",
    "user-rc",
    "from",
    "principals",
    "permitopen",
    "permitlisten",
    "command",
    "environment",
    "expiry-time",
];

/// sshd does not distinguish between capital and small letters in the names of options.
fn with_small_name(option: &str) -> String {
    match option.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.to_lowercase()),
        None => option.to_lowercase(),
    }
}

/// Whether a line says what is wanted.
pub fn is_wanted(line: &Line, wanted: &Line) -> bool {
    let is_prefix = match (&line.prefix, &wanted.prefix) {
        (Prefix::Hosts(marker, hash), Prefix::Hashed(wanted, host)) => {
            marker == wanted && is_hash_of(hash, host) == Some(true)
        }
        (prefix, wanted) => prefix == wanted,
    };
    is_prefix && (&line.key, &line.comment) == (&wanted.key, &wanted.comment)
}

/// Whether a text of the form `|1|salt|hash` is the hash of a host: the HMAC-SHA1 with the salt as the key.
fn is_hash_of(hash: &str, host: &str) -> Option<bool> {
    let (salt, hash) = hash.strip_prefix("|1|")?.split_once('|')?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &Base64::decode_vec(salt).ok()?);
    Some(hmac::verify(&key, host.as_bytes(), &Base64::decode_vec(hash).ok()?).is_ok())
}
