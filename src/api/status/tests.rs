//! A status as somebody else may have written it.

use serde_json::{Value, json};

use super::*;
use crate::{
    api::KeyPair,
    domain::reason::{Reason, Refusal},
};
use k8s_openapi::jiff::Timestamp;

const UID: &str = "5f2c7c62-9c5c-4a3b-8d0c-0f4e6a0b7d11";
const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf me";
const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHIjfaJwW4mKVGwm3drhlQ5KEsPEKjpJXUfuGANQVTe0 you";

/// What the operator itself writes.
fn honest() -> Value {
    let key::Fingerprints { md5, sha256 } = PublicKey::parse(LINE).unwrap().fingerprints();
    json!({
        "keyPairID": "kp-0123456789abcdefghij", "publicKey": LINE, "algorithm": "Ed25519", "bits": 256,
        "fingerprint": md5, "fingerprints": { "md5": md5, "sha256": sha256 },
        "secretName": "web", "secretVersion": "1042",
    })
}

fn accepted_key_pair(changes: &Value) -> decide::AcceptedKeyPair {
    let mut status = honest();
    for (field, value) in changes.as_object().unwrap() {
        status[field] = value.clone();
    }
    serde_json::from_value::<KeyPairStatus>(status).unwrap().accepted_key_pair(UID).unwrap()
}

#[test]
fn a_status_of_the_operator_is_read_unchanged() {
    let accepted = accepted_key_pair(&json!({}));
    assert_eq!(
        (accepted.id.as_str(), accepted.public_key.as_str(), accepted.bits),
        ("kp-0123456789abcdefghij", LINE, 256)
    );
    assert_eq!((accepted.secret_name.as_deref(), accepted.secret_version.as_deref()), (Some("web"), Some("1042")));
    assert_eq!((accepted.algorithm.as_str(), accepted.fingerprint), ("Ed25519", accepted.fingerprints.md5));
    assert_eq!(KeyPairStatus::default().accepted_key_pair(UID), None);
}

#[test]
fn an_invalid_secret_name_reads_as_absent() {
    let long = "a".repeat(254);
    for name in [
        "",
        ".",
        "..",
        "../../victim/secrets/db",
        "a/b",
        "a?x=y",
        "a%2fb",
        "web\n",
        " web",
        "Web",
        "we\u{202e}b",
        "web#",
        long.as_str(),
    ] {
        assert_eq!(accepted_key_pair(&json!({ "secretName": name })).secret_name, None, "{name:?}");
    }
    for version in ["", "1\n2", "\u{1b}[2J", "../1", long.as_str()] {
        assert_eq!(accepted_key_pair(&json!({ "secretVersion": version })).secret_version, None, "{version:?}");
    }
}

#[test]
fn a_name_that_a_profile_allows_is_read_back() {
    for rules in Profile::ALL.map(Profile::rules) {
        for rule in [rules.import_name, rules.generate_name] {
            let longest = "a".repeat(rule.max_chars);
            assert!(rule.allows(&longest), "{}", rule.words);
            assert_eq!(accepted_key_pair(&json!({ "keyPairName": longest })).key_pair_name, longest, "{}", rule.words);
        }
    }
    for name in ["", "a b", "a\n", &"a".repeat(1_000)] {
        assert_eq!(accepted_key_pair(&json!({ "keyPairName": name })).key_pair_name, "", "{name:.40}");
    }
}

#[test]
fn an_invalid_identifier_is_derived_again_from_the_uid() {
    for id in ["", "x", "kp-0123456789ABCDEFGHIJ", "kp-0123456789abcdefghij\n", &"k".repeat(100_000)] {
        assert_eq!(accepted_key_pair(&json!({ "keyPairID": id })).id, KeyPairId::from_uid(UID).to_string(), "{id:.40}");
    }
}

