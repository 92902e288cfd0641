//! Specs of `KeyPair`s, drawn from the schema of the CRD, so that new fields are covered automatically.

use std::sync::LazyLock;

use keypair_operator::domain::key::{Encoding, KeySpec};
use keypair_test_harness::Dice;
use serde_json::{Map, Value, json};

use crate::keys;

/// The schema of `spec`, without `rotation` and `shareWith`, which have histories of their own.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let crd = serde_json::to_value(keypair_operator::api::crd()).unwrap_or_default();
    let spec = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
    let mut spec = spec.cloned().unwrap_or_default();
    if let Some(properties) = spec.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove("rotation");
        properties.remove("shareWith");
    }
    spec
});

/// Public keys to import: three valid ones, an invalid one, and a private key.
static PUBLIC_KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let line = |spec, number| keys::key(spec, number).public_key("somebody").map(|key| key.to_openssh());
    let mut lines: Vec<String> = [line(KeySpec::Rsa2048, 0), line(KeySpec::Rsa2048, 1), line(KeySpec::Ed25519, 0)]
        .into_iter()
        .flatten()
        .collect();
    lines.push("ssh-rsa nonsense".to_owned());
    let private_key = keys::key(KeySpec::Ed25519, 0).encode(Encoding::OpenSsh, "");
    lines.extend(private_key.map(|key| key.to_string()));
    lines
});

/// Draws a valid public key to import.
pub fn right_public_key(dice: &mut Dice) -> String {
    one(dice, PUBLIC_KEYS.get(..3).unwrap_or_default()).clone()
}

/// A value for a field of `spec`, and the path of that field.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// The names of the fields on the path, starting below `spec`.
    pub path: Vec<String>,
    /// The new value; `null` removes the field.
    pub value: Value,
}

impl Edit {
    /// The edit as a merge patch of a `KeyPair`.
    pub fn patch(&self) -> Value {
        let within = self.path.iter().rev().fold(self.value.clone(), |value, name| json!({ name: value }));
        json!({ "spec": within })
    }

    /// The edit that restores the current value of the field in `spec`.
    pub fn inverse(&self, spec: &Value) -> Self {
        let before = self.path.iter().try_fold(spec, |value, name| value.get(name));
        Self { path: self.path.clone(), value: before.cloned().unwrap_or_default() }
    }

    /// Applies the edit to `spec`, as the API server does.
    pub fn apply(&self, spec: &mut Value) {
        let Some((last, before)) = self.path.split_last() else { return };
        let mut at = spec;
        for name in before {
            if !at.get(name).is_some_and(Value::is_object)
                && let Some(object) = at.as_object_mut()
            {
                object.insert(name.clone(), json!({}));
            }
            let Some(within) = at.get_mut(name) else { return };
            at = within;
        }
        if let Some(object) = at.as_object_mut() {
            if self.value.is_null() {
                object.remove(last);
            } else {
                object.insert(last.clone(), self.value.clone());
            }
        }
    }
}

/// Draws the spec of a new `KeyPair`.
pub fn spec(dice: &mut Dice) -> Value {
    let mut spec = match dice.below(10) {
        0 => json!({}),
        1..=2 => json!({ "publicKey": public_key(dice) }),
        3 => json!({ "profile": "OpenSSH", "publicKey": public_key(dice) }),
        4 => json!({ "profile": "OpenSSH", "generate": { "algorithm": "ECDSA" } }),
        _ => json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } }),
    };
    if dice.happens(150) {
        set(&mut spec, "clientToken", json!("token"));
    }
    if dice.happens(200) {
        set(&mut spec, "keyPairName", json!("same"));
    }
    if dice.happens(150) {
        set(&mut spec, "secret", json!({ "onLoss": "Regenerate" }));
    }
    if dice.happens(300) {
        edit(dice).apply(&mut spec);
    }
    spec
}

fn public_key(dice: &mut Dice) -> Value {
    json!(one(dice, &PUBLIC_KEYS))
}

