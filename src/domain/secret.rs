//! The settings of the Secret of a generated pair: `spec.secret`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    digest, display,
    key::{Algorithm, Encoding, PrivateKey},
    reason::{Parameter, Reason, Refusal},
    rules,
    text_rule::TextRule,
};

/// The Secret type for SSH keys. The API server requires the data key [`DEFAULT_PRIVATE_KEY`] in it.
pub const SSH_AUTH_TYPE: &str = "kubernetes.io/ssh-auth";
/// The Secret type without required data keys.
pub const OPAQUE_TYPE: &str = "Opaque";
/// The default data key of the private key.
pub const DEFAULT_PRIVATE_KEY: &str = "ssh-privatekey";
/// The default data key of the public key.
pub const DEFAULT_PUBLIC_KEY: &str = "ssh-publickey";
/// The prefix of the operator's own labels and annotations, which a template must not set.
pub const OWN_PREFIX: &str = "keypairs.dev/";
/// The annotation with which the owner of a Secret hands it over to the `KeyPair` that it names.
pub const ADOPT_ANNOTATION: &str = "keypairs.dev/adopt";
/// The annotation with the UID of the `KeyPair` that a Secret belongs to. Unlike an owner reference it is also on a Secret
/// that outlives its `KeyPair`.
pub const KEYPAIR_UID_ANNOTATION: &str = "keypairs.dev/keypair-uid";
/// The value of [`MANAGED_BY_LABEL`], and the name of the operator everywhere else.
pub const OPERATOR: &str = "keypair-operator";
/// The label by which the operator watches its Secrets.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The prefixes of Secret types that Kubernetes or Helm acts on. Only [`SSH_AUTH_TYPE`] of these is useful for a key. With the
/// others, a user who may create a `KeyPair` could make, for example, a service account token or a release. Kubernetes and
/// Helm compare types exactly, so other case or white space is harmless.
pub const RESERVED_TYPE_PREFIXES: &[&str] = &["kubernetes.io/", "bootstrap.kubernetes.io/", "helm.sh/"];

/// The prefix of the names of Helm's release Secrets.
pub const RELEASE_NAME_PREFIX: &str = "sh.helm.release.";
/// The labels by which other tools find their own Secrets, whatever the type, so that a template must not set them. Helm
/// selects its releases by exactly `owner=helm`.
pub const RESERVED_LABELS: &[(&str, &str)] = &[("owner", "helm")];
/// The maximum size of a template in bytes: its type, and all keys and values of its labels, annotations and data. etcd and
/// the operator's memory hold a copy for every `KeyPair`.
pub const TEMPLATE_MAX_BYTES: usize = 16 * 1024;

// The CRD has the documentation of this type.
/// What happens to the Secret when the KeyPair is deleted: `Delete` or `Retain`. Default: `Delete`, or `Retain` for an adopted
/// Secret. A change takes effect when `status.observedGeneration` equals `metadata.generation`: wait for that before you
/// delete the KeyPair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The Secret is deleted with the KeyPair.
    Delete,
    /// The Secret is kept.
    Retain,
}

/// What happens if the Secret of an accepted key pair is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnLoss {
    /// The KeyPair reports `PrivateKeyLost`.
    #[default]
    Report,
    /// The operator generates a new key pair.
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
    /// The encoding of the private key; `None`: see [`SecretSettings::encoding`].
    pub encoding: Option<Encoding>,
    /// What happens to the Secret when its `KeyPair` is deleted; `None`: see [`SecretSettings::deletion_policy`].
    pub deletion_policy: Option<DeletionPolicy>,
    /// What the operator does when the Secret is gone.
    pub on_loss: OnLoss,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    pub annotations: BTreeMap<String, String>,
    /// Data entries to add.
    pub string_data: BTreeMap<String, String>,
}

impl SecretSettings {
    /// The default settings of a Secret with this name.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self {
            name,
            secret_type: None,
            private_key: DEFAULT_PRIVATE_KEY.to_owned(),
            public_key: DEFAULT_PUBLIC_KEY.to_owned(),
            encoding: None,
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

    /// Whether an existing Secret may have this type. A type is immutable, so every type is allowed that the settings do not
    /// contradict.
    #[must_use]
    pub fn allows_type(&self, secret_type: &str) -> bool {
        match &self.secret_type {
            Some(wanted) => wanted == secret_type,
            None => secret_type != SSH_AUTH_TYPE || self.private_key == DEFAULT_PRIVATE_KEY,
        }
    }

    /// What happens to the Secret when its `KeyPair` is deleted. An adopted Secret may hold other data of its owner, so it stays
    /// unless the spec says otherwise.
    #[must_use]
    pub fn deletion_policy(&self, adopted: bool) -> DeletionPolicy {
        let default = if adopted { DeletionPolicy::Retain } else { DeletionPolicy::Delete };
        self.deletion_policy.unwrap_or(default)
    }