#[test]
fn a_key_must_match_its_fingerprints() {
    let honest = accepted_key_pair(&json!({}));
    // Not a key, not as the operator writes it, not this one.
    for line in [
        "",
        "x",
        "ssh-ed25519 AAAA",
        &format!("{LINE} "),
        &LINE.replace("me", "m\u{202e}e"),
        OTHER,
        &"a".repeat(1 << 20),
    ] {
        let accepted = accepted_key_pair(&json!({ "publicKey": line }));
        assert_eq!((accepted.public_key.as_str(), &accepted.fingerprints), ("", &honest.fingerprints), "{line:.40}");
    }
    for fingerprints in [
        json!(null),
        json!({ "md5": "", "sha256": "" }),
        json!({ "md5": honest.fingerprints.md5, "sha256": "SHA256:\n" }),
        json!({ "md5": "\u{202e}", "sha256": honest.fingerprints.sha256 }),
    ] {
        let accepted = accepted_key_pair(&json!({ "fingerprints": fingerprints }));
        assert_eq!(
            (accepted.public_key.as_str(), &accepted.fingerprints),
            (LINE, &honest.fingerprints),
            "{fingerprints}"
        );
    }
    let nothing =
        accepted_key_pair(&json!({ "publicKey": "x", "fingerprints": null, "algorithm": "R\u{1b}A", "bits": 1 << 20 }));
    assert_eq!(nothing.fingerprints, key::Fingerprints::default());
    assert_eq!((nothing.public_key.as_str(), nothing.algorithm.as_str(), nothing.bits), ("", "", 0));
    assert_eq!(accepted_key_pair(&json!({ "publicKey": "x", "bits": -1 })).bits, 0);
}

#[test]
fn a_malformed_fingerprint_is_ignored() {
    for text in ["", "x", "a\nb", "SHA256:../..", &"a".repeat(100_000)] {
        assert_eq!(accepted_key_pair(&json!({ "fingerprint": text })).fingerprint, "", "{text:.40}");
    }
    assert_eq!(accepted_key_pair(&json!({ "fingerprint": "a".repeat(32) })).fingerprint, "a".repeat(32));
}

/// Invalid values are dropped, and not written as empty strings.
#[test]
fn unknown_values_are_omitted_from_the_next_status() {
    let forged = json!({
        "keyPairID": "\u{202e}", "publicKey": "a\nb", "algorithm": "x", "bits": 1 << 30, "fingerprint": "y",
        "fingerprints": { "md5": "a", "sha256": "b" }, "secretName": "../x", "secretVersion": "\n",
    });
    let status: KeyPairStatus = serde_json::from_value(forged).unwrap();
    let refusal = Refusal::new(Reason::SecretConflict, crate::domain::reason::Parameter::Secret, "no");
    let report = decide::Report {
        accepted: status.accepted_key_pair(UID),
        refusals: vec![refusal],
        ..decide::Report::default()
    };
    let key_pair = KeyPair::new("web", crate::api::KeyPairSpec::default());
    let next = KeyPairStatus::from_report(&key_pair, "web", report, Timestamp::UNIX_EPOCH);
    let written = serde_json::to_value(next).unwrap();
    let fields: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(fields, ["conditions", "error", "keyPairID", "keyPairName"]);
    assert_eq!(written["keyPairID"], KeyPairId::from_uid(UID).as_str());
}

/// Conditions of other writers stay where they are, and those that no longer hold go.
#[test]
fn a_report_keeps_the_conditions_of_others() {
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z",
        })
    };
    let types = |conditions: &[Value], refusals: &[Refusal]| {
        let mut key_pair = KeyPair::new("web", crate::api::KeyPairSpec::default());
        let status = json!({ "conditions": conditions });
        key_pair.status = Some(serde_json::from_value(status).unwrap());
        let report = decide::Report { refusals: refusals.to_vec(), ..decide::Report::default() };
        let next = KeyPairStatus::from_report(&key_pair, "web", report, Timestamp::UNIX_EPOCH);
        let others = |status: &KeyPairStatus| {
            let others = status.conditions.iter().filter(|it| !is_own(it));
            others.cloned().collect::<Vec<_>>()
        };
        assert_eq!(others(&next), others(key_pair.status.as_ref().unwrap()));
        next.conditions.into_iter().map(|condition| condition.type_).collect::<Vec<_>>()
    };
    let refusals = [Refusal::new(Reason::InvalidTag, crate::domain::reason::Parameter::TagKey, "no")];
    let registered = || condition("example.com/registered", "False");
    assert_eq!(types(&[registered()], &[]), ["example.com/registered", "Ready"]);
    let before = [condition("Ready", "False"), registered(), condition("Stalled", "True")];
    assert_eq!(types(&before, &[]), ["Ready", "example.com/registered"]);
    assert_eq!(types(&before, &refusals), ["Ready", "example.com/registered", "Stalled"]);
    assert_eq!(types(&[], &refusals), ["Ready", "Stalled"]);
}
