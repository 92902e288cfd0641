//! The rules of Kubernetes for the metadata of every object.

use kube::core::ObjectMeta;
use serde_json::{Map, Value};

use super::schema::to_integer;
use crate::domain::rules::{LABEL_KEY, LABEL_VALUE, SECRET_NAME};

/// The maximum total size of all annotations, keys and values.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
/// The maximum length of a namespace name, which is a DNS label.
const NAMESPACE_MAX_CHARS: usize = 63;

/// Replaces null labels and annotations by empty strings, numbers without a fraction by integers, and unsets empty names, as the API
/// server does.
pub(super) fn apply_defaults(metadata: &mut Map<String, Value>) {
    for map in ["labels", "annotations"] {
        let fields = metadata.get_mut(map).and_then(Value::as_object_mut);
        for value in fields.into_iter().flat_map(Map::values_mut).filter(|value| value.is_null()) {
            *value = "".into();
        }
    }
    for number in ["generation", "deletionGracePeriodSeconds"] {
        metadata.get_mut(number).into_iter().for_each(to_integer);
    }
    for name in ["name", "generateName", "namespace"] {
        if metadata.get(name).and_then(Value::as_str) == Some("") {
            metadata.remove(name);
        }
    }
}

/// The errors in the metadata.
pub(super) fn errors(metadata: &ObjectMeta) -> Vec<String> {
    let mut errors = Vec::new();
    let mut check = |is_valid: bool, message: String| {
        if !is_valid {
            errors.push(message);
        }
    };
    match (&metadata.name, &metadata.generate_name) {
        (None, None) => check(false, "metadata.name is missing".to_owned()),
        (Some(name), _) => {
            check(SECRET_NAME.allows(name), format!("metadata.name must be {}", SECRET_NAME.words));
        }
        _ => {}
    }
    if let Some(prefix) = &metadata.generate_name {
        let is_valid = SECRET_NAME.allows(&without_trailing_dash(prefix));
        check(is_valid, format!("metadata.generateName must be a valid prefix of {}", SECRET_NAME.words));
    }
    if let Some(namespace) = &metadata.namespace {
        let is_valid =
            SECRET_NAME.allows(namespace) && namespace.len() <= NAMESPACE_MAX_CHARS && !namespace.contains('.');
        check(is_valid, "metadata.namespace must be a valid name of a namespace".to_owned());
    }
    for (key, value) in metadata.labels.iter().flatten() {
        check(is_qualified_name(key), format!("metadata.labels: each key must be {}", LABEL_KEY.words));
        check(LABEL_VALUE.allows(value), format!("metadata.labels: each value must be {}", LABEL_VALUE.words));
    }
    let mut size = 0_usize;
    for (key, value) in metadata.annotations.iter().flatten() {
        let is_valid = is_qualified_name(&key.to_lowercase());
        check(is_valid, format!("metadata.annotations: each key must be {}", LABEL_KEY.words));
        size = size.saturating_add(key.len()).saturating_add(value.len());
    }
    check(
        size <= ANNOTATIONS_MAX_BYTES,
        format!("metadata.annotations: the total size must be at most {ANNOTATIONS_MAX_BYTES} bytes"),
    );
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    for owner in owners {
        let is_complete =
            [&owner.api_version, &owner.kind, &owner.name, &owner.uid].iter().all(|field| !field.is_empty());
        let has_version = owner.api_version.split('/').next_back().is_some_and(|version| !version.is_empty());
        let is_valid = is_complete && has_version && owner.api_version.split('/').count() <= 2;
        check(is_valid, "metadata.ownerReferences: each owner needs apiVersion, kind, name and uid".to_owned());
    }
    let controllers = owners.iter().filter(|owner| owner.controller == Some(true)).count();
    check(controllers <= 1, "metadata.ownerReferences: only one owner can be the controller".to_owned());
    for finalizer in metadata.finalizers.iter().flatten() {
        check(is_qualified_name(finalizer), format!("metadata.finalizers: each must be {}", LABEL_KEY.words));
    }
    errors.dedup();
    errors
}

/// The prefix as a name: a dash may end the prefix, because the generated suffix follows it.
fn without_trailing_dash(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(before) if !before.is_empty() => {
            let end = before.char_indices().next_back().map_or(0, |(at, _)| at);
            format!("{}a", before.get(..end).unwrap_or_default())
        }
        _ => prefix.to_owned(),
    }
}

/// Whether the key is a qualified name: an optional DNS subdomain and a slash, then a short name.
fn is_qualified_name(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    domain.is_none_or(|domain| SECRET_NAME.allows(domain)) && !name.contains('/') && LABEL_KEY.allows(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_without_a_fraction_are_integers() {
        let mut metadata = json!({ "generation": 1e3, "deletionGracePeriodSeconds": 30.0 });
        apply_defaults(metadata.as_object_mut().unwrap());
        assert_eq!(metadata, json!({ "generation": 1000, "deletionGracePeriodSeconds": 30 }));
        let mut metadata = json!({ "generation": 1.5, "deletionGracePeriodSeconds": "30" });
        apply_defaults(metadata.as_object_mut().unwrap());
        assert_eq!(metadata, json!({ "generation": 1.5, "deletionGracePeriodSeconds": "30" }));
    }
}
