//! How an object is shown: whole, or its metadata alone.

use serde_json::{Value, json};

use super::{object, resource::Resource};

/// What a client wants to see of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Representation {
    Whole,
    /// As `PartialObjectMetadata`.
    Metadata,
}

const META_VERSION: &str = "meta.k8s.io/v1";

impl Representation {
    /// That which an `Accept` header asks for.
    pub fn accepted(header: &str) -> Self {
        if header.contains("as=PartialObjectMetadata") { Self::Metadata } else { Self::Whole }
    }

    /// An object by itself, or in an event.
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

    /// An object in a list: those of built-in kinds do not repeat what they are.
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
            // Lists of untyped objects say it even where it is empty.
            object::map_at(&mut metadata, &[]).map(|fields| fields.entry("continue").or_insert(json!("")));
        }
        // A list of nothing is none in Go.
        let items = if items.is_empty() && self == Self::Metadata { Value::Null } else { items.into() };
        json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items })
    }

    /// What a bookmark shows.
    pub fn bookmark(self, resource: &Resource, metadata: &Value) -> Value {
        match self {
            Self::Whole => json!({ "kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata }),
            Self::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": META_VERSION, "metadata": metadata })
            }
        }
    }
}
