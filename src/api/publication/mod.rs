//! The custom resources `AuthorizedKeys` and `KnownHosts`.
//!
//! `kubectl explain` prints the doc comments of this file. They do not state the rules on values: the schema gets those from the
//! tables of the domain.

mod report;
mod selector;
mod translate;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    selector::{LabelRequirementSpec, LabelSelectorSpec},
    translate::{PublicationResource, published_pair, share_with},
};
use super::{object::read_from_objects, status::conditions_schema};

read_from_objects!(
    AuthorizedKeysSpec,
    AuthorizedKeysEntry,
    KeyOptionsSpec,
    KnownHostsSpec,
    KnownHostsEntry,
    TargetSpec,
    TargetObject,
    PublicationStatus,
    TargetStatus,
);

/// The public keys of key pairs as an `authorized_keys` file in a ConfigMap or Secret.
#[allow(clippy::duplicated_attributes, reason = "columns are not duplicates because they have the same type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "keypairs.dev",
    version = "v1alpha1",
    kind = "AuthorizedKeys",
    plural = "authorizedkeys",
    singular = "authorizedkeys",
    shortname = "ak",
    namespaced,
    status = "PublicationStatus",
    derive = "PartialEq",
    doc = "The public keys of key pairs as an authorized_keys file in a ConfigMap or Secret.",
    printcolumn(name = "Keys", type_ = "integer", json_path = ".status.keys"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct AuthorizedKeysSpec {
    /// Which keys may log in, and with which options, in the order of the lines. A key that several entries select has the options of
    /// the first of them; as a certificate authority, it has a line of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<AuthorizedKeysEntry>,
    /// The ConfigMap or Secret for the text. Default: a ConfigMap with the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetSpec>,
    /// `File`: all lines in one data entry. `EntryPerKey`: a data entry for each key, as KubeVirt reads them.
    #[serde(default)]
    pub layout: AuthorizedKeysLayout,
}

/// How the lines are distributed over the data of the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthorizedKeysLayout {
    /// All lines in one data entry.
    #[default]
    File,
    /// A data entry for each key.
    EntryPerKey,
}

/// Key pairs that may log in, and how. Exactly one of `keyPair` and `selector` is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct AuthorizedKeysEntry {
    /// The name of a KeyPair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<String>,
    /// Selects KeyPairs by their labels. An empty selector selects all KeyPairs of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelectorSpec>,
    /// The namespace of the KeyPairs. Default: the namespace of this object. In another namespace, only KeyPairs count whose
    /// `shareWith` lists the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The options in front of each key, as sshd(8) describes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<KeyOptionsSpec>,
}

/// The options of keys in an `authorized_keys` file, as sshd(8) describes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KeyOptionsSpec {
    /// Forbids forwarding, terminals and `~/.ssh/rc`, unless another option permits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restrict: Option<bool>,
    /// The clients from which the key is accepted: addresses, CIDR blocks and patterns of host names. `!` before a pattern excludes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The command that is run instead of the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Environment variables of the session. sshd ignores them unless `PermitUserEnvironment` allows them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// When sshd stops accepting the key, for example `2027-01-01T00:00:00Z`. Before OpenSSH 9.1, sshd does not accept it at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_time: Option<String>,
    /// The principals of certificates that the key may sign. Needs `certAuthority: true`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<String>,
    /// Whether the key is a certificate authority: not the key itself is accepted, but certificates that it has signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_authority: Option<bool>,
    /// The destinations of local port forwarding, as `host:port`. `*` stands for any port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permit_open: Vec<String>,
    /// The addresses on which remote port forwarding may listen, as `port` or `host:port`. `*` stands for any port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permit_listen: Vec<String>,
    /// The number of the tun device that the client may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<String>,
    /// Permits (`true`) or forbids (`false`) agent forwarding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_forwarding: Option<bool>,
    /// Permits or forbids port forwarding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_forwarding: Option<bool>,
    /// Permits or forbids a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pty: Option<bool>,
    /// Permits or forbids `~/.ssh/rc`.
    #[serde(default, rename = "userRC", skip_serializing_if = "Option::is_none")]
    pub user_rc: Option<bool>,
    /// Permits or forbids X11 forwarding.
    #[serde(default, rename = "x11Forwarding", skip_serializing_if = "Option::is_none")]
    pub x11_forwarding: Option<bool>,
    /// Whether signatures of a security key are accepted without a touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_touch_required: Option<bool>,
    /// Whether signatures of a security key must attest that the user was verified, for example with a PIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_required: Option<bool>,
}

