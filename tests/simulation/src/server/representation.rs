//! How an object is represented: whole, or only its metadata.

use serde_json::{Value, json};

use super::{object, resource::Resource};

/// The representation of objects that a client requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Representation {
    Whole,
    /// As `PartialObjectMetadata`.
    Metadata,
}

const META_VERSION: &str = "meta.k8s.io/v1";

impl Representation {
    /// The representation that an `Accept` header requests.
    pub fn accepted(header: &str) -> Self {
        if header.contains("as=PartialObjectMetadata") { Self::Metadata } else { Self::Whole }
    }

    /// A single object, or the object of an event.
    pub fn of(self, _: &Resource, object: &Value) -> Value {
        match self {
            Self::Whole => object.clone(),
            Self::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": META_VERSION,
                "metadata": object.get("metadata"),
            }),
        }
    }

    /// An object in a list. Objects of built-in kinds have no `apiVersion` and `kind` there.
    pub fn in_list(self, resource: &Resource, object: &Value) -> Value {
        let mut shown = self.of(resource, object);
        if self == Self::Whole
            && !resource.is_custom
            && let Some(fields) = shown.as_object_mut()
        {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        shown
    }

    /// A list.
    pub fn list(self, resource: &Resource, metadata: Value, items: Vec<Value>) -> Value {
        let (kind, version) = match self {
            Self::Whole => (format!("{}List", resource.kind), resource.api_version()),
            Self::Metadata => ("PartialObjectMetadataList".to_owned(), META_VERSION.to_owned()),
        };
        let mut metadata = metadata;
        if resource.is_custom && self == Self::Whole {
            // Lists of untyped objects include an empty `continue`.
            object::map_at(&mut metadata, &[]).map(|fields| fields.entry("continue").or_insert(json!("")));
        }
        // Go encodes a nil slice as null.
        let items = if items.is_empty() && self == Self::Metadata { Value::Null } else { items.into() };
        json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items })
    }

    /// The object of a bookmark.
    pub fn bookmark(self, resource: &Resource, metadata: &Value) -> Value {
        match self {
            Self::Whole => json!({ "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata }),
            Self::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": META_VERSION, "metadata": metadata })
            }
        }
    }
}
