//! The webhook, from bytes to bytes: it parses a review, and answers it from a small cache.
//!
//! If the first byte is 0, the next two bytes select a field of a review and a private key, which is put there together with
//! the rest. Otherwise, the data is the body of the request.

use std::sync::{Arc, OnceLock};

use keypair_operator::{
    api::{KeyPair, KeyPairSpec},
    cache::{Index, ScopeCache, ScopeCaches},
    domain::{profile::Profile, region::Region},
    webhook::{Scopes, envelope, review},
};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::{armor, seeds};

/// Certificates expire, so the time is fixed.
const NOW: u64 = 1_800_000_000;
const NAMESPACE: &str = "shop";
/// This many consecutive characters of a private key cannot be mistaken for ordinary text.
const WINDOW: usize = 24;

/// Fields that can contain a private key by mistake. `/tags/0/key` and the like are below `spec`.
const PLACES: &[&str] = &[
    "/request/object/spec/publicKey",
    "/request/object/spec/keyPairName",
    "/request/object/spec/description",
    "/request/object/spec/project",
    "/request/object/spec/clientToken",
    "/request/object/spec/profile",
    "/request/object/spec/tags/0/key",
    "/request/object/spec/tags/0/value",
    "/request/object/spec/generate/algorithm",
    "/request/object/spec/secret/name",
    "/request/object/spec/secret/onLoss",
    "/request/object/spec/secret/keys/privateKey",
    "/request/object/spec/secret/template/type",
    "/request/object/spec/secret/template/stringData/note",
    "/request/object/spec/secret/template/labels/note",
    "/request/object/spec/secret/template/annotations/note",
    "/request/object/metadata/name",
    "/request/object/metadata/annotations/note",
    "/request/object/status/keyPairName",
    "/request/object/status/publicKey",
    "/request/object/status/secretName",
    "/request/oldObject/spec/publicKey",
    "/request/oldObject/status/keyPairID",
    "/request/namespace",
    "/request/userInfo/username",
    "/request/operation",
];

/// For any body: nothing panics, the response is for this request, and it contains no private key.
///
/// # Panics
///
/// If any of this does not hold.
pub fn check(data: &[u8]) {
    let body = match data {
        [0, place, key, rest @ ..] => planted(usize::from(*place), usize::from(*key), rest),
        _ => data.to_vec(),
    };
    let Some((uid, answer)) = answer(&body) else { return };
    // The webhook skips deeply nested unknown fields, but `Value` cannot hold them.
    let Ok(asked) = serde_json::from_slice::<Value>(&body) else { return };
    assert_eq!(
        uid.as_deref(),
        asked.pointer("/request/uid").and_then(Value::as_str),
        "the response is for another request"
    );
    if let Some(leak) = leak(&answer) {
        panic!("the response contains part of a private key: {leak}");
    }
}

/// The UID in the response, and everything that others can see: the response itself, and the reason that is counted and
/// logged.
fn answer(body: &[u8]) -> Option<(Option<String>, String)> {
    let (review, refused) = match envelope::read(body) {
        Some(request) => {
            let answer = review(request, caches(), &Scopes::default(), NOW)?;
            (answer.response.into_review(), answer.refused)
        }
        None => (envelope::admit_unread(body)?, None),
    };
    let answer = serde_json::to_value(&review).expect("a response can be serialized");
    assert_eq!(answer.pointer("/kind"), Some(&Value::from("AdmissionReview")));
    let allowed = answer.pointer("/response/allowed").and_then(Value::as_bool);
    assert_eq!(allowed, Some(refused.is_none()), "a refusal must have a reason");
    let uid = answer.pointer("/response/uid").and_then(Value::as_str).map(str::to_owned);
    Some((uid, format!("{answer} {refused:?}")))
}

/// Two regions, an empty one and one with a full quota. The existing pairs have names, tokens and keys.
fn caches() -> &'static ScopeCaches {
    static CACHES: OnceLock<ScopeCaches> = OnceLock::new();
    CACHES.get_or_init(|| {
        let index = Index::tracking_duplicate_keys();
        let projects = Some(["web".to_owned()].into());
        index.set_region(NAMESPACE, Region { projects, ..Region::with_quota(4) }, |_| None);
        index.set_region("full", Region::with_quota(1), |_| None);
        for (namespace, number) in [(NAMESPACE, 1), (NAMESPACE, 2), ("full", 3)] {
            let spec = KeyPairSpec {
                key_pair_name: Some(format!("taken-{number}")),
                public_key: Some(seeds::vectors("public")[number * 3].clone()),
                client_token: Some(format!("token-{number}")),
                ..KeyPairSpec::default()
            };
            let mut key_pair = KeyPair::new(&format!("pair-{number}"), spec);
            key_pair.metadata.namespace = Some(namespace.to_owned());
            key_pair.metadata.uid = Some(format!("uid-{number}"));
            index.apply(&Event::Apply(key_pair));
        }
        let cache = Arc::new(ScopeCache::new(index));
        let caches = ScopeCaches::default();
        caches.publish(None, cache);
        caches
    })
}

