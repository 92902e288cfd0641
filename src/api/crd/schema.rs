//! Changes to a generated schema.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Appends a sentence to the description of the field at `path`.
pub(super) fn add_sentence(root: &mut JSONSchemaProps, path: &str, sentence: &str) {
    if let Some(description) = schema_at(root, path).and_then(|schema| schema.description.as_mut()) {
        description.push(' ');
        description.push_str(sentence);
    }
}

/// Bounds the text at `path`.
pub(super) fn limit_length(root: &mut JSONSchemaProps, path: &str, max_chars: usize) {
    if let Some(text) = schema_at(root, path) {
        text.max_length = i64::try_from(max_chars).ok();
    }
}

/// Bounds the list at `path`.
pub(super) fn limit_items(root: &mut JSONSchemaProps, path: &str, max_items: usize) {
    if let Some(list) = schema_at(root, path) {
        list.max_items = i64::try_from(max_items).ok();
    }
}

/// Bounds the map at `path`.
pub(super) fn limit_properties(root: &mut JSONSchemaProps, path: &str, max_properties: usize) {
    if let Some(map) = schema_at(root, path) {
        map.max_properties = i64::try_from(max_properties).ok();
    }
}

/// The schema at `path`. `*` selects the values of a map or the items of a list; any other step into a list, a field of its items.
pub(super) fn schema_at<'a>(schema: &'a mut JSONSchemaProps, path: &str) -> Option<&'a mut JSONSchemaProps> {
    path.split('/').try_fold(schema, |schema, step| {
        let schema = if schema.items.is_none() {
            schema
        } else if let JSONSchemaPropsOrArray::Schema(item) = schema.items.as_mut()? {
            item.as_mut()
        } else {
            return None;
        };
        if step == "*" && schema.additional_properties.is_none() {
            Some(schema)
        } else if step == "*" {
            match schema.additional_properties.as_mut()? {
                JSONSchemaPropsOrBool::Schema(value) => Some(value.as_mut()),
                JSONSchemaPropsOrBool::Bool(_) => None,
            }
        } else {
            schema.properties.as_mut()?.get_mut(step)
        }
    })
}

/// Removes the formats that Kubernetes does not know and warns about, such as `uint32`.
pub(super) fn strip_unknown_formats(schema: &mut JSONSchemaProps) {
    if schema.format.as_ref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    schema.properties.iter_mut().flatten().for_each(|(_, property)| strip_unknown_formats(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        strip_unknown_formats(items);
    }
}

/// Removes `nullable` from enumerations. Null is not one of their values, so a nullable enumeration still rejects it; without
/// `nullable`, the API server treats null as absent.
pub(super) fn treat_null_as_absent(schema: &mut JSONSchemaProps) {
    if schema.enum_.is_some() {
        schema.nullable = None;
    }
    schema.properties.iter_mut().flatten().for_each(|(_, property)| treat_null_as_absent(property));
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        treat_null_as_absent(items);
    }
}
