//! The request that a user sends for a step. It is the same for the simulated API server and a real one.

use serde_json::{Value, json};

use super::Verb;
use crate::{keys::with_keys, server::Resource};

/// A request of a user.
#[derive(Debug, Clone, PartialEq)]
pub struct UserRequest {
    /// The HTTP method.
    pub method: &'static str,
    /// The path.
    pub path: String,
    /// The content type of the body.
    pub content_type: &'static str,
    /// An object, or a patch, with the private keys of users filled in.
    pub body: Option<Value>,
}

impl UserRequest {
    /// A GET of one object.
    #[must_use]
    pub fn read(resource: &str, namespace: &str, name: &str) -> Self {
        Self { method: "GET", body: None, ..Self::new(Verb::Delete, resource, namespace, name, &Value::Null) }
    }

    /// The request of a step.
    #[must_use]
    pub fn new(verb: Verb, resource: &str, namespace: &str, name: &str, body: &Value) -> Self {
        let all = match resource {
            "namespaces" => "/api/v1/namespaces".to_owned(),
            "secrets" | "configmaps" => format!("/api/v1/namespaces/{namespace}/{resource}"),
            _ => format!("/apis/keypairs.dev/v1alpha1/namespaces/{namespace}/{resource}"),
        };
        let mut body = body.clone();
        with_keys(&mut body);
        let one = format!("{all}/{name}");
        let json = "application/json";
        match verb {
            Verb::Create => {
                let mut object = body.as_object().cloned().unwrap_or_default();
                let metadata = object.entry("metadata").or_insert_with(|| json!({}));
                if let Some(metadata) = metadata.as_object_mut() {
                    metadata.insert("name".to_owned(), json!(name));
                }
                if let Some(kind) = Resource::named(resource) {
                    object.insert("apiVersion".to_owned(), json!(kind.api_version()));
                    object.insert("kind".to_owned(), json!(kind.kind));
                }
                Self { method: "POST", path: all, content_type: json, body: Some(Value::Object(object)) }
            }
            Verb::Patch => {
                Self { method: "PATCH", path: one, content_type: "application/merge-patch+json", body: Some(body) }
            }
            Verb::Delete => Self { method: "DELETE", path: one, content_type: json, body: None },
        }
    }
}
