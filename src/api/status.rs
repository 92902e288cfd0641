//! `status` of a `KeyPair`, and how the domain's report is written into it.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{key_pair::KeyPair, object::read_from_objects};
use crate::domain::{
    decide, digest,
    key::{self, Algorithm, PublicKey},
    key_pair_id::KeyPairId,
    profile::Profile,
    reason::{Reason, Refusal},
    rules,
};

/// The longest line that can come of a public key: four bytes for each character.
const MAX_PUBLIC_KEY_BYTES: usize = 4 * rules::PUBLIC_KEY_MAX_CHARS;

/// The type of the condition that says whether the key pair can be used.
pub const READY: &str = "Ready";
/// The type of the condition that is there, and True, when only an edit of the spec can help (kstatus).
pub const STALLED: &str = "Stalled";
/// The reason of `Ready=True` for an imported pair.
pub const IMPORTED: &str = "Imported";
/// The reason of `Ready=True` for a generated pair.
pub const GENERATED: &str = "Generated";
/// The reason of `Ready=True` for a request that repeats another by its client token.
pub const IDEMPOTENT_REPLAY: &str = "IdempotentReplay";

/// What is said of a pair that was a replay before.
const PROMOTED: &str = "It repeated the request of another KeyPair until that was deleted, and is a request of its own since: another key pair with an identifier of its own.";

read_from_objects!(KeyPairStatus, Fingerprints, StatusError, AcceptedRequest);

/// What became of the KeyPair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KeyPairStatus {
    /// The generation of the spec that this status is about.
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
    /// The resource version of that Secret when it was last found to hold the right key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_version: Option<String>,
    /// What the request with a client token was when it was accepted: others that have the token are compared with that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_request: Option<AcceptedRequest>,
    /// What the cloud API would have answered; absent when Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<StatusError>,
    /// `Ready`, and `Stalled` when only an edit can help.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
}

/// The schema of a list of conditions, as `metav1.Condition` documents it.
fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
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
                    "description": "Why, in one word for programs.",
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
                },
                "message": {
                    "description": "Why, in a sentence for people.",
                    "type": "string",
                    "maxLength": 32768
                }
            }
        }
    })
}

/// Fingerprints of the public key; of a certificate, those of its plain key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Fingerprints {
    /// MD5 in lower hex with colons.
    pub md5: String,
    /// `SHA256:` and unpadded base64.
    pub sha256: String,
}

impl Fingerprints {
    fn recorded(&self) -> key::Fingerprints {
        key::Fingerprints { md5: self.md5.clone(), sha256: self.sha256.clone() }
    }

    /// The fingerprint (SHA256), if it is one.
    #[must_use]
    pub fn checked_sha256(&self) -> Option<&str> {
        Some(self.sha256.as_str()).filter(|text| key::is_sha256(text))
    }
}

/// Digests (SHA256, hex) of what was asked for with a client token, as far as it is compared with other requests. Digests, since somebody
/// may have pasted a private key into any field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct AcceptedRequest {
    /// The digest of the client token.
    pub token_digest: String,
    /// The digest of profile, key, description and tags.
    pub digest: String,
    /// The digest of the project, as it was given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub project_digest: String,
}

impl AcceptedRequest {
    /// The same, if the operator can have written it.
    #[must_use]
    pub fn checked(&self) -> Option<decide::AcceptedRequest> {
        let Self { token_digest, digest, project_digest } = self;
        let is_possible = digest::is_hex(token_digest)
            && digest::is_hex(digest)
            && (project_digest.is_empty() || digest::is_hex(project_digest));
        is_possible.then(|| decide::AcceptedRequest {
            client_token: token_digest.clone(),
            digest: digest.clone(),
            project: project_digest.clone(),
        })
    }
}

/// An error in the words of the profile's cloud API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct StatusError {
    /// The operator's reason, the same in every profile.
    pub reason: String,
    /// The cloud's error code.
    pub code: String,
    /// The cloud's message.
    pub message: String,
    /// The HTTP status that the cloud would have answered with.
    pub http_status: i32,
}

