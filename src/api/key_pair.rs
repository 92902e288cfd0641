//! The `KeyPair` custom resource.
//!
//! The doc comments of this file are what `kubectl explain keypair` prints. Rules on values are not written here: the
//! schema gets them from the tables of the domain (see [`cel`](super::cel)).

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{object::read_from_objects, status::KeyPairStatus};
use crate::domain::profile::Profile;

read_from_objects!(KeyPairSpec, GenerateSpec, Tag, SecretSpec, SecretTemplate, SecretKeys);

/// The desired SSH key pair. With `publicKey` it is imported; without, it is generated and its private key put into a
/// Secret. Once accepted (`status.keyPairID` is set), `profile`, `keyPairName`, `publicKey`, `generate` and
/// `clientToken` are immutable.
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
    doc = "An SSH key pair of a namespace, as the key pair services of clouds have it for a region.",
    printcolumn(name = "Key-Pair-Name", type_ = "string", json_path = ".status.keyPairName"),
    printcolumn(name = "Profile", type_ = "string", json_path = ".spec.profile"),
    printcolumn(name = "Algorithm", type_ = "string", json_path = ".status.algorithm"),
    printcolumn(name = "Bits", type_ = "integer", json_path = ".status.bits"),
    printcolumn(name = "Fingerprint", type_ = "string", json_path = ".status.fingerprint", priority = "1"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".status.secretName"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KeyPairSpec {
    /// Whose rules the key pair obeys: name rule, key types, form of the fingerprint and error codes. `Alibaba`, `UCloud`
    /// and `Volcengine` are the clouds of these names; `OpenSSH` is the neutral one: everything OpenSSH can do.
    #[serde(default)]
    pub profile: Profile,
    /// The name of the key pair, unique in the namespace. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair_name: Option<String>,
    /// The public key to import: an OpenSSH line, an RFC 4716 block or a PEM public key (SPKI or PKCS#1). Excludes
    /// `generate`. Never put a private key here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// What to generate when there is no `publicKey`. Default: RSA with 2048 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<GenerateSpec>,
    /// A description, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The project that the key pair belongs to. Default: that which the Namespace annotation
    /// `keypairs.dev/default-project` names. Where `keypairs.dev/projects` lists projects, it must be one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Tags. No key stands twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Tag>,
    /// Makes creation idempotent: of the KeyPairs of a namespace with the same token the oldest is the request, and others
    /// that ask for the same are replays of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<String>,
    /// The Secret that the private key of a generated pair is put into; without meaning for an imported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretSpec>,
}

/// What to generate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct GenerateSpec {
    /// The algorithm. The profile `Alibaba` generates RSA only.
    #[serde(default)]
    pub algorithm: GenerateAlgorithm,
    /// The size of the key in bits. RSA: 2048 (default), 3072 or 4096; ECDSA: 256 (default), 384 or 521; Ed25519: 256.
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
    /// The tag's key.
    pub key: String,
    /// The tag's value; may be empty or left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// Where and how the private key is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SecretSpec {
    /// The name of the Secret. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What else the Secret shall have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<SecretTemplate>,
    /// The names of the data keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<SecretKeys>,
    /// The encoding of the private key: `PKCS8` (PEM, unencrypted), `OpenSSH`, `PKCS1` (RSA only) or `SEC1` (ECDSA only).
    /// Default: `PKCS8`; an Ed25519 key of an adopted Secret that is in OpenSSH's format stays in that, since OpenSSH reads it in
    /// PKCS8 only since version 9.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<SecretEncoding>,
    /// What becomes of the Secret when the KeyPair is deleted: `Delete` or `Retain`. Default: `Delete`, and `Retain` for a Secret
    /// that was adopted. An edit of it counts when `status.observedGeneration` is `metadata.generation`: wait for that before you
    /// delete the KeyPair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What is done when the Secret of an accepted pair is gone: `Report` (`PrivateKeyLost`) or `Regenerate` (another key
    /// pair is generated in its place).
    #[serde(default)]
    pub on_loss: OnLoss,
}

/// What a Secret shall have beside the key pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SecretTemplate {
    /// The type of the Secret. Default: `kubernetes.io/ssh-auth`, or `Opaque` where `keys.privateKey` is not
    /// `ssh-privatekey`.
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

/// The encodings of a private key.
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

/// What becomes of the Secret when the KeyPair is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It is deleted, too.
    Delete,
    /// It stays.
    Retain,
}

/// What is done when the Secret of an accepted pair is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnLoss {
    /// It is reported.
    #[default]
    Report,
    /// Another key pair is generated.
    Regenerate,
}
