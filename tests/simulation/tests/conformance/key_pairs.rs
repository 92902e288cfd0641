//! KeyPairs: their status, their schema and their rules.

use serde_json::{Value, json};

use crate::{
    conforms,
    objects::{KEY, KEY_PAIRS, at, key_pair, with},
    script::{METADATA, Script},
};

#[test]
fn status_writes_match_a_real_api_server() {
    let mut script = Script::new();
    let path = at(KEY_PAIRS, "aa");
    let status = format!("{path}/status");
    let condition = json!({ "type": "Ready", "status": "True", "reason": "Imported", "message": "m", "lastTransitionTime": "2020-01-01T00:00:00Z" });
    script.put(&status, key_pair("aa", &json!({})));
    script.post("made", KEY_PAIRS, key_pair("aa", &json!({ "description": "one" })));
    let bare = |status: Value| {
        json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": "aa", "namespace": "{ns}", "uid": "{made.uid}", "resourceVersion": "{now.version}" }, "status": status
        })
    };
    for change in [
        json!({ "observedGeneration": 1, "conditions": [condition] }),
        json!({ "observedGeneration": 1, "conditions": [condition] }),
        json!({ "observedGeneration": 1, "conditions": [condition, condition] }),
        json!({ "observedGeneration": 1, "conditions": [{ "type": "Ready" }] }),
        json!({ "observedGeneration": 1, "unknown": 1, "keyPairID": null, "bits": 2048 }),
        json!({ "bits": "2048" }),
        json!({ "bits": 4_294_967_296_u64 }),
        json!({ "conditions": [with(condition.clone(), &json!({ "status": "Maybe", "reason": "no reason", "lastTransitionTime": "soon" }))] }),
        json!({}),
        json!(null),
        json!("text"),
        json!({ "keyPairID": "kp-aaaaaaaaaaaaaaaaaaaa", "keyPairName": "a" }),
    ] {
        script.get(&path).keep("now");
        script.put(&status, bare(change));
    }
    script.get(&path).keep("now");
    // The spec and the labels are ignored.
    script.put(
        &status,
        with(
            key_pair("aa", &json!({ "description": "other" })),
            &json!({ "metadata": { "resourceVersion": "{now.version}", "labels": { "a": "b" } } }),
        ),
    );
    script.put(
        &status,
        with(key_pair("aa", &json!({})), &json!({ "metadata": { "resourceVersion": "{made.version}" } })),
    );
    script.put(&status, with(key_pair("aa", &json!({})), &json!({ "metadata": { "uid": "another" } })));
    script.put(&status, key_pair("aa", &json!({})));
    script.patch(&status, json!({ "status": { "keyPairName": "b", "keyPairID": "kp-aaaaaaaaaaaaaaaaaaaa" }, "spec": { "description": "other" } })).accept(METADATA);
    script.get(&status);
    script.get(&path);
    // An accepted KeyPair.
    for change in [
        json!({ "keyPairName": "other-name" }),
        json!({ "keyPairName": "aa" }),
        json!({ "profile": "UCloud" }),
        json!({ "generate": { "algorithm": "RSA", "bits": 2048 } }),
        json!({ "generate": { "bits": 3072 } }),
        json!({ "clientToken": "t" }),
        json!({ "publicKey": KEY }),
        json!({ "description": "changed" }),
        json!({ "tags": [{ "key": "k" }] }),
    ] {
        script.patch(&path, json!({ "spec": change }));
    }
    script.patch(&path, json!({ "status": { "keyPairID": "kp-bbbbbbbbbbbbbbbbbbbb" } }));
    script.get(&path);
    conforms("statuses", &script);
}

