//! The stored form of one object.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Secret;
use kube::{Resource, ResourceExt, api::PartialObjectMeta};
use lz4_flex::block::{compress_prepend_size_with_dict, decompress_size_prepended_with_dict};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::rotation::Rotation;
use crate::{
    api::{ClaimRequest, KeyPair, publication::PublicationResource},
    cache::{index::Claimant, watched::WatchedKeyPair},
};

/// The memory limit of a stored `KeyPair` in bytes, including the copies of its name. Usual ones, with keys up to RSA-4096, need less. Of a
/// larger one only a summary is stored, and it is read from the API server when it is reconciled.
const MAX_BYTES: usize = 1200;
/// The number of further copies of each name.
const NAME_COPIES: usize = 2;

/// JSON that most objects of a kind share, as a dictionary for the compression.
const KEY_PAIR_DICTIONARY: &str = include_str!("key_pair.json");
const SECRET_DICTIONARY: &str = include_str!("secret.json");
const PUBLICATION_DICTIONARY: &str = include_str!("publication.json");

/// A kind of objects that can be stored.
pub trait Stored: Resource<DynamicType = ()> {
    /// What the store returns for an object.
    type Restored;

    /// The stored form of the object, without its name and namespace.
    fn entry(&self) -> Option<Entry>;

    /// Restores an object with this name from its [`Self::entry`].
    fn restore(entry: &Entry, namespace: &str, name: &str) -> Option<Self::Restored>;
}

/// An object as compressed JSON.
#[derive(Debug)]
pub struct Entry {
    /// The hash of its UID, which distinguishes objects of the same name.
    uid: u64,
    json: Box<[u8]>,
    rotation: Option<Rotation>,
    is_summary: bool,
}

impl Entry {
    fn new(object: &impl Resource, is_summary: bool, json: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        object.meta().uid.hash(&mut hasher);
        Self { uid: hasher.finish(), json: json.into(), rotation: None, is_summary }
    }

    fn with_rotation_of(self, key_pair: &KeyPair) -> Self {
        Self { rotation: Rotation::of(key_pair), ..self }
    }

    /// The rotation of the `KeyPair`, if it is rotated.
    pub fn rotation(&self) -> Option<Rotation> {
        self.rotation
    }

    /// Whether it is only a summary.
    pub fn is_summary(&self) -> bool {
        self.is_summary
    }

    /// Whether both are the same object, in any version.
    pub fn is_same_object(&self, other: &Self) -> bool {
        self.uid == other.uid
    }
}

fn compress(object: &impl Serialize, dictionary: &str) -> Option<Vec<u8>> {
    Some(compress_prepend_size_with_dict(&serde_json::to_vec(object).ok()?, dictionary.as_bytes()))
}

fn decompress<T: DeserializeOwned>(json: &[u8], dictionary: &str) -> Option<T> {
    serde_json::from_slice(&decompress_size_prepended_with_dict(json, dictionary.as_bytes()).ok()?).ok()
}

/// The object without name and namespace, which are the keys of the store.
fn without_name<K: Resource + Clone>(object: &K) -> K {
    let mut object = object.clone();
    (object.meta_mut().name, object.meta_mut().namespace) = (None, None);
    object
}

fn with_name<K: Resource>(mut object: K, namespace: &str, name: &str) -> K {
    object.meta_mut().name = Some(name.to_owned());
    object.meta_mut().namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    object
}

/// A stored `KeyPair`.
#[derive(Debug, Clone)]
pub enum KeyPairEntry {
    /// The object, without metadata that the operator does not use.
    Whole(Arc<KeyPair>),
    /// It is too large to be stored.
    Summary(Box<Summary>),
    /// It does not match the schema of this version.
    Undecoded(Box<Summary>),
}

/// The summary of a `KeyPair` that is not stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    claim: ClaimRequest,
    generation: Option<i64>,
    is_being_deleted: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_undecoded: bool,
}

impl Summary {
    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.claim.uid()
    }

    /// The last watched `metadata.resourceVersion`.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.claim.version()
    }
}

impl KeyPairEntry {
    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        match self {
            Self::Whole(key_pair) => key_pair.metadata.uid.as_deref().unwrap_or_default(),
            Self::Summary(summary) | Self::Undecoded(summary) => summary.uid(),
        }
    }

    /// The request of the `KeyPair` to the ledger of its namespace.
    #[must_use]
    pub fn claim_request(&self) -> ClaimRequest {
        match self {
            Self::Whole(key_pair) => ClaimRequest::of(key_pair),
            Self::Summary(summary) | Self::Undecoded(summary) => summary.claim.clone(),
        }
    }

    /// Whether `key_pair` is the same object, with the same spec and the same deletion state.
    #[must_use]
    pub fn has_spec_of(&self, key_pair: &KeyPair) -> bool {
        let state = |key_pair: &KeyPair| (key_pair.metadata.generation, key_pair.metadata.deletion_timestamp.is_some());
        let stored = match self {
            Self::Whole(stored) => state(stored),
            Self::Summary(stored) | Self::Undecoded(stored) => (stored.generation, stored.is_being_deleted),
        };
        Some(self.uid()) == key_pair.metadata.uid.as_deref() && stored == state(key_pair)
    }
}

impl Stored for KeyPair {
    type Restored = KeyPairEntry;

