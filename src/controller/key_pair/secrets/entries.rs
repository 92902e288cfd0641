//! The data entries of a Secret: where its keys are, and how they change with the settings.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use serde_json::{Value, json};

use super::{
    NO_COMMENT,
    applied::{Applied, Entries, KeyEntries},
    desired_secret::DesiredSecret,
    difference::{Changes, data, difference, ours, text_entries},
};
use crate::{
    api::secret::revision,
    domain::{
        decide::{Incompatibility, RotationEntries},
        key::{Encoding, PrivateKey, PrivateKeyError, PublicKey},
        rotation::Phase,
        secret::SecretSettings,
    },
};

fn entry<'a>(secret: &'a Secret, name: &str) -> Option<&'a ByteString> {
    secret.data.as_ref()?.get(name)
}

/// The current data key of the private key: the recorded one if the Secret is ours, otherwise that of the settings.
fn private_data_key(secret: &Secret, desired: DesiredSecret<'_>) -> String {
    desired.record(secret).map_or_else(|| desired.settings.private_key.clone(), |recorded| recorded.private_key)
}

/// The private key in this entry, or why it cannot be used. The reason contains no byte of the key.
fn read(secret: &Secret, name: &str) -> Result<PrivateKey, String> {
    let value = entry(secret, name).ok_or_else(|| "there is no such entry".to_owned())?;
    let text = std::str::from_utf8(&value.0).map_err(|_| "it is not valid UTF-8".to_owned())?;
    PrivateKey::parse(text).map_err(|error| error.to_string())
}

/// The private key in `secret`, or why it cannot be used.
pub(super) fn private_key(secret: &Secret, desired: DesiredSecret<'_>) -> Result<PrivateKey, String> {
    read(secret, &private_data_key(secret, desired))
}

/// The public key of [`private_key`].
pub(super) fn public_key(secret: &Secret, desired: DesiredSecret<'_>) -> Result<PublicKey, String> {
    private_key(secret, desired)?.public_key(NO_COMMENT).map_err(|error| error.to_string())
}

/// The private key of a rotation in these entries.
pub(super) fn rotated_key(secret: &Secret, entries: Option<&KeyEntries>) -> Option<PrivateKey> {
    read(secret, &entries?.private_key).ok()
}

/// What a Secret that is ours, or offered to us, holds for a rotation. One that was restored from a backup may hold three keys.
pub(super) fn rotation(secret: &Secret, desired: DesiredSecret<'_>) -> RotationEntries {
    let record = Applied::of(secret).unwrap_or_default();
    let public_key = |entries: &Option<KeyEntries>| rotated_key(secret, entries.as_ref())?.public_key(NO_COMMENT).ok();
    let own = record.entries();
    let is_foreign = |name: &String| entry(secret, name).is_some() && !own.contains(name);
    let names = [Phase::Next, Phase::Previous].map(|phase| KeyEntries::of(desired.settings, phase));
    RotationEntries {
        next: public_key(&record.next),
        previous: public_key(&record.previous),
        is_previous_kept: record.previous.is_some(),
        revision: revision(secret),
        foreign_entry: names.iter().flat_map(KeyEntries::names).find(|name| is_foreign(name)).cloned(),
    }
}

/// The encoding of a key of a rotation in `secret`. In an adopted Secret, it is that of the current key where the settings leave the choice:
/// whoever reads the one can read the other.
pub(super) fn rotated_encoding(secret: &Secret, desired: DesiredSecret<'_>, key: &PrivateKey) -> Encoding {
    let current = entry(secret, &private_data_key(secret, desired)).filter(|_| desired.adopted(secret));
    let current = current.and_then(|value| std::str::from_utf8(&value.0).ok());
    desired.settings.encoding(current.map(|text| (key, text)))
}

/// The entries of a key of a rotation in this phase. A key of another algorithm than the present one may not support the encoding.
pub(super) fn rotated_data(
    settings: &SecretSettings,
    phase: Phase,
    key: &PrivateKey,
    encoding: Encoding,
) -> Result<(KeyEntries, BTreeMap<String, ByteString>), PrivateKeyError> {
    let names = KeyEntries::of(settings, phase);
    let line = format!("{}\n", key.public_key(NO_COMMENT)?.to_openssh());
    let text = ByteString(key.encode(supported(encoding, key), NO_COMMENT)?.as_bytes().to_vec());
    let data = [(names.private_key.clone(), text), (names.public_key.clone(), ByteString(line.into_bytes()))];
    Ok((names, data.into()))
}

fn supported(encoding: Encoding, key: &PrivateKey) -> Encoding {
    if encoding.supports(key.algorithm()) { encoding } else { Encoding::Pkcs8 }
}

/// Adds the entries of the keys of a rotation, in the form that the settings ask for. An entry that cannot be read any more goes.
fn rotated_entries(
    secret: &Secret,
    desired: DesiredSecret<'_>,
    before: &Applied,
    wanted: &mut BTreeMap<String, ByteString>,
    entries: &mut Entries,
) {
    let mut add = |phase, recorded: Option<&KeyEntries>| {
        let key = rotated_key(secret, recorded)?;
        let encoding = rotated_encoding(secret, desired, &key);
        let (names, mut data) = rotated_data(desired.settings, phase, &key, encoding).ok()?;
        let is_same = recorded == Some(&names)
            && entry(secret, &names.private_key)
                .and_then(|text| std::str::from_utf8(&text.0).ok())
                .is_some_and(|text| key.is_written(text, supported(encoding, &key)));
        // Encodings can contain random numbers: what is right stays.
        if is_same && let Some(text) = entry(secret, &names.private_key) {
            data.insert(names.private_key.clone(), text.clone());
        }
        wanted.append(&mut data);
        Some(names)
    };
    entries.next = add(Phase::Next, before.next.as_ref());
    entries.previous = add(Phase::Previous, before.previous.as_ref());
}

