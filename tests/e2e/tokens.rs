//! Client tokens: a repeated request gets the same result.

use serde_json::{Value, json};

use crate::{
    expected::{PROFILES, status_error},
    mistakes::valid,
    support::{QUIET, STRICT, Scene, condition, text},
};

fn request(profile: &str, token: &str) -> Value {
    let mut spec = valid(profile);
    spec["clientToken"] = json!(token);
    spec["keyPairName"] = json!(format!("{token}.name"));
    spec
}

fn check_replay(object: &Value, original: &Value) {
    for field in ["keyPairID", "keyPairName", "fingerprint", "fingerprints", "publicKey", "secretName", "algorithm"] {
        assert_eq!(object["status"][field], original["status"][field], "{field}");
    }
    assert_eq!(object["status"]["error"], Value::Null);
}

/// Waits until the next object is visibly newer: creation times have a resolution of one second.
async fn let_a_second_pass() {
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
}

#[tokio::test]
async fn a_repeated_request_returns_the_same_pair() {
    let scene = STRICT.scene("token-replay").await;
    for profile in *PROFILES {
        let (first, second, third) = (
            format!("z-{profile}").to_lowercase(),
            format!("b-{profile}").to_lowercase(),
            format!("c-{profile}").to_lowercase(),
        );
        let token = profile.to_lowercase();
        scene.create(&first, &request(profile, &token)).await;
        let original = scene.settled(&first, "True/Imported").await;
        let_a_second_pass().await;
        scene.create(&second, &request(profile, &token)).await;
        check_replay(&scene.settled(&second, "True/IdempotentReplay").await, &original);
        let mut other = request(profile, &token);
        other["description"] = json!("another");
        scene.create(&third, &other).await;
        let object = scene.settled(&third, "False/IdempotentParameterMismatch").await;
        assert_eq!(object["status"]["error"], status_error(profile, "IdempotentParameterMismatch"));
        scene.wait_for_events(&third, &["Warning/IdempotentParameterMismatch"]).await;

        // When the original is deleted, the oldest replay takes its place.
        scene.delete(&first).await;
        let heir = scene.settled(&second, "True/Imported").await;
        assert_ne!(heir["status"]["keyPairID"], original["status"]["keyPairID"]);
        assert_eq!(heir["status"]["fingerprints"], original["status"]["fingerprints"]);
        scene.wait_for_events(&second, &["Warning/ReplayPromoted"]).await;
        let told = text(&condition(&heir, "Ready")["message"]).to_owned();
        assert!(told.contains("a separate key pair"), "{told}");
        // When that is deleted too, the former mismatch is a regular request.
        scene.delete(&second).await;
        scene.settled(&third, "True/Imported").await;
    }
}

fn secrets(scene: &Scene) -> Vec<String> {
    let list = scene.list("secrets");
    list.iter().map(|secret| text(&secret["metadata"]["name"]).to_owned()).collect()
}

#[tokio::test]
async fn a_replay_of_a_generated_pair_has_no_secret_of_its_own() {
    let scene = STRICT.scene("token-generated").await;
    let spec = |bits: Value| {
        let generate = json!({ "algorithm": "ECDSA", "bits": bits });
        json!({ "profile": "OpenSSH", "keyPairName": "deploy", "clientToken": "t", "generate": generate })
    };
    scene.create("first", &spec(json!(null))).await;
    let original = scene.settled("first", "True/Generated").await;
    let_a_second_pass().await;
    // An explicit default is the same request.
    scene.create("second", &spec(json!(256))).await;
    let replay = scene.settled("second", "True/IdempotentReplay").await;
    check_replay(&replay, &original);
    assert_eq!(replay["status"]["secretName"], "first");
    assert_eq!(secrets(&scene), ["first"]);

    scene.delete("first").await;
    let heir = scene.settled("second", "True/Generated").await;
    assert_eq!(heir["status"]["secretName"], "second");
    assert_ne!(heir["status"]["publicKey"], original["status"]["publicKey"]);
}

