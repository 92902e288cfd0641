//! What Kubernetes demands of the metadata of every object.

use kube::core::ObjectMeta;
use serde_json::{Map, Value};

use crate::domain::rules::{LABEL_KEY, LABEL_VALUE, SECRET_NAME};

/// The most that all annotations may have, keys and values, in bytes.
const ANNOTATIONS_MAX_BYTES: usize = 256 * 1024;
/// The longest name of a namespace, a DNS label.
const NAMESPACE_MAX_CHARS: usize = 63;

/// A label or annotation that is null is empty.
pub(super) fn settle(metadata: &mut Map<String, Value>) {
    for map in ["labels", "annotations"] {
        let fields = metadata.get_mut(map).and_then(Value::as_object_mut);
        for value in fields.into_iter().flat_map(Map::values_mut).filter(|value| value.is_null()) {
            *value = "".into();
        }
    }
    // As the API server does with what is not given.
    for name in ["name", "generateName", "namespace"] {
        if metadata.get(name).and_then(Value::as_str) == Some("") {
            metadata.remove(name);
        }
    }
}

/// What is wrong with it.
pub(super) fn mistakes(metadata: &ObjectMeta) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut check = |is_right: bool, words: String| {
        if !is_right {
            mistakes.push(words);
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
        let is_right = SECRET_NAME.allows(&unmasked(prefix));
        check(is_right, format!("metadata.generateName must be the beginning of {}", SECRET_NAME.words));
    }
    if let Some(namespace) = &metadata.namespace {
        let is_right =
            SECRET_NAME.allows(namespace) && namespace.len() <= NAMESPACE_MAX_CHARS && !namespace.contains('.');
        check(is_right, "metadata.namespace must be the name of a namespace".to_owned());
    }
    for (key, value) in metadata.labels.iter().flatten() {
        check(is_qualified_name(key), format!("metadata.labels: each key must be {}", LABEL_KEY.words));
        check(LABEL_VALUE.allows(value), format!("metadata.labels: each value must be {}", LABEL_VALUE.words));
    }
    let mut size = 0_usize;
    for (key, value) in metadata.annotations.iter().flatten() {
        let is_right = is_qualified_name(&key.to_lowercase());
        check(is_right, format!("metadata.annotations: each key must be {}", LABEL_KEY.words));
        size = size.saturating_add(key.len()).saturating_add(value.len());
    }
    check(
        size <= ANNOTATIONS_MAX_BYTES,
        format!("metadata.annotations: there may be at most {ANNOTATIONS_MAX_BYTES} bytes in all"),
    );
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    for owner in owners {
        let is_whole = [&owner.api_version, &owner.kind, &owner.name, &owner.uid].iter().all(|field| !field.is_empty());
        let has_version = owner.api_version.split('/').next_back().is_some_and(|version| !version.is_empty());
        let is_right = is_whole && has_version && owner.api_version.split('/').count() <= 2;
        check(is_right, "metadata.ownerReferences: each needs apiVersion, kind, name and uid".to_owned());
    }
    let controllers = owners.iter().filter(|owner| owner.controller == Some(true)).count();
    check(controllers <= 1, "metadata.ownerReferences: only one owner can be the controller".to_owned());
    for finalizer in metadata.finalizers.iter().flatten() {
        check(is_qualified_name(finalizer), format!("metadata.finalizers: each must be {}", LABEL_KEY.words));
    }
    mistakes.dedup();
    mistakes
}

/// A name that begins so: a dash at the end is followed by letters.
fn unmasked(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(before) if !before.is_empty() => {
            let end = before.char_indices().next_back().map_or(0, |(at, _)| at);
            format!("{}a", before.get(..end).unwrap_or_default())
        }
        _ => prefix.to_owned(),
    }
}

/// Where there is one, a DNS subdomain and a slash, and then a short name.
fn is_qualified_name(key: &str) -> bool {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    domain.is_none_or(|domain| SECRET_NAME.allows(domain)) && !name.contains('/') && LABEL_KEY.allows(name)
}
