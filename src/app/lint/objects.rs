//! The `KeyPair`s of a document, and what is wrong with the lists that they are in.

use kube::Resource;
use serde_json::{Map, Value};

use super::schema;
use crate::api::KeyPair;

/// An object to look at, or why there is none.
pub(super) type Found = Result<Value, String>;

/// The `KeyPair`s of a document: itself, or the items of a list. Objects of other kinds are nobody's business here.
pub(super) fn of(document: Value) -> Vec<Found> {
    let Value::Object(fields) = document else {
        return match document {
            Value::Null => Vec::new(),
            _ => vec![Err("this is no object, but a text, a number or a list".to_owned())],
        };
    };
    match Kind::of(&fields) {
        Kind::List(judge) => items(fields, None, judge),
        Kind::KeyPairList => check_list(&fields)
            .map_or_else(|mistake| vec![Err(mistake)], |()| items(fields, Some(&given()), Judge::Kubectl)),
        Kind::KeyPair => vec![Ok(Value::Object(fields))],
        Kind::Wrong(mistake) => vec![Err(mistake)],
        Kind::Other => Vec::new(),
    }
}

/// What an object says that it is.
enum Kind {
    KeyPair,
    KeyPairList,
    /// A list of anything.
    List(Judge),
    /// Of somebody else.
    Other,
    /// What no API server knows, as far as that can be said here.
    Wrong(String),
}

/// Who judges the items of a list by their schema first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judge {
    Kubectl,
    /// Of a `List` in a group other than the core one `kubectl` finds no schema, and sends its items as they are.
    ApiServer,
}

impl Kind {
    fn of(fields: &Map<String, Value>) -> Self {
        let text = |field: &str| fields.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            return Self::Wrong("apiVersion or kind is missing".to_owned());
        };
        let (ours, our_kind) = (KeyPair::api_version(&()), KeyPair::kind(&()));
        let (group, _) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let is_ours = api_version.split('/').any(|part| part.eq_ignore_ascii_case(&KeyPair::group(&())));
        if kind == "List" {
            // What an API server knows of lists, it knows of the first version of whatever group.
            if group.is_empty() && api_version != "v1" {
                return Self::Wrong("apiVersion: expected v1, of a List".to_owned());
            }
            return Self::List(if group.is_empty() { Judge::Kubectl } else { Judge::ApiServer });
        }
        if api_version == ours {
            return match kind.strip_suffix("List").unwrap_or(kind) == our_kind {
                true if kind.len() > our_kind.len() => Self::KeyPairList,
                true => Self::KeyPair,
                false => Self::Wrong(format!("kind: expected {our_kind}")),
            };
        }
        // Other groups have kinds of this name, but not the one that needs no group.
        let of_one = kind.strip_suffix("List").unwrap_or(kind);
        let could_be = of_one.eq_ignore_ascii_case(&our_kind) && group.is_empty();
        let holds_ours = fields.get("items").and_then(Value::as_array).is_some_and(|items| {
            items.iter().filter_map(Value::as_object).any(|item| matches!(Self::of(item), Self::KeyPair))
        });
        if is_ours || could_be {
            Self::Wrong(format!("apiVersion: expected {ours}"))
        } else if holds_ours {
            Self::Wrong(format!("kind: expected List or {our_kind}List, where items are of kind {our_kind}"))
        } else {
            Self::Other
        }
    }
}

/// What the items of a list of `KeyPair`s need not say.
fn given() -> [(&'static str, String); 2] {
    [("apiVersion", KeyPair::api_version(&()).into()), ("kind", KeyPair::kind(&()).into())]
}

/// What the API server's description of a list of `KeyPair`s says of the list itself.
fn check_list(fields: &Map<String, Value>) -> Result<(), String> {
    if let Some(unknown) =
        fields.keys().find(|field| !["apiVersion", "kind", "metadata", "items"].contains(&field.as_str()))
    {
        return Err(format!("unknown field {}: check its spelling and its place", super::place(unknown)));
    }
    match fields.get("metadata") {
        None | Some(Value::Null | Value::Object(_)) => Ok(()),
        Some(_) => Err("metadata: expected an object".to_owned()),
    }
}

/// An item that fits the schema of a `KeyPair`, as `kubectl` sees it. Of an object that comes alone it leaves the judgement to the
/// API server, which is more lenient.
fn fitting(fields: Map<String, Value>, index: usize) -> Found {
    let item = Value::Object(fields);
    let mut place = schema::misfit(&item, &schema::key_pair(), "");
    for map in ["labels", "annotations"] {
        let values = item.get("metadata").and_then(|metadata| metadata.get(map)).and_then(Value::as_object);
        if values.is_some_and(|values| values.values().any(Value::is_null)) {
            place = Some(format!(".metadata.{map}"));
        }
    }
    match place {
        None => Ok(item),
        Some(place) => {
            Err(format!("items[{index}]{}: kubectl takes no such value of an object in a list", super::place(&place)))
        }
    }
}

/// The items of a list, which have the type that the list gives them, where it does.
fn items(mut list: Map<String, Value>, given: Option<&[(&str, String); 2]>, judge: Judge) -> Vec<Found> {
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
        // Either both or none: nobody fills up the rest.
        if given.is_some_and(|given| given.iter().all(|(field, _)| !fields.contains_key(*field))) {
            fields
                .extend(given.into_iter().flatten().map(|(field, value)| ((*field).to_owned(), value.as_str().into())));
        }
        match Kind::of(&fields) {
            Kind::KeyPair if judge == Judge::Kubectl => Some(fitting(fields, index)),
            Kind::KeyPair => Some(Ok(Value::Object(fields))),
            Kind::Other if given.is_none() => None,
            Kind::Wrong(mistake) => Some(Err(format!("items[{index}].{mistake}"))),
            _ if given.is_some() => Some(Err(format!("items[{index}].kind: expected {}", KeyPair::kind(&())))),
            _ => Some(Err(format!("items[{index}]: a list within a list is not read by anybody"))),
        }
    };
    items.into_iter().enumerate().filter_map(item).collect()
}
