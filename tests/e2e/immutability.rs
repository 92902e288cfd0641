//! Tests which fields of a KeyPair can change before and after acceptance.

use serde_json::{Value, json};

use crate::{
    expected::{PROFILES, answer, generates_only_rsa, hashes_project},
    mistakes::valid,
    support::{STRICT, STRIPPED, Scene, condition, text, vector},
    tools::openssl_md5,
};

/// Another valid public key.
fn another_key() -> Value {
    json!(vector("public/ecdsa256.pub"))
}

/// Tries to change the spec. The API server must refuse with the message for `fault`.
async fn immutable(scene: &Scene, name: &str, profile: &str, fault: &str, field: &str, spec: Value) {
    let patch = json!({ "spec": spec });
    let error =
        scene.try_patch(name, &patch).await.err().unwrap_or_else(|| panic!("{name} accepted {patch}")).to_string();
    let (code, message, _) = answer(profile, fault);
    let words =
        format!("{code}: {}. {field} is immutable once the key pair is accepted", message.trim_end_matches('.'));
    assert!(error.contains(&words), "{name} {patch}: no {words:?} in {error}");
}

async fn of_an_import(profile: &'static str) {
    let scene = STRICT.scene("immutable-import").await;
    let mut spec = valid(profile);
    spec["clientToken"] = json!("token-1");
    scene.create("pair", &spec).await;
    let accepted = scene.settled("pair", "True/Imported").await;

    let other = if profile == "OpenSSH" { "Volcengine" } else { "OpenSSH" };
    let refuse = async |fault, field, spec| immutable(&scene, "pair", profile, fault, field, spec).await;
    refuse("InvalidKeyPairName", "keyPairName", json!({ "keyPairName": "other" })).await;
    refuse("InvalidPublicKey", "publicKey", json!({ "publicKey": another_key() })).await;
    refuse("InvalidPublicKey", "publicKey", json!({ "publicKey": null })).await;
    refuse("InvalidClientToken", "clientToken", json!({ "clientToken": "token-2" })).await;
    refuse("InvalidClientToken", "clientToken", json!({ "clientToken": null })).await;
    // The message follows the new profile.
    immutable(&scene, "pair", other, "InvalidPublicKey", "profile", json!({ "profile": other })).await;

    // An explicit default and a trailing newline change nothing.
    let key = format!("{}\n", text(&spec["publicKey"]));
    scene.patch("pair", &json!({ "spec": { "keyPairName": "pair", "publicKey": key } })).await;
    let same = scene.settled("pair", "True/Imported").await;
    for field in ["keyPairID", "fingerprint", "fingerprints", "publicKey", "keyPairName"] {
        assert_eq!(same["status"][field], accepted["status"][field], "{profile} {field}");
    }
    described(&scene, profile, &same, "True/Imported").await;
}

/// Description, tags and project can change, and their rules still apply.
async fn described(scene: &Scene, profile: &str, before: &Value, ready: &str) {
    let tags = json!([{ "key": "team", "value": "a" }]);
    let spec = json!({ "description": "described 描述", "tags": tags, "project": "project-b" });
    scene.patch("pair", &json!({ "spec": spec })).await;
    let after = scene.settled("pair", ready).await;
    assert!(after["metadata"]["generation"].as_u64() > before["metadata"]["generation"].as_u64());
    assert_eq!(after["status"]["keyPairID"], before["status"]["keyPairID"]);
    assert_eq!(after["status"]["fingerprints"], before["status"]["fingerprints"]);
    let fingerprint = if hashes_project(profile) {
        let body = after["spec"]["publicKey"].as_str().unwrap_or_else(|| text(&after["status"]["publicKey"])).trim();
        json!(openssl_md5(format!("project-b{}|{body}", text(&after["status"]["keyPairID"])).as_bytes()))
    } else {
        before["status"]["fingerprint"].clone()
    };
    assert_eq!(after["status"]["fingerprint"], fingerprint, "{profile}");
    let error = scene.try_patch("pair", &json!({ "spec": { "description": "1" } })).await.unwrap_err().to_string();
    assert!(error.contains(answer(profile, "InvalidDescription").0), "{profile}: {error}");
}

