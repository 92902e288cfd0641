//! Objects as a watch decodes them: of whatever comes, only what is of use here is ever in memory.
//!
//! The labels, annotations and managed fields of an object may take as much as etcd stores, and whoever may write a `KeyPair`
//! or a Secret chooses them. So they are passed over while the answer is read, and not dropped afterwards.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
};
use kube::{Resource, api::PartialObjectMeta, core::PartialObjectMetaExt};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{index::Claimant, secrets};
use crate::api::{
    ClaimRequest, KeyPair, KeyPairSpec, KeyPairStatus,
    status::{IDEMPOTENT_REPLAY, READY},
    translate,
};

/// The longest UID in bytes that is taken for one: those of Kubernetes have 36.
const MAX_UID_BYTES: usize = 64;
/// The longest name in bytes of an object.
const MAX_NAME_BYTES: usize = 253;
/// The longest text in bytes that is read in an object that is not of the schema of this version.
const MAX_TEXT_BYTES: usize = 1024;
/// How many owners that are `KeyPair`s an object of ours may have: one, and the one before a restore.
const MAX_OWNERS: usize = 2;

/// A `KeyPair`, of its metadata no more than what is needed.
#[derive(Debug, Clone)]
pub struct WatchedKeyPair {
    /// Of one that is not of the schema of this version: what it was accepted with, as far as that can be read.
    key_pair: KeyPair,
    decoded: Decoded,
}

/// How much of a `KeyPair` is of the schema of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decoded {
    Whole,
    /// Its spec, so that it can be compared with others.
    Spec,
    Nothing,
}

impl WatchedKeyPair {
    /// The `KeyPair`; `None`: it is not of the schema of this version. Why is not said: that would quote the object, and somebody may
    /// have pasted a private key into it.
    #[must_use]
    pub fn decoded(&self) -> Option<&KeyPair> {
        Some(&self.key_pair).filter(|_| self.is_decoded())
    }

    /// The same, for good.
    #[must_use]
    pub fn into_decoded(self) -> Option<KeyPair> {
        if self.is_decoded() { Some(self.key_pair) } else { None }
    }
}

impl Claimant for WatchedKeyPair {
    fn claim_request(&self) -> ClaimRequest {
        match self.decoded {
            Decoded::Whole => ClaimRequest::of(&self.key_pair),
            Decoded::Spec => ClaimRequest::of_remains(&self.key_pair, true),
            Decoded::Nothing => ClaimRequest::of_remains(&self.key_pair, false),
        }
    }

    fn fingerprint(&self) -> Option<String> {
        self.decoded().and_then(translate::fingerprint)
    }

    fn is_decoded(&self) -> bool {
        self.decoded == Decoded::Whole
    }
}

impl<'de> Deserialize<'de> for WatchedKeyPair {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
            #[serde(default)]
            spec: Value,
            #[serde(default)]
            status: Value,
        }
        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        // The functions of the trait: those of the types themselves also take arrays.
        let read_spec = <KeyPairSpec as Deserialize>::deserialize(&spec).ok();
        let read_status: Option<Option<KeyPairStatus>> = Option::deserialize(&status).ok();
        let (spec, status, decoded) = match (read_spec, read_status) {
            (Some(spec), Some(status)) => (spec, status, Decoded::Whole),
            (read, _) => {
                let decoded = if read.is_some() { Decoded::Spec } else { Decoded::Nothing };
                let spec = read.unwrap_or_else(|| remains_of_spec(&spec));
                let (spec, status) = accepted_with(metadata.name.as_deref(), spec, &status);
                (spec, Some(status), decoded)
            }
        };
        Ok(Self { key_pair: KeyPair { metadata: metadata.into(), spec, status }, decoded })
    }
}

/// What the ledger needs of a spec that is not of the schema of this version: a newer one has stored it, or it is older than a rule.
fn remains_of_spec(spec: &Value) -> KeyPairSpec {
    let text = |field| spec.get(field).and_then(text);
    KeyPairSpec { key_pair_name: text("keyPairName"), client_token: text("clientToken"), ..KeyPairSpec::default() }
}

/// What the `KeyPair` of this name was accepted with by what its status says, and that it was.
fn accepted_with(object: Option<&str>, mut spec: KeyPairSpec, status: &Value) -> (KeyPairSpec, KeyPairStatus) {
    let conditions = status.get("conditions").and_then(Value::as_array);
    let is = |condition: &Value, field, value| condition.get(field).and_then(Value::as_str) == Some(value);
    let is_replay =
        conditions.into_iter().flatten().any(|it| is(it, "type", READY) && is(it, "reason", IDEMPOTENT_REPLAY));
    // Whatever the identifier looks like, there is one. That which a replay shows is not its own.
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

/// The metadata of a Secret, no more of it than what is needed.
#[derive(Debug, Clone)]
pub struct WatchedSecret(ObjectMeta);

impl From<WatchedSecret> for PartialObjectMeta<Secret> {
    fn from(WatchedSecret(metadata): WatchedSecret) -> Self {
        metadata.into_response_partial()
    }
}

impl<'de> Deserialize<'de> for WatchedSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        let mut metadata = ObjectMeta::from(Object::deserialize(deserializer)?.metadata);
        metadata.generation = None;
        metadata.creation_timestamp = None;
        Ok(Self(metadata))
    }
}

/// The fields of `ObjectMeta` that the operator looks at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    annotations: KnownAnnotations,
    #[serde(default)]
    owner_references: KnownOwners,
}

impl From<Metadata> for ObjectMeta {
    fn from(metadata: Metadata) -> Self {
        let KnownAnnotations(annotations) = metadata.annotations;
        let KnownOwners(owners) = metadata.owner_references;
        Self {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(owners).filter(|owners| !owners.is_empty()),
            ..Self::default()
        }
    }
}

/// The annotations that the operator has written.
#[derive(Default)]
struct KnownAnnotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for KnownAnnotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Known;

        impl<'de> Visitor<'de> for Known {
            type Value = KnownAnnotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(KnownAnnotations::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut known = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if secrets::is_own_annotation(&key) {
                        known.extend(secrets::known_annotation(&key, map.next_value()?).map(|value| (key, value)));
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(KnownAnnotations(known))
            }
        }

        deserializer.deserialize_any(Known)
    }
}

/// The owners that are `KeyPair`s, and a controller.
#[derive(Default)]
struct KnownOwners(Vec<OwnerReference>);

impl<'de> Deserialize<'de> for KnownOwners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Known;

        impl<'de> Visitor<'de> for Known {
            type Value = KnownOwners;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("owner references")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(KnownOwners::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut known = Vec::new();
                while let Some(owner) = seq.next_element::<OwnerReference>()? {
                    // Another controller is of no use but to know that the Secret is not ours.
                    let matters = owner.kind == KeyPair::kind(&()) || owner.controller == Some(true);
                    let fits = owner.uid.len() <= MAX_UID_BYTES
                        && [&owner.name, &owner.kind, &owner.api_version]
                            .iter()
                            .all(|text| text.len() <= MAX_NAME_BYTES);
                    if matters && fits && known.len() < MAX_OWNERS {
                        known.push(owner);
                    }
                }
                Ok(KnownOwners(known))
            }
        }

        deserializer.deserialize_any(Known)
    }
}

/// They are what they wrap, for the client.
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

#[cfg(test)]
mod tests;