fn set(spec: &mut Value, name: &str, value: Value) {
    if let Some(spec) = spec.as_object_mut() {
        spec.insert(name.to_owned(), value);
    }
}

/// Draws an edit of one field.
pub fn edit(dice: &mut Dice) -> Edit {
    // The fields of the Secret are always mutable, and more can go wrong with them than with any others.
    if dice.happens(600) {
        return below(dice, SCHEMA.pointer("/properties/secret").unwrap_or(&Value::Null), vec!["secret".to_owned()]);
    }
    below(dice, &SCHEMA, Vec::new())
}

/// Draws an edit of a field at this path, or below it.
fn below(dice: &mut Dice, schema: &Value, mut path: Vec<String>) -> Edit {
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else {
        let value = if dice.happens(200) { Value::Null } else { value(dice, schema, &path) };
        return Edit { path, value };
    };
    // The name of the Secret is drawn as often as all its other fields together.
    let name = if path == ["secret"] && dice.happens(500) {
        "name"
    } else {
        let at = dice.below(properties.len() as u64);
        properties.keys().nth(usize::try_from(at).unwrap_or_default()).map_or("", String::as_str)
    };
    path.push(name.to_owned());
    below(dice, properties.get(name).unwrap_or(&Value::Null), path)
}

/// Draws a value that the schema allows. It may violate the validation rules of the field.
fn value(dice: &mut Dice, schema: &Value, path: &[String]) -> Value {
    if let Some(values) = schema.get("enum").and_then(Value::as_array).filter(|values| !values.is_empty()) {
        return one(dice, values).clone();
    }
    if let Some(of) = schema.get("additionalProperties") {
        return map(dice, of, path);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => json!(dice.happens(500)),
        Some("integer") => json!(*one(dice, &[256, 384, 2048, 3072, 1, 0])),
        Some("array") => {
            let of = schema.get("items").cloned().unwrap_or_default();
            let count = dice.below(3);
            (0..count).map(|_| object(dice, &of, path)).collect()
        }
        Some("object") => object(dice, schema, path),
        _ => text(dice, path),
    }
}

fn object(dice: &mut Dice, schema: &Value, path: &[String]) -> Value {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return value(dice, schema, path);
    };
    let fields = properties.iter().map(|(name, of)| {
        let path: Vec<String> = path.iter().chain([name]).cloned().collect();
        (name.clone(), value(dice, of, &path))
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

fn map(dice: &mut Dice, of: &Value, path: &[String]) -> Value {
    let mut entries = Map::new();
    for _ in 0..dice.below(3) {
        let key = *one(dice, &["one", "two", "ssh-publickey", "example.com/three"]);
        entries.insert(key.to_owned(), value(dice, of, path));
    }
    Value::Object(entries)
}

/// Draws a string that is meaningful for the field, or an invalid one.
fn text(dice: &mut Dice, path: &[String]) -> Value {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let known: &[&str] = match path[..] {
        ["publicKey"] => return public_key(dice),
        ["keyPairName"] => &["same", "other", "web", "x y"],
        ["clientToken"] => &["token", "token", "token2"],
        ["project"] => &["red", "blue", "no such"],
        ["description"] => &["Words", "words of another kind", "1 is no letter"],
        ["tags", ..] => &["env", "prod", "acs:no"],
        ["secret", "name"] => &["s1", "s2", "s3", "web", "api", "No Name"],
        ["secret", "keys", ..] => &["ssh-privatekey", "ssh-publickey", "identity", "identity.pub"],
        ["secret", "template", "type"] => &["Opaque", "example.com/key", "kubernetes.io/ssh-auth", "kubernetes.io/tls"],
        _ => &["one", "two", "not valid?"],
    };
    json!(one(dice, known))
}

/// Draws an item of a non-empty slice.
pub fn one<'a, T>(dice: &mut Dice, of: &'a [T]) -> &'a T {
    let at = usize::try_from(dice.below(of.len().max(1) as u64)).unwrap_or_default();
    of.get(at).expect("the slice is not empty")
}
