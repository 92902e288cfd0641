//! Finds the operator's objects in a document, and the errors of the lists that contain them.

use kube::Resource;
use serde_json::{Map, Value};

use super::{kind::CheckedKind, schema};
use crate::api::KeyPair;

/// An object to check with its kind, or why it is invalid.
pub(super) type Found = Result<(CheckedKind, Value), String>;

/// The operator's objects in a document: itself, or the items of a list. Ignores objects of other kinds.
pub(super) fn objects(document: Value) -> Vec<Found> {
    let Value::Object(fields) = document else {
        return match document {
            Value::Null => Vec::new(),
            _ => vec![Err("not an object: expected a mapping with apiVersion and kind".to_owned())],
        };
    };
    match Kind::of(&fields) {
        Kind::List(validator) => items(fields, None, validator),
        Kind::OwnList(kind) => check_list(&fields)
            .map_or_else(|error| vec![Err(error)], |()| items(fields, Some(kind), Validator::Kubectl)),
        Kind::Own(kind) => vec![Ok((kind, Value::Object(fields)))],
        Kind::Invalid(error) => vec![Err(error)],
        Kind::Other => Vec::new(),
    }
}

/// The kind of an object, by its `apiVersion` and `kind`.
enum Kind {
    /// A kind of the operator.
    Own(CheckedKind),
    /// A list of objects of this kind.
    OwnList(CheckedKind),
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
        let our_version = KeyPair::api_version(&());
        let (group, _) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let is_our_group = api_version.split('/').any(|part| part.eq_ignore_ascii_case(&KeyPair::group(&())));
        if kind == "List" {
            if group.is_empty() && api_version != "v1" {
                return Self::Invalid("apiVersion: expected v1 for kind List".to_owned());
            }
            return Self::List(if group.is_empty() { Validator::Kubectl } else { Validator::ApiServer });
        }
        let item_kind = kind.strip_suffix("List").unwrap_or(kind);
        if api_version == our_version {
            return match CheckedKind::from_name(item_kind) {
                Some(ours) if kind.len() > item_kind.len() => Self::OwnList(ours),
                Some(ours) => Self::Own(ours),
                None => Self::Invalid(format!("kind: expected one of {}", CheckedKind::any())),
            };
        }
        // Other groups have kinds of these names, but the core group does not.
        let lacks_group =
            group.is_empty() && CheckedKind::ALL.iter().any(|ours| item_kind.eq_ignore_ascii_case(ours.as_str()));
        let items = fields.get("items").and_then(Value::as_array).into_iter().flatten();
        let ours = items.filter_map(Value::as_object).find_map(|item| match Self::of(item) {
            Self::Own(kind) => Some(kind),
            _ => None,
        });
        if is_our_group || lacks_group {
            Self::Invalid(format!("apiVersion: expected {our_version}"))
        } else if let Some(ours) = ours {
            Self::Invalid(format!("kind: expected List or {ours}List, because the items are of kind {ours}"))
        } else {
            Self::Other
        }
    }
}

/// Checks a list of objects of one kind, without its items, against the schema of the API server.
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

/// Validates an item against the schema of its kind, as `kubectl` does. For a single object, `kubectl` leaves this to the API
/// server, which is more lenient.
fn validate_item(kind: CheckedKind, fields: Map<String, Value>, index: usize) -> Found {
    let item = Value::Object(fields);
    let mut path = schema::first_mismatch(&item, kind.schema(), "");
    for map in ["labels", "annotations"] {
        let values = item.get("metadata").and_then(|metadata| metadata.get(map)).and_then(Value::as_object);
        if values.is_some_and(|values| values.values().any(Value::is_null)) {
            path = Some(format!(".metadata.{map}"));
        }
    }
    match path {
        None => Ok((kind, item)),
        Some(path) => {
            let path = super::printable_path(&path);
            Err(format!("items[{index}]{path}: kubectl refuses this value for an object in a list"))
        }
    }
}

/// The operator's objects in a list. `only`: the kind of all items, which need not name it.
fn items(mut list: Map<String, Value>, only: Option<CheckedKind>, validator: Validator) -> Vec<Found> {
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
        if let Some(only) = only
            && !["apiVersion", "kind"].iter().any(|field| fields.contains_key(*field))
        {
            fields.insert("apiVersion".to_owned(), KeyPair::api_version(&()).as_ref().into());
            fields.insert("kind".to_owned(), only.as_str().into());
        }
        match (Kind::of(&fields), only) {
            (Kind::Own(kind), Some(only)) if kind != only => Some(Err(format!("items[{index}].kind: expected {only}"))),
            (Kind::Own(kind), _) if validator == Validator::Kubectl => Some(validate_item(kind, fields, index)),
            (Kind::Own(kind), _) => Some(Ok((kind, Value::Object(fields)))),
            (Kind::Other, None) => None,
            (Kind::Invalid(error), _) => Some(Err(format!("items[{index}].{error}"))),
            (_, Some(only)) => Some(Err(format!("items[{index}].kind: expected {only}"))),
            _ => Some(Err(format!("items[{index}]: nested lists are not supported; move the items to the outer list"))),
        }
    };
    items.into_iter().enumerate().filter_map(item).collect()
}