/// The public keys of hosts as a `known_hosts` file in a ConfigMap or Secret.
#[allow(clippy::duplicated_attributes, reason = "columns are not duplicates because they have the same type")]
#[derive(CustomResource, Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "keypairs.dev",
    version = "v1alpha1",
    kind = "KnownHosts",
    plural = "knownhosts",
    singular = "knownhosts",
    shortname = "kh",
    namespaced,
    status = "PublicationStatus",
    derive = "PartialEq",
    doc = "The public keys of hosts as a known_hosts file in a ConfigMap or Secret.",
    printcolumn(name = "Keys", type_ = "integer", json_path = ".status.keys"),
    printcolumn(name = "Target", type_ = "string", json_path = ".status.target.name"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KnownHostsSpec {
    /// The hosts and their keys, in the order of the lines; revoked keys come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<KnownHostsEntry>,
    /// The ConfigMap or Secret for the text. Default: a ConfigMap with the name of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetSpec>,
    /// `File`: all lines in one data entry.
    #[serde(default)]
    pub layout: KnownHostsLayout,
    /// Whether the text has hashes instead of the names of the hosts. Patterns cannot be hashed.
    #[serde(default)]
    pub hash_hosts: bool,
}

/// How the lines are distributed over the data of the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KnownHostsLayout {
    /// All lines in one data entry.
    #[default]
    File,
}

/// Hosts and their keys. Exactly one of `keyPair`, `selector` and `publicKeys` is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KnownHostsEntry {
    /// The names and addresses of the hosts, as in a `known_hosts` file: `*` and `?` are wildcards, `!` before a name excludes it,
    /// and a port other than 22 is written as `[host]:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The name of a KeyPair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair: Option<String>,
    /// Selects KeyPairs by their labels. An empty selector selects all KeyPairs of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelectorSpec>,
    /// Public keys as OpenSSH lines, for hosts whose keys are no KeyPairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_keys: Option<Vec<String>>,
    /// The namespace of the KeyPairs. Default: the namespace of this object. In another namespace, only KeyPairs count whose
    /// `shareWith` lists the namespace of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// `CertAuthority`: the keys sign the host certificates of these hosts. `Revoked`: the keys are never accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<HostMarker>,
}

// For an optional enumeration, the CRD has the description of the type, not that of the field.
/// `CertAuthority`: the keys sign the host certificates of these hosts. `Revoked`: the keys are never accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HostMarker {
    /// The keys sign the host certificates of these hosts.
    CertAuthority,
    /// The keys are never accepted.
    Revoked,
}

/// The object that the text is in. At most one of `configMap` and `secret` is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct TargetSpec {
    /// A ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<TargetObject>,
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<TargetObject>,
}

/// The name of an object, and of a data key in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct TargetObject {
    /// The name of the object. Default: `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The data key of the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The observed state of a publication.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct PublicationStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The number of KeyPairs in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pairs: Option<i64>,
    /// The number of keys in the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<i64>,
    /// The object that the text is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// `Ready`, and `Stalled` when only an edit of the spec can help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The object that the text is in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct TargetStatus {
    /// `ConfigMap` or `Secret`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The data key of the text; absent with `layout: EntryPerKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

#[cfg(test)]
mod tests;
