//! Finds the `KeyPair`s of a document, and the errors of the lists that contain them.

use kube::Resource;
use serde_json::{Map, Value};

use super::schema;
use crate::api::KeyPair;

/// A `KeyPair` to check, or why it is invalid.
pub(super) type Found = Result<Value, String>;

/// The `KeyPair`s of a document: itself, or the items of a list. Ignores objects of other kinds.
pub(super) fn key_pairs(document: Value) -> Vec<Found> {
    let Value::Object(fields) = document else {
        return match document {
            Value::Null => Vec::new(),
            _ => vec![Err("not an object: expected a mapping with apiVersion and kind".to_owned())],
        };
    };
    match Kind::of(&fields) {
        Kind::List(validator) => items(fields, None, validator),
        Kind::KeyPairList => check_list(&fields)
            .map_or_else(|error| vec![Err(error)], |()| items(fields, Some(&item_type()), Validator::Kubectl)),
        Kind::KeyPair => vec![Ok(Value::Object(fields))],
        Kind::Invalid(error) => vec![Err(error)],
        Kind::Other => Vec::new(),
    }
}

/// The kind of an object, by its `apiVersion` and `kind`.
enum Kind {
    KeyPair,
    KeyPairList,
    /// A list of objects of any kind.
    List(Validator),
    /// A kind that does not belong to the operator.
    Other,
    /// A kind that no API server can know.
    Invalid(String),
}

/// Which program first validates the items of a list against their schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Validator {
    Kubectl,
    /// For a `List` outside of the core group, `kubectl` finds no schema and sends the items unvalidated.
    ApiServer,
}

impl Kind {
    fn of(fields: &Map<String, Value>) -> Self {
        let text = |field: &str| fields.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return Self::Invalid("apiVersion or kind is missing".to_owned());
        };
        let (our_version, our_kind) = (KeyPair::api_version(&()), KeyPair::kind(&()));
        let (group, _) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let is_our_group = api_version.split('/').any(|part| part.eq_ignore_ascii_case(&KeyPair::group(&())));
        if kind == "List" {
            if group.is_empty() && api_version != "v1" {
                return Self::Invalid("apiVersion: expected v1 for kind List".to_owned());
            }
            return Self::List(if group.is_empty() { Validator::Kubectl } else { Validator::ApiServer });
        }
        if api_version == our_version {
            return match kind.strip_suffix("List").unwrap_or(kind) == our_kind {
                true if kind.len() > our_kind.len() => Self::KeyPairList,
                true => Self::KeyPair,
                false => Self::Invalid(format!("kind: expected {our_kind}")),
            };
        }
        // Other groups have kinds of this name, but the core group does not.
        let item_kind = kind.strip_suffix("List").unwrap_or(kind);
        let lacks_group = item_kind.eq_ignore_ascii_case(&our_kind) && group.is_empty();
        let has_key_pairs = fields.get("items").and_then(Value::as_array).is_some_and(|items| {
            items.iter().filter_map(Value::as_object).any(|item| matches!(Self::of(item), Self::KeyPair))
        });
        if is_our_group || lacks_group {
            Self::Invalid(format!("apiVersion: expected {our_version}"))
        } else if has_key_pairs {
            Self::Invalid(format!("kind: expected List or {our_kind}List, because the items are of kind {our_kind}"))
        } else {
            Self::Other
        }
    }
}

/// The fields that the items of a `KeyPairList` can omit, with their values.
fn item_type() -> [(&'static str, String); 2] {
    [("apiVersion", KeyPair::api_version(&()).into()), ("kind", KeyPair::kind(&()).into())]
}

/// Checks a `KeyPairList`, without its items, against the schema of the API server.
fn check_list(fields: &Map<String, Value>) -> Result<(), String> {
    if let Some(unknown) =
        fields.keys().find(|field| !["apiVersion", "kind", "metadata", "items"].contains(&field.as_str()))
    {
        return Err(format!(
            "unknown field {}: check its spelling and its parent field",
            super::printable_path(unknown)
        ));
    }
    match fields.get("metadata") {
        None | Some(Value::Null | Value::Object(_)) => Ok(()),
        Some(_) => Err("metadata: expected an object".to_owned()),
    }
}

/// Validates an item against the schema of a `KeyPair`, as `kubectl` does. For a single object, `kubectl` leaves this to the API
/// server, which is more lenient.
fn validate_item(fields: Map<String, Value>, index: usize) -> Found {
    let item = Value::Object(fields);
    let mut path = schema::first_mismatch(&item, &schema::key_pair(), "");
    for map in ["labels", "annotations"] {
        let values = item.get("metadata").and_then(|metadata| metadata.get(map)).and_then(Value::as_object);
        if values.is_some_and(|values| values.values().any(Value::is_null)) {
            path = Some(format!(".metadata.{map}"));
        }
    }
    match path {
        None => Ok(item),
        Some(path) => {
            let path = super::printable_path(&path);
            Err(format!("items[{index}]{path}: kubectl refuses this value for an object in a list"))
        }
    }
}

/// The `KeyPair`s of a list. `item_type` has the type of items that do not name theirs.
fn items(mut list: Map<String, Value>, item_type: Option<&[(&str, String); 2]>, validator: Validator) -> Vec<Found> {
    if !matches!(list.get("metadata"), None | Some(Value::Null | Value::Object(_))) {
        return vec![Err("metadata: expected an object".to_owned())];
    }
    let Some(Value::Array(items)) = list.remove("items") else {
        return vec![Err("items: expected a list".to_owned())];
    };
    let item = |(index, item): (usize, Value)| {
        let Value::Object(mut fields) = item else {
            return Some(Err(format!("items[{index}]: expected an object")));
        };
        // The API server fills in both fields or none.
        if item_type.is_some_and(|fixed| fixed.iter().all(|(field, _)| !fields.contains_key(*field))) {
            let defaults = item_type.into_iter().flatten();
            fields.extend(defaults.map(|(field, value)| ((*field).to_owned(), value.as_str().into())));
        }
        match Kind::of(&fields) {
            Kind::KeyPair if validator == Validator::Kubectl => Some(validate_item(fields, index)),
            Kind::KeyPair => Some(Ok(Value::Object(fields))),
            Kind::Other if item_type.is_none() => None,
            Kind::Invalid(error) => Some(Err(format!("items[{index}].{error}"))),
            _ if item_type.is_some() => Some(Err(format!("items[{index}].kind: expected {}", KeyPair::kind(&())))),
            _ => Some(Err(format!("items[{index}]: nested lists are not supported; move the items to the outer list"))),
        }
    };
    items.into_iter().enumerate().filter_map(item).collect()
}