impl KeyPairStatus {
    /// The condition of this type.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// Whether this is the status of a replay, whose facts are those of another pair.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.condition(READY).is_some_and(|ready| ready.reason == IDEMPOTENT_REPLAY)
    }

    /// The facts that this status records of an accepted pair; of a replay, those of the pair that it repeats. `uid` is that of
    /// the object.
    ///
    /// A status comes from a backup, or from whoever may write statuses: each value is checked, and one that cannot be is as if
    /// it were not there. That the pair has been accepted is all that stays of them: the operator then goes by the spec and by
    /// the Secret that is there.
    #[must_use]
    pub fn facts(&self, uid: &str) -> Option<decide::Facts> {
        let id = self.key_pair_id.as_deref()?;
        let id = KeyPairId::parse(id).unwrap_or_else(|| KeyPairId::from_uid(uid));
        let line = self.public_key.as_ref().filter(|line| line.len() <= MAX_PUBLIC_KEY_BYTES);
        let key = line.and_then(|line| PublicKey::parse(line).ok().filter(|key| key.to_openssh() == *line));
        let recorded = self.fingerprints.as_ref().map(Fingerprints::recorded).filter(key::Fingerprints::is_well_formed);
        // Of two that contradict each other it is not known which is right: the key is looked at again.
        let key = key.filter(|key| recorded.as_ref().is_none_or(|recorded| *recorded == key.fingerprints()));
        let fingerprints = recorded.or_else(|| key.as_ref().map(PublicKey::fingerprints)).unwrap_or_default();
        let algorithm = self.algorithm.as_deref().and_then(Algorithm::from_name);
        Some(decide::Facts {
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
        })
    }

    /// The name that the pair was accepted with, if it can be one.
    #[must_use]
    pub fn recorded_name(&self) -> Option<String> {
        self.key_pair_name.clone().filter(|name| Profile::OpenSSH.rules().import_name.allows(name))
    }

    fn recorded_bits(&self) -> Option<u32> {
        self.bits.and_then(|bits| u32::try_from(bits).ok()).filter(|bits| *bits <= key::MAX_BITS)
    }

    /// The status that says what `report` says about `key_pair`.
    ///
    /// Equal to the status that the object has already if that says the same, timestamps included, so that comparing the
    /// two tells whether there is anything to write.
    #[must_use]
    pub fn from_report(key_pair: &KeyPair, name: &str, report: decide::Report, now: Timestamp) -> Self {
        let error = report.refusals.first().map(|refusal| StatusError::new(key_pair.spec.profile, refusal));
        let conditions = conditions(key_pair, &report, now);
        // What is no name, a private key pasted by mistake perhaps, is not repeated.
        let named = report.facts.is_some()
            || !report.refusals.iter().any(|refusal| refusal.reason == Reason::InvalidKeyPairName);
        let mut status = Self {
            observed_generation: key_pair.metadata.generation,
            key_pair_name: named.then(|| name.to_owned()),
            region: key_pair.metadata.namespace.clone(),
            error,
            conditions,
            ..Self::default()
        };
        if let Some(facts) = report.facts {
            // What it was accepted with it keeps, whatever the spec says since.
            if !report.refusals.is_empty() && !facts.key_pair_name.is_empty() {
                status.key_pair_name = Some(facts.key_pair_name);
            }
            status.accepted_request = facts.request.map(|request| AcceptedRequest {
                token_digest: request.client_token,
                digest: request.digest,
                project_digest: request.project,
            });
            // What is not known is left out: that is so only where somebody else wrote the status before.
            let known = |text: String| Some(text).filter(|text| !text.is_empty());
            let key::Fingerprints { md5, sha256 } = facts.fingerprints;
            status.key_pair_id = Some(facts.id);
            status.fingerprint = known(facts.fingerprint);
            status.fingerprints = known(sha256).map(|sha256| Fingerprints { md5, sha256 });
            status.public_key = known(facts.public_key);
            status.algorithm = known(facts.algorithm);
            status.bits = i32::try_from(facts.bits).ok().filter(|bits| *bits > 0);
            status.secret_name = facts.secret_name;
            status.secret_version = facts.secret_version;
        }
        status
    }
}

impl StatusError {
    fn new(profile: Profile, refusal: &Refusal) -> Self {
        let error = profile.error(refusal);
        Self {
            reason: error.reason.to_string(),
            code: error.code,
            message: error.message,
            http_status: i32::from(error.http_status),
        }
    }
}

fn conditions(key_pair: &KeyPair, report: &decide::Report, now: Timestamp) -> Vec<Condition> {
    let condition = |type_: &str, status: &str, reason: &str, message: String| Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: key_pair.metadata.generation,
        last_transition_time: key_pair
            .status
            .as_ref()
            .and_then(|before| before.condition(type_))
            .filter(|before| before.status == status)
            .map_or(Time(now), |before| before.last_transition_time.clone()),
    };
    let Some(first) = report.refusals.first() else {
        let before = key_pair.status.as_ref();
        let was_promoted = |message: &str| {
            let is_told =
                |status: &KeyPairStatus| status.condition(READY).is_some_and(|ready| ready.message == message);
            before.is_some_and(|status| status.is_replay() || is_told(status))
        };
        let secret = report.facts.as_ref().and_then(|facts| facts.secret_name.as_ref());
        let (reason, message) = match (&report.replay_of, secret) {
            (Some(original), _) => (
                IDEMPOTENT_REPLAY,
                format!(
                    "This repeats the request of KeyPair {original:?}, which has the same client token; the key pair is that one's."
                ),
            ),
            (None, Some(secret)) => {
                (GENERATED, format!("The key pair is generated; its private key is in Secret {secret:?}."))
            }
            (None, None) => (IMPORTED, "The public key is imported.".to_owned()),
        };
        // Told as long as nothing else is to be told.
        let promoted = format!("{message} {PROMOTED}");
        let message = if report.replay_of.is_none() && was_promoted(&promoted) { promoted } else { message };
        return vec![condition(READY, "True", reason, message)];
    };
    let details: Vec<String> = report.refusals.iter().map(ToString::to_string).collect();
    let message = truncate(details.join("; "));
    let mut conditions = vec![condition(READY, "False", first.reason.as_str(), message.clone())];
    if report.refusals.iter().any(|refusal| refusal.reason.needs_edit()) {
        conditions.push(condition(STALLED, "True", first.reason.as_str(), message));
    }
    conditions
}

/// Shortens a message to what fits into an Event (1024 bytes), so that it reads the same everywhere.
fn truncate(mut message: String) -> String {
    const MAX_BYTES: usize = 1024;
    const ELLIPSIS: &str = "…";
    if message.len() > MAX_BYTES {
        let end = (0..=MAX_BYTES - ELLIPSIS.len()).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
        message.push_str(ELLIPSIS);
    }
    message
}

#[cfg(test)]
mod tests;