#[test]
fn key_pair_writes_match_a_real_api_server() {
    let mut script = Script::new();
    let key = KEY.trim();
    for spec in [
        json!({}),
        json!(null),
        json!([]),
        json!("text"),
        json!({ "unknown": true, "secret": { "unknown": 1 } }),
        json!({ "profile": "Nobody" }),
        json!({ "profile": null, "generate": null, "tags": null, "keyPairName": null }),
        json!({ "profile": 1, "keyPairName": true }),
        json!({ "keyPairName": "x".repeat(513) }),
        json!({ "keyPairName": "1st" }),
        json!({ "keyPairName": "" }),
        json!({ "publicKey": key, "generate": {} }),
        json!({ "publicKey": key }),
        json!({ "publicKey": "ssh-rsa nonsense" }),
        json!({ "publicKey": "nonsense" }),
        json!({ "publicKey": " " }),
        json!({ "publicKey": "-----BEGIN OPENSSH PRIVATE KEY-----" }),
        json!({ "publicKey": format!("{key}\u{200b}") }),
        json!({ "publicKey": "ssh-ed25519 AAAA" }),
        json!({ "publicKey": "ssh-ed25519 AAAA", "profile": "OpenSSH" }),
        json!({ "generate": { "algorithm": "Ed25519" } }),
        json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519", "bits": 255 } }),
        json!({ "profile": "OpenSSH", "generate": { "algorithm": "ECDSA", "bits": 384 } }),
        json!({ "generate": { "bits": "2048" } }),
        json!({ "generate": { "algorithm": "DSA" } }),
        json!({ "description": " x" }),
        json!({ "project": "a b" }),
        json!({ "clientToken": "中" }),
        json!({ "tags": [{ "key": "a" }, { "key": "a" }] }),
        json!({ "tags": [{ "key": "aliyun" }] }),
        json!({ "tags": [{ "value": "a" }] }),
        json!({ "tags": [{ "key": "a", "value": null, "more": 1 }] }),
        json!({ "tags": (0..21).map(|n| json!({ "key": n.to_string() })).collect::<Vec<_>>() }),
        json!({ "tags": (0..41).map(|n| json!({ "key": n.to_string() })).collect::<Vec<_>>() }),
        json!({ "secret": { "name": "Bad Name" } }),
        json!({ "secret": { "name": "sh.helm.release.v1" } }),
        json!({ "secret": { "encoding": "SEC1" } }),
        json!({ "secret": { "encoding": "None", "onLoss": "Cry", "deletionPolicy": "Maybe" } }),
        json!({ "secret": { "keys": { "privateKey": "a", "publicKey": "a" } } }),
        json!({ "secret": { "template": { "type": "kubernetes.io/tls", "labels": { "a b": "c" }, "stringData": { "a": "b" } } } }),
        json!({ "secret": { "template": { "labels": { "a": 1 } } } }),
        json!({ "secret": { "template": { "stringData": { "a": "x".repeat(17_000) } } } }),
        json!({ "secret": { "template": { "stringData": (0..65).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>() } } }),
        json!({ "secret": { "template": {}, "keys": {} } }),
        json!({ "secret": null }),
    ] {
        script.post("", &format!("{KEY_PAIRS}?dryRun=All"), key_pair("pair", &spec));
    }
    script.post("", &format!("{KEY_PAIRS}?dryRun=All"), json!({ "metadata": { "name": "nothing" } }));
    script.post(
        "",
        &format!("{KEY_PAIRS}?dryRun=All"),
        json!({ "kind": "KeyPair", "apiVersion": "keypairs.dev/v1alpha1", "metadata": { "name": "nothing" } }),
    );
    script.post("", KEY_PAIRS, key_pair("pair", &json!({ "keyPairName": "first" })));
    for change in [
        json!({ "keyPairName": "1st" }),
        json!({ "keyPairName": "second" }),
        json!({ "keyPairName": null }),
        json!({ "publicKey": key }),
        json!({ "publicKey": null }),
        json!({ "profile": "OpenSSH", "generate": { "algorithm": "ECDSA" } }),
        json!({ "profile": null }),
        json!({ "generate": null }),
        json!(null),
    ] {
        script.patch(&at(KEY_PAIRS, "pair"), json!({ "spec": change }));
    }
    conforms("key-pairs", &script);
}
