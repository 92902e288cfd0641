//! Rotation in histories: settings, gates, and the end of schedules.

use keypair_test_harness::Dice;
use serde_json::{Value, json};

use super::{UserRequest, Verb, spec::one};

/// The types of the conditions that the histories use as gates.
pub const GATES: [&str; 2] = ["example.com/registered", "example.com/stored"];

/// An interval that is longer than any history.
const LONG: &str = "2160h";

/// Draws rotation settings, mostly valid ones.
pub fn settings(dice: &mut Dice) -> Value {
    let publish_before = *one(dice, &["0s", "0s", "2s", "5s", "24h"]);
    let mut settings = json!({ "publishBefore": publish_before, "keepAfter": one(dice, &["0s", "0s", "3s", "24h"]) });
    let Some(fields) = settings.as_object_mut() else { return settings };
    if dice.happens(500) {
        fields.insert("every".to_owned(), json!(one(dice, &[LONG, LONG, "5m", "15s", "1s"])));
    }
    if dice.happens(300) {
        let count = 1 + usize::from(dice.happens(300));
        fields.insert("gates".to_owned(), json!(GATES.get(..count)));
    }
    if dice.happens(50) {
        fields.insert("keepAfter".to_owned(), json!("not valid?"));
    }
    settings
}

/// Whether a schedule rotates the key of a KeyPair within the time of a history.
#[must_use]
pub fn is_scheduled(key_pair: &Value) -> bool {
    key_pair.pointer("/spec/rotation/every").is_some_and(|every| every != LONG)
}

/// The request that ends the schedule of a `KeyPair`. A history ends only when the operator stops writing, which a schedule prevents.
#[must_use]
pub fn end_of_schedule(key_pair: &Value) -> Option<UserRequest> {
    let text = |pointer| key_pair.pointer(pointer).and_then(Value::as_str);
    let (namespace, name) = (text("/metadata/namespace")?, text("/metadata/name")?);
    let patch = json!({ "spec": { "rotation": { "every": null } } });
    is_scheduled(key_pair).then(|| UserRequest::new(Verb::Patch, "keypairs", namespace, name, &patch))
}

/// The request that sets a condition of `key_pair`, as a controller sends it: it repeats the other conditions that the controller has read,
/// and fails if the object has changed since.
#[must_use]
pub fn with_condition(key_pair: &Value, gate: &str, is_open: bool, now: &str) -> UserRequest {
    let text = |pointer| key_pair.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let status = if is_open { "True" } else { "False" };
    let condition = json!({
        "type": gate,
        "status": status,
        "reason": "Registered",
        "message": "",
        "lastTransitionTime": now,
    });
    let before = key_pair.pointer("/status/conditions").and_then(Value::as_array);
    let others = before.into_iter().flatten().filter(|other| other.get("type").is_none_or(|of| of != gate));
    let conditions: Vec<&Value> = others.chain([&condition]).collect();
    let patch = json!({
        "metadata": { "resourceVersion": text("/metadata/resourceVersion") },
        "status": { "conditions": conditions },
    });
    let name = format!("{}/status", text("/metadata/name"));
    UserRequest::new(Verb::Patch, "keypairs", text("/metadata/namespace"), &name, &patch)
}
