//! The rules of built-in kinds, as far as the operator depends on them.

use std::sync::LazyLock;

use base64ct::{Base64, Encoding as _};
use k8s_openapi::api::{
    admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
    coordination::v1::Lease,
    core::v1::{ConfigMap, Namespace, Secret},
    events::v1::Event,
};
use regex::Regex;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    failure::{Failure, Mistake},
    metadata::{is_empty, key_mistakes, unreadable},
    object,
    resource::Resource,
};

const MAX_DATA: usize = 1024 * 1024;
static DATA_KEY: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("^[-._a-zA-Z0-9]+$").ok());

/// Reads an object as its Go type does, which drops unknown and empty fields.
pub(super) fn normalize(resource: &Resource, written: &mut Value) -> Result<(), Failure> {
    match resource.plural {
        "secrets" => typed::<Secret>(written)?,
        "configmaps" => {
            // Go decodes a null as an empty string.
            let data = written.get_mut("data").and_then(Value::as_object_mut).into_iter().flatten();
            data.filter(|(_, value)| value.is_null()).for_each(|(_, value)| *value = json!(""));
            typed::<ConfigMap>(written)?;
        }
        "namespaces" => typed::<Namespace>(written)?,
        "leases" => typed::<Lease>(written)?,
        "events" => typed::<Event>(written)?,
        "mutatingwebhookconfigurations" => typed::<MutatingWebhookConfiguration>(written)?,
        "validatingwebhookconfigurations" => typed::<ValidatingWebhookConfiguration>(written)?,
        _ => {}
    }
    Ok(())
}

fn typed<K: Serialize + DeserializeOwned>(written: &mut Value) -> Result<(), Failure> {
    let read: K = serde_json::from_value(written.take()).map_err(|error| unreadable("the object", &error))?;
    *written = serde_json::to_value(read).map_err(|error| unreadable("the object", &error))?;
    Ok(())
}

/// Fills in defaults.
pub(super) fn complete(resource: &Resource, before: Option<&Value>, written: &mut Value) {
    match resource.plural {
        "secrets" => {
            for (key, text) in take_map(written, "stringData") {
                let encoded = Base64::encode_string(text.as_str().unwrap_or_default().as_bytes());
                object::set_entry(written, &["data"], &key, json!(encoded));
            }
            if object::text(written, "/type").is_empty() {
                object::set_entry(written, &[], "type", json!("Opaque"));
            }
        }
        "namespaces" => {
            let name = object::name(written).to_owned();
            object::set_entry(written, &["metadata", "labels"], "kubernetes.io/metadata.name", json!(name));
            let kept = |pointer: &str, default: Value| {
                before.and_then(|before| before.pointer(pointer)).cloned().unwrap_or(default)
            };
            let (spec, status) =
                (kept("/spec", json!({ "finalizers": ["kubernetes"] })), kept("/status", json!({ "phase": "Active" })));
            object::set_entry(written, &[], "spec", spec);
            object::set_entry(written, &[], "status", status);
        }
        "leases" if written.get("spec").is_none() => object::set_entry(written, &[], "spec", json!({})),
        _ => {}
    }
    if let Some(fields) = written.as_object_mut() {
        fields.retain(|field, value| field == "spec" || !is_empty(value));
        if resource.plural == "events" {
            // The fields of the deprecated Event type are shown, too.
            fields.entry("deprecatedSource").or_insert(json!({}));
            fields.entry("deprecatedFirstTimestamp").or_insert(Value::Null);
            fields.entry("deprecatedLastTimestamp").or_insert(Value::Null);
        }
    }
}

