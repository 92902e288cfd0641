//! Where and how the private key of a generated pair is kept: `spec.secret`.

use std::collections::BTreeMap;

use super::{
    digest,
    key::{Algorithm, Encoding},
    reason::{Parameter, Reason, Refusal},
    rules,
};

/// The type that Kubernetes has for SSH keys; the API server insists on a data key [`DEFAULT_PRIVATE_KEY`] in it.
pub const SSH_AUTH_TYPE: &str = "kubernetes.io/ssh-auth";
/// The type without any demands, for Secrets whose data keys are named otherwise.
pub const OPAQUE_TYPE: &str = "Opaque";
/// The default data key of the private key.
pub const DEFAULT_PRIVATE_KEY: &str = "ssh-privatekey";
/// The default data key of the public key.
pub const DEFAULT_PUBLIC_KEY: &str = "ssh-publickey";
/// The prefix of this operator's own labels and annotations, which a template may not set.
pub const OWN_PREFIX: &str = "keypairs.dev/";
/// The annotation with which whoever has a Secret hands it over to the `KeyPair` that it names.
pub const ADOPT_ANNOTATION: &str = "keypairs.dev/adopt";
/// The label by which the operator watches its Secrets.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The prefixes of Secret types that Kubernetes or Helm acts on. Of these only [`SSH_AUTH_TYPE`] is of use for a key, and the
/// others would let whoever may create a `KeyPair` make, say, a service account's token or a release.
pub const RESERVED_TYPE_PREFIXES: &[&str] = &["kubernetes.io/", "bootstrap.kubernetes.io/", "helm.sh/"];

/// What becomes of the Secret when its `KeyPair` is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// The Secret is owned by the `KeyPair` and garbage collected with it.
    Delete,
    /// The Secret stays.
    Retain,
}

/// What is done when the Secret of an accepted pair is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLoss {
    /// It is reported; the Secret can be restored from a backup.
    #[default]
    Report,
    /// Another key pair is generated in its place, and said so.
    Regenerate,
}

/// The settings of the Secret, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretSettings {
    /// The Secret's name.
    pub name: String,
    /// The Secret's type; `None`: [`SSH_AUTH_TYPE`] where the data keys allow it, else [`OPAQUE_TYPE`].
    pub secret_type: Option<String>,
    /// The data key of the private key.
    pub private_key: String,
    /// The data key of the public key.
    pub public_key: String,
    /// The encoding of the private key.
    pub encoding: Encoding,
    /// What becomes of the Secret when its `KeyPair` is deleted; `None`: what fits how the operator came by it, see
    /// [`SecretSettings::deletion_policy`].
    pub deletion_policy: Option<DeletionPolicy>,
    /// What is done when the Secret is gone.
    pub on_loss: OnLoss,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    pub annotations: BTreeMap<String, String>,
    /// Entries to add to the data.
    pub string_data: BTreeMap<String, String>,
}

impl SecretSettings {
    /// A Secret of this name, and every default.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self {
            name,
            secret_type: None,
            private_key: DEFAULT_PRIVATE_KEY.to_owned(),
            public_key: DEFAULT_PUBLIC_KEY.to_owned(),
            encoding: Encoding::Pkcs8,
            deletion_policy: None,
            on_loss: OnLoss::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            string_data: BTreeMap::new(),
        }
    }

    /// The type that the Secret gets.
    #[must_use]
    pub fn effective_type(&self) -> &str {
        match &self.secret_type {
            Some(secret_type) => secret_type,
            None if self.private_key == DEFAULT_PRIVATE_KEY => SSH_AUTH_TYPE,
            None => OPAQUE_TYPE,
        }
    }

    /// Whether a Secret that is there may have this type: it cannot be changed, so any that is not contradicted will do.
    #[must_use]
    pub fn allows_type(&self, secret_type: &str) -> bool {
        match &self.secret_type {
            Some(wanted) => wanted == secret_type,
            None => secret_type != SSH_AUTH_TYPE || self.private_key == DEFAULT_PRIVATE_KEY,
        }
    }

    /// What becomes of the Secret when its `KeyPair` is deleted. One that was adopted is somebody else's, with whatever else is
    /// in it: it stays, unless the spec says otherwise.
    #[must_use]
    pub fn deletion_policy(&self, adopted: bool) -> DeletionPolicy {
        let default = if adopted { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
        self.deletion_policy.unwrap_or(default)
    }

    /// A short digest of everything that shapes the Secret, which was adopted or made by the operator, by which is seen without
    /// reading a Secret whether it was made by these settings.
    #[must_use]
    pub fn digest(&self, adopted: bool) -> String {
        let policy = match self.deletion_policy(adopted) {
            DeletionPolicy::Delete => "Delete",
            DeletionPolicy::Retain => "Retain",
        };
        let fixed = [self.effective_type(), &self.private_key, &self.public_key, self.encoding.name(), policy];
        let mut parts: Vec<String> = fixed.map(str::to_owned).to_vec();
        for map in [&self.labels, &self.annotations, &self.string_data] {
            parts.push(map.len().to_string());
            parts.extend(map.iter().flat_map(|(key, value)| [key.clone(), value.clone()]));
        }
        let digest = digest::of_parts(parts.iter().map(String::as_str));
        let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{first:016x}")
    }

    /// Everything that is wrong with the settings for a key of `algorithm`.
    pub(super) fn refusals(&self, algorithm: Algorithm) -> Vec<Refusal> {
        let mut details = Vec::new();
        if !rules::SECRET_NAME.allows(&self.name) {
            details.push(format!("name must be {}", rules::SECRET_NAME.words));
        }
        for (field, key) in [("keys.privateKey", &self.private_key), ("keys.publicKey", &self.public_key)] {
            if !rules::DATA_KEY.allows(key) {
                details.push(format!("{field} must be {}", rules::DATA_KEY.words));
            }
            if self.string_data.contains_key(key) {
                details.push(format!("template.stringData must leave the key that {field} names to the operator"));
            }
        }
        if self.private_key == self.public_key {
            details.push("keys.privateKey and keys.publicKey must differ".to_owned());
        }
        if self.string_data.keys().any(|key| !rules::DATA_KEY.allows(key)) {
            details.push(format!("each key of template.stringData must be {}", rules::DATA_KEY.words));
        }
        if !self.encoding.supports(algorithm) {
            details.push(format!(
                "encoding {} cannot hold a key of algorithm {algorithm}: use PKCS8 or OpenSSH",
                self.encoding
            ));
        }
        let secret_type = self.effective_type();
        if secret_type == SSH_AUTH_TYPE && self.private_key != DEFAULT_PRIVATE_KEY {
            details.push(format!(
                "template.type {SSH_AUTH_TYPE} needs keys.privateKey to be {DEFAULT_PRIVATE_KEY}: leave template.type out"
            ));
        }
        if secret_type != SSH_AUTH_TYPE && RESERVED_TYPE_PREFIXES.iter().any(|prefix| secret_type.starts_with(prefix)) {
            details.push(format!(
                "template.type must not be one that Kubernetes or Helm acts on, except {SSH_AUTH_TYPE}: use {OPAQUE_TYPE}"
            ));
        }
        if self.labels.keys().any(|key| key == MANAGED_BY_LABEL)
            || self.labels.keys().chain(self.annotations.keys()).any(|key| key.starts_with(OWN_PREFIX))
        {
            details.push(format!("template must not set the label {MANAGED_BY_LABEL} or anything under {OWN_PREFIX}"));
        }
        details.into_iter().map(|detail| Refusal::new(Reason::InvalidSecret, Parameter::Secret, detail)).collect()
    }
}
