//! Objects for scripts.

use serde_json::{Value, json};

pub const KEY: &str = include_str!("../../../vectors/public/rsa2048.pub");
pub const SECRETS: &str = "/api/v1/namespaces/{ns}/secrets";
pub const KEY_PAIRS: &str = "/apis/keypairs.dev/v1alpha1/namespaces/{ns}/keypairs";
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/{ns}/configmaps";
pub const AUTHORIZED_KEYS: &str = "/apis/keypairs.dev/v1alpha1/namespaces/{ns}/authorizedkeys";
pub const KNOWN_HOSTS: &str = "/apis/keypairs.dev/v1alpha1/namespaces/{ns}/knownhosts";
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases";
pub const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/{ns}/events";

/// The path of an object.
pub fn at(collection: &str, name: &str) -> String {
    format!("{collection}/{name}")
}

pub fn secret(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "data": { "a": "YQ==" } })
}

pub fn key_pair(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name }, "spec": spec })
}

pub fn config_map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { "a": "text\n" } })
}

pub fn authorized_keys(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "AuthorizedKeys", "metadata": { "name": name }, "spec": spec })
}

pub fn known_hosts(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "keypairs.dev/v1alpha1", "kind": "KnownHosts", "metadata": { "name": name }, "spec": spec })
}

/// Merges a change into an object.
pub fn with(mut object: Value, change: &Value) -> Value {
    merge(&mut object, change);
    object
}

fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                merge(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, change) => target.clone_from(change),
    }
}
