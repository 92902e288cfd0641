//! Defaulting and pruning by the schema, as the API server does before it evaluates CEL rules.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

/// Converts `value` to the form in which it is stored. A null field that is not nullable gets its default or is removed. A number
/// without a fraction becomes an integer.
pub(super) fn apply_defaults(value: &mut Value, schema: &JSONSchemaProps) {
    match value {
        Value::Object(fields) => {
            for (name, property) in schema.properties.iter().flatten() {
                apply_field_defaults(fields, name, property);
            }
            if let Some(JSONSchemaPropsOrBool::Schema(any)) = &schema.additional_properties {
                let names: Vec<String> = fields.keys().cloned().collect();
                for name in names {
                    apply_field_defaults(fields, &name, any);
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                for item in items {
                    apply_defaults(item, schema);
                }
            }
        }
        Value::Number(_) if schema.type_.as_deref() == Some("integer") => to_integer(value),
        _ => {}
    }
}

fn apply_field_defaults(fields: &mut Map<String, Value>, name: &str, schema: &JSONSchemaProps) {
    match fields.get_mut(name) {
        Some(Value::Null) if schema.nullable != Some(true) => {
            if let Some(default) = &schema.default {
                fields.insert(name.to_owned(), default.0.clone());
            } else {
                fields.remove(name);
            }
        }
        Some(value) => apply_defaults(value, schema),
        None => {}
    }
}

/// Converts a number to an integer if it has no fraction, such as `1e3`, and is in the range that a double represents exactly.
pub(super) fn to_integer(value: &mut Value) {
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(number) = value.as_f64().filter(|_| value.is_f64())
        && number.fract() == 0.0
        && number.abs() <= MAX_EXACT
    {
        #[allow(clippy::cast_possible_truncation, reason = "there is no fraction, and it is in the range")]
        let whole = number as i64;
        *value = whole.into();
    }
}

/// Collects the fields of `value` that the schema does not define, whatever other errors it has.
pub(super) fn unknown_fields(value: &Value, schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) if schema.properties.is_some() => {
            for (name, value) in fields {
                let path = format!("{path}.{name}");
                match schema.properties.as_ref().and_then(|properties| properties.get(name)) {
                    Some(property) => unknown_fields(value, property, &path, found),
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(JSONSchemaPropsOrArray::Schema(schema)) = &schema.items {
                let path = format!("{path}[]");
                for item in items {
                    unknown_fields(item, schema, &path, found);
                }
            }
        }
        _ => {}
    }
}

/// The first field of `value` that violates the types and required fields of the schema. A null field counts as absent, but lists
/// and maps must not contain null. A nullable field accepts any value, because the OpenAPI v2 schema, which `kubectl` reads here,
/// cannot express it.
pub(super) fn first_mismatch(value: &Value, schema: &JSONSchemaProps, path: &str) -> Option<String> {
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
                    (Some(property), _) => first_mismatch(value, property, &path),
                    (None, Some(JSONSchemaPropsOrBool::Schema(any))) => first_mismatch(value, any, &path),
                    (None, _) => None,
                }
            })
        }
        Value::Array(items) => match &schema.items {
            Some(JSONSchemaPropsOrArray::Schema(schema)) => {
                items.iter().find_map(|item| first_mismatch(item, schema, &format!("{path}[]")))
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
    use crate::app::lint::kind::CheckedKind;

    fn key_pair() -> &'static JSONSchemaProps {
        CheckedKind::KeyPair.schema()
    }

    #[test]
    fn nulls_and_numbers_are_converted_as_stored() {
        let mut value = json!({"spec": {
            "profile": null, "publicKey": null, "tags": null, "generate": {"algorithm": null, "bits": 2048.0},
            "secret": {"encoding": null, "onLoss": null, "deletionPolicy": null, "template": {"labels": {"a": null, "b": "c"}}},
        }});
        apply_defaults(&mut value, key_pair());
        assert_eq!(
            value,
            json!({"spec": {
                "profile": "Alibaba", "publicKey": null, "generate": {"algorithm": "RSA", "bits": 2048},
                "secret": {"onLoss": "Report", "template": {"labels": {"b": "c"}}},
            }})
        );
    }

    #[test]
    fn items_of_a_list_are_checked_for_types_and_nulls_in_maps() {
        let mismatch = |spec: Value| first_mismatch(&json!({"spec": spec, "status": 1}), key_pair(), "");
        assert_eq!(mismatch(json!({"profile": null, "secret": {"template": {"labels": {"a": null}}}})), None);
        assert_eq!(mismatch(json!({"tags": [{}]})).as_deref(), Some(".spec.tags[].key"));
        assert_eq!(mismatch(json!({"tags": [null]})).as_deref(), Some(".spec.tags[]"));
        assert_eq!(mismatch(json!({"profile": 1})).as_deref(), Some(".spec.profile"));
    }

    #[test]
    fn unknown_fields_are_found_beside_wrong_types() {
        let mut found = Vec::new();
        let value = json!({"spec": [], "status": {"bits": "x", "a": 1, "conditions": [{"b": 1}], "error": {"c": 1}}});
        unknown_fields(&value, key_pair(), "", &mut found);
        assert_eq!(found, [".status.a", ".status.conditions[].b", ".status.error.c"]);
    }
}
