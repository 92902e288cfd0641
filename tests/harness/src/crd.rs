//! Changes to a CustomResourceDefinition.

use serde_json::Value;

/// The definition without the validation rules of its first version.
///
/// # Panics
///
/// If there are none, because a test without them would prove nothing.
#[must_use]
pub fn without_rules(mut definition: Value) -> Value {
    let schema = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema").and_then(Value::as_object_mut);
    assert!(schema.is_some_and(|schema| schema.remove("x-kubernetes-validations").is_some()), "no validation rules");
    definition
}
