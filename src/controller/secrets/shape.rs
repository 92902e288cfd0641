//! What a Secret shall be by its settings, and what has to change for that in one that is there.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{FINGERPRINT_ANNOTATION, KEYPAIR_ANNOTATION, KEYPAIR_UID_ANNOTATION, NO_COMMENT, OPERATOR};
use crate::{
    api::{FromObject, KeyPair},
    domain::{
        key::{PrivateKey, PublicKey},
        rules::DATA_KEY,
        secret::{ADOPT_ANNOTATION, DeletionPolicy, MANAGED_BY_LABEL, SecretSettings, TEMPLATE_MAX_BYTES},
    },
};

/// The annotation in which the operator notes what it put into a Secret.
pub(super) const APPLIED_ANNOTATION: &str = "keypairs.dev/applied";

/// The longest note in bytes: the names of a template of the greatest size, each in quotation marks and with a comma, and what is
/// around them.
const MAX_NOTED_BYTES: usize = 4 * TEMPLATE_MAX_BYTES + 1024;

/// What the operator put into a Secret by which settings, so that it can tell from the metadata whether they are still in
/// force, and take away what a template does not say any more. Names only, no values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Applied {
    /// [`SecretSettings::digest`].
    pub(super) digest: String,
    private_key: String,
    public_key: String,
    encoding: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    string_data: Vec<String>,
}

impl Applied {
    /// What is noted on `secret`, if it can be read: whoever may write the Secret may have written that, too.
    pub(super) fn of(secret: &impl Resource) -> Option<Self> {
        let noted = secret.annotations().get(APPLIED_ANNOTATION).filter(|noted| noted.len() <= MAX_NOTED_BYTES)?;
        let FromObject(applied) = serde_json::from_str::<FromObject<Self>>(noted).ok()?;
        let keys = [&applied.private_key, &applied.public_key];
        let is_possible = keys.into_iter().chain(&applied.string_data).all(|key| DATA_KEY.allows(key));
        is_possible.then_some(applied)
    }

    fn by(settings: &SecretSettings) -> Self {
        let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect();
        Self {
            digest: settings.digest(),
            private_key: settings.private_key.clone(),
            public_key: settings.public_key.clone(),
            encoding: settings.encoding.name().to_owned(),
            labels: names(&settings.labels),
            annotations: names(&settings.annotations),
            string_data: names(&settings.string_data),
        }
    }
}

/// The part of [`Applied`] by which is seen whether a Secret was made by the present settings.
#[derive(Serialize, Deserialize)]
struct Digest {
    digest: String,
}

/// The digest that is noted in these annotations.
pub(super) fn noted_digest(annotations: &BTreeMap<String, String>) -> Option<String> {
    Some(serde_json::from_str::<Digest>(annotations.get(APPLIED_ANNOTATION)?).ok()?.digest)
}

/// What is noted, but for everything that is as long as a template is.
pub(super) fn digest_alone(applied: &str) -> Option<String> {
    const MAX_DIGEST_BYTES: usize = 64;
    let noted: Digest = serde_json::from_str(applied).ok()?;
    if noted.digest.len() > MAX_DIGEST_BYTES {
        return None;
    }
    serde_json::to_string(&noted).ok()
}

/// The labels of a Secret.
pub(super) fn labels(settings: &SecretSettings) -> BTreeMap<String, String> {
    let mut labels = settings.labels.clone();
    labels.insert(MANAGED_BY_LABEL.to_owned(), OPERATOR.to_owned());
    labels
}

/// The annotations of a Secret with the key of this fingerprint (SHA256).
pub(super) fn annotations(key_pair: &KeyPair, settings: &SecretSettings, sha256: &str) -> BTreeMap<String, String> {
    let mut annotations = settings.annotations.clone();
    let applied = serde_json::to_string(&Applied::by(settings)).unwrap_or_default();
    annotations.extend(
        [
            (KEYPAIR_ANNOTATION, key_pair.name_any()),
            (KEYPAIR_UID_ANNOTATION, key_pair.uid().unwrap_or_default()),
            (FINGERPRINT_ANNOTATION, sha256.to_owned()),
            (APPLIED_ANNOTATION, applied),
        ]
        .map(|(key, value)| (key.to_owned(), value)),
    );
    annotations
}

/// The data of a Secret but for the private key.
pub(super) fn data(settings: &SecretSettings, public_line: &str) -> BTreeMap<String, ByteString> {
    let entries = settings.string_data.iter().map(|(key, value)| (key.clone(), value.clone()));
    let public_key = (settings.public_key.clone(), format!("{public_line}\n"));
    entries.chain([public_key]).map(|(key, value)| (key, ByteString(value.into_bytes()))).collect()
}

/// The reference by which the garbage collector finds the Secret when `key_pair` is deleted.
pub(super) fn owner_reference(key_pair: &KeyPair, settings: &SecretSettings) -> Option<OwnerReference> {
    match settings.deletion_policy {
        DeletionPolicy::Delete => key_pair.controller_owner_ref(&()),
        DeletionPolicy::Retain => None,
    }
}

