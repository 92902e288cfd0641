//! What the operator notes on a Secret about what it put there.

use kube::{Resource, ResourceExt};
use serde::{Deserialize, Serialize};

use super::entries::Entries;
use crate::{
    api::FromObject,
    domain::{
        rules::DATA_KEY,
        secret::{SecretSettings, TEMPLATE_MAX_BYTES},
    },
};

/// The annotation in which the operator notes what it put into a Secret.
pub(super) const APPLIED_ANNOTATION: &str = "keypairs.dev/applied";

/// The longest note in bytes: the names of a template of the greatest size, each in quotation marks and with a comma, and what is
/// around them.
const MAX_NOTED_BYTES: usize = 4 * TEMPLATE_MAX_BYTES + 1024;

/// The part of [`Applied`] that is kept of every Secret: by which is seen whether the present settings are in force.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Brief {
    pub(super) digest: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) adopted: bool,
}

impl Brief {
    /// What is noted on `secret`, if it can be read.
    pub(super) fn of(secret: &impl Resource) -> Option<Self> {
        Self::read(secret.annotations().get(APPLIED_ANNOTATION)?)
    }

    fn read(noted: &str) -> Option<Self> {
        const MAX_DIGEST_BYTES: usize = 64;
        let FromObject(brief) = serde_json::from_str::<FromObject<Self>>(noted).ok()?;
        (brief.digest.len() <= MAX_DIGEST_BYTES).then_some(brief)
    }
}

/// What is noted, but for everything that is as long as a template is.
pub(super) fn in_brief(noted: &str) -> Option<String> {
    serde_json::to_string(&Brief::read(noted)?).ok()
}

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
    /// What is noted on `secret`, if it can be read: whoever may write the Secret may have written that, too.
    pub(super) fn of(secret: &impl Resource) -> Option<Self> {
        let noted = secret.annotations().get(APPLIED_ANNOTATION).filter(|noted| noted.len() <= MAX_NOTED_BYTES)?;
        let FromObject(applied) = serde_json::from_str::<FromObject<Self>>(noted).ok()?;
        let names = [&applied.private_key, &applied.public_key].into_iter().chain(&applied.string_data);
        // That of the public key is empty where its owner put it.
        let is_possible = names.filter(|name| !name.is_empty()).all(|name| DATA_KEY.allows(name));
        is_possible.then_some(applied)
    }

    /// What these settings put into the data; labels and annotations are still to be noted.
    pub(super) fn by(settings: &SecretSettings, adopted: bool, entries: &Entries) -> Self {
        Self {
            digest: settings.digest(adopted),
            private_key: settings.private_key.clone(),
            public_key: entries.public_key.clone(),
            encoding: entries.encoding.unwrap_or_else(|| settings.encoding(None)).name().to_owned(),
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
