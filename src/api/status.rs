//! `status` of a `KeyPair`.

pub(super) mod conditions;
mod rotation;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

pub use self::rotation::{KeyStatus, RotationStatus};
use super::object::read_from_objects;
use crate::domain::{
    decide, digest,
    key::{self, Algorithm, PublicKey},
    key_pair_id::KeyPairId,
    profile::Profile,
    rules::{self, OWN_CONDITION_TYPES},
};

/// The longest line that a public key can produce: four bytes for each character.
const MAX_PUBLIC_KEY_BYTES: usize = 4 * rules::PUBLIC_KEY_MAX_CHARS;

/// The type of the condition that says whether the key pair is usable.
pub const READY: &str = "Ready";
/// The type of the condition that is present, and True, when only an edit of the spec can help (kstatus).
pub const STALLED: &str = "Stalled";
/// The type of the condition that says whether a rotation is in progress.
pub const ROTATING: &str = "Rotating";
/// Whether the operator sets conditions of this type.
#[must_use]
pub fn is_own(condition: &Condition) -> bool {
    OWN_CONDITION_TYPES.contains(&condition.type_.as_str())
}

/// The reason of `Ready=True` for an imported pair.
pub const IMPORTED: &str = "Imported";
/// The reason of `Ready=True` for a generated pair.
pub const GENERATED: &str = "Generated";
/// The reason of `Ready=True` for a request that repeats another by its client token.
pub const IDEMPOTENT_REPLAY: &str = "IdempotentReplay";

read_from_objects!(KeyPairStatus, Fingerprints, StatusError, AcceptedRequest);

/// The observed state of the KeyPair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KeyPairStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The identifier of the key pair, `kp-` and 20 of `[a-z0-9]`. Set once, when the pair is accepted.
    #[serde(default, rename = "keyPairID", skip_serializing_if = "Option::is_none")]
    pub key_pair_id: Option<String>,
    /// The effective name of the key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_pair_name: Option<String>,
    /// The region: the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The fingerprint in the profile's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The fingerprints as `ssh-keygen -l` prints them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprints: Option<Fingerprints>,
    /// The public key as a normalised OpenSSH line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The algorithm of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The size of the key in bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<i32>,
    /// The Secret with the private key of a generated pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The resource version at which that Secret last held the right key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_version: Option<String>,
    /// The request with a client token as it was accepted. Other requests with the same token are compared with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_request: Option<AcceptedRequest>,
    /// The revision of the current key: 1, and one more for each key that followed. Present with `spec.rotation`, and afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The keys to trust, in the order of their revisions. Present with `spec.rotation`, and while there is more than the current key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyStatus>,
    /// The progress of the rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,
    /// The error that the cloud API would return; absent when Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StatusError>,
    /// `Ready`, and `Stalled` when only an edit of the spec can help. The operator keeps conditions of other types.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The schema of a list of conditions, as `metav1.Condition` documents it.
pub(super) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "description": "The type of the condition.",
                    "type": "string",
                    "maxLength": 316
                },
                "status": {
                    "description": "The status of the condition.",
                    "type": "string",
                    "enum": ["True", "False", "Unknown"]
                },
                "observedGeneration": {
                    "description": "The generation of the spec that the condition was set for.",
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0
                },
                "lastTransitionTime": {
                    "description": "When the status of the condition last changed.",
                    "type": "string",
                    "format": "date-time"
                },
                "reason": {
                    "description": "The reason of the status, as one word for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {
                    "description": "The reason of the status, as a message for people.",
                    "type": "string",
                    "maxLength": 32768
                }
            }
        }
    })
}

/// Fingerprints of the public key; for a certificate, those of its plain key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Fingerprints {
    /// MD5, in lower-case hex with colons.
    pub md5: String,
    /// SHA256: `SHA256:` and unpadded base64.
    pub sha256: String,
}

impl Fingerprints {
    fn to_domain(&self) -> key::Fingerprints {
        key::Fingerprints { md5: self.md5.clone(), sha256: self.sha256.clone() }
    }

    /// The SHA256 fingerprint, if it is well-formed.
    #[must_use]
    pub fn checked_sha256(&self) -> Option<&str> {
        Some(self.sha256.as_str()).filter(|text| key::is_sha256(text))
    }
}

