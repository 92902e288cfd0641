//! Reads facts from objects, without the code of the operator where possible.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use base64ct::{Base64, Encoding as _};
use keypair_operator::domain::key::PrivateKey;
use serde_json::Value;

/// Whether this is the user of a replica.
pub fn is_operator(user: &str) -> bool {
    user.starts_with("system:serviceaccount:keypair-system:")
}

pub fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer).and_then(Value::as_str)
}

pub fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid").unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name").unwrap_or_default()
}

pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace").unwrap_or_default()
}

pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

/// `spec.rotation` of a `KeyPair`. The API server treats null as absent.
pub fn rotation(key_pair: &Value) -> Option<&Value> {
    key_pair.pointer("/spec/rotation").filter(|rotation| rotation.is_object())
}

/// The UID of a `KeyPair` in the annotation of a Secret.
pub fn owner(secret: &Value) -> Option<&str> {
    annotation(secret, "keypairs.dev/keypair-uid")
}

/// The UIDs in the owner references.
pub fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let references = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    references.into_iter().flatten().filter_map(|reference| reference.get("uid")?.as_str())
}

/// The condition `Ready` of a `KeyPair`: its status and reason.
pub fn ready(key_pair: &Value) -> (&str, &str) {
    let conditions = key_pair.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| text(condition, "/type") == Some("Ready"));
    ready.map_or(("Unknown", ""), |ready| {
        (text(ready, "/status").unwrap_or_default(), text(ready, "/reason").unwrap_or_default())
    })
}

/// Whether the rotation of a `KeyPair` waits for a publication.
pub fn waits_for_publication(key_pair: &Value) -> bool {
    let conditions = key_pair.pointer("/status/conditions").and_then(Value::as_array);
    let mut rotating = conditions.into_iter().flatten().filter(|of| text(of, "/type") == Some("Rotating"));
    rotating.any(|rotating| text(rotating, "/reason") == Some("WaitingForPublication"))
}

/// Whether the spec was edited since the object was created.
pub fn is_edited(object: &Value) -> bool {
    object.pointer("/metadata/generation").and_then(Value::as_u64).is_some_and(|generation| generation > 1)
}

pub fn is_replay(key_pair: &Value) -> bool {
    ready(key_pair).1 == "IdempotentReplay"
}

/// The identifier of an accepted pair; a replay has that of another.
pub fn accepted(key_pair: &Value) -> Option<&str> {
    if is_replay(key_pair) { None } else { text(key_pair, "/status/keyPairID") }
}

pub fn effective_name(key_pair: &Value) -> &str {
    text(key_pair, "/spec/keyPairName").unwrap_or_else(|| name(key_pair))
}

pub fn is_import(key_pair: &Value) -> bool {
    text(key_pair, "/spec/publicKey").is_some()
}

pub fn fingerprint(key_pair: &Value) -> Option<&str> {
    text(key_pair, "/status/fingerprints/sha256")
}

/// The name of the Secret according to the spec.
pub fn wanted_secret(key_pair: &Value) -> &str {
    text(key_pair, "/spec/secret/name").unwrap_or_else(|| name(key_pair))
}

thread_local! {
    /// Cached fingerprints of private keys, by a hash of the entry of the Secret.
    static READ: RefCell<HashMap<u64, Option<Arc<str>>>> = RefCell::default();
}

/// The fingerprints (SHA256) of the private keys in a Secret.
pub fn keys_in(secret: &Value) -> BTreeSet<Arc<str>> {
    let entries = secret.get("data").and_then(Value::as_object);
    let texts = entries.into_iter().flatten().filter_map(|(_, value)| value.as_str());
    texts.filter_map(key_in).collect()
}

fn key_in(entry: &str) -> Option<Arc<str>> {
    let mut hasher = DefaultHasher::new();
    entry.hash(&mut hasher);
    let hash = hasher.finish();
    if let Some(known) = READ.with_borrow(|read| read.get(&hash).cloned()) {
        return known;
    }
    let found = Base64::decode_vec(entry).ok().and_then(|bytes| {
        let key = PrivateKey::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
        Some(key.public_key("").ok()?.fingerprints().sha256.into())
    });
    READ.with_borrow_mut(|read| read.insert(hash, found.clone()));
    found
}

/// The fingerprint of the private key in the entry that `keypairs.dev/applied` names, if there is one.
pub fn current_key(secret: &Value) -> Option<Arc<str>> {
    let applied: Value = serde_json::from_str(annotation(secret, "keypairs.dev/applied")?).ok()?;
    key_in(secret.get("data")?.get(text(&applied, "/privateKey")?)?.as_str()?)
}

/// The keys in `status.keys`: phase and fingerprint.
pub fn keys_of_status(key_pair: &Value) -> impl Iterator<Item = (&str, &str)> {
    let keys = key_pair.pointer("/status/keys").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(|key| Some((text(key, "/phase")?, text(key, "/fingerprints/sha256")?)))
}

/// The end of the text of each PKCS#8 private key in a Secret, except keys on elliptic curves, whose text ends with the public point.
pub fn secret_tails(secret: &Value) -> Vec<String> {
    const LENGTH: usize = 24;
    let entries = secret.get("data").and_then(Value::as_object);
    let texts = entries.into_iter().flatten().filter_map(|(_, value)| Base64::decode_vec(value.as_str()?).ok());
    let tail = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).ok()?;
        let body =
            text.trim().strip_prefix("-----BEGIN PRIVATE KEY-----")?.strip_suffix("-----END PRIVATE KEY-----")?;
        let body: String = body.split_whitespace().collect();
        let is_curve = body.len() > 64 && body.len() < 800;
        let body = body.trim_end_matches('=');
        body.get(body.len().checked_sub(LENGTH)?..).filter(|_| !is_curve).map(str::to_owned)
    };
    texts.filter_map(tail).collect()
}
