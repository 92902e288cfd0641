//! The part of the status that is about rotation.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{Fingerprints, KeyPairStatus, MAX_PUBLIC_KEY_BYTES, is_own};
use crate::{
    api::object::read_from_objects,
    domain::{
        key::PublicKey,
        rotation::{OpenGates, Phase, PhasedKey, RotationState},
        rules,
    },
};

read_from_objects!(KeyStatus, RotationStatus);

/// A key of a pair that is rotated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct KeyStatus {
    /// The revision of the key.
    pub revision: i64,
    /// `Next`: published, not in use yet. `Current`: the key of the pair. `Previous`: no longer in use, still to be trusted.
    pub phase: String,
    /// The public key as a normalised OpenSSH line.
    pub public_key: String,
    /// The algorithm of the key.
    pub algorithm: String,
    /// The size of the key in bits.
    pub bits: i32,
    /// The fingerprint in the profile's form.
    pub fingerprint: String,
    /// The fingerprints as `ssh-keygen -l` prints them.
    pub fingerprints: Fingerprints,
    /// When the phase began.
    #[schemars(schema_with = "time_schema")]
    pub since: String,
}

/// The progress of a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct RotationStatus {
    /// The last value of the annotation `keypairs.dev/rotate` that was handled. Another value requests a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled_request: Option<String>,
    /// When the next key becomes current at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub next_switch: Option<String>,
    /// The gates for which the switch to the next key waits: their conditions are not True yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
}

/// The schema of a point in time.
fn time_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

impl KeyStatus {
    /// Converts it, if the operator can have written it.
    fn checked(&self) -> Option<PhasedKey> {
        let key = Some(&self.public_key).filter(|line| line.len() <= MAX_PUBLIC_KEY_BYTES)?;
        let key = PublicKey::parse(key).ok().filter(|key| key.to_openssh() == self.public_key)?;
        let is_consistent = self.fingerprints.to_domain() == key.fingerprints();
        Some(PhasedKey {
            revision: u32::try_from(self.revision).ok()?,
            phase: Phase::from_name(&self.phase)?,
            key,
            fingerprint: self.fingerprint.clone(),
            since: self.since.parse().ok()?,
        })
        .filter(|_| is_consistent)
    }
}

impl KeyPairStatus {
    /// What this status records about rotation. Invalid values are ignored, as in the rest of the status.
    pub(in crate::api) fn rotation_state(&self) -> RotationState {
        let rotation = self.rotation.clone().unwrap_or_default();
        let mut keys: Vec<PhasedKey> = self.keys.iter().take(Phase::ALL.len()).filter_map(KeyStatus::checked).collect();
        keys.sort_by_key(|key| key.phase);
        keys.dedup_by_key(|key| key.phase);
        RotationState {
            revision: self.revision.and_then(|revision| u32::try_from(revision).ok()).unwrap_or_default(),
            keys,
            handled_request: rotation.handled_request.filter(|request| rules::ROTATION_REQUEST.allows(request)),
            next_switch: rotation.next_switch.and_then(|time| time.parse().ok()),
            waiting_for: rotation.waiting_for.into_iter().filter(|gate| rules::CONDITION_TYPE.allows(gate)).collect(),
        }
    }

    /// The key in this phase.
    #[must_use]
    pub fn key(&self, phase: Phase) -> Option<&KeyStatus> {
        self.keys.iter().find(|key| key.phase == phase.as_str())
    }

    /// The types of the conditions of other writers that are True.
    #[must_use]
    pub fn open_gates(&self) -> OpenGates {
        let open = self.conditions.iter().filter(|condition| condition.status == "True" && !is_own(condition));
        open.map(|condition| condition.type_.clone()).collect()
    }
}