    fn entry(&self) -> Option<Entry> {
        let whole = compress(&without_name(self), KEY_PAIR_DICTIONARY)?;
        if whole.len() + NAME_COPIES * self.name_any().len() <= MAX_BYTES {
            return Some(Entry::new(self, false, whole).with_rotation_of(self));
        }
        Some(summary_entry(self, ClaimRequest::of(self), false)?.with_rotation_of(self))
    }

    fn restore(entry: &Entry, namespace: &str, name: &str) -> Option<KeyPairEntry> {
        if entry.is_summary {
            let summary: Box<Summary> = decompress(&entry.json, KEY_PAIR_DICTIONARY)?;
            Some(if summary.is_undecoded { KeyPairEntry::Undecoded(summary) } else { KeyPairEntry::Summary(summary) })
        } else {
            let key_pair = with_name(decompress(&entry.json, KEY_PAIR_DICTIONARY)?, namespace, name);
            Some(KeyPairEntry::Whole(Arc::new(key_pair)))
        }
    }
}

impl Stored for WatchedKeyPair {
    type Restored = KeyPairEntry;

    fn entry(&self) -> Option<Entry> {
        match self.decoded() {
            Some(key_pair) => key_pair.entry(),
            None => summary_entry(self, self.claim_request(), true),
        }
    }

    fn restore(entry: &Entry, namespace: &str, name: &str) -> Option<KeyPairEntry> {
        KeyPair::restore(entry, namespace, name)
    }
}

/// The entry of a `KeyPair` of which only a summary is stored.
fn summary_entry(key_pair: &impl Resource, claim: ClaimRequest, is_undecoded: bool) -> Option<Entry> {
    let metadata = key_pair.meta();
    let is_being_deleted = metadata.deletion_timestamp.is_some();
    let summary = Summary { claim, generation: metadata.generation, is_being_deleted, is_undecoded };
    Some(Entry::new(key_pair, true, compress(&summary, KEY_PAIR_DICTIONARY)?))
}

impl Stored for PartialObjectMeta<Secret> {
    type Restored = Self;

    /// Its size is bounded: [`WatchedSecret`](crate::cache::watched::WatchedSecret) decodes only bounded fields.
    fn entry(&self) -> Option<Entry> {
        Some(Entry::new(self, false, compress(&without_name(self), SECRET_DICTIONARY)?))
    }

    fn restore(entry: &Entry, namespace: &str, name: &str) -> Option<Self> {
        Some(with_name(decompress(&entry.json, SECRET_DICTIONARY)?, namespace, name))
    }
}

impl<K: PublicationResource> Stored for K {
    type Restored = Arc<K>;

    fn entry(&self) -> Option<Entry> {
        Some(Entry::new(self, false, compress(&without_name(self), PUBLICATION_DICTIONARY)?))
    }

    fn restore(entry: &Entry, namespace: &str, name: &str) -> Option<Arc<K>> {
        Some(Arc::new(with_name(decompress(&entry.json, PUBLICATION_DICTIONARY)?, namespace, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::{KeyPairSpec, KeyPairStatus},
        domain::region::Region,
    };

    fn import(line: &str) -> KeyPair {
        let mut import = KeyPair::new("backend-4711", KeyPairSpec::default());
        import.metadata.namespace = Some("shop".to_owned());
        import.metadata.uid = Some("0c9b1f8e-4f0e-4d5c-9a51-6b3c7c2f8d01".to_owned());
        import.metadata.resource_version = Some("1000042".to_owned());
        import.metadata.generation = Some(1);
        import.spec.public_key = Some(line.to_owned());
        import.status = Some(KeyPairStatus {
            key_pair_id: Some("kp-4b6vhq2n5c1x7z9d0m3k".to_owned()),
            key_pair_name: Some("backend-4711".to_owned()),
            public_key: Some(line.to_owned()),
            ..KeyPairStatus::default()
        });
        import
    }

    #[test]
    fn an_import_needs_little_more_memory_than_its_key() {
        let line = include_str!("../../../tests/vectors/public/rsa2048.pub").trim();
        let import = import(line);
        let entry = import.entry().unwrap();
        assert!(entry.json.len() < line.len() + 200, "{} bytes", entry.json.len());
        let Some(KeyPairEntry::Whole(kept)) = KeyPair::restore(&entry, "shop", "backend-4711") else {
            panic!("it is stored whole")
        };
        assert_eq!(*kept, import);
    }

    /// Each byte of an entry is needed once for each `KeyPair` of the cluster.
    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 40);
    }

    #[test]
    fn a_summarized_key_pair_makes_the_same_claim() {
        let line = include_str!("../../../tests/vectors/public/rsa2048.pub").trim();
        let mut large = import(line);
        large.metadata.name = Some("n".repeat(253));
        // Text that does not compress.
        let noise: String =
            (0_u32..60_000).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 26)).collect();
        large.spec.secret =
            serde_json::from_value(serde_json::json!({ "template": { "stringData": { "a": noise } } })).ok();
        for accepted in [false, true] {
            large.status = import(line).status.filter(|_| accepted);
            let entry = large.entry().unwrap();
            assert!(entry.json.len() < 512, "{} bytes", entry.json.len());
            let kept = KeyPair::restore(&entry, "shop", &large.name_any()).unwrap();
            assert!(matches!(kept, KeyPairEntry::Summary(_)));
            assert!(kept.has_spec_of(&large));
            let mut edited = large.clone();
            edited.metadata.generation = Some(2);
            assert!(!kept.has_spec_of(&edited));
            let region = Region::with_quota(1);
            assert_eq!(kept.claim_request().claim(&region), ClaimRequest::of(&large).claim(&region));
        }
    }
}