/// A replay is compared with the request as it was accepted, not with later edits of the original.
#[tokio::test]
async fn an_edit_of_the_original_changes_no_replay() {
    let scene = STRICT.scene("token-edited").await;
    let mut spec = request("OpenSSH", "t");
    spec["tags"] = json!([{ "key": "team", "value": "a" }]);
    scene.create("first", &spec).await;
    scene.settled("first", "True/Imported").await;
    let_a_second_pass().await;
    scene.create("second", &spec).await;
    scene.settled("second", "True/IdempotentReplay").await;
    let edited = json!({ "tags": [{ "key": "team", "value": "b" }], "description": "edited", "project": "b" });
    scene.patch("first", &json!({ "spec": edited })).await;
    let original = scene.settled("first", "True/Imported").await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    check_replay(&scene.settled("second", "True/IdempotentReplay").await, &original);
    // A later replay is compared with the accepted request as well.
    scene.create("third", &spec).await;
    check_replay(&scene.settled("third", "True/IdempotentReplay").await, &original);
    let mut other = spec.clone();
    for (field, value) in edited.as_object().unwrap() {
        other[field] = value.clone();
    }
    scene.create("fourth", &other).await;
    scene.settled("fourth", "False/IdempotentParameterMismatch").await;
    // An edited replay is a different request.
    scene.patch("third", &json!({ "spec": { "description": "another" } })).await;
    scene.settled("third", "False/IdempotentParameterMismatch").await;
}

/// A replay reports the same readiness as its original.
#[tokio::test]
async fn a_replay_is_no_more_ready_than_its_original() {
    let scene = STRICT.scene("token-lost").await;
    let generate = json!({ "algorithm": "Ed25519" });
    let spec = json!({ "profile": "OpenSSH", "keyPairName": "deploy", "clientToken": "t", "generate": generate });
    scene.create("first", &spec).await;
    let original = scene.settled("first", "True/Generated").await;
    let_a_second_pass().await;
    scene.create("second", &spec).await;
    check_replay(&scene.settled("second", "True/IdempotentReplay").await, &original);
    let secret = scene.secrets.get("first").await.unwrap();
    scene.secrets.delete("first", &kube::api::DeleteParams::default()).await.unwrap();
    scene.settled("first", "False/PrivateKeyLost").await;
    let object = scene.settled("second", "False/PrivateKeyLost").await;
    let told = text(&condition(&object, "Ready")["message"]).to_owned();
    assert!(told.contains("KeyPair \"first\"") && told.contains("Secret \"first\""), "{told}");
    assert_eq!(object["status"]["keyPairID"], Value::Null, "a replay must not look like a separate pair");
    let mut restored = secret.clone();
    (restored.metadata.resource_version, restored.metadata.uid) = (None, None);
    scene.secrets.create(&kube::api::PostParams::default(), &restored).await.unwrap();
    scene.settled("first", "True/Generated").await;
    check_replay(&scene.settled("second", "True/IdempotentReplay").await, &original);
    assert_eq!(secrets(&scene), ["first"]);
}

#[tokio::test]
async fn a_replay_waits_while_its_original_is_pending() {
    let scene = QUIET.scene("token-pending").await;
    let _operator = QUIET.spawn(&["--namespace", &scene.namespace, "--quota", "1"], "info");
    scene.create("full", &valid("OpenSSH")).await;
    scene.settled("full", "True/Imported").await;
    for profile in *PROFILES {
        let (first, second) = (format!("a-{profile}").to_lowercase(), format!("b-{profile}").to_lowercase());
        let token = profile.to_lowercase();
        scene.create(&first, &request(profile, &token)).await;
        scene.settled(&first, "False/QuotaExceeded").await;
        let_a_second_pass().await;
        scene.create(&second, &request(profile, &token)).await;
        let object = scene.settled(&second, "False/IdempotentProcessing").await;
        assert_eq!(object["status"]["error"], status_error(profile, "IdempotentProcessing"));
    }
    scene.delete("full").await;
    let original = scene.settled("a-alibaba", "True/Imported").await;
    // A replay does not count towards the quota.
    check_replay(&scene.settled("b-alibaba", "True/IdempotentReplay").await, &original);
    scene.settled("a-ucloud", "False/QuotaExceeded").await;
}