    /// The encoding of the private key: PKCS#8 unless the spec sets another.
    ///
    /// `adopted` is an adopted key with its text in the Secret. An Ed25519 key in OpenSSH's format keeps that format: OpenSSH
    /// before 9.6 cannot read such a key in PKCS#8, so the adoption would lock its users out.
    #[must_use]
    pub fn encoding(&self, adopted: Option<(&PrivateKey, &str)>) -> Encoding {
        self.encoding.unwrap_or(match adopted {
            Some((key, text)) if key.algorithm() == Algorithm::Ed25519 && Encoding::is_openssh(text) => {
                Encoding::OpenSsh
            }
            _ => Encoding::Pkcs8,
        })
    }

    /// A short digest of everything that determines the content of the Secret. It shows whether a Secret was written with these
    /// settings, without reading the Secret.
    #[must_use]
    pub fn digest(&self, adopted: bool) -> String {
        let policy = match self.deletion_policy(adopted) {
            DeletionPolicy::Delete => "Delete",
            DeletionPolicy::Retain => "Retain",
        };
        // The default encoding of an adopted key depends on the key.
        let encoding = match self.encoding {
            None if adopted => "",
            _ => self.encoding(None).name(),
        };
        let fixed = [self.effective_type(), &self.private_key, &self.public_key, encoding, policy];
        let mut parts: Vec<String> = fixed.map(str::to_owned).to_vec();
        for map in [&self.labels, &self.annotations, &self.string_data] {
            parts.push(map.len().to_string());
            parts.extend(map.iter().flat_map(|(key, value)| [key.clone(), value.clone()]));
        }
        let digest = digest::of_parts(parts.iter().map(String::as_str));
        let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        format!("{first:016x}")
    }

    /// The refusal of a template that is too large. Imported pairs are checked, too: their settings have no effect, but are stored.
    pub(super) fn size_refusal(&self) -> Option<Refusal> {
        let maps = [&self.labels, &self.annotations, &self.string_data];
        let entries = maps.into_iter().flatten().map(|(key, value)| key.len() + value.len());
        let size = self.secret_type.as_deref().unwrap_or_default().len() + entries.sum::<usize>();
        (size > TEMPLATE_MAX_BYTES).then(|| {
            invalid(format!(
                "template has {size} bytes in type, labels, annotations and stringData, more than the maximum of {TEMPLATE_MAX_BYTES}: move large values to another Secret"
            ))
        })
    }

    /// The refusal of an encoding that cannot hold a key of `algorithm`. An adopted key may be of another kind than the spec's default.
    pub(super) fn encoding_refusal(&self, algorithm: Algorithm) -> Option<Refusal> {
        self.encoding_mistake(algorithm).map(invalid)
    }

    fn encoding_mistake(&self, algorithm: Algorithm) -> Option<String> {
        let encoding = self.encoding.filter(|encoding| !encoding.supports(algorithm))?;
        Some(format!("encoding {encoding} does not support {algorithm} keys: use PKCS8 or OpenSSH"))
    }

