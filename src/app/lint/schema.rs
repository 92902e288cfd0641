//! What the API server makes of an object by its schema, before any rule is evaluated.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use crate::api;

/// The schema of a `KeyPair`.
pub(super) fn key_pair() -> JSONSchemaProps {
    let schema = api::crd().spec.versions.into_iter().next().and_then(|version| version.schema);
    schema.and_then(|schema| schema.open_api_v3_schema).unwrap_or_default()
}

/// Gives `value` the form in which it is stored: of a field that is null and may not be, its default is taken, or else it is
/// left out; a number without a fraction is whole, however it is written.
pub(super) fn settle(value: &mut Value, schema: &JSONSchemaProps) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties.iter().flatten() {
                settle_field(fields, name, property);
            }
            if let Some(JSONSchemaPropsOrBool::Schema(any)) = &schema.additional_properties {
                let names: Vec<String> = fields.keys().cloned().collect();
                for name in names {
                    settle_field(fields, &name, any);
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for item in items {
                    settle(item, schema);
                }
            }
        }
        Value::Number(number) if schema.type_.as_deref() == Some("integer") => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

fn settle_field(fields: &mut Map<String, Value>, name: &str, schema: &JSONSchemaProps) {
    match fields.get_mut(name) {
        Some(Value::Null) if schema.nullable != Some(true) => {
            if let Some(default) = &schema.default {
                fields.insert(name.to_owned(), default.0.clone());
            } else {
                fields.remove(name);
            }
        }
        Some(value) => settle(value, schema),
        None => {}
    }
}

/// The number, if it has no fraction and is one of those that every program counts exactly.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation, reason = "there is no fraction, and it is in the range")]
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// The fields of `value` that the schema does not have, whatever else is wrong with it.
pub(super) fn unknown(value: &Value, schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if schema.properties.is_some() => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                match schema.properties.as_ref().and_then(|properties| properties.get(name)) {
                    Some(property) => unknown(value, property, &path, found),
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                let path = format!("{path}[]");
                for item in items {
                    unknown(item, schema, &path, found);
                }
            }
        }
        _ => {}
    }
}

/// Where `value` does not fit the schema's types and required fields. A field that is null counts as absent, but a list and a map
/// must have no nulls. What may be null is anything: the API server's older description of its objects, which `kubectl` reads here,
/// has no word for that.
pub(super) fn misfit(value: &Value, schema: &JSONSchemaProps, path: &str) -> Option<String> {
    if schema.nullable == Some(true) {
        return None;
    }
    let is_type = match schema.type_.as_deref() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer" | "number") => value.is_number(),
        _ => true,
    };
    if !is_type {
        return Some(path.to_owned());
    }
    match value {
        Value::Object(fields) => {
            let missing = schema.required.iter().flatten().find(|name| !fields.contains_key(*name));
            if let Some(name) = missing {
                return Some(format!("{path}.{name}"));
            }
            fields.iter().find_map(|(name, value)| {
                let path = format!("{path}.{name}");
                match (schema.properties.as_ref().and_then(|known| known.get(name)), &schema.additional_properties) {
                    (Some(_), _) if value.is_null() => None,
                    (Some(property), _) => misfit(value, property, &path),
                    (None, Some(JSONSchemaPropsOrBool::Schema(any))) => misfit(value, any, &path),
                    (None, _) => None,
                }
            })
        }
        Value::Array(items) => match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(schema)) => {
                items.iter().find_map(|item| misfit(item, schema, &format!("{path}[]")))
            }
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nulls_and_numbers_become_what_is_stored() {
        let mut value = json!({"spec": {
            "profile": null, "publicKey": null, "tags": null, "generate": {"algorithm": null, "bits": 2048.0},
            "secret": {"encoding": null, "onLoss": null, "deletionPolicy": null, "template": {"labels": {"a": null, "b": "c"}}},
        }});
        settle(&mut value, &key_pair());
        assert_eq!(
            value,
            json!({"spec": {
                "profile": "Alibaba", "publicKey": null, "generate": {"algorithm": "RSA", "bits": 2048},
                "secret": {"onLoss": "Report", "template": {"labels": {"b": "c"}}},
            }})
        );
    }

    #[test]
    fn in_a_list_types_are_looked_at_and_nulls_within_maps() {
        let misfit = |spec: Value| misfit(&json!({"spec": spec, "status": 1}), &key_pair(), "");
        assert_eq!(misfit(json!({"profile": null, "secret": {"template": {"labels": {"a": null}}}})), None);
        assert_eq!(misfit(json!({"tags": [{}]})).as_deref(), Some(".spec.tags[].key"));
        assert_eq!(misfit(json!({"tags": [null]})).as_deref(), Some(".spec.tags[]"));
        assert_eq!(misfit(json!({"profile": 1})).as_deref(), Some(".spec.profile"));
    }

    #[test]
    fn fields_that_nobody_knows_are_found_beside_wrong_types() {
        let mut found = Vec::new();
        let value = json!({"spec": [], "status": {"bits": "x", "a": 1, "conditions": [{"b": 1}], "error": {"c": 1}}});
        unknown(&value, &key_pair(), "", &mut found);
        assert_eq!(found, [".status.a", ".status.conditions[].b", ".status.error.c"]);
    }
}