/// SHA256 digests, in hex, of the parts of a request with a client token that are compared with other requests. Digests, because
/// somebody may have pasted a private key into any field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct AcceptedRequest {
    /// The digest of the client token.
    pub token_digest: String,
    /// The digest of profile, key, description and tags.
    pub digest: String,
    /// The digest of the project as given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project_digest: String,
}

impl AcceptedRequest {
    /// Converts it, if the operator can have written it.
    #[must_use]
    pub fn checked(&self) -> Option<decide::AcceptedRequest> {
        let Self { token_digest, digest, project_digest } = self;
        let is_valid = digest::is_hex(token_digest)
            && digest::is_hex(digest)
            && (project_digest.is_empty() || digest::is_hex(project_digest));
        is_valid.then(|| decide::AcceptedRequest {
            client_token: token_digest.clone(),
            digest: digest.clone(),
            project: project_digest.clone(),
        })
    }
}

/// An error as the profile's cloud API would return it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct StatusError {
    /// The operator's reason, the same for every profile.
    pub reason: String,
    /// The cloud's error code.
    pub code: String,
    /// The cloud's message.
    pub message: String,
    /// The HTTP status that the cloud API would return.
    pub http_status: i32,
}

impl KeyPairStatus {
    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether this is the status of a replay, which shows the key pair of the original.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.condition(READY).is_some_and(|ready| ready.reason == IDEMPOTENT_REPLAY)
    }

    /// Whether this status says that the key pair is accepted. A replay is not: it shows the identifier of the original.
    #[must_use]
    pub fn is_acceptance(&self) -> bool {
        self.key_pair_id.is_some() && !self.is_replay()
    }

    /// What this status records about an accepted pair; for a replay, about the original. `uid` is that of the object.
    ///
    /// A status can come from a backup, or from anybody who may write statuses. So each value is checked, and an invalid one is
    /// ignored. Even if all of them are, the pair counts as accepted; the operator then relies on the spec and the existing Secret.
    #[must_use]
    pub fn accepted_key_pair(&self, uid: &str) -> Option<decide::AcceptedKeyPair> {
        let id = self.key_pair_id.as_deref()?;
        let id = KeyPairId::parse(id).unwrap_or_else(|| KeyPairId::from_uid(uid));
        let line = self.public_key.as_ref().filter(|line| line.len() <= MAX_PUBLIC_KEY_BYTES);
        let key = line.and_then(|line| PublicKey::parse(line).ok().filter(|key| key.to_openssh() == *line));
        let recorded =
            self.fingerprints.as_ref().map(Fingerprints::to_domain).filter(key::Fingerprints::is_well_formed);
        // If key and fingerprints contradict each other, either may be wrong: the key is ignored and read again.
        let key = key.filter(|key| recorded.as_ref().is_none_or(|recorded| *recorded == key.fingerprints()));
        let fingerprints = recorded.or_else(|| key.as_ref().map(PublicKey::fingerprints)).unwrap_or_default();
        let algorithm = self.algorithm.as_deref().and_then(Algorithm::from_name);
        Some(decide::AcceptedKeyPair {
            id: id.to_string(),
            algorithm: key
                .as_ref()
                .map(PublicKey::algorithm)
                .or(algorithm)
                .map(|it| it.to_string())
                .unwrap_or_default(),
            bits: key.as_ref().map(PublicKey::bits).or_else(|| self.recorded_bits()).unwrap_or_default(),
            public_key: key.as_ref().map(PublicKey::to_openssh).unwrap_or_default(),
            fingerprint: self.fingerprint.clone().filter(|text| key::is_fingerprint(text)).unwrap_or_default(),
            fingerprints,
            secret_name: self.secret_name.clone().filter(|name| rules::SECRET_NAME.allows(name)),
            key_pair_name: self.recorded_name().unwrap_or_default(),
            request: self.accepted_request.as_ref().and_then(AcceptedRequest::checked),
            secret_version: self.secret_version.clone().filter(|version| rules::RESOURCE_VERSION.allows(version)),
            rotation: self.rotation_state(),
        })
    }

    /// The key pair name with which the pair was accepted, if any profile allows it. The profile in the spec may have been edited since.
    #[must_use]
    pub fn recorded_name(&self) -> Option<String> {
        self.key_pair_name.clone().filter(|name| Profile::any_allows_name(name))
    }

    fn recorded_bits(&self) -> Option<u32> {
        self.bits.and_then(|bits| u32::try_from(bits).ok()).filter(|bits| *bits <= key::MAX_BITS)
    }
}

#[cfg(test)]
mod tests;