async fn of_a_generated_pair(profile: &'static str) {
    let scene = STRICT.scene("immutable-generated").await;
    scene.create("pair", &json!({ "profile": profile })).await;
    let accepted = scene.settled("pair", "True/Generated").await;

    let refuse = async |fault, field, spec| immutable(&scene, "pair", profile, fault, field, spec).await;
    refuse("InvalidKeyPairName", "keyPairName", json!({ "keyPairName": "other" })).await;
    refuse("InvalidPublicKey", "publicKey", json!({ "publicKey": valid(profile)["publicKey"] })).await;
    refuse("InvalidPublicKey", "generate.bits", json!({ "generate": { "bits": 3072 } })).await;
    refuse("InvalidClientToken", "clientToken", json!({ "clientToken": "token" })).await;
    if !generates_only_rsa(profile) {
        let ecdsa = json!({ "generate": { "algorithm": "ECDSA" } });
        refuse("InvalidPublicKey", "generate.algorithm", ecdsa).await;
    }
    let secret = scene.secrets.get("pair").await.unwrap();
    for generate in [json!({}), json!({ "algorithm": "RSA" }), json!({ "algorithm": "RSA", "bits": 2048 }), json!(null)]
    {
        scene.patch("pair", &json!({ "spec": { "keyPairName": "pair", "generate": generate } })).await;
        let same = scene.settled("pair", "True/Generated").await;
        assert_eq!(same["status"]["fingerprint"], accepted["status"]["fingerprint"], "{profile} {generate}");
    }
    described(&scene, profile, &accepted, "True/Generated").await;
    assert_eq!(scene.secrets.get("pair").await.unwrap(), secret);
}

#[tokio::test]
async fn an_accepted_import_is_immutable() {
    for profile in *PROFILES {
        of_an_import(profile).await;
    }
}

#[tokio::test]
async fn an_accepted_generated_pair_is_immutable() {
    for profile in *PROFILES {
        of_a_generated_pair(profile).await;
    }
}

/// With `spec.rotation`, the next key is of the kind in `spec.generate`.
#[tokio::test]
async fn the_kind_of_key_can_change_with_a_rotation() {
    let scene = STRICT.scene("immutable-rotation").await;
    for profile in PROFILES.iter().filter(|profile| !generates_only_rsa(profile)) {
        let name = profile.to_lowercase();
        scene.create(&name, &json!({ "profile": profile })).await;
        let accepted = scene.settled(&name, "True/Generated").await;
        let ed25519 = json!({ "algorithm": "Ed25519" });
        let without = json!({ "spec": { "generate": ed25519 } });
        scene.try_patch(&name, &without).await.unwrap_err();
        scene.patch(&name, &json!({ "spec": { "generate": ed25519, "rotation": {} } })).await;
        let object = scene.settled(&name, "True/Generated").await;
        assert_eq!(object["status"]["fingerprint"], accepted["status"]["fingerprint"], "{object}");
        let kinds: Vec<(&str, &str)> = object["status"]["keys"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|key| (text(&key["phase"]), text(&key["algorithm"])))
            .collect();
        assert_eq!(kinds, [("Current", "RSA"), ("Next", "Ed25519")], "{object}");
    }
}

