//! Differences between the entries that a Secret has and those that it is to have, as parts of a merge patch.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::secret::SecretSettings;

/// The changed values of a map, as in a merge patch; null removes a key.
pub(super) type Changes = Map<String, Value>;

/// The data of a Secret that the operator creates, without the private key.
pub(super) fn data(settings: &SecretSettings, public_line: &str) -> BTreeMap<String, ByteString> {
    let mut data = text_entries(&settings.string_data);
    data.insert(settings.public_key.clone(), ByteString(format!("{public_line}\n").into_bytes()));
    data
}

pub(super) fn text_entries(entries: &BTreeMap<String, String>) -> BTreeMap<String, ByteString> {
    entries.iter().map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes()))).collect()
}

/// The part of `wanted` that the operator may set: all of it, or in an adopted Secret only what is missing or was added by the operator.
pub(super) fn ours<T: Clone, P>(
    present: &BTreeMap<String, P>,
    wanted: &BTreeMap<String, T>,
    recorded: &[String],
    adopted: bool,
) -> BTreeMap<String, T> {
    let is_ours = |key: &String| !adopted || recorded.contains(key) || !present.contains_key(key);
    wanted.iter().filter(|(key, _)| is_ours(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The changes that set what is wanted, and remove what was recorded and is no longer wanted.
pub(super) fn difference<T: PartialEq + Serialize>(
    present: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
    recorded: &[String],
) -> Changes {
    let set = wanted.iter().filter(|(key, value)| present.get(*key) != Some(*value));
    let gone = recorded.iter().filter(|key| present.contains_key(*key) && !wanted.contains_key(*key));
    set.map(|(key, value)| (key.clone(), json!(value))).chain(gone.map(|key| (key.clone(), Value::Null))).collect()
}
