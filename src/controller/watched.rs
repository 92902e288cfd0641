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

use super::secrets;
use crate::api::{KeyPair, KeyPairSpec, KeyPairStatus};

/// The longest UID in bytes that is taken for one: those of Kubernetes have 36.
const MAX_UID_BYTES: usize = 64;
/// The longest name in bytes of an object.
const MAX_NAME_BYTES: usize = 253;
/// How many owners that are `KeyPair`s an object of ours may have: one, and the one before a restore.
const MAX_OWNERS: usize = 2;

/// A `KeyPair`, of its metadata no more than what is needed.
#[derive(Debug, Clone)]
pub struct WatchedKeyPair {
    metadata: ObjectMeta,
    content: Option<(KeyPairSpec, Option<KeyPairStatus>)>,
}

impl WatchedKeyPair {
    /// The `KeyPair`.
    ///
    /// # Errors
    ///
    /// Its metadata, where its spec or status is not of the schema of this version. Why is not said: that would quote the
    /// object, and somebody may have pasted a private key into it.
    pub fn into_key_pair(self) -> Result<KeyPair, Box<ObjectMeta>> {
        match self.content {
            Some((spec, status)) => Ok(KeyPair { metadata: self.metadata, spec, status }),
            None => Err(Box::new(self.metadata)),
        }
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
            status: Option<Value>,
        }
        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        let content = || {
            let status = status.map(serde_json::from_value).transpose().ok()?;
            Some((serde_json::from_value(spec).ok()?, status))
        };
        Ok(Self { content: content(), metadata: metadata.into() })
    }
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
    ($type:ty, $of:ty, $metadata:tt, metadata_only: $metadata_only:literal) => {
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
                &self.$metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.$metadata
            }
        }
    };
}

