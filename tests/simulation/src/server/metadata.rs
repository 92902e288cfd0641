//! The rules for metadata, which apply to every kind of object.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use regex::Regex;
use serde_json::{Value, json};

use super::{
    failure::{Failure, Mistake},
    object,
    resource::Resource,
};

const LABEL_NAME: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
/// The maximum size of all annotations together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// A pattern that must match the whole text. All callers pass constants.
fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{pattern})$")).ok()
}

static NAME_PART: LazyLock<Option<Regex>> = LazyLock::new(|| whole(LABEL_NAME));
static VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| whole(LABEL_VALUE));
static PREFIX: LazyLock<Option<Regex>> = LazyLock::new(|| whole(SUBDOMAIN));
static LABEL: LazyLock<Option<Regex>> = LazyLock::new(|| whole(DNS_LABEL));

fn fits(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

/// Reads metadata as the Go type does, which drops unknown and empty fields.
pub(super) fn normalize(written: &mut Value) -> Result<(), Failure> {
    let metadata = written.get("metadata").cloned().unwrap_or(Value::Null);
    let metadata = if metadata.is_null() { json!({}) } else { metadata };
    let mut metadata = metadata;
    for map in ["labels", "annotations"] {
        // Go decodes a null as an empty string.
        for value in metadata.get_mut(map).and_then(Value::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
            if value.is_null() {
                *value = json!("");
            }
        }
    }
    let read: ObjectMeta = serde_json::from_value(metadata).map_err(|error| unreadable("metadata", &error))?;
    let mut metadata = serde_json::to_value(read).map_err(|error| unreadable("metadata", &error))?;
    if let Some(fields) = metadata.as_object_mut() {
        // Managed fields are not simulated.
        fields.remove("managedFields");
        fields.remove("selfLink");
        fields.retain(|_, value| !is_empty(value));
    }
    object::set_entry(written, &[], "metadata", metadata);
    Ok(())
}

/// Whether Go omits this value in JSON.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

pub(super) fn unreadable(what: &str, error: &serde_json::Error) -> Failure {
    Failure::bad_request(format!("cannot read {what}: {error}"))
}

/// Whether a key is valid for a label.
pub(super) fn is_label_key(key: &str) -> bool {
    key_mistakes("", key).is_empty()
}

/// Whether a value is valid for a label.
pub(super) fn is_label_value(value: &str) -> bool {
    value_mistakes(value).is_empty()
}

/// The validation errors of an object's metadata.
pub(super) fn mistakes(resource: &Resource, object: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    let name = object::name(object);
    found.extend(
        name_mistakes(resource, name).into_iter().map(|words| Mistake::invalid("metadata.name", &json!(name), &words)),
    );
    let map =
        |field: &str| object.pointer(&format!("/metadata/{field}")).and_then(Value::as_object).into_iter().flatten();
    for (key, value) in map("labels") {
        found.extend(key_mistakes("metadata.labels", key));
        found.extend(value_mistakes(value.as_str().unwrap_or_default()));
    }
    let mut size = 0;
    for (key, value) in map("annotations") {
        // Annotation keys may have uppercase letters.
        found.extend(key_mistakes("metadata.annotations", &key.to_lowercase()).into_iter().map(|mistake| {
            let words = mistake.words.replace(&json!(key.to_lowercase()).to_string(), &json!(key).to_string());
            Mistake { words, ..mistake }
        }));
        size += key.len() + value.as_str().unwrap_or_default().len();
    }
    if size > MAX_ANNOTATIONS {
        found.push(Mistake {
            reason: "FieldValueTooLong",
            field: "metadata.annotations".to_owned(),
            words: format!("Too long: may not be more than {MAX_ANNOTATIONS} bytes"),
        });
    }
    found.extend(owner_mistakes(object));
    for (index, finalizer) in object::finalizers(object).enumerate() {
        found.extend(key_mistakes("metadata.finalizers", finalizer));
        // Custom resources may have any finalizer.
        let is_standard = ["kubernetes", "foregroundDeletion", "orphan"].contains(&finalizer);
        if !resource.is_custom && !is_standard && !finalizer.contains('/') {
            let words = "name is neither a standard finalizer name nor is it fully qualified";
            found.push(Mistake::invalid(format!("metadata.finalizers[{index}]"), &json!(finalizer), words));
        }
    }
    found
}

fn name_mistakes(resource: &Resource, name: &str) -> Vec<String> {
    let (max, pattern, words) = if resource.plural == "namespaces" {
        let words = format!(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{DNS_LABEL}')"
        );
        (63, &LABEL, words)
    } else {
        let words = format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
        );
        (253, &PREFIX, words)
    };
    let mut found = Vec::new();
    if name.len() > max {
        found.push(format!("must be no more than {max} bytes"));
    }
    if resource.plural == "namespaces" && name.contains('.') {
        found.push("must not contain dots".to_owned());
    } else if !fits(pattern, name) {
        found.push(words);
    }
    found
}

