//! The entries of a Secret: where its keys are, and what becomes of them when the settings change.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::{Value, json};

use super::{
    NO_COMMENT,
    applied::Applied,
    shape::{Changes, Shaping, data, difference, ours, text_entries},
};
use crate::domain::{
    decide::Obstacle,
    key::{Encoding, PrivateKey, PublicKey},
    secret::SecretSettings,
};

/// What is to change in the data, and what of it is then ours.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) changes: Changes,
    /// The data key of the public key; empty: its owner put it there.
    pub(super) public_key: String,
    /// The encoding of the private key, where it was read.
    pub(super) encoding: Option<Encoding>,
    /// Whether the entry of the private key is one that we added to an adopted Secret.
    pub(super) added_private_key: bool,
    /// The names of the entries from the template.
    pub(super) string_data: Vec<String>,
}

/// The entry of a Secret.
fn entry<'a>(secret: &'a Secret, name: &str) -> Option<&'a ByteString> {
    secret.data.as_ref()?.get(name)
}

/// The data key under which the private key is: that which we noted on a Secret of ours, or else that of the settings.
fn private_data_key(secret: &Secret, shaping: Shaping<'_>) -> String {
    shaping.noted(secret).map_or_else(|| shaping.settings.private_key.clone(), |noted| noted.private_key)
}

/// The private key under this data key, or why there is none that can be used. No byte of it is in the reason.
fn read(secret: &Secret, name: &str) -> Result<PrivateKey, String> {
    let value = entry(secret, name).ok_or_else(|| "there is no such entry".to_owned())?;
    let text = std::str::from_utf8(&value.0).map_err(|_| "it is not text".to_owned())?;
    PrivateKey::parse(text).map_err(|error| error.to_string())
}

/// The private key in `secret`, or why there is none that can be used.
pub(super) fn private_key(secret: &Secret, shaping: Shaping<'_>) -> Result<PrivateKey, String> {
    read(secret, &private_data_key(secret, shaping))
}

/// The entry that the settings want for a key in an adopted Secret although its owner keeps something else there.
pub(super) fn obstacle(secret: &Secret, shaping: Shaping<'_>, key: &PublicKey) -> Option<Obstacle> {
    if !shaping.adopted(secret) {
        return None;
    }
    let mine = shaping.noted(secret).unwrap_or_default().entries();
    let SecretSettings { private_key, public_key, .. } = shaping.settings;
    let is_theirs = |name: &String| entry(secret, name).is_some() && !mine.contains(name);
    if is_theirs(private_key)
        && *private_key != private_data_key(secret, shaping)
        && !is_blob(secret, private_key, key.blob())
    {
        return Some(Obstacle::Entry(private_key.clone()));
    }
    (is_theirs(public_key) && !holds(secret, public_key, key)).then(|| Obstacle::Entry(public_key.clone()))
}

/// Whether an entry holds this private key, in whatever encoding.
fn is_same(secret: &Secret, name: &str, key: &PrivateKey) -> bool {
    key.public_key(NO_COMMENT).is_ok_and(|key| is_blob(secret, name, key.blob()))
}

/// Whether an entry holds the private key to this public one.
fn is_blob(secret: &Secret, name: &str, blob: &[u8]) -> bool {
    let found = read(secret, name).ok().and_then(|key| key.public_key(NO_COMMENT).ok());
    found.is_some_and(|found| found.blob() == blob)
}

/// Whether an entry holds this public key, in whatever words.
fn holds(secret: &Secret, name: &str, key: &PublicKey) -> bool {
    let text = entry(secret, name).and_then(|value| std::str::from_utf8(&value.0).ok());
    text.and_then(|text| PublicKey::parse(text).ok()).is_some_and(|found| found.blob() == key.blob())
}

/// What has to change in the data of `secret`, which holds `key` and where there is no [`obstacle`].
pub(super) fn changes(secret: &Secret, shaping: Shaping<'_>, before: &Applied, key: &PublicKey) -> Entries {
    let settings = shaping.settings;
    let adopted = shaping.adopted(secret);
    let nothing = BTreeMap::new();
    let present = secret.data.as_ref().unwrap_or(&nothing);
    let mine = before.entries();
    let template = ours(present, &text_entries(&settings.string_data), &mine, adopted);
    let mut entries = Entries { string_data: template.keys().cloned().collect(), ..Entries::default() };
    let mut wanted = template;
    if !adopted || mine.contains(&settings.public_key) || !present.contains_key(&settings.public_key) {
        entries.public_key.clone_from(&settings.public_key);
        wanted.extend(data(settings, &key.to_openssh()).remove_entry(&settings.public_key));
    }
    entries.changes = difference(present, &wanted, &mine);
    // The entry may have been the template's before; or the template's may be where the key still is.
    entries.changes.remove(&settings.private_key);
    private_entry(secret, shaping, before, &mut entries);
    entries
}

/// What becomes of the entry of the private key.
fn private_entry(secret: &Secret, shaping: Shaping<'_>, before: &Applied, entries: &mut Entries) {
    let settings = shaping.settings;
    let (now, wanted) = (private_data_key(secret, shaping), &settings.private_key);
    let adopted = shaping.adopted(secret);
    let is_moved = now != *wanted;
    let is_there = entry(secret, wanted).is_some();
    // An entry that its owner put there stays, also when the key is wanted under another name.
    entries.added_private_key =
        adopted && if is_moved { !is_there || before.entries().contains(wanted) } else { before.added_private_key };
    if is_moved && (!adopted || before.added_private_key) {
        entries.changes.entry(now.clone()).or_insert(Value::Null);
    }
    let Ok(key) = read(secret, &now) else { return };
    let text = |name| entry(secret, name).and_then(|value| std::str::from_utf8(&value.0).ok());
    let encoding = settings.encoding(text(&now).filter(|_| adopted).map(|text| (&key, text)));
    entries.encoding = Some(encoding);
    let is_right = is_same(secret, wanted, &key) && text(wanted).is_some_and(|text| key.is_written(text, encoding));
    // The settings have been checked: the encoding can hold a key of this algorithm.
    if !is_right && let Ok(text) = key.encode(encoding, NO_COMMENT) {
        entries.changes.insert(wanted.clone(), json!(ByteString(text.as_bytes().to_vec())));
    }
}

/// What is taken out of an adopted Secret that is given back: what we put there.
pub(super) fn release(secret: &Secret, before: &Applied) -> Changes {
    let ours = before.entries().into_iter();
    ours.filter(|name| entry(secret, name).is_some()).map(|name| (name, Value::Null)).collect()
}