    /// The refusals of the settings for a key of `algorithm`.
    pub(super) fn refusals(&self, algorithm: Algorithm) -> Vec<Refusal> {
        let mut details = Vec::new();
        if !rules::SECRET_NAME.allows(&self.name) {
            details.push(format!("name must be {}", rules::SECRET_NAME.words));
        }
        if self.name.starts_with(RELEASE_NAME_PREFIX) {
            details.push(format!(
                "name (default: metadata.name) must not begin with {RELEASE_NAME_PREFIX}, which Helm uses for its releases: set another name"
            ));
        }
        for (field, key) in [("keys.privateKey", &self.private_key), ("keys.publicKey", &self.public_key)] {
            if !rules::DATA_KEY.allows(key) {
                details.push(format!("{field} must be {}", rules::DATA_KEY.words));
            }
            if self.string_data.contains_key(key) {
                details.push(format!(
                    "template.stringData must not contain the key that {field} names, which the operator sets"
                ));
            }
        }
        if self.private_key == self.public_key {
            details.push("keys.privateKey and keys.publicKey must differ".to_owned());
        }
        if self.string_data.keys().any(|key| !rules::DATA_KEY.allows(key)) {
            details.push(format!("each key of template.stringData must be {}", rules::DATA_KEY.words));
        }
        details.extend(self.encoding_mistake(algorithm));
        let secret_type = self.effective_type();
        if secret_type == SSH_AUTH_TYPE && self.private_key != DEFAULT_PRIVATE_KEY {
            details.push(format!(
                "template.type {SSH_AUTH_TYPE} requires keys.privateKey to be {DEFAULT_PRIVATE_KEY}: omit template.type"
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
            details.push(format!(
                "template must not set the label {MANAGED_BY_LABEL}, or labels or annotations with the prefix {OWN_PREFIX}"
            ));
        }
        for (key, value) in RESERVED_LABELS {
            if self.labels.get(*key).is_some_and(|given| given == value) {
                details.push(format!(
                    "template.labels must not contain {key}: {value}, which would make another tool treat the Secret as its own"
                ));
            }
        }
        details.extend(invalid_entries("labels", "key", self.labels.keys(), &rules::LABEL_KEY));
        details.extend(invalid_entries("labels", "value", self.labels.values(), &rules::LABEL_VALUE));
        details.extend(invalid_entries("annotations", "key", self.annotations.keys(), &rules::ANNOTATION_KEY));
        details.into_iter().map(invalid).collect()
    }
}

/// A message about invalid keys or values of a map of the template. It gives their positions in the order of the keys and
/// quotes none of them, since a user may have pasted a private key.
fn invalid_entries<'a>(
    map: &str,
    part: &str,
    texts: impl Iterator<Item = &'a String>,
    rule: &TextRule,
) -> Option<String> {
    let invalid: Vec<String> =
        texts.enumerate().filter(|(_, text)| !rule.allows(text)).map(|(index, _)| (index + 1).to_string()).collect();
    (!invalid.is_empty()).then(|| {
        let which = display::listed(invalid.iter().map(String::as_str));
        format!("template.{map}: each {part} must be {}; invalid, in the order of the keys: {which}", rule.words)
    })
}

fn invalid(detail: String) -> Refusal {
    Refusal::new(Reason::InvalidSecret, Parameter::Secret, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(change: impl FnOnce(&mut SecretSettings)) -> Vec<String> {
        let mut settings = SecretSettings::named("web".to_owned());
        change(&mut settings);
        let refusals = settings.refusals(Algorithm::Rsa).into_iter().chain(settings.size_refusal());
        refusals.map(|refusal| refusal.detail).collect()
    }

    fn label(key: &str, value: &str) -> Vec<String> {
        details(|settings| drop(settings.labels.insert(key.to_owned(), value.to_owned())))
    }

    fn annotation(key: &str, value: &str) -> Vec<String> {
        details(|settings| drop(settings.annotations.insert(key.to_owned(), value.to_owned())))
    }

    #[test]
    fn a_template_cannot_make_a_helm_release() {
        assert!(label("owner", "helm")[0].contains("owner: helm"));
        // Helm selects exactly this label.
        for (key, value) in
            [("owner", "Helm"), ("owner", "helm2"), ("owner", ""), ("Owner", "helm"), ("x/owner", "helm")]
        {
            assert_eq!(label(key, value), Vec::<String>::new(), "{key}: {value}");
        }
        for name in ["sh.helm.release.", "sh.helm.release.v1.app.v2"] {
            assert!(
                details(|settings| settings.name = name.to_owned()).iter().any(|detail| detail.contains("Helm")),
                "{name}"
            );
        }
        assert_eq!(details(|settings| settings.name = "sh.helm.releases".to_owned()), Vec::<String>::new());
    }

    #[test]
    fn a_template_has_at_most_16_kib() {
        let fill = |settings: &mut SecretSettings, more: usize| {
            settings.secret_type = Some("Opaque".to_owned());
            settings.labels.insert("a".to_owned(), "b".to_owned());
            settings.annotations.insert("c".to_owned(), "键".to_owned());
            let rest = TEMPLATE_MAX_BYTES - "Opaqueabc键d".len() + more;
            settings.string_data.insert("d".to_owned(), "x".repeat(rest));
        };
        assert_eq!(details(|settings| fill(settings, 0)), Vec::<String>::new());
        assert!(details(|settings| fill(settings, 1))[0].contains("16385 bytes"));
    }

    /// The rules are those of `k8s.io/apimachinery/pkg/util/validation`.
    #[test]
    fn labels_and_annotations_are_validated_as_in_kubernetes() {
        let name = "n".repeat(63);
        for key in ["a", "A.b_c-9", "example.com/a", "a/b", name.as_str(), &format!("{}/{name}", "p".repeat(189))] {
            assert_eq!((label(key, "v"), annotation(key, "any\n")), (vec![], vec![]), "{key}");
        }
        assert_eq!(annotation("Example.com/a", ""), Vec::<String>::new());
        let long = format!("{name}n");
        for key in ["", "/a", "a/", "a/b/c", "-a", "a-", "a b", "é", "a.-b/c", "a..b/c", long.as_str(), "a\n", "_/a"] {
            for found in [label(key, "v"), annotation(key, "v")] {
                assert!(found.len() == 1 && found[0].contains("each key must be"), "{key:?}: {found:?}");
                assert!(found[0].ends_with("in the order of the keys: 1"), "{found:?}");
            }
        }
        assert_eq!(label("Example.com/a", "").len(), 1);
        for value in ["", "a", "A.b_c-9", name.as_str()] {
            assert_eq!(label("k", value), Vec::<String>::new(), "{value}");
        }
        for value in ["-", "a ", "a/b", "é", long.as_str(), "\u{202e}"] {
            assert!(label("k", value)[0].contains("each value must be"), "{value}");
        }
    }
}
