//! The metadata that the operator uses, as a watch decodes it.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{MAX_NAME_BYTES, MAX_OWNERS, MAX_UID_BYTES, labels::KnownLabels};
use crate::api::{AuthorizedKeys, KeyPair, KnownHosts, secret};

/// The fields of `ObjectMeta` that the operator uses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    pub(super) labels: KnownLabels,
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

/// The annotations that the operator uses.
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
                    if secret::is_own_annotation(&key) {
                        known.extend(secret::known_annotation(&key, map.next_value()?).map(|value| (key, value)));
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

/// The owner references to the operator's own kinds, and the controller reference.
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
                    // Another controller shows that the Secret is not ours.
                    let own = [KeyPair::kind(&()), AuthorizedKeys::kind(&()), KnownHosts::kind(&())];
                    let is_relevant = own.contains(&owner.kind.as_str().into()) || owner.controller == Some(true);
                    let fits = owner.uid.len() <= MAX_UID_BYTES
                        && [&owner.name, &owner.kind, &owner.api_version]
                            .iter()
                            .all(|text| text.len() <= MAX_NAME_BYTES);
                    if is_relevant && fits && known.len() < MAX_OWNERS {
                        known.push(owner);
                    }
                }
                Ok(KnownOwners(known))
            }
        }

        deserializer.deserialize_any(Known)
    }
}
