//! A ConfigMap or Secret as the target of a publication.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding};
use kube::{ResourceExt, api::PartialObjectMeta};
use serde_json::{Value, json};

use super::{
    memory::DataDigest,
    targets::{TargetName, TargetVersion, owner_of, version_of},
};
use crate::{
    api::publication::PublicationResource,
    domain::{
        digest,
        publication::TargetKind,
        secret::{MANAGED_BY_LABEL, OPAQUE_TYPE, OPERATOR},
    },
};

/// The data of a target: all of it.
pub type Data = BTreeMap<String, String>;

/// The digest of data.
#[must_use]
pub fn digest(data: &Data) -> DataDigest {
    digest::of_parts(data.iter().flat_map(|(key, text)| [key.as_str(), text.as_str()]))
}

/// An object that the API server returned, and that belongs to the publication.
#[derive(Debug)]
pub struct OwnTarget {
    kind: TargetKind,
    object: Value,
    version: TargetVersion,
}

/// Why a target cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// `immutable: true`.
    Immutable,
    /// The Secret has another type.
    Type,
}

impl Obstacle {
    /// What is wrong, and what to do.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Immutable => {
                "it is immutable and the operator may not delete it; delete it, and the operator creates it again"
            }
            Self::Type => {
                "its type is not Opaque and the operator may not delete it; delete it, and the operator creates it again"
            }
        }
    }
}

impl OwnTarget {
    /// The object in a response; `None` if it does not belong to the publication with this UID.
    #[must_use]
    pub fn new(kind: TargetKind, object: Value, uid: &str) -> Option<Self> {
        let metadata = metadata(&object)?;
        (owner_of(&metadata)?.uid == uid).then(|| Self { kind, version: version_of(&metadata), object })
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> &TargetVersion {
        &self.version
    }

    /// Its version.
    #[must_use]
    pub fn into_version(self) -> TargetVersion {
        self.version
    }

    /// The keys of its data.
    pub fn data_keys(&self) -> impl Iterator<Item = &String> {
        self.object.get("data").and_then(Value::as_object).into_iter().flat_map(serde_json::Map::keys)
    }

    /// Whether it has exactly this data, and the label by which it is watched.
    #[must_use]
    pub fn is_right(&self, data: &Data) -> bool {
        let is_labelled = self.object.pointer("/metadata/labels").and_then(|labels| labels.get(MANAGED_BY_LABEL))
            == Some(&json!(OPERATOR));
        is_labelled && self.has(data)
    }

    /// Whether it has exactly this data.
    #[must_use]
    pub fn has(&self, data: &Data) -> bool {
        let entries = |field| self.object.get(field).and_then(Value::as_object).filter(|entries| !entries.is_empty());
        let found = entries("data").map_or(0, serde_json::Map::len);
        let is_same = |(key, text): (&String, &String)| {
            let found = entries("data").and_then(|entries| entries.get(key)).and_then(Value::as_str);
            found == Some(&*encoded(self.kind, text))
        };
        found == data.len() && data.iter().all(is_same) && entries("binaryData").is_none()
    }

    /// Why it cannot get other data.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        let type_ = self.object.get("type").and_then(Value::as_str);
        match self.kind {
            _ if self.object.get("immutable") == Some(&Value::Bool(true)) => Some(Obstacle::Immutable),
            TargetKind::Secret if type_.is_some_and(|type_| type_ != OPAQUE_TYPE) => Some(Obstacle::Type),
            TargetKind::Secret | TargetKind::ConfigMap => None,
        }
    }

    /// The merge patch that gives it exactly this data, and its label. Labels and annotations of others stay. UID and version are the
    /// preconditions of the write.
    #[must_use]
    pub fn patch(&self, data: &Data) -> Value {
        let mut entries = encode(self.kind, data);
        if let Some(entries) = entries.as_object_mut() {
            for key in self.data_keys().filter(|key| !data.contains_key(*key)) {
                entries.insert(key.clone(), Value::Null);
            }
        }
        let TargetVersion { uid, version } = &self.version;
        let metadata = json!({ "uid": uid, "resourceVersion": version, "labels": { MANAGED_BY_LABEL: OPERATOR } });
        match self.kind {
            TargetKind::ConfigMap => json!({ "metadata": metadata, "data": entries, "binaryData": Value::Null }),
            TargetKind::Secret => json!({ "metadata": metadata, "data": entries }),
        }
    }
}

/// The metadata of an object.
pub fn metadata(object: &Value) -> Option<PartialObjectMeta> {
    serde_json::from_value(json!({ "metadata": object.get("metadata")? })).ok()
}

/// A new target with this data.
#[must_use]
pub fn new_target<K: PublicationResource>(publication: &K, target: &TargetName, data: &Data) -> Value {
    let (kind, type_) = match target.kind {
        TargetKind::ConfigMap => ("ConfigMap", None),
        TargetKind::Secret => ("Secret", Some(OPAQUE_TYPE)),
    };
    let mut object = json!({
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": target.name,
            "namespace": publication.namespace(),
            "labels": { MANAGED_BY_LABEL: OPERATOR },
            "ownerReferences": publication.controller_owner_ref(&()).into_iter().collect::<Vec<_>>(),
        },
        "data": encode(target.kind, data),
    });
    if let (Some(object), Some(type_)) = (object.as_object_mut(), type_) {
        object.insert("type".to_owned(), json!(type_));
    }
    object
}

fn encode(kind: TargetKind, data: &Data) -> Value {
    Value::Object(data.iter().map(|(key, text)| (key.clone(), json!(encoded(kind, text)))).collect())
}

fn encoded(kind: TargetKind, text: &str) -> std::borrow::Cow<'_, str> {
    match kind {
        TargetKind::ConfigMap => text.into(),
        TargetKind::Secret => Base64::encode_string(text.as_bytes()).into(),
    }
}
