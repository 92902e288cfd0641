//! What a Secret shall be by its settings, and what has to change for that in one that is there.
//!
//! A Secret that the operator made is its own: a template holds, and only what others added stays. One that was handed over is
//! its owner's: there the operator adds what is not there yet, changes and takes away what it added, and leaves the rest alone.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    FINGERPRINT_ANNOTATION, KEYPAIR_ANNOTATION, KEYPAIR_UID_ANNOTATION, KEYPAIR_UID_LABEL, MOVED_ANNOTATION, OPERATOR,
    applied::{APPLIED_ANNOTATION, Applied},
    comparison, entries,
};
use crate::{
    api::KeyPair,
    domain::{
        key::PublicKey,
        secret::{ADOPT_ANNOTATION, DeletionPolicy, MANAGED_BY_LABEL, SecretSettings},
    },
};

/// A map of names to what they shall be in a merge patch; null takes away.
pub(super) type Changes = Map<String, Value>;

/// What a `KeyPair` makes of the Secret that it has, or is to have.
#[derive(Clone, Copy)]
pub(super) struct Shaping<'a> {
    pub(super) key_pair: &'a KeyPair,
    pub(super) settings: &'a SecretSettings,
    /// Whether the Secret is this `KeyPair`'s already.
    pub(super) owned: bool,
    /// What admission has changed lately when it was written.
    pub(super) overruled: &'a [String],
}

impl Shaping<'_> {
    /// What we noted on a Secret of ours.
    pub(super) fn noted(self, secret: &Secret) -> Option<Applied> {
        Applied::of(secret).filter(|_| self.owned)
    }

    /// Whether the Secret is being handed over to this `KeyPair`.
    fn is_named_by(self, secret: &Secret) -> bool {
        secret.annotations().get(ADOPT_ANNOTATION).is_some_and(|name| *name == self.key_pair.name_any())
    }

    /// Whether the Secret was handed over, or is about to be taken. The annotation on a Secret that is ours already says so of one
    /// that was adopted before this was noted.
    pub(super) fn adopted(self, secret: &Secret) -> bool {
        !self.owned || self.is_named_by(secret) || Applied::of(secret).is_some_and(|noted| noted.adopted)
    }
}

/// The labels of a Secret.
pub(super) fn labels(settings: &SecretSettings) -> BTreeMap<String, String> {
    let mut labels = settings.labels.clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), OPERATOR.to_owned());
    labels
}