/// A part of a private key of the vectors that occurs in the text.
fn leak(text: &str) -> Option<&'static str> {
    static SECRETS: OnceLock<Vec<String>> = OnceLock::new();
    let secrets = SECRETS.get_or_init(|| {
        let armored = keys().iter().filter_map(|key| armor::inner(key));
        armored.flat_map(|bytes| [armor::base64(&bytes), armor::base64(armor::base64(&bytes).as_bytes())]).collect()
    });
    let windows = secrets.iter().flat_map(|secret| {
        // One window at every eighth character: any part of 31 characters contains a whole one.
        (0..secret.len().saturating_sub(WINDOW)).step_by(8).map(|start| &secret[start..start + WINDOW])
    });
    // Public keys begin with the same characters, so these are not secret.
    windows.filter(|window| !window.contains("AAAAA")).find(|window| text.contains(window))
}

fn keys() -> &'static [String] {
    static KEYS: OnceLock<Vec<String>> = OnceLock::new();
    KEYS.get_or_init(|| seeds::vectors("private/plain"))
}

/// A review with a private key in one of the fields, followed by `around`. Every second key is without its armor.
fn planted(place: usize, key: usize, around: &[u8]) -> Vec<u8> {
    let keys = keys();
    let text = &keys[key / 2 % keys.len()];
    let bare = || armor::inner(text).map(|bytes| armor::base64(&bytes)).unwrap_or_default();
    let planted =
        format!("{}{}", if key.is_multiple_of(2) { text.clone() } else { bare() }, String::from_utf8_lossy(around));
    let mut review = example("UPDATE", &seeds::vectors("public")[0]);
    let place = PLACES[place % PLACES.len()];
    *review.pointer_mut(place).unwrap_or_else(|| panic!("a review has no {place}")) = Value::from(planted);
    review.to_string().into_bytes()
}

/// A review in which every field is set.
fn example(operation: &str, public_key: &str) -> Value {
    let object = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
        "metadata": {"name": "web", "namespace": NAMESPACE, "uid": "uid-web", "annotations": {"note": "x"}, "labels": {"a": "b"}},
        "spec": {
            "profile": "OpenSSH", "keyPairName": "web", "publicKey": public_key, "description": "for the web", "project": "web",
            "clientToken": "token", "tags": [{"key": "tier", "value": "gold"}], "generate": {"algorithm": "RSA", "bits": 2048},
            "secret": {
                "name": "web", "encoding": "PKCS8", "deletionPolicy": "Delete", "onLoss": "Report",
                "keys": {"privateKey": "identity", "publicKey": "identity.pub"},
                "template": {"type": "Opaque", "labels": {"note": "x"}, "annotations": {"note": "x"}, "stringData": {"note": "x"}},
            },
        },
        "status": {"keyPairID": "kp-00000000000000000000", "keyPairName": "web", "publicKey": public_key, "secretName": "web"},
    });
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "keypairs.dev", "version": "v1alpha1", "kind": "KeyPair"},
            "resource": {"group": "keypairs.dev", "version": "v1alpha1", "resource": "keypairs"},
            "requestKind": {"group": "keypairs.dev", "version": "v1alpha1", "kind": "KeyPair"},
            "requestResource": {"group": "keypairs.dev", "version": "v1alpha1", "resource": "keypairs"},
            "name": "web", "namespace": NAMESPACE, "operation": operation,
            "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
            "object": object, "oldObject": object, "dryRun": false,
        },
    })
}

/// Reviews of every operation, with and without each field, and with private keys in every field.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let places = 0..u8::try_from(PLACES.len()).unwrap_or(u8::MAX);
    let mut seeds: Vec<Vec<u8>> =
        places.flat_map(|place| (0..40).step_by(7).map(move |key| vec![0, place, key])).collect();
    let bodies = seeds::vectors("public");
    for operation in ["CREATE", "UPDATE", "DELETE", "CONNECT"] {
        for profile in Profile::ALL.map(Profile::as_str) {
            let mut review = example(operation, &bodies[0]);
            review["request"]["object"]["spec"]["profile"] = Value::from(profile);
            review["request"]["object"]["spec"]["keyPairName"] = Value::from("taken-1");
            seeds.push(review.to_string().into_bytes());
            for field in ["publicKey", "generate", "secret", "tags", "keyPairName", "project"] {
                let mut review = review.clone();
                for object in ["object", "oldObject"] {
                    review["request"][object]["spec"].as_object_mut().and_then(|spec| spec.remove(field));
                }
                seeds.push(review.to_string().into_bytes());
            }
        }
    }
    let creates = bodies.iter().map(|body| {
        let mut review = example("CREATE", body);
        review["request"]["namespace"] = Value::from("full");
        review["request"]["object"]["spec"].as_object_mut().and_then(|spec| spec.remove("generate"));
        review["request"].as_object_mut().and_then(|request| request.remove("oldObject"));
        review.to_string().into_bytes()
    });
    seeds.extend(creates);
    seeds.push(br#"{"request":{"uid":"1","object":[]}}"#.to_vec());
    seeds
}
