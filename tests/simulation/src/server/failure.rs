//! Error responses, with the messages of Kubernetes.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::resource::{RESOURCES, Resource};

/// A `Status` that describes a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The HTTP status code.
    pub code: u16,
    /// `reason` of the `Status`.
    pub reason: &'static str,
    /// `message` of the `Status`.
    pub message: String,
    details: Map<String, Value>,
    causes: Vec<Value>,
}

impl Failure {
    /// A failure without details.
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Map::new(), causes: Vec::new() }
    }

    /// Adds the object to the details: the plural or the kind, whichever this response has, the group and the name.
    #[must_use]
    pub fn about(mut self, kind: &str, group: &str, name: &str) -> Self {
        for (key, value) in [("kind", kind), ("group", group), ("name", name)] {
            if !value.is_empty() {
                self.details.insert(key.to_owned(), json!(value));
            }
        }
        self
    }

    /// Adds a UID to the details.
    #[must_use]
    pub fn with_uid(mut self, uid: &str) -> Self {
        self.details.insert("uid".to_owned(), json!(uid));
        self
    }

    /// Adds a hint when to retry, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.insert("retryAfterSeconds".to_owned(), json!(seconds));
        self
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, reason: &str, message: &str, field: &str) -> Self {
        let mut cause = Map::new();
        for (key, value) in [("reason", reason), ("message", message), ("field", field)] {
            if !value.is_empty() {
                cause.insert(key.to_owned(), json!(value));
            }
        }
        self.causes.push(cause.into());
        self
    }

    /// The object does not exist.
    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", resource.qualified())).about(
            resource.plural,
            resource.group,
            name,
        )
    }

    /// The server does not serve this URL.
    pub(super) fn no_page() -> Self {
        Self::new(404, "", "404 page not found\n")
    }

    /// The body of the response.
    #[must_use]
    pub fn body(&self) -> Bytes {
        if *self == Self::no_page() { self.message.clone().into() } else { self.to_value().to_string().into() }
    }

    /// The object already exists.
    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", resource.qualified())).about(
            resource.plural,
            resource.group,
            name,
        )
    }

    /// A write that conflicts with the stored object.
    pub(super) fn conflict(resource: &Resource, name: &str, words: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {words}", resource.qualified());
        Self::new(409, "Conflict", message).about(resource.plural, resource.group, name)
    }

    /// A write that is based on an old version.
    pub(super) fn modified(resource: &Resource, name: &str) -> Self {
        const WORDS: &str =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, WORDS)
    }

    /// A request that is not allowed.
    pub(super) fn forbidden(resource: &Resource, name: &str, words: &str) -> Self {
        let named = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        Self::new(403, "Forbidden", format!("{}{named} is forbidden: {words}", resource.qualified())).about(
            resource.plural,
            resource.group,
            name,
        )
    }

    /// A malformed request.
    pub(super) fn bad_request(words: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", words)
    }

    /// An object that violates validation rules.
    pub(super) fn invalid(resource: &Resource, name: &str, mistakes: &[Mistake]) -> Self {
        let texts: Vec<String> =
            mistakes.iter().map(|mistake| format!("{}: {}", mistake.field, mistake.words)).collect();
        let listed = match &texts[..] {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        // For Events, the error names a type that has no group.
        let group = if resource.plural == "events" { "" } else { resource.group };
        let kind = if group.is_empty() { resource.kind.to_owned() } else { resource.qualified_kind() };
        let message = format!("{kind} \"{name}\" is invalid: {listed}");
        let failure = Self::new(422, "Invalid", message).about(resource.kind, group, name);
        mistakes.iter().fold(failure, |failure, mistake| failure.cause(mistake.reason, &mistake.words, &mistake.field))
    }

    /// Options of a list or a watch that contradict each other.
    pub(super) fn invalid_options(mistakes: &[Mistake]) -> Self {
        let options = Resource { kind: "ListOptions", group: "meta.k8s.io", ..RESOURCES[0] };
        Self::invalid(&options, "", mistakes)
    }

    /// A required resource version is missing. This error has the plural in place of the kind.
    pub(super) fn unversioned(resource: &Resource, name: &str) -> Self {
        let mistake = Mistake::invalid("metadata.resourceVersion", &json!(0), "must be specified for an update");
        let plural = Resource { kind: resource.plural, ..*resource };
        Self::invalid(&plural, name, &[mistake])
    }

    /// A UID that is not that of the object.
    pub(super) fn other_uid(resource: &Resource, namespace: &str, name: &str, wanted: &str, now: &str) -> Self {
        let place = match (resource.is_custom, resource.is_namespaced) {
            (true, _) => format!("{}/{}/{namespace}/", resource.group, resource.plural),
            (false, true) => format!("{}/{namespace}/", resource.plural),
            (false, false) => format!("{}/", resource.plural),
        };
        let words = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{place}{name}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {now}"
        );
        Self::conflict(resource, name, &words)
    }

    /// The `Status` object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if let (false, Some(status)) = (self.reason.is_empty(), status.as_object_mut()) {
            status.insert("reason".to_owned(), json!(self.reason));
        }
        let mut details = self.details.clone();
        if !self.causes.is_empty() {
            details.insert("causes".to_owned(), self.causes.clone().into());
        }
        if let (false, Some(status)) = (details.is_empty(), status.as_object_mut()) {
            status.insert("details".to_owned(), details.into());
        }
        status
    }
}

/// A violated validation rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// Such as `FieldValueInvalid`.
    pub reason: &'static str,
    /// The path of the field.
    pub field: String,
    /// The error message.
    pub words: String,
}

impl Mistake {
    /// A value that is not allowed.
    pub(super) fn invalid(field: impl Into<String>, value: &Value, words: &str) -> Self {
        Self { reason: "FieldValueInvalid", field: field.into(), words: format!("Invalid value: {value}: {words}") }
    }

    /// The same error, with the paths in its message relative to this field.
    pub(super) fn within(self, field: &str) -> Self {
        let words = self.words.replace(&format!("{field}."), "").replace(&format!("{field} in body"), " in body");
        Self { words, ..self }
    }

    /// A required value that is missing.
    pub(super) fn required(field: impl Into<String>, words: &str) -> Self {
        let words = if words.is_empty() { "Required value".to_owned() } else { format!("Required value: {words}") };
        Self { reason: "FieldValueRequired", field: field.into(), words }
    }

    /// A value, or a change, that is forbidden.
    pub(super) fn forbidden(field: impl Into<String>, words: &str) -> Self {
        Self { reason: "FieldValueForbidden", field: field.into(), words: format!("Forbidden: {words}") }
    }
}
