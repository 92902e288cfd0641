use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::KeyPair,
    domain::publication::{
        Layout, PublicationReason, PublicationReport, PublishedPair, Rendered, TargetOutcome, check,
    },
};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf";
const TIME: &str = "2026-01-01T00:00:00Z";

fn condition(type_: &str, status: &str, reason: &str) -> Value {
    json!({ "type": type_, "status": status, "reason": reason, "message": "m", "lastTransitionTime": TIME })
}

fn key_pair(change: impl FnOnce(&mut Value)) -> Option<PublishedPair> {
    let mut object = json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "1" },
        "spec": {},
        "status": {
            "keyPairID": "kp-0123456789abcdefghij", "publicKey": format!("{KEY} me@example.com"),
            "conditions": [condition("Ready", "True", "Generated")],
        },
    });
    change(&mut object);
    published_pair(&serde_json::from_value::<KeyPair>(object).unwrap())
}

#[test]
fn an_accepted_pair_offers_its_key_without_the_comment() {
    let pair = key_pair(|_| {}).unwrap();
    assert_eq!((&*pair.namespace, &*pair.name, pair.keys.len()), ("shop", "web", 1));
    assert_eq!((&*pair.keys[0].line, pair.keys[0].revision, pair.keys[0].is_certificate), (KEY, 1, false));
    let rotated = key_pair(|object| object["status"]["revision"] = json!(7)).unwrap();
    assert_eq!(rotated.keys[0].revision, 7);
}

/// The keys of all phases are to be trusted.
#[test]
fn a_pair_offers_its_keys_in_the_order_of_their_revisions() {
    let key = |revision: i64, phase: &str, line: &str| {
        json!({
            "revision": revision, "phase": phase, "publicKey": line, "algorithm": "Ed25519", "bits": 256, "fingerprint": "",
            "fingerprints": { "md5": "", "sha256": "" }, "since": TIME,
        })
    };
    let keys = json!([
        key(3, "Next", "ssh-rsa CCCC"),
        key(1, "Previous", "ssh-rsa AAAA"),
        key(2, "Current", "ssh-rsa BBBB c")
    ]);
    let pair = key_pair(|object| object["status"]["keys"] = keys).unwrap();
    let found: Vec<(u32, &str)> = pair.keys.iter().map(|key| (key.revision, &*key.line)).collect();
    assert_eq!(found, [(1, "ssh-rsa AAAA"), (2, "ssh-rsa BBBB"), (3, "ssh-rsa CCCC")]);
    let broken = key_pair(|object| object["status"]["keys"] = json!([key(-1, "Next", "ssh-rsa AAAA")])).unwrap();
    assert_eq!(&*broken.keys[0].line, KEY);
}

#[test]
fn a_pair_without_an_accepted_key_offers_nothing() {
    let ready = |status: &'static str, reason: &'static str| {
        key_pair(|object| object["status"]["conditions"][0] = condition("Ready", status, reason)).is_some()
    };
    for reason in ["SecretConflict", "PrivateKeyLost", "PrivateKeyMismatch", "InternalError"] {
        assert!(ready("False", reason), "{reason}");
    }
    for reason in ["InvalidDescription", "QuotaExceeded", "RegionNotFound", "IdempotentProcessing", "Unknown"] {
        assert!(!ready("False", reason), "{reason}");
    }
    assert!(!ready("True", "IdempotentReplay") && !ready("Unknown", "Generated"));
    for (path, value) in [
        ("/status", json!({ "observedGeneration": -1 })),
        ("/status/keyPairID", Value::Null),
        ("/status/conditions", json!([])),
        ("/status/publicKey", Value::Null),
        ("/status/publicKey", json!("ssh-ed25519 AAAA\nssh-rsa BBBB")),
    ] {
        assert_eq!(key_pair(|object| *object.pointer_mut(path).unwrap() = value.clone()), None, "{path}: {value}");
    }
    assert_eq!(key_pair(|object| object["metadata"]["deletionTimestamp"] = json!(TIME)), None);
}