resource!(WatchedKeyPair, KeyPair, metadata, metadata_only: false);
resource!(WatchedSecret, Secret, 0, metadata_only: true);

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use kube::{ResourceExt, runtime::watcher::Event};
    use serde_json::json;

    use super::*;
    use crate::{
        controller::{index::Index, store::CompressedStore, view::View},
        domain::region::Region,
    };

    /// What is promised of any object.
    const KEPT_BYTES: u64 = 2048;
    const OBJECTS: u64 = 12;

    /// Text that does not compress, other for each seed: a part of one long text.
    fn noise(length: usize, seed: u64) -> String {
        static TEXT: LazyLock<String> = LazyLock::new(|| {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64;
            let letters = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                char::from(b"0123456789abcdefghijklmnopqrstuv"[usize::try_from(state % 32).unwrap()])
            });
            letters.take(1_100_000).collect()
        });
        let start = usize::try_from(seed.wrapping_mul(251) % 99_991).unwrap();
        TEXT[start..start + length].to_owned()
    }

    /// As much metadata as etcd stores: labels have no bound of their own, annotations 256 KiB.
    fn metadata(seed: u64) -> Value {
        let labels: BTreeMap<String, String> =
            (0..4000).map(|n| (format!("example.com/{}{n}", noise(50, seed + n)), noise(63, seed + n))).collect();
        let annotations: BTreeMap<String, String> =
            (0..60).map(|n| (format!("keypairs.dev/{}{n}", noise(30, seed + n)), noise(4000, seed + n))).collect();
        json!({
            "name": noise(253, seed), "namespace": "shop", "uid": format!("0c9b1f8e-4f0e-4d5c-9a51-{seed:012x}"),
            "resourceVersion": "123456", "generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": labels, "annotations": annotations,
            "managedFields": [{ "manager": noise(100, seed), "fieldsV1": { "f:metadata": { noise(200_000, seed): {} } } }],
            "ownerReferences": (0..1000).map(|n| json!({
                "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "name": noise(253, n), "uid": noise(64, n),
            })).collect::<Vec<_>>(),
        })
    }

    /// KeyPairs of every shape that takes much room.
    fn specs(seed: u64) -> Vec<Value> {
        let line = include_str!("../../tests/vectors/public/rsa2048.pub").trim();
        vec![
            json!({ "publicKey": line }),
            json!({ "publicKey": line, "secret": { "template": { "stringData": { "a": noise(1_000_000, seed) } } } }),
            json!({ "publicKey": noise(65_536, seed) }),
            json!({ "profile": "OpenSSH", "keyPairName": "中".repeat(128), "clientToken": noise(64, seed) }),
            json!({ "keyPairName": noise(500_000, seed), "project": noise(500_000, seed), "clientToken": noise(500_000, seed) }),
            json!({ "tags": (0..1000).map(|n| json!({ "key": noise(500, n), "value": noise(500, n) })).collect::<Vec<_>>() }),
            json!({ "secret": { "template": { "labels": { "a": noise(1_000_000, seed) } } } }),
            json!([noise(1_000_000, seed)]),
        ]
    }

    #[test]
    fn of_the_largest_objects_no_more_is_kept_than_promised() {
        for kind in 0..specs(0).len() {
            let view = View::new(Index::with_same_keys());
            view.index.set_region("shop", Region::with_quota(1000), |_| None);
            let take_in = |seed| {
                let text = json!({ "metadata": metadata(seed), "spec": specs(seed).swap_remove(kind) }).to_string();
                let taken = allocation_counter::measure(|| {
                    let watched: WatchedKeyPair = serde_json::from_str(&text).unwrap();
                    let Ok(key_pair) = watched.into_key_pair() else { return };
                    assert_eq!((key_pair.labels().len(), key_pair.annotations().len()), (0, 0));
                    let event = Event::Apply(key_pair);
                    view.index.apply(&event);
                    view.key_pairs.apply(&event);
                });
                taken.bytes_max
            };
            // The first also makes what all share, such as regular expressions.
            let mut peak = take_in(OBJECTS);
            // What all share may be made once more beside other tests, so it is the best of three that counts.
            let mut kept = u64::MAX;
            for round in 1..=3 {
                let taken = allocation_counter::measure(|| {
                    for seed in 0..OBJECTS {
                        peak = take_in(round * 1000 + seed).max(peak);
                    }
                });
                kept = kept.min(u64::try_from(taken.bytes_current).unwrap_or_default() / OBJECTS);
                if kept <= KEPT_BYTES {
                    break;
                }
            }
            println!("kind {kind}: {kept} bytes of each are kept, {peak} at once");
            assert!(kept <= KEPT_BYTES, "kind {kind}: {kept} bytes of each are kept");
            // The spec itself, as it is read and as it is compressed.
            assert!(peak <= 12 * 1024 * 1024, "kind {kind}: {peak} bytes at once");
        }
    }

    #[test]
    fn of_the_largest_secrets_as_well() {
        let store = CompressedStore::<PartialObjectMeta<Secret>>::default();
        let mut peak = 0;
        let kept = allocation_counter::measure(|| {
            for seed in 0..OBJECTS {
                let mut metadata = metadata(seed);
                for name in ["keypair", "keypair-uid", "fingerprint", "applied", "replaces"] {
                    metadata["annotations"][format!("keypairs.dev/{name}")] = json!(noise(250, seed));
                }
                metadata["annotations"]["keypairs.dev/applied"] =
                    json!(json!({ "digest": "0123456789abcdef", "labels": [noise(200_000, seed)] }).to_string());
                let text = json!({ "metadata": metadata }).to_string();
                let taken = allocation_counter::measure(|| {
                    let watched: WatchedSecret = serde_json::from_str(&text).unwrap();
                    store.apply(&Event::Apply(watched.into()));
                });
                peak = taken.bytes_max.max(peak);
            }
        });
        let kept = u64::try_from(kept.bytes_current).unwrap_or_default() / OBJECTS;
        assert!(kept <= KEPT_BYTES, "{kept} bytes of each are kept");
        assert!(peak <= 2 * 1024 * 1024, "{peak} bytes at once");
        let mut digests = Vec::new();
        store.for_each(|secret| digests.push(secret.annotations()["keypairs.dev/applied"].clone()));
        assert_eq!(digests[0], r#"{"digest":"0123456789abcdef"}"#);
    }
}
