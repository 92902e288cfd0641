//! The outcome of a history, in the real cluster and in the simulation.

use std::{collections::BTreeMap, time::Duration};

use keypair_simulation::{
    history::{Action, History, NetworkFaults, Step, Verb},
    oracle::ready,
    run::run,
};
use serde_json::{Value, json};

use crate::walk::{Settled, Walk};

/// The same history with other timing: slower, faster than the operator, without pauses, or starting at another fraction of a second.
pub fn variants(history: &History) -> Vec<History> {
    let milliseconds = Duration::from_millis;
    let variant = |latency: u64, offset: u64, scale: u32, gap: u64| {
        let mut variant = history.clone();
        let (mut at, mut before) = (milliseconds(offset), Duration::ZERO);
        for step in &mut variant.steps {
            at += (step.at.saturating_sub(before) * scale).max(milliseconds(gap));
            before = step.at;
            step.at = at;
        }
        let faults = NetworkFaults { latency, ..NetworkFaults::default() };
        variant.steps.insert(0, Step { at: Duration::ZERO, action: Action::Network(0, faults) });
        variant
    };
    vec![
        history.clone(),
        variant(20, 900, 1, 0),
        variant(200, 400, 1, 0),
        variant(2000, 0, 1, 0),
        variant(20, 500, 3, 0),
        variant(5, 100, 1, 3000),
        variant(50, 0, 0, 20),
        variant(20, 700, 0, 100),
    ]
}

type Outcome = BTreeMap<String, Value>;

/// The final objects, without values that are random or come from a clock.
fn outcome<'a>(
    key_pairs: impl Iterator<Item = &'a Value>,
    secrets: impl Iterator<Item = &'a Value>,
    publications: impl Iterator<Item = &'a Value>,
) -> Outcome {
    let text = |object: &'a Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let place = |object: &'a Value| {
        let namespace = text(object, "/metadata/namespace");
        // In the real cluster: `shop-7`.
        let namespace = namespace.split_once('-').map_or(namespace, |(namespace, _)| namespace);
        format!("{namespace}/{}", text(object, "/metadata/name"))
    };
    let mut outcome = Outcome::new();
    for object in key_pairs {
        let (status, reason) = ready(object);
        let is_accepted = reason != "IdempotentReplay" && object.pointer("/status/keyPairID").is_some();
        let code = object.pointer("/status/error/code");
        let told = json!({
            "ready": status, "reason": reason, "accepted": is_accepted, "code": code,
            "spec": object.get("spec").map(with_namespaces_of_histories),
            "secret": object.pointer("/status/secretName"),
        });
        outcome.insert(format!("keypairs {}", place(object)), told);
    }
    for object in publications {
        let (status, reason) = ready(object);
        let of = |field: &str| object.pointer(&format!("/status/{field}"));
        let told = json!({
            "ready": status, "reason": reason, "keys": of("keys"), "keyPairs": of("keyPairs"), "target": of("target"),
        });
        outcome.insert(format!("{} {}", text(object, "/kind"), place(object)), told);
    }
    for object in secrets {
        let data = object.get("data").and_then(Value::as_object);
        let entries: Vec<&String> = data.into_iter().flatten().map(|(name, _)| name).collect();
        let told = json!({
            "type": object.get("type"), "entries": entries, "labels": object.pointer("/metadata/labels"),
        });
        outcome.insert(format!("secrets {}", place(object)), told);
    }
    outcome
}

/// A spec with the namespaces as the history names them.
fn with_namespaces_of_histories(value: &Value) -> Value {
    match value {
        Value::String(text) => match text.split_once('-') {
            Some((namespace @ ("shop" | "bank"), _)) => json!(namespace),
            _ => value.clone(),
        },
        Value::Array(items) => items.iter().map(with_namespaces_of_histories).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_namespaces_of_histories(value))).collect()
        }
        _ => value.clone(),
    }
}

/// The differences from the simulated outcome; `None` if that depends on timing.
pub async fn outcome_differs(walk: &Walk, settled: &Settled) -> Option<Vec<String>> {
    // In a real cluster, the deletion of a namespace takes a different time.
    let ends_namespace =
        |step: &Step| matches!(step.action, Action::User { verb: Verb::Delete, resource: "namespaces", .. });
    if walk.history.steps.iter().any(ends_namespace) {
        return None;
    }
    let of = |resource: &'static str| {
        settled.objects.iter().filter(move |(of, _)| *of == resource).map(|(_, object)| object)
    };
    let real = outcome(of("keypairs"), of("secrets"), of("authorizedkeys").chain(of("knownhosts")));
    let (history, done) = (walk.history.clone(), walk.as_done());
    let simulated = tokio::task::spawn_blocking(move || {
        let mut first = None;
        for variant in variants(&history).into_iter().chain(variants(&done).into_iter().take(3)) {
            let run = run(&variant, false);
            if !run.violations.is_empty() {
                return Err(run.violations);
            }
            let outcome = outcome(run.key_pairs.iter(), run.secrets.iter(), run.publications.iter());
            if first.get_or_insert_with(|| outcome.clone()) != &outcome {
                return Ok(None);
            }
        }
        Ok(first)
    });
    let simulated = match simulated.await.expect("the simulation does not panic") {
        Ok(simulated) => simulated?,
        Err(violations) => return Some(violations),
    };
    let keys: std::collections::BTreeSet<&String> = real.keys().chain(simulated.keys()).collect();
    let differing = keys.into_iter().filter(|key| real.get(*key) != simulated.get(*key));
    let told = |outcome: &Outcome, key: &String| outcome.get(key).map_or("nothing".to_owned(), Value::to_string);
    Some(differing.map(|key| format!("{key}: {}; simulated: {}", told(&real, key), told(&simulated, key))).collect())
}
