//! Custom resources: validation as defined in their CustomResourceDefinitions.

use serde_json::Value;

use super::{failure::Mistake, key_pair, publication, resource::Resource, schema::Schema};

/// Errors after which the rules are not evaluated.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

/// Prunes fields that the schema does not know, and fills in its defaults.
pub(super) fn normalize(resource: &Resource, written: &mut Value) {
    if let Some(schema) = Schema::of(resource) {
        schema.prune(written);
        schema.fill(written);
    }
}

/// The validation errors of an object. `known` are the errors of its metadata.
pub(super) fn mistakes(resource: &Resource, before: Option<&Value>, after: &Value, known: &[Mistake]) -> Vec<Mistake> {
    let mut found = Vec::new();
    if let Some(schema) = Schema::of(resource) {
        schema.mistakes("", after, &mut found);
    }
    if known.iter().chain(&found).any(|mistake| BLOCKING.contains(&mistake.reason)) {
        found.push(Mistake {
            reason: "FieldValueInvalid",
            field: "<nil>".to_owned(),
            words: "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation".to_owned(),
        });
        return found;
    }
    // A spec that has not changed is not validated again.
    if before.is_some_and(|before| before.get("spec") == after.get("spec")) {
        return found;
    }
    found.extend(match resource.plural {
        "keypairs" => key_pair::mistakes(before, after),
        _ => publication::mistakes(resource, after),
    });
    found
}