#[test]
fn both_kinds_are_translated() {
    let options = json!({
        "restrict": true, "from": ["*"], "command": "c", "environment": { "A": "b" }, "expiryTime": TIME, "principals": ["p"],
        "certAuthority": true, "permitOpen": ["a:1"], "permitListen": ["2"], "tunnel": "0", "agentForwarding": true,
        "portForwarding": false, "pty": true, "userRC": false, "x11Forwarding": true, "noTouchRequired": false, "verifyRequired": true,
    });
    let selector = json!({
        "matchLabels": { "a": "b" },
        "matchExpressions": [{ "key": "c", "operator": "In", "values": ["d"] }, { "key": "e", "operator": "Exists" }],
    });
    let object = json!({
        "metadata": { "name": "admins", "namespace": "shop" },
        "spec": { "entries": [{ "selector": selector, "namespace": "web", "options": options }],
                  "target": { "secret": { "name": "a", "key": "b" } }, "layout": "EntryPerKey" },
    });
    let object: AuthorizedKeys = serde_json::from_value(object).unwrap();
    // The schema has exactly the fields of the type.
    assert_eq!(serde_json::to_value(object.spec.entries[0].options.as_ref().unwrap()).unwrap(), options);
    let parameters = object.parameters();
    assert_eq!((parameters.namespace.as_str(), parameters.name.as_str()), ("shop", "admins"));
    let entry = &parameters.entries[0];
    let expressions = &entry.selector.as_ref().unwrap().match_expressions;
    assert_eq!(expressions[0], ("c".to_owned(), "In".to_owned(), vec!["d".to_owned()]));
    assert_eq!((entry.namespace.as_deref(), entry.options.user_rc), (Some("web"), Some(false)));
    assert_eq!(parameters.layout, Layout::EntryPerKey);
    assert_eq!(parameters.target.secret, Some((Some("a".to_owned()), Some("b".to_owned()))));
    assert_eq!(check(&parameters).mistakes, []);

    let object = json!({
        "metadata": { "name": "hosts" },
        "spec": { "entries": [{ "hosts": ["a"], "publicKeys": [KEY], "marker": "Revoked" }], "hashHosts": true },
    });
    let parameters = serde_json::from_value::<KnownHosts>(object).unwrap().parameters();
    assert!(
        parameters.hash_hosts && parameters.entries[0].public_keys.is_some() && parameters.entries[0].marker.is_some()
    );
}

fn status(object: &AuthorizedKeys, is_ready: bool, outcome: &TargetOutcome, now: &str) -> PublicationStatus {
    let report = PublicationReport {
        is_ready,
        reason: if is_ready { PublicationReason::Published } else { PublicationReason::InvalidEntry },
        message: "m".to_owned(),
        is_stalled: !is_ready,
    };
    let rendered = Rendered { keys: 3, key_pairs: 2, ..Rendered::default() };
    let now: Timestamp = now.parse().unwrap();
    PublicationStatus::from_report(object, &check(&object.parameters()), (&rendered, outcome), &report, now)
}

#[test]
fn a_status_keeps_times_and_foreign_conditions() {
    let foreign = condition("example.com/seen", "True", "Seen");
    let object = json!({
        "metadata": { "name": "admins", "namespace": "shop", "generation": 4 }, "spec": {},
        "status": { "conditions": [foreign, condition("Ready", "True", "Published"), condition("Stalled", "True", "Old")] },
    });
    let mut object: AuthorizedKeys = serde_json::from_value(object).unwrap();
    let written = status(&object, true, &TargetOutcome::Written, "2026-02-01T00:00:00Z");
    let summary = |status: &PublicationStatus| -> Vec<(String, String, String)> {
        let conditions = status.conditions.iter();
        conditions.map(|it| (it.type_.clone(), it.status.clone(), it.last_transition_time.0.to_string())).collect()
    };
    let entry = |type_: &str, status: &str, time: &str| (type_.to_owned(), status.to_owned(), time.to_owned());
    let seen = entry("example.com/seen", "True", TIME);
    assert_eq!(summary(&written), [seen.clone(), entry("Ready", "True", TIME)]);
    assert_eq!((written.observed_generation, written.keys, written.key_pairs), (Some(4), Some(3), Some(2)));
    let target = written.target.clone().unwrap();
    assert_eq!((target.kind.as_str(), target.name.as_str()), ("ConfigMap", "admins"));
    assert_eq!(target.key.as_deref(), Some("authorized_keys"));

    // Nothing has changed: nothing to write.
    object.status = Some(written.clone());
    assert_eq!(status(&object, true, &TargetOutcome::Written, "2026-03-01T00:00:00Z"), written);

    let refused = status(&object, false, &TargetOutcome::Conflict, "2026-03-01T00:00:00Z");
    let now = "2026-03-01T00:00:00Z";
    assert_eq!(summary(&refused), [seen, entry("Ready", "False", now), entry("Stalled", "True", now)]);
    assert_eq!((refused.keys, refused.target), (None, None));
}
