//! The `KeyPair` custom resource.
//!
//! `kubectl explain keypair` prints the doc comments of this file. They do not state the rules on values: the schema gets those
//! from the tables of the domain (see [`cel`](super::cel)).

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{object::read_from_objects, status::KeyPairStatus};
pub use crate::domain::secret::{DeletionPolicy, OnLoss};
use crate::domain::{profile::Profile, rotation::RotationTexts};

read_from_objects!(KeyPairSpec, RotationSpec, GenerateSpec, Tag, SecretSpec, SecretTemplate, SecretKeys);

/// The desired SSH key pair. If `publicKey` is set, the operator imports that key. Otherwise it generates a key pair and stores
/// the private key in a Secret. Once the key pair is accepted (`status.keyPairID` is set), `profile`, `keyPairName`,
/// `publicKey`, `generate` and `clientToken` are immutable; with `rotation`, `generate` may change.
#[allow(clippy::duplicated_attributes, reason = "columns are not duplicates because they have the same type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "keypairs.dev",
    version = "v1alpha1",
    kind = "KeyPair",
    plural = "keypairs",
    singular = "keypair",
    shortname = "kp",
    namespaced,
    status = "KeyPairStatus",
    derive = "PartialEq",
    doc = "An SSH key pair in a namespace, modeled on the key pairs that clouds offer in a region.",
    printcolumn(name = "Key-Pair-Name", type_ = "string", json_path = ".status.keyPairName"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.profile"),
    printcolumn(name = "Algorithm", type_ = "string", json_path = ".status.algorithm"),
    printcolumn(name = "Bits", type_ = "integer", json_path = ".status.bits"),
    printcolumn(name = "Fingerprint", type_ = "string", json_path = ".status.fingerprint", priority = "1"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.revision", priority = "1"),
    printcolumn(name = "Next-Switch", type_ = "string", json_path = ".status.rotation.nextSwitch", priority = "1"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KeyPairSpec {
    /// The rules for the key pair: its name, its key types, the format of its fingerprint and the error codes. `OpenSSH` is
    /// neutral and supports everything that OpenSSH supports; each other profile follows the cloud of its name.
    #[serde(default)]
    pub profile: Profile,
    /// The name of the key pair, unique in the namespace. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair_name: Option<String>,
    /// The public key to import: an OpenSSH line, an RFC 4716 block or a PEM public key (SPKI or PKCS#1). Mutually exclusive
    /// with `generate`. Never put a private key here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The key pair to generate if `publicKey` is not set. Default: RSA with 2048 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<GenerateSpec>,
    /// A description for human readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The project that the key pair belongs to. Default: the value of the Namespace annotation `keypairs.dev/default-project`.
    /// If the Namespace annotation `keypairs.dev/projects` lists projects, it must be one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The tags of the key pair. Their keys must be unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Makes creation idempotent. Among the KeyPairs of a namespace that have the same token, the oldest is the request. Others
    /// with the same parameters are replays of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// The Secret that stores the private key of a generated key pair. Ignored for an imported key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSpec>,
    /// Rotates a generated key pair, so that whatever trusts it can follow: the operator first publishes the next public key in
    /// `status.keys`, later makes that key the current one, and keeps the previous key for a while. To request a rotation, set the
    /// annotation `keypairs.dev/rotate` to a new value. With `rotation`, `generate` may change: a rotation to such a key begins at
    /// once. Not allowed with `publicKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationSpec>,
    /// The other namespaces whose AuthorizedKeys and KnownHosts may select the public key of this key pair; `*` stands for every
    /// namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub share_with: Vec<String>,
}

/// When the key of a key pair is rotated, and how long more than one key is published.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct RotationSpec {
    /// The longest time between two rotations, for example `2160h`: the next key becomes current at the latest this long after the
    /// current key did, unless `gates` delay it. Without `every`, the key is rotated on request only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// The shortest time for which the next public key is published (`status.keys`) before it becomes current.
    #[serde(default = "publish_before")]
    pub publish_before: String,
    /// How long the previous key stays published, and its private key stays in the Secret, after the next key became current.
    #[serde(default = "keep_after")]
    pub keep_after: String,
    /// The types of the conditions in `status.conditions` that must be True before the next key becomes current. The operator sets
    /// them to False when it publishes the next key; whoever registers the key elsewhere sets them to True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<String>,
}

fn publish_before() -> String {
    RotationTexts::DEFAULT_PUBLISH_BEFORE.to_owned()
}

fn keep_after() -> String {
    RotationTexts::DEFAULT_KEEP_AFTER.to_owned()
}

/// The key pair to generate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct GenerateSpec {
    /// The algorithm. The profile `Alibaba` generates only RSA.
    #[serde(default)]
    pub algorithm: GenerateAlgorithm,
    /// The size of the key in bits. RSA: 2048 (default), 3072 or 4096. ECDSA: 256 (default), 384 or 521. Ed25519: 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<i32>,
}

/// The algorithms that can be generated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum GenerateAlgorithm {
    /// RSA.
    #[default]
    RSA,
    /// ECDSA on a NIST curve.
    ECDSA,
    /// Ed25519.
    Ed25519,
}

/// A tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Tag {
    /// The key of the tag.
    pub key: String,
    /// The value of the tag. It may be empty or omitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Where and how the private key is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SecretSpec {
    /// The name of the Secret. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Further contents of the Secret: its type, and labels, annotations and data to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
    /// The names of the data keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<SecretKeys>,
    /// The encoding of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<SecretEncoding>,
    /// What happens to the Secret when the KeyPair is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What happens if the Secret of an accepted key pair is missing: `Report` (`PrivateKeyLost`) or `Regenerate` (the operator
    /// generates a new key pair).
    #[serde(default)]
    pub on_loss: OnLoss,
}

/// The type of the Secret, and what it contains besides the key pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SecretTemplate {
    /// The type of the Secret. Default: `kubernetes.io/ssh-auth`, or `Opaque` if `keys.privateKey` is not `ssh-privatekey`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub secret_type: Option<String>,
    /// Labels to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Data to add, as plain text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub string_data: BTreeMap<String, String>,
}

/// The names of the data keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SecretKeys {
    /// The data key of the private key. Default: `ssh-privatekey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<String>,
    /// The data key of the public key. Default: `ssh-publickey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

// For an optional enumeration, the CRD has the description of the type, not that of the field.
/// The encoding of the private key: `PKCS8` (PEM, unencrypted), `OpenSSH`, `PKCS1` (RSA only) or `SEC1` (ECDSA only).
/// Default: `PKCS8`. An Ed25519 key in an adopted Secret stays in OpenSSH format if it has that format, because OpenSSH
/// before 9.6 cannot read Ed25519 keys in PKCS8.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecretEncoding {
    /// PKCS#8 PEM, unencrypted.
    #[default]
    PKCS8,
    /// The format of `ssh-keygen`.
    OpenSSH,
    /// PKCS#1 PEM, RSA only.
    PKCS1,
    /// SEC 1 PEM, ECDSA only.
    SEC1,
}
