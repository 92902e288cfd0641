//! The record, in an annotation of a Secret, of what the operator wrote into it.

use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::difference::Changes;
use crate::{
    api::{FromObject, secret::APPLIED_ANNOTATION},
    domain::{
        key::Encoding,
        rotation::Phase,
        rules::DATA_KEY,
        secret::{SecretSettings, TEMPLATE_MAX_BYTES},
    },
};

/// The size limit of the record in bytes: the names of a template of maximum size, each quoted and with a comma, and the other fields.
const MAX_RECORD_BYTES: usize = 4 * TEMPLATE_MAX_BYTES + 1024;

/// The changes of the data, and which entries the operator owns afterwards.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) changes: Changes,
    /// The data key of the public key; empty if the owner of the Secret wrote it.
    pub(super) public_key: String,
    /// The encoding of the private key, if it could be read.
    pub(super) encoding: Option<Encoding>,
    /// Whether the operator added the private key entry to an adopted Secret.
    pub(super) added_private_key: bool,
    /// The names of the entries from the template.
    pub(super) string_data: Vec<String>,
    /// The entries of the next key of a rotation.
    pub(super) next: Option<KeyEntries>,
    /// The entries of the previous key of a rotation.
    pub(super) previous: Option<KeyEntries>,
}

/// The data keys of a key pair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyEntries {
    pub(super) private_key: String,
    pub(super) public_key: String,
}

impl KeyEntries {
    /// The data keys of a key in this phase of a rotation.
    pub(super) fn of(settings: &SecretSettings, phase: Phase) -> Self {
        let name = |data_key: &str| format!("{data_key}{}", phase.suffix());
        Self { private_key: name(&settings.private_key), public_key: name(&settings.public_key) }
    }

    pub(super) fn names(&self) -> [&String; 2] {
        [&self.private_key, &self.public_key]
    }
}

/// What the operator wrote into a Secret, and for which settings. With it the operator can tell from the metadata whether the Secret is up
/// to date, and remove what the template no longer contains. It contains only names, no values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Applied {
    /// [`SecretSettings::digest`].
    pub(super) digest: String,
    /// The data key of the private key.
    pub(super) private_key: String,
    /// The data key of the public key, if the operator wrote it; empty if the owner of the Secret did.
    pub(super) public_key: String,
    pub(super) encoding: String,
    /// Whether the Secret was adopted. Then everything that is not recorded here belongs to its owner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) adopted: bool,
    /// Whether the operator added the private key entry to an adopted Secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) added_private_key: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) string_data: Vec<String>,
    /// The entries of the next key of a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<KeyEntries>,
    /// The entries of the previous key of a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<KeyEntries>,
}

impl Applied {
    /// The record on `secret`, if it is valid: whoever may write the Secret may have forged it.
    pub(super) fn of(secret: &impl Resource) -> Option<Self> {
        let record = secret.annotations().get(APPLIED_ANNOTATION).filter(|text| text.len() <= MAX_RECORD_BYTES)?;
        let FromObject(applied) = serde_json::from_str::<FromObject<Self>>(record).ok()?;
        let rotated = applied.rotated().flat_map(KeyEntries::names);
        let names = [&applied.private_key, &applied.public_key].into_iter().chain(&applied.string_data).chain(rotated);
        // The name of the public key may be empty.
        let is_valid = names.filter(|name| !name.is_empty()).all(|name| DATA_KEY.allows(name));
        is_valid.then_some(applied)
    }

    /// The record of what these settings write into the data, without labels and annotations.
    pub(super) fn for_data(settings: &SecretSettings, adopted: bool, entries: &Entries) -> Self {
        Self {
            digest: settings.digest(adopted),
            private_key: settings.private_key.clone(),
            public_key: entries.public_key.clone(),
            encoding: entries.encoding.unwrap_or_else(|| settings.encoding(None)).name().to_owned(),
            adopted,
            added_private_key: entries.added_private_key,
            string_data: entries.string_data.clone(),
            next: entries.next.clone(),
            previous: entries.previous.clone(),
            ..Self::default()
        }
    }

    /// The entries of keys that are not current.
    pub(super) fn rotated(&self) -> impl Iterator<Item = &KeyEntries> {
        self.next.iter().chain(&self.previous)
    }

    /// The record for a Secret that the operator creates.
    pub(super) fn for_new_secret(settings: &SecretSettings) -> Self {
        let entries = Entries {
            public_key: settings.public_key.clone(),
            string_data: settings.string_data.keys().cloned().collect(),
            ..Entries::default()
        };
        Self {
            labels: settings.labels.keys().cloned().collect(),
            annotations: settings.annotations.keys().cloned().collect(),
            ..Self::for_data(settings, false, &entries)
        }
    }

    /// The entries that the operator wrote.
    pub(super) fn entries(&self) -> Vec<String> {
        let public_key = Some(&self.public_key).filter(|name| !name.is_empty());
        let private_key = Some(&self.private_key).filter(|_| self.added_private_key);
        let rotated = self.rotated().flat_map(KeyEntries::names);
        self.string_data.iter().chain(public_key).chain(private_key).chain(rotated).cloned().collect()
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