fn take_map(written: &mut Value, field: &str) -> serde_json::Map<String, Value> {
    match written.as_object_mut().and_then(|fields| fields.remove(field)) {
        Some(Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}

/// The validation errors of an object.
pub(super) fn mistakes(resource: &Resource, before: Option<&Value>, after: &Value) -> Vec<Mistake> {
    match resource.plural {
        "secrets" => {
            let mut found = before.map(|before| secret_changes(before, after)).unwrap_or_default();
            found.extend(secret_mistakes(after));
            found
        }
        "configmaps" => {
            let changes = before.map(|before| immutable_changes(before, after, &["data", "binaryData"]));
            let mut found = changes.unwrap_or_default();
            found.extend(config_map_mistakes(after));
            found
        }
        "leases" => lease_mistakes(after),
        "events" if before.is_none() => event_mistakes(after),
        _ => Vec::new(),
    }
}

/// The validation errors of the entries of a Secret or ConfigMap. `is_encoded`: the values are base64.
fn entry_mistakes(object: &Value, field: &str, is_encoded: bool) -> (Vec<Mistake>, usize) {
    const WORDS: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let mut found = Vec::new();
    let mut size = 0;
    for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
        let mistake = |words: &str| Mistake::invalid(format!("{field}[{key}]"), &json!(key), words);
        if key.len() > 253 {
            found.push(mistake("must be no more than 253 characters"));
        }
        if !DATA_KEY.as_ref().is_some_and(|pattern| pattern.is_match(key)) {
            found.push(mistake(WORDS));
        } else if key == "." || key == ".." {
            found.push(mistake(&format!("must not be '{key}'")));
        } else if key.starts_with("..") {
            found.push(mistake("must not start with '..'"));
        }
        let text = value.as_str().unwrap_or_default();
        size += if is_encoded { text.trim_end_matches('=').len() * 3 / 4 } else { text.len() };
    }
    (found, size)
}

fn too_long(field: &str) -> Mistake {
    let words = format!("Too long: may not be more than {MAX_DATA} bytes");
    Mistake { reason: "FieldValueTooLong", field: field.to_owned(), words }
}

fn config_map_mistakes(config_map: &Value) -> Vec<Mistake> {
    let (mut found, size) = entry_mistakes(config_map, "data", false);
    let (of_bytes, size_of_bytes) = entry_mistakes(config_map, "binaryData", true);
    found.extend(of_bytes);
    let entries = |field: &str| config_map.get(field).and_then(Value::as_object).into_iter().flatten();
    for (key, _) in entries("data").filter(|(key, _)| entries("binaryData").any(|(other, _)| other == *key)) {
        found.push(Mistake::invalid(format!("data[{key}]"), &json!(key), "duplicate of key present in binaryData"));
    }
    if size + size_of_bytes > MAX_DATA {
        found.push(too_long("[]"));
    }
    found
}

/// The validation errors of a change of an object with `immutable`.
fn immutable_changes(before: &Value, after: &Value, fields: &[&str]) -> Vec<Mistake> {
    const IMMUTABLE: &str = "field is immutable when `immutable` is set";
    let mut found = Vec::new();
    if before.get("immutable") == Some(&Value::Bool(true)) {
        if after.get("immutable") != Some(&Value::Bool(true)) {
            found.push(Mistake::forbidden("immutable", IMMUTABLE));
        }
        let changed = fields.iter().filter(|field| before.get(field) != after.get(field));
        found.extend(changed.map(|field| Mistake::forbidden(*field, IMMUTABLE)));
    }
    found
}

fn secret_mistakes(secret: &Value) -> Vec<Mistake> {
    let (mut found, size) = entry_mistakes(secret, "data", true);
    if size > MAX_DATA {
        found.push(too_long("data"));
    }
    let is_there =
        |key: &str| secret.get("data").is_some_and(|data| !object::text(data, &format!("/{key}")).is_empty());
    let has = |key: &str| secret.get("data").and_then(|data| data.get(key)).is_some();
    let required = |key: &str| Mistake::required(format!("data[{key}]"), "");
    match object::text(secret, "/type") {
        "kubernetes.io/ssh-auth" if !is_there("ssh-privatekey") => found.push(required("ssh-privatekey")),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            found.extend([required("username"), required("password")]);
        }
        "kubernetes.io/tls" => {
            found.extend(["tls.crt", "tls.key"].into_iter().filter(|key| !has(key)).map(required));
        }
        "kubernetes.io/dockerconfigjson" if !is_there(".dockerconfigjson") => found.push(required(".dockerconfigjson")),
        "kubernetes.io/service-account-token"
            if object::text(secret, "/metadata/annotations/kubernetes.io~1service-account.name").is_empty() =>
        {
            found.push(Mistake::required("metadata.annotations[kubernetes.io/service-account.name]", ""));
        }
        _ => {}
    }
    found
}

fn secret_changes(before: &Value, after: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    if before.get("type") != after.get("type") {
        found.push(Mistake::invalid("type", after.get("type").unwrap_or(&Value::Null), "field is immutable"));
    }
    found.extend(immutable_changes(before, after, &["data"]));
    found
}

fn lease_mistakes(lease: &Value) -> Vec<Mistake> {
    let number = |field: &str| lease.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
    let mut found = Vec::new();
    if let Some(seconds) = number("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        found.push(Mistake::invalid("spec.leaseDurationSeconds", &json!(seconds), "must be greater than 0"));
    }
    if let Some(count) = number("leaseTransitions").filter(|count| *count < 0) {
        found.push(Mistake::invalid("spec.leaseTransitions", &json!(count), "must be greater than or equal to 0"));
    }
    found
}

fn event_mistakes(event: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    if event.get("eventTime").is_none_or(Value::is_null) {
        found.push(Mistake::required("eventTime", ""));
    }
    let controller = object::text(event, "/reportingController");
    found.extend(key_mistakes("reportingController", controller));
    for field in ["reportingController", "reportingInstance", "action", "reason"] {
        if object::text(event, &format!("/{field}")).is_empty() {
            found.push(Mistake::required(field, ""));
        }
    }
    let kind = object::text(event, "/type");
    if kind != "Normal" && kind != "Warning" {
        found.push(Mistake::invalid("type", &json!(""), &format!("has invalid value: {kind}")));
    }
    found
}