pub(super) fn key_mistakes(field: &str, key: &str) -> Vec<Mistake> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let mistake = |words: &str| Mistake::invalid(field, &json!(key), words);
    let mut found = Vec::new();
    if key.matches('/').count() > 1 {
        return vec![mistake(&format!(
            "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{LABEL_NAME}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ))];
    }
    if prefix.is_some_and(str::is_empty) {
        found.push(mistake("prefix part must be non-empty"));
    } else if prefix.is_some_and(|prefix| !fits(&PREFIX, prefix)) {
        found.push(mistake(&format!(
            "prefix part a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{SUBDOMAIN}')"
        )));
    }
    if name.is_empty() {
        found.push(mistake("name part must be non-empty"));
    } else if name.len() > 63 {
        found.push(mistake("name part must be no more than 63 bytes"));
    }
    if !fits(&NAME_PART, name) {
        found.push(mistake(&format!(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{LABEL_NAME}')"
        )));
    }
    found
}

fn value_mistakes(value: &str) -> Vec<Mistake> {
    let mut found = Vec::new();
    let mistake = |words: &str| Mistake::invalid("metadata.labels", &json!(value), words);
    if value.len() > 63 {
        found.push(mistake("must be no more than 63 bytes"));
    }
    if !fits(&VALUE, value) {
        found.push(mistake(&format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '{LABEL_VALUE}')"
        )));
    }
    found
}

/// An owner reference, with its fields in the order of the Go type.
fn owner_text(owner: &Value) -> String {
    let fields = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let fields = fields.iter().filter_map(|field| Some(format!("\"{field}\":{}", owner.get(*field)?)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn owner_mistakes(object: &Value) -> Vec<Mistake> {
    const FIELD: &str = "metadata.ownerReferences";
    let mistake = |field: String, value: &str, words: &str| Mistake {
        reason: "FieldValueInvalid",
        field,
        words: format!("Invalid value: {value}: {words}"),
    };
    let mut found = Vec::new();
    let owners = object::list(object, "/metadata/ownerReferences");
    for (index, owner) in owners.iter().enumerate() {
        let empty =
            ["apiVersion", "kind", "name", "uid"].into_iter().filter(|part| owner.get(part).is_none_or(is_empty));
        found.extend(empty.map(|part| Mistake::required(format!("{FIELD}[{index}].{part}"), "must not be empty")));
        if object::text(owner, "/kind") == "Event" && object::text(owner, "/apiVersion") == "v1" {
            let words = "/v1, Kind=Event is disallowed from being an owner";
            found.push(mistake(format!("{FIELD}[{index}]"), &owner_text(owner), words));
        }
    }
    let mut controllers = owners
        .iter()
        .filter(|owner| owner.get("controller") == Some(&Value::Bool(true)))
        .map(|owner| format!("{}/{}", object::text(owner, "/kind"), object::text(owner, "/name")));
    if let (Some(first), Some(second)) = (controllers.next(), controllers.next()) {
        let all: Vec<String> = owners.iter().map(owner_text).collect();
        let words = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        found.push(mistake(FIELD.to_owned(), &format!("[{}]", all.join(",")), &words));
    }
    found
}

/// Keeps the metadata that a write cannot change.
pub(super) fn keep(before: &Value, written: &mut Value) {
    for field in
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName", "generation"]
    {
        let old = before.pointer(&format!("/metadata/{field}"));
        match old {
            Some(value) => object::set_metadata(written, field, value.clone()),
            None if field != "generateName" => object::remove_entry(written, &["metadata"], field),
            None => {}
        }
    }
}

/// The validation errors of a change of metadata.
pub(super) fn change_mistakes(before: &Value, after: &Value) -> Vec<Mistake> {
    let new: Vec<&str> = object::finalizers(after)
        .filter(|finalizer| !object::finalizers(before).any(|there| there == *finalizer))
        .collect();
    if object::is_deleting(before) && !new.is_empty() {
        let listed: Vec<String> = new.iter().map(|finalizer| format!("\"{finalizer}\"")).collect();
        let words = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            listed.join(", ")
        );
        return vec![Mistake::forbidden("metadata.finalizers", &words)];
    }
    Vec::new()
}