/// The entry that the settings use for a key although the owner of an adopted Secret keeps something else in it.
pub(super) fn incompatibility(secret: &Secret, desired: DesiredSecret<'_>, key: &PublicKey) -> Option<Incompatibility> {
    if !desired.adopted(secret) {
        return None;
    }
    let own_entries = desired.record(secret).unwrap_or_default().entries();
    let SecretSettings { private_key, public_key, .. } = desired.settings;
    let is_foreign = |name: &String| entry(secret, name).is_some() && !own_entries.contains(name);
    if is_foreign(private_key)
        && *private_key != private_data_key(secret, desired)
        && !has_private_key_of(secret, private_key, key.blob())
    {
        return Some(Incompatibility::Entry(private_key.clone()));
    }
    (is_foreign(public_key) && !has_public_key(secret, public_key, key))
        .then(|| Incompatibility::Entry(public_key.clone()))
}

/// Whether an entry contains this private key, in any encoding.
fn has_private_key(secret: &Secret, name: &str, key: &PrivateKey) -> bool {
    key.public_key(NO_COMMENT).is_ok_and(|key| has_private_key_of(secret, name, key.blob()))
}

/// Whether an entry contains the private key of the public key with this blob.
fn has_private_key_of(secret: &Secret, name: &str, blob: &[u8]) -> bool {
    let found = read(secret, name).ok().and_then(|key| key.public_key(NO_COMMENT).ok());
    found.is_some_and(|found| found.blob() == blob)
}

/// Whether an entry contains this public key, in any format.
fn has_public_key(secret: &Secret, name: &str, key: &PublicKey) -> bool {
    let text = entry(secret, name).and_then(|value| std::str::from_utf8(&value.0).ok());
    text.and_then(|text| PublicKey::parse(text).ok()).is_some_and(|found| found.blob() == key.blob())
}

/// The changes of the data of `secret`, which contains `key` and has no [`incompatibility`].
pub(super) fn changes(secret: &Secret, desired: DesiredSecret<'_>, before: &Applied, key: &PublicKey) -> Entries {
    let settings = desired.settings;
    let adopted = desired.adopted(secret);
    let nothing = BTreeMap::new();
    let present = secret.data.as_ref().unwrap_or(&nothing);
    let own_entries = before.entries();
    let template = ours(present, &text_entries(&settings.string_data), &own_entries, adopted);
    let mut entries = Entries { string_data: template.keys().cloned().collect(), ..Entries::default() };
    let mut wanted = template;
    if !adopted || own_entries.contains(&settings.public_key) || !present.contains_key(&settings.public_key) {
        entries.public_key.clone_from(&settings.public_key);
        wanted.extend(data(settings, &key.to_openssh()).remove_entry(&settings.public_key));
    }
    let recorded = Applied::of(secret).unwrap_or_default();
    rotated_entries(secret, desired, &recorded, &mut wanted, &mut entries);
    entries.changes = difference(present, &wanted, &own_entries);
    // The private key entry may have the name of an old or new template entry.
    entries.changes.remove(&settings.private_key);
    private_entry(secret, desired, before, &mut entries);
    entries
}

/// Adds the changes of the private key entry.
fn private_entry(secret: &Secret, desired: DesiredSecret<'_>, before: &Applied, entries: &mut Entries) {
    let settings = desired.settings;
    let (now, wanted) = (private_data_key(secret, desired), &settings.private_key);
    let adopted = desired.adopted(secret);
    let is_moved = now != *wanted;
    let is_there = entry(secret, wanted).is_some();
    // An entry of the owner stays, even if the settings use another name for the key.
    entries.added_private_key =
        adopted && if is_moved { !is_there || before.entries().contains(wanted) } else { before.added_private_key };
    if is_moved && (!adopted || before.added_private_key) {
        entries.changes.entry(now.clone()).or_insert(Value::Null);
    }
    let Ok(key) = read(secret, &now) else { return };
    let text = |name| entry(secret, name).and_then(|value| std::str::from_utf8(&value.0).ok());
    let encoding = settings.encoding(text(&now).filter(|_| adopted).map(|text| (&key, text)));
    entries.encoding = Some(encoding);
    let is_right =
        has_private_key(secret, wanted, &key) && text(wanted).is_some_and(|text| key.is_written(text, encoding));
    // It cannot fail: an encoding that does not support the algorithm was refused before.
    if !is_right && let Ok(text) = key.encode(encoding, NO_COMMENT) {
        entries.changes.insert(wanted.clone(), json!(ByteString(text.as_bytes().to_vec())));
    }
}

/// The changes that remove the operator's entries from an adopted Secret.
pub(super) fn release(secret: &Secret, before: &Applied) -> Changes {
    let ours = before.entries().into_iter();
    ours.filter(|name| entry(secret, name).is_some()).map(|name| (name, Value::Null)).collect()
}
