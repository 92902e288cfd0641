//! Objects as a watch decodes them: fields that the operator does not use never reach memory.
//!
//! The labels, annotations and managed fields of an object may be as large as etcd allows, and whoever may write a `KeyPair` or a Secret
//! chooses them. So they are skipped while the response is parsed, not dropped afterwards.

mod labels;
mod metadata;
mod publication;

use std::borrow::Cow;

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Resource, api::PartialObjectMeta, core::PartialObjectMetaExt};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use self::metadata::Metadata;
pub use self::{
    labels::{Labels, PairLabels},
    publication::WatchedPublication,
};
use super::index::Claimant;
use crate::api::{
    ClaimRequest, KeyPair, KeyPairSpec, KeyPairStatus,
    status::{IDEMPOTENT_REPLAY, READY},
    translate,
};

/// The size limit of a UID in bytes. UIDs of Kubernetes have 36.
const MAX_UID_BYTES: usize = 64;
/// The size limit of an object name in bytes.
const MAX_NAME_BYTES: usize = 253;
/// The size limit in bytes of a text in an object that does not match the schema of this version.
const MAX_TEXT_BYTES: usize = 1024;
/// The maximum number of `KeyPair`s that own one Secret: the current one, and one from before a restore.
const MAX_OWNERS: usize = 2;

/// A `KeyPair` with only the metadata that the operator uses.
#[derive(Debug, Clone)]
pub struct WatchedKeyPair {
    /// If it does not match the schema of this version: the values with which it was accepted, as far as they can be read.
    key_pair: KeyPair,
    labels: PairLabels,
    decoded: Decoded,
}

/// How much of a `KeyPair` matches the schema of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoded {
    Whole,
    /// Only its spec, which can be compared with others.
    Spec,
    Nothing,
}

impl WatchedKeyPair {
    /// The `KeyPair`; `None` if it does not match the schema of this version. The decoding error is not available: it would quote the
    /// object, which may contain a pasted private key.
    #[must_use]
    pub fn decoded(&self) -> Option<&KeyPair> {
        Some(&self.key_pair).filter(|_| self.is_decoded())
    }

    /// Its labels, which are not part of its metadata: the store does not need them.
    #[must_use]
    pub fn pair_labels(&self) -> &PairLabels {
        &self.labels
    }

    /// [`Self::decoded`], by value.
    #[must_use]
    pub fn into_decoded(self) -> Option<KeyPair> {
        if self.is_decoded() { Some(self.key_pair) } else { None }
    }
}

impl Claimant for WatchedKeyPair {
    fn claim_request(&self) -> ClaimRequest {
        match self.decoded {
            Decoded::Whole => ClaimRequest::of(&self.key_pair),
            Decoded::Spec => ClaimRequest::of_partial(&self.key_pair, true),
            Decoded::Nothing => ClaimRequest::of_partial(&self.key_pair, false),
        }
    }

    fn fingerprint(&self) -> Option<String> {
        self.decoded().and_then(translate::fingerprint)
    }

    fn is_decoded(&self) -> bool {
        self.decoded == Decoded::Whole
    }
}

/// An object whose spec and status need not match the schema of this version.
#[derive(Deserialize)]
struct Undecoded {
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl<'de> Deserialize<'de> for WatchedKeyPair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Undecoded { mut metadata, spec, status } = Undecoded::deserialize(deserializer)?;
        let labels = std::mem::take(&mut metadata.labels).0;
        // The types' own functions would also accept arrays.
        let read_spec = <KeyPairSpec as Deserialize>::deserialize(&spec).ok();
        let read_status: Option<Option<KeyPairStatus>> = Option::deserialize(&status).ok();
        let (spec, status, decoded) = match (read_spec, read_status) {
            (Some(spec), Some(status)) => (spec, status, Decoded::Whole),
            (read, _) => {
                let decoded = if read.is_some() { Decoded::Spec } else { Decoded::Nothing };
                let spec = read.unwrap_or_else(|| partial_spec(&spec));
                let (spec, status) = accepted_with(metadata.name.as_deref(), spec, &status);
                (spec, Some(status), decoded)
            }
        };
        Ok(Self { key_pair: KeyPair { metadata: metadata.into(), spec, status }, labels, decoded })
    }
}

