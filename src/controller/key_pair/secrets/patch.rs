//! The desired state of a Secret according to its settings, and the changes that an existing Secret needs.
//!
//! A Secret that the operator created belongs to the operator: the template applies, and only additions of others stay. An adopted Secret
//! belongs to its owner: the operator adds what is missing, changes and removes only what it added, and leaves the rest alone.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt};
use serde_json::{Map, Value, json};

use super::{
    applied::Applied,
    comparison,
    desired_secret::DesiredSecret,
    difference::{Changes, difference, ours},
    entries,
};
use crate::{
    api::{
        KeyPair,
        secret::{
            APPLIED_ANNOTATION, FINGERPRINT_ANNOTATION, KEYPAIR_ANNOTATION, KEYPAIR_UID_ANNOTATION, KEYPAIR_UID_LABEL,
            MOVED_ANNOTATION, OPERATOR, REPLACES_ANNOTATION, REVISION_ANNOTATION,
        },
    },
    domain::{
        key::PublicKey,
        secret::{ADOPT_ANNOTATION, DeletionPolicy, MANAGED_BY_LABEL, SecretSettings},
    },
};

/// The labels of a Secret.
pub(super) fn labels(settings: &SecretSettings) -> BTreeMap<String, String> {
    let mut labels = settings.labels.clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), OPERATOR.to_owned());
    labels
}

/// The annotations of a Secret: those of the template, the SHA256 fingerprint of its key, and the record.
pub(super) fn annotations(
    key_pair: &KeyPair,
    template: BTreeMap<String, String>,
    sha256: &str,
    applied: &Applied,
) -> BTreeMap<String, String> {
    let mut annotations = template;
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

/// The owner reference by which the garbage collector deletes the Secret with `key_pair`.
pub(super) fn owner_reference(key_pair: &KeyPair, settings: &SecretSettings, adopted: bool) -> Option<OwnerReference> {
    match settings.deletion_policy(adopted) {
        DeletionPolicy::Delete => key_pair.controller_owner_ref(&()),
        DeletionPolicy::Retain => None,
    }
}

/// The merge patch that brings `secret`, which contains `key`, into the desired state; `None` if it is already.
///
/// Additions of others stay. What the operator added for an earlier template is removed. The patch contains the private key only if its data
/// key or its encoding changes.
pub(super) fn changes(secret: &Secret, desired: DesiredSecret<'_>, key: &PublicKey) -> Option<Value> {
    let DesiredSecret { key_pair, settings, .. } = desired;
    let adopted = desired.adopted(secret);
    let before = desired.record(secret).unwrap_or_default();
    let (recorded_labels, wanted_labels) = wanted_labels(secret, &before, desired, adopted);
    let wanted_annotations = ours(secret.annotations(), &settings.annotations, &before.annotations, adopted);
    let entries = entries::changes(secret, desired, &before, key);
    let applied = Applied {
        adopted,
        labels: names_to_record(&wanted_labels, adopted),
        annotations: names_to_record(&wanted_annotations, adopted),
        ..Applied::for_data(settings, adopted, &entries)
    };

    let labels = difference(secret.labels(), &wanted_labels, &recorded_labels);
    let wanted = annotations(key_pair, wanted_annotations, &key.fingerprints().sha256, &applied);
    let mut annotations = difference(secret.annotations(), &wanted, &before.annotations);
    // An annotation that names another KeyPair stays for that one.
    if desired.is_offered(secret) {
        annotations.insert(ADOPT_ANNOTATION.to_owned(), Value::Null);
    }
    let owners = owners(secret, key_pair, owner_reference(key_pair, settings, adopted));
    patch(secret, labels, annotations, owners, entries.changes)
}

/// The merge patch that removes everything the operator added to an adopted Secret; `None` if there is nothing.
pub(super) fn release(secret: &Secret, desired: DesiredSecret<'_>) -> Option<Value> {
    let before = desired.record(secret).unwrap_or_default();
    let ours = [KEYPAIR_ANNOTATION, KEYPAIR_UID_ANNOTATION, FINGERPRINT_ANNOTATION, APPLIED_ANNOTATION];
    let named = Some(ADOPT_ANNOTATION).filter(|_| desired.is_offered(secret));
    let ours = ours
        .into_iter()
        .chain([REPLACES_ANNOTATION, MOVED_ANNOTATION, REVISION_ANNOTATION])
        .chain(named)
        .map(str::to_owned);
    let annotations: Vec<String> = before.annotations.iter().cloned().chain(ours).collect();
    let nothing = BTreeMap::<String, String>::new();
    let (recorded_labels, _) = wanted_labels(secret, &before, desired, true);
    let labels = difference(secret.labels(), &nothing, &recorded_labels);
    let annotations = difference(secret.annotations(), &nothing, &annotations);
    patch(secret, labels, annotations, owners(secret, desired.key_pair, None), entries::release(secret, &before))
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
    // With the version, the API server refuses the patch if the Secret has changed.
    metadata.insert("resourceVersion".to_owned(), json!(secret.resource_version()));
    let mut patch = Map::from_iter([("metadata".to_owned(), Value::Object(metadata))]);
    if !entries.is_empty() {
        patch.insert("data".to_owned(), Value::Object(entries));
    }
    Some(Value::Object(patch))
}

/// The labels that are recorded as ours, and the desired labels. If another tool manages the Secret, its `managed-by` label stays: otherwise
/// Helm, for example, would not upgrade its release, and a policy would set the label again at once. Then the Secret gets the operator's UID
/// label, by which it is watched.
fn wanted_labels(
    secret: &Secret,
    before: &Applied,
    desired: DesiredSecret<'_>,
    adopted: bool,
) -> (Vec<String>, BTreeMap<String, String>) {
    let mut wanted = labels(desired.settings);
    let mut recorded = before.labels.clone();
    let has_other_manager = secret.labels().get(MANAGED_BY_LABEL).is_some_and(|manager| manager != OPERATOR);
    if has_other_manager {
        wanted.remove(MANAGED_BY_LABEL);
        recorded.retain(|label| label != MANAGED_BY_LABEL);
    }
    if has_other_manager || desired.admission_changes.contains(&comparison::label(MANAGED_BY_LABEL)) {
        wanted.extend(desired.key_pair.uid().map(|uid| (KEYPAIR_UID_LABEL.to_owned(), uid)));
    }
    let wanted = ours(secret.labels(), &wanted, &recorded, adopted);
    (recorded, wanted)
}

/// The names to record. The operator's own label on a Secret that it created is implied.
fn names_to_record(wanted: &BTreeMap<String, String>, adopted: bool) -> Vec<String> {
    wanted.keys().filter(|key| adopted || *key != MANAGED_BY_LABEL).cloned().collect()
}

/// The corrected owner references, if they need a change. References to other owners stay.
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

#[cfg(test)]
mod tests;