/// Every field can be edited before acceptance, because nothing depends on it yet.
#[tokio::test]
async fn every_field_can_be_edited_before_acceptance() {
    let scene = STRICT.scene("immutable-before").await;
    for profile in *PROFILES {
        let name = profile.to_lowercase();
        let broken =
            json!({ "profile": profile, "keyPairName": "first", "publicKey": "ssh-rsa AAAA", "clientToken": "t" });
        scene.create(&name, &broken).await;
        let object = scene.settled(&name, "False/InvalidPublicKey").await;
        assert_eq!(object["status"]["error"]["code"], answer(profile, "InvalidPublicKey").0);
        // Still invalid, but with all fields changed.
        let other = if profile == "OpenSSH" { "Alibaba" } else { "OpenSSH" };
        let changed =
            json!({ "profile": other, "keyPairName": "second", "publicKey": "ssh-dss AAAA", "clientToken": "u" });
        scene.patch(&name, &json!({ "spec": changed })).await;
        let object = scene.settled(&name, "False/InvalidPublicKey").await;
        assert_eq!(object["status"]["error"]["code"], answer(other, "InvalidPublicKey").0);
        assert_eq!(object["status"]["keyPairName"], "second");
        // An import becomes a generated pair.
        let mended = json!({
            "profile": profile, "keyPairName": null, "publicKey": null, "clientToken": null, "generate": { "bits": 3072 },
        });
        scene.patch(&name, &json!({ "spec": mended })).await;
        let object = scene.settled(&name, "True/Generated").await;
        assert_eq!(object["status"]["error"], Value::Null);
        assert_eq!((&object["status"]["keyPairName"], &object["status"]["bits"]), (&json!(name), &json!(3072)));
        scene.wait_for_events(&name, &["Normal/Generated", "Warning/InvalidPublicKey"]).await;
    }
}

/// If the object was edited while the CRD had no rules, the controller reports the edit and replaces nothing.
#[tokio::test]
async fn the_controller_refuses_edits_of_immutable_fields() {
    let scene = STRIPPED.scene("immutable-again").await;
    let mut import = valid("Volcengine");
    import["clientToken"] = json!("token-1");
    import["keyPairName"] = json!("imported-pair");
    let generated = json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } });
    let cases = [
        (
            "import",
            import,
            "True/Imported",
            vec![
                (json!({ "keyPairName": "other" }), "False/InvalidKeyPairName"),
                (json!({ "publicKey": another_key() }), "False/InvalidPublicKey"),
                (json!({ "publicKey": null, "secret": { "onLoss": "Regenerate" } }), "False/InvalidPublicKey"),
                (json!({ "profile": "OpenSSH" }), "False/InvalidPublicKey"),
                (json!({ "clientToken": "token-2" }), "False/InvalidClientToken"),
            ],
        ),
        (
            "made",
            generated,
            "True/Generated",
            vec![
                (json!({ "keyPairName": "other" }), "False/InvalidKeyPairName"),
                (json!({ "generate": null, "publicKey": another_key() }), "False/InvalidPublicKey"),
                (json!({ "generate": { "algorithm": "ECDSA" } }), "False/InvalidPublicKey"),
                (json!({ "profile": "Volcengine" }), "False/InvalidPublicKey"),
            ],
        ),
    ];
    for (name, spec, ready, edits) in cases {
        scene.create(name, &spec).await;
        let accepted = scene.settled(name, ready).await;
        let secrets = scene.list("secrets");
        for (edit, wanted) in edits {
            scene.patch(name, &json!({ "spec": edit })).await;
            let object = scene.settled(name, wanted).await;
            let told = condition(&object, "Ready");
            assert!(text(&told["message"]).contains("immutable"), "{edit}: {told}");
            for field in ["keyPairID", "keyPairName", "fingerprint", "fingerprints", "publicKey", "secretName"] {
                assert_eq!(object["status"][field], accepted["status"][field], "{edit} {field}");
            }
            assert_eq!(scene.list("secrets"), secrets, "{edit}");
            // Reverting the edit restores the original state.
            let mut back = spec.clone();
            for field in ["keyPairName", "publicKey", "clientToken", "generate", "secret"] {
                if back[field].is_null() {
                    back[field] = Value::Null;
                }
            }
            scene.patch(name, &json!({ "spec": back })).await;
            scene.settled(name, ready).await;
        }
    }
}