/// The fields that the ledger needs from a spec that does not match the schema: a newer version stored it, or it predates a rule.
fn partial_spec(spec: &Value) -> KeyPairSpec {
    let text = |field| spec.get(field).and_then(text);
    KeyPairSpec { key_pair_name: text("keyPairName"), client_token: text("clientToken"), ..KeyPairSpec::default() }
}

/// The spec and status with which the `KeyPair` of this name was accepted, according to its status.
fn accepted_with(object: Option<&str>, mut spec: KeyPairSpec, status: &Value) -> (KeyPairSpec, KeyPairStatus) {
    let conditions = status.get("conditions").and_then(Value::as_array);
    let is = |condition: &Value, field, value| condition.get(field).and_then(Value::as_str) == Some(value);
    let is_replay =
        conditions.into_iter().flatten().any(|it| is(it, "type", READY) && is(it, "reason", IDEMPOTENT_REPLAY));
    // Any identifier counts, whatever its form. The identifier of a replay is that of its original.
    let id = status.get("keyPairID").filter(|id| !id.is_null() && !is_replay).map(|id| text(id).unwrap_or_default());
    let name = status.get("keyPairName").and_then(text);
    if name.is_some() && name.as_deref() != spec.key_pair_name.as_deref().or(object) {
        spec.key_pair_name = name;
    }
    (spec, KeyPairStatus { key_pair_id: id, ..KeyPairStatus::default() })
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| text.len() <= MAX_TEXT_BYTES).map(str::to_owned)
}

/// The metadata of a Secret that the operator uses.
#[derive(Debug, Clone)]
pub struct WatchedSecret(ObjectMeta);

impl From<WatchedSecret> for PartialObjectMeta<Secret> {
    fn from(WatchedSecret(metadata): WatchedSecret) -> Self {
        metadata.into_response_partial()
    }
}

impl<'de> Deserialize<'de> for WatchedSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        metadata_of(deserializer).map(Self)
    }
}

/// The metadata of a ConfigMap that the operator uses.
#[derive(Debug, Clone)]
pub struct WatchedConfigMap(ObjectMeta);

impl<'de> Deserialize<'de> for WatchedConfigMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        metadata_of(deserializer).map(Self)
    }
}

fn metadata_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Metadata,
    }
    let mut metadata = ObjectMeta::from(Object::deserialize(deserializer)?.metadata);
    metadata.generation = None;
    metadata.creation_timestamp = None;
    Ok(metadata)
}

/// Makes a wrapper the resource that it wraps, for the client.
macro_rules! resource {
    ($type:ty, $of:ty, [$($metadata:tt)+], metadata_only: $metadata_only:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn metadata_api() -> bool {
                $metadata_only
            }

            fn kind((): &()) -> Cow<'_, str> {
                <$of as Resource>::kind(&())
            }

            fn group((): &()) -> Cow<'_, str> {
                <$of as Resource>::group(&())
            }

            fn version((): &()) -> Cow<'_, str> {
                <$of as Resource>::version(&())
            }

            fn plural((): &()) -> Cow<'_, str> {
                <$of as Resource>::plural(&())
            }

            fn meta(&self) -> &ObjectMeta {
                &self.$($metadata)+
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.$($metadata)+
            }
        }
    };
}

resource!(WatchedKeyPair, KeyPair, [key_pair.metadata], metadata_only: false);
resource!(WatchedSecret, Secret, [0], metadata_only: true);
resource!(WatchedConfigMap, ConfigMap, [0], metadata_only: true);

#[cfg(test)]
mod tests;
