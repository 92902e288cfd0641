//! What the operator notes on a Secret about what it put there.

use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::entries::Entries;
use crate::domain::secret::SecretSettings;

/// The annotation in which the operator notes what it put into a Secret.
pub(super) const APPLIED_ANNOTATION: &str = "keypairs.dev/applied";

/// What the operator put into a Secret by which settings, so that it can tell from the metadata whether they are still in
/// force, and take away what a template does not say any more. Names only, no values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Applied {
    /// [`SecretSettings::digest`].
    pub(super) digest: String,
    /// The data key of the private key.
    pub(super) private_key: String,
    /// The data key of the public key, where we put it; empty: its owner did.
    pub(super) public_key: String,
    pub(super) encoding: String,
    /// Whether the Secret was handed over. What is noted is what we added to it then, and what else is in it is its owner's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) adopted: bool,
    /// Whether, in an adopted Secret, the entry of the private key is one that we added.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) added_private_key: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) labels: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) annotations: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) string_data: Vec<String>,
}

impl Applied {
    /// What is noted on `secret`, if it can be read.
    pub(super) fn of(secret: &impl Resource) -> Option<Self> {
        serde_json::from_str(secret.annotations().get(APPLIED_ANNOTATION)?).ok()
    }

    /// What these settings put into the data; labels and annotations are still to be noted.
    pub(super) fn by(settings: &SecretSettings, adopted: bool, entries: &Entries) -> Self {
        Self {
            digest: settings.digest(adopted),
            private_key: settings.private_key.clone(),
            public_key: entries.public_key.clone(),
            encoding: settings.encoding.name().to_owned(),
            adopted,
            added_private_key: entries.added_private_key,
            string_data: entries.string_data.clone(),
            ..Self::default()
        }
    }

    /// What these settings put into a Secret of the operator's own making.
    pub(super) fn to_a_new_one(settings: &SecretSettings) -> Self {
        let entries = Entries {
            public_key: settings.public_key.clone(),
            string_data: settings.string_data.keys().cloned().collect(),
            ..Entries::default()
        };
        Self {
            labels: settings.labels.keys().cloned().collect(),
            annotations: settings.annotations.keys().cloned().collect(),
            ..Self::by(settings, false, &entries)
        }
    }

    /// The entries that we put there.
    pub(super) fn entries(&self) -> Vec<String> {
        let public_key = Some(&self.public_key).filter(|name| !name.is_empty());
        let private_key = Some(&self.private_key).filter(|_| self.added_private_key);
        self.string_data.iter().chain(public_key).chain(private_key).cloned().collect()
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