/// The annotations of a Secret with the key of this fingerprint (SHA256), on which `applied` is noted; those of a template are
/// `others`.
pub(super) fn annotations(
    key_pair: &KeyPair,
    others: BTreeMap<String, String>,
    sha256: &str,
    applied: &Applied,
) -> BTreeMap<String, String> {
    let mut annotations = others;
    annotations.extend(
        [
            (KEYPAIR_ANNOTATION, key_pair.name_any()),
            (KEYPAIR_UID_ANNOTATION, key_pair.uid().unwrap_or_default()),
            (FINGERPRINT_ANNOTATION, sha256.to_owned()),
            (APPLIED_ANNOTATION, applied.to_text()),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    annotations
}

/// The data of a Secret of the operator's own making but for the private key.
pub(super) fn data(settings: &SecretSettings, public_line: &str) -> BTreeMap<String, ByteString> {
    let mut data = text_entries(&settings.string_data);
    data.insert(settings.public_key.clone(), ByteString(format!("{public_line}\n").into_bytes()));
    data
}

pub(super) fn text_entries(entries: &BTreeMap<String, String>) -> BTreeMap<String, ByteString> {
    entries.iter().map(|(key, value)| (key.clone(), ByteString(value.clone().into_bytes()))).collect()
}

/// The reference by which the garbage collector finds the Secret when `key_pair` is deleted.
pub(super) fn owner_reference(key_pair: &KeyPair, settings: &SecretSettings, adopted: bool) -> Option<OwnerReference> {
    match settings.deletion_policy(adopted) {
        DeletionPolicy::Delete => key_pair.controller_owner_ref(&()),
        DeletionPolicy::Retain => None,
    }
}

/// The merge patch that makes `secret`, which holds `key`, what the settings say; `None` if it is that.
///
/// Whatever others added stays; of what a template said before and does not say now, what we added goes. The private key is
/// in the patch only where its data key is renamed or it is written otherwise than the settings say.
pub(super) fn changes(secret: &Secret, shaping: Shaping<'_>, key: &PublicKey) -> Option<Value> {
    let Shaping { key_pair, settings, .. } = shaping;
    let adopted = shaping.adopted(secret);
    let before = shaping.noted(secret).unwrap_or_default();
    let (noted_labels, wanted_labels) = wanted_labels(secret, &before, shaping, adopted);
    let wanted_annotations = ours(secret.annotations(), &settings.annotations, &before.annotations, adopted);
    let entries = entries::changes(secret, shaping, &before, key);
    let applied = Applied {
        adopted,
        labels: noted(&wanted_labels, adopted),
        annotations: noted(&wanted_annotations, adopted),
        ..Applied::by(settings, adopted, &entries)
    };

    let labels = difference(secret.labels(), &wanted_labels, &noted_labels);
    let wanted = annotations(key_pair, wanted_annotations, &key.fingerprints().sha256, &applied);
    let mut annotations = difference(secret.annotations(), &wanted, &before.annotations);
    // One that names another is for that one to act on.
    if shaping.is_named_by(secret) {
        annotations.insert(ADOPT_ANNOTATION.to_owned(), Value::Null);
    }
    let owners = owners(secret, key_pair, owner_reference(key_pair, settings, adopted));
    patch(secret, labels, annotations, owners, entries.changes)
}

/// The merge patch that takes back whatever we put into an adopted Secret; `None`: there is nothing of ours.
pub(super) fn release(secret: &Secret, shaping: Shaping<'_>) -> Option<Value> {
    let before = shaping.noted(secret).unwrap_or_default();
    let ours = [KEYPAIR_ANNOTATION, KEYPAIR_UID_ANNOTATION, FINGERPRINT_ANNOTATION, APPLIED_ANNOTATION];
    let named = Some(ADOPT_ANNOTATION).filter(|_| shaping.is_named_by(secret));
    let ours = ours.into_iter().chain([super::REPLACES_ANNOTATION, MOVED_ANNOTATION]).chain(named).map(str::to_owned);
    let annotations: Vec<String> = before.annotations.iter().cloned().chain(ours).collect();
    let nothing = BTreeMap::<String, String>::new();
    let (noted_labels, _) = wanted_labels(secret, &before, shaping, true);
    let labels = difference(secret.labels(), &nothing, &noted_labels);
    let annotations = difference(secret.annotations(), &nothing, &annotations);
    patch(secret, labels, annotations, owners(secret, shaping.key_pair, None), entries::release(secret, &before))
}

fn patch(
    secret: &Secret,
    labels: Changes,
    annotations: Changes,
    owners: Option<Vec<OwnerReference>>,
    entries: Changes,
) -> Option<Value> {
    let mut metadata = Map::new();
    for (field, map) in [("labels", labels), ("annotations", annotations)] {
        if !map.is_empty() {
            metadata.insert(field.to_owned(), Value::Object(map));
        }
    }
    metadata.extend(owners.map(|owners| ("ownerReferences".to_owned(), json!(owners))));
    if metadata.is_empty() && entries.is_empty() {
        return None;
    }
    // With it, the API server refuses the patch if the Secret has changed meanwhile.
    metadata.insert("resourceVersion".to_owned(), json!(secret.resource_version()));
    let mut patch = Map::from_iter([("metadata".to_owned(), Value::Object(metadata))]);
    if !entries.is_empty() {
        patch.insert("data".to_owned(), Value::Object(entries));
    }
    Some(Value::Object(patch))
}

/// The labels that are noted as ours, and those that the Secret shall have. Another tool that says it manages the Secret keeps the label
/// that says so: Helm, for one, would not upgrade its release otherwise, and a policy would set it again at once. Then there is a label
/// of our own, by which the Secret is watched.
fn wanted_labels(
    secret: &Secret,
    before: &Applied,
    shaping: Shaping<'_>,
    adopted: bool,
) -> (Vec<String>, BTreeMap<String, String>) {
    let mut wanted = labels(shaping.settings);
    let mut noted = before.labels.clone();
    let is_anothers = secret.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager != OPERATOR);
    if is_anothers {
        wanted.remove(MANAGED_BY_LABEL);
        noted.retain(|label| label != MANAGED_BY_LABEL);
    }
    if is_anothers || shaping.overruled.contains(&comparison::label(MANAGED_BY_LABEL)) {
        wanted.extend(shaping.key_pair.uid().map(|uid| (KEYPAIR_UID_LABEL.to_owned(), uid)));
    }
    let wanted = ours(secret.labels(), &wanted, &noted, adopted);
    (noted, wanted)
}

/// What of `wanted` is for us to set: all of it, or in an adopted Secret what is not there, and what we put there before.
pub(super) fn ours<T: Clone, P>(
    present: &BTreeMap<String, P>,
    wanted: &BTreeMap<String, T>,
    noted: &[String],
    adopted: bool,
) -> BTreeMap<String, T> {
    let is_ours = |key: &String| !adopted || noted.contains(key) || !present.contains_key(key);
    wanted.iter().filter(|(key, _)| is_ours(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The names to note. That we put our own label on a Secret of our own making goes without saying.
fn noted(wanted: &BTreeMap<String, String>, adopted: bool) -> Vec<String> {
    wanted.keys().filter(|key| adopted || *key != MANAGED_BY_LABEL).cloned().collect()
}

/// The owner references, if they are not what they should be; those to others stay.
fn owners(secret: &Secret, key_pair: &KeyPair, wanted: Option<OwnerReference>) -> Option<Vec<OwnerReference>> {
    let uid = key_pair.uid().unwrap_or_default();
    let is_ours = |owner: &&OwnerReference| owner.uid == uid;
    let present = secret.owner_references().iter().find(is_ours);
    if present.is_some() == wanted.is_some() {
        return None;
    }
    let others = secret.owner_references().iter().filter(|owner| !is_ours(owner)).cloned();
    Some(others.chain(wanted).collect())
}

/// What to set, and what to take away: what was noted and is not wanted any more.
pub(super) fn difference<T: PartialEq + Serialize>(
    present: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
    noted: &[String],
) -> Changes {
    let set = wanted.iter().filter(|(key, value)| present.get(*key) != Some(*value));
    let gone = noted.iter().filter(|key| present.contains_key(*key) && !wanted.contains_key(*key));
    set.map(|(key, value)| (key.clone(), json!(value))).chain(gone.map(|key| (key.clone(), Value::Null))).collect()
}

#[cfg(test)]
mod tests;
