//! Reading and writing fields of untyped objects.

use serde_json::{Map, Value, json};

/// The string at this pointer; empty if there is none.
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

/// Whether its deletion has been requested.
pub fn is_deleting(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

/// The list at this pointer; empty if there is none.
pub fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list(object, "/metadata/finalizers").iter().filter_map(Value::as_str)
}

/// The map at this path; it is created if it does not exist.
pub fn map_at<'a>(object: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    let mut place = object;
    for step in path {
        let map = place.as_object_mut()?;
        let next = map.entry((*step).to_owned()).or_insert_with(|| json!({}));
        if next.is_null() {
            *next = json!({});
        }
        place = next;
    }
    place.as_object_mut()
}

/// Sets an entry of the map at this path.
pub fn set_entry(object: &mut Value, path: &[&str], key: &str, value: Value) {
    if let Some(map) = map_at(object, path) {
        map.insert(key.to_owned(), value);
    }
}

/// Removes an entry of the map at this path, and the map if it is then empty.
pub fn remove_entry(object: &mut Value, path: &[&str], key: &str) {
    let Some(map) = map_at(object, path) else { return };
    map.remove(key);
    let is_empty = map.is_empty();
    if let Some((last, parents)) = path.split_last().filter(|(_, parents)| is_empty && !parents.is_empty()) {
        remove_entry(object, parents, last);
    }
}

/// Sets a field of the metadata.
pub fn set_metadata(object: &mut Value, field: &str, value: Value) {
    set_entry(object, &["metadata"], field, value);
}

/// Applies a merge patch (RFC 7396).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, change) in changes {
        if change.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), change);
        }
    }
}
