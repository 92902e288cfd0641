//! `holds_private_key` finds every private key in any context, and mistakes nothing public for one.
//!
//! If the first byte is 4, the rest is the blob of a public key. Otherwise, the data is a private key as in [`private_key`].

use keypair_operator::domain::key::{KeyType, PRIVATE_KEY_MARKERS, PrivateKey, PrivateKeyError, holds_private_key};

use crate::{armor, private_key, referee, seeds};

type Embed = fn(&str) -> String;

/// Ways in which a key can end up in a text that should contain none.
pub const EMBEDDINGS: &[(&str, Embed)] = &[
    ("as it is", str::to_owned),
    ("among prose", |key| format!("This is my key: {key} Keep it safe.")),
    ("before a public key", |key| {
        format!("{key}\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf")
    }),
    ("as the comment of a public key", |key| {
        format!(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf {}",
            key.replace('\n', " ")
        )
    }),
    ("indented", |key| format!("    {}", key.replace('\n', "\n    "))),
    ("quoted in mail", |key| format!("> {}", key.replace('\n', "\n> "))),
    ("with CRLF", |key| key.replace('\n', "\r\n")),
    ("folded into one line", |key| key.replace('\n', " ")),
    ("joined into one word", |key| key.replace('\n', "")),
    ("in JSON", |key| format!("{{\"key\":{}}}", serde_json::Value::from(key))),
    ("in lower case", str::to_lowercase),
    ("without its armor", unarmored),
    ("without its armor, in double quotes", |key| format!("key=\"{}\"", unarmored(key))),
    ("without its armor, in quotes", |key| format!("key: '{}'", unarmored(key))),
    ("without its armor, after a colon", |key| format!("key:{}", unarmored(key))),
    ("without its armor, in brackets", |key| format!("<({}), [x]>", unarmored(key))),
    ("its first line", |key| unarmored(key).chars().take(64).collect()),
    ("as a Secret has it", |key| armor::base64(key.as_bytes())),
    ("as a Secret has it, in a comment", |key| format!("me;{};", armor::base64(key.trim().as_bytes()))),
];

/// Part of the name of embeddings that remove the armor, which is all that distinguishes some keys from other bytes.
const UNARMORED: &str = "armor";

/// The base64 of a PEM text as one word.
fn unarmored(key: &str) -> String {
    armor::inner(key).map_or_else(|| key.to_owned(), |bytes| armor::base64(&bytes))
}

/// # Panics
///
/// If a private key is not detected in an embedding, or a public key is mistaken for a private one.
pub fn check(data: &[u8]) {
    if let Some((4, blob)) = data.split_first() {
        return check_public(blob);
    }
    let Some(text) = private_key::text(data) else { return };
    // For any input, the call returns.
    let found = holds_private_key(&text);
    let ours = PrivateKey::parse(&text);
    let theirs = armor::inner(&text).is_some_and(|bytes| referee::read_private(&bytes).is_ok());
    let is_encrypted = matches!(ours, Err(PrivateKeyError::Encrypted));
    if ours.is_err() && !is_encrypted && !(theirs && text.contains("PRIVATE KEY")) {
        return;
    }
    assert!(found, "a private key is not detected");
    let text = text.trim();
    for (name, embed) in EMBEDDINGS {
        // Only the armor shows that the text contains a key; the bytes are not parsed.
        let is_opaque = is_encrypted && !theirs;
        if is_opaque && (name.contains(UNARMORED) || name.contains("first line")) {
            continue;
        }
        assert!(holds_private_key(&embed(text)), "a private key is not detected {name}");
    }
}

fn check_public(blob: &[u8]) {
    let line = armor::line(blob);
    // A certificate whose identifier is the magic of OpenSSH's private keys is refused without a closer look.
    if blob.windows(14).any(|part| part == b"openssh-key-v1") {
        return;
    }
    let is_known = KeyType::from_name(armor::type_name(blob).unwrap_or_default()).is_some();
    if !is_known || referee::read_public(&line).is_err() {
        return;
    }
    let mut texts = vec![line.clone(), armor::base64(blob), format!("{{\"key\":\"{line}\"}}")];
    // A key or the identifier of a certificate can be made to contain such words. Within one base64 word they are ignored, but a
    // blob that is split into lines is not recognised as a blob.
    if !contains_marker(blob) {
        texts.extend([armor::rfc4716("", blob), armor::base64(line.as_bytes())]);
    }
    for text in texts {
        assert!(!holds_private_key(&text), "a public key is mistaken for a private one");
    }
}

/// Whether the bytes contain words of a private key file, ignoring case.
fn contains_marker(blob: &[u8]) -> bool {
    // Zero bytes are dropped, as in `encoded::ascii`.
    let text: String =
        blob.iter().filter(|byte| **byte != 0).map(|byte| char::from(byte.to_ascii_uppercase())).collect();
    let markers = PRIVATE_KEY_MARKERS.iter().copied().chain(["PRIVATE KEY", "\"KTY\""]);
    markers.into_iter().any(|marker| text.contains(marker))
}

/// Private keys, and the blobs of public ones.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let lines = seeds::public_bodies().into_iter().filter_map(|body| referee::read_public(body.trim()).ok());
    private_key::seeds().into_iter().chain(lines.map(|key| [&[4], key.blob.as_slice()].concat())).collect()
}