/// The data key of the private key: that which we noted on a Secret of ours, or else that of the settings.
fn private_data_key(secret: &Secret, owned: bool, settings: &SecretSettings) -> String {
    let noted = Applied::of(secret).filter(|_| owned).map(|applied| applied.private_key);
    noted.unwrap_or_else(|| settings.private_key.clone())
}

/// The private key in `secret`.
pub(super) fn private_key(secret: &Secret, owned: bool, settings: &SecretSettings) -> Option<PrivateKey> {
    let value = secret.data.as_ref()?.get(&private_data_key(secret, owned, settings))?;
    PrivateKey::parse(std::str::from_utf8(&value.0).ok()?).ok()
}

/// The merge patch that makes `secret`, which holds `key`, what the settings say; `None` if it is that.
///
/// Whatever others added stays; of what a template said before and does not say now, what we added goes. The private key is
/// in the patch only where its data key is renamed or its encoding changed.
pub(super) fn changes(
    secret: &Secret,
    owned: bool,
    key_pair: &KeyPair,
    settings: &SecretSettings,
    key: &PublicKey,
) -> Option<Value> {
    let before = Applied::of(secret).filter(|_| owned);
    let (noted_labels, noted_annotations, mut noted_data) = match &before {
        Some(noted) => (noted.labels.clone(), noted.annotations.clone(), noted.string_data.clone()),
        None => Default::default(),
    };
    let mut metadata = Map::new();
    let labels = difference(secret.labels(), &labels(settings), &noted_labels);
    let wanted = annotations(key_pair, settings, &key.fingerprints().sha256);
    let mut annotations = difference(secret.annotations(), &wanted, &noted_annotations);
    if secret.annotations().contains_key(ADOPT_ANNOTATION) {
        annotations.insert(ADOPT_ANNOTATION.to_owned(), Value::Null);
    }
    for (field, map) in [("labels", labels), ("annotations", annotations)] {
        if !map.is_empty() {
            metadata.insert(field.to_owned(), Value::Object(map));
        }
    }
    metadata.extend(owners(secret, key_pair, settings));

    noted_data.extend(before.as_ref().map(|noted| noted.public_key.clone()));
    let none = BTreeMap::new();
    let present = secret.data.as_ref().unwrap_or(&none);
    let mut entries = difference(present, &data(settings, &key.to_openssh()), &noted_data);
    entries.remove(&settings.private_key);
    entries.extend(private_entries(secret, owned, before.as_ref(), settings));

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

/// What becomes of the entry of the private key.
fn private_entries(
    secret: &Secret,
    owned: bool,
    before: Option<&Applied>,
    settings: &SecretSettings,
) -> Map<String, Value> {
    let now = private_data_key(secret, owned, settings);
    let recoded = before.is_some_and(|noted| noted.encoding != settings.encoding.name());
    let mut entries = Map::new();
    let Some(present) = secret.data.as_ref().and_then(|data| data.get(&now)) else { return entries };
    if now != settings.private_key {
        entries.insert(now, Value::Null);
        entries.insert(settings.private_key.clone(), json!(present));
    }
    if recoded && let Some(key) = private_key(secret, owned, settings) {
        // The settings have been checked: the encoding can hold a key of this algorithm.
        if let Ok(text) = key.encode(settings.encoding, NO_COMMENT) {
            entries.insert(settings.private_key.clone(), json!(ByteString(text.as_bytes().to_vec())));
        }
    }
    entries
}

/// The owner references, if they are not what they should be; those to others stay.
fn owners(secret: &Secret, key_pair: &KeyPair, settings: &SecretSettings) -> Option<(String, Value)> {
    let uid = key_pair.uid().unwrap_or_default();
    let is_ours = |owner: &&OwnerReference| owner.uid == uid;
    let wanted = owner_reference(key_pair, settings);
    let present = secret.owner_references().iter().find(is_ours);
    if present.is_some() == wanted.is_some() {
        return None;
    }
    let others = secret.owner_references().iter().filter(|owner| !is_ours(owner)).cloned();
    let all: Vec<OwnerReference> = others.chain(wanted).collect();
    Some(("ownerReferences".to_owned(), json!(all)))
}

/// What to set, and what to take away: what was noted and is not wanted any more.
fn difference<T: PartialEq + Serialize>(
    present: &BTreeMap<String, T>,
    wanted: &BTreeMap<String, T>,
    noted: &[String],
) -> Map<String, Value> {
    let set = wanted.iter().filter(|(key, value)| present.get(*key) != Some(*value));
    let gone = noted.iter().filter(|key| present.contains_key(*key) && !wanted.contains_key(*key));
    set.map(|(key, value)| (key.clone(), json!(value))).chain(gone.map(|key| (key.clone(), Value::Null))).collect()
}
