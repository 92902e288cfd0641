//! The Secret of a KeyPair: content, ownership and deletion.

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::eventually;
use kube::{ResourceExt as _, api::PostParams};
use serde_json::{Value, json};

use crate::{
    support::{Directory, PATIENCE, QUIET, STRICT, STRIPPED, data, keys, text, to_json},
    tools::{first_two_words, openssl_check, openssl_ed25519_line, path, run, ssh_keygen_y},
};

fn secret(name: &str, metadata: &Value, data: &Value) -> Secret {
    let mut secret = json!({ "metadata": metadata, "stringData": data });
    secret["metadata"]["name"] = json!(name);
    serde_json::from_value(secret).unwrap()
}

/// The expected owner reference to a KeyPair.
fn owner(object: &Value) -> Value {
    json!([{
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "controller": true,
        "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
    }])
}

#[tokio::test]
async fn every_secret_setting_is_applied() {
    let scene = STRICT.scene("secret-settings").await;
    let spec = json!({ "secret": {
        "name": "elsewhere.example",
        "encoding": "OpenSSH",
        "keys": { "privateKey": "identity", "publicKey": "identity.pub" },
        "template": {
            "type": "example.com/key",
            "labels": { "argocd.argoproj.io/secret-type": "repository" },
            "annotations": { "note": "kept 密钥" },
            "stringData": { "known_hosts": "git.example ssh-ed25519 AAAA", "url": "ssh://git@git.example/a.git" },
        },
    } });
    scene.create("settings", &spec).await;
    let object = scene.settled("settings", "True/Generated").await;
    assert_eq!(object["status"]["secretName"], "elsewhere.example");
    assert!(scene.secrets.get_opt("settings").await.unwrap().is_none());

    let secret = scene.secrets.get("elsewhere.example").await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("example.com/key"));
    assert_eq!(keys(&secret), ["identity", "identity.pub", "known_hosts", "url"]);
    assert_eq!(data(&secret, "known_hosts"), "git.example ssh-ed25519 AAAA");
    assert_eq!(data(&secret, "url"), "ssh://git@git.example/a.git");
    let labels = json!({
        "app.kubernetes.io/managed-by": "keypair-operator", "argocd.argoproj.io/secret-type": "repository",
    });
    assert_eq!(to_json(secret.labels()), labels);
    assert_eq!(secret.annotations()["note"], "kept 密钥");
    assert_eq!(secret.annotations()["keypairs.dev/keypair"], "settings");

    let dir = Directory::new("settings");
    let file = dir.write("identity", data(&secret, "identity").as_bytes());
    assert_eq!(ssh_keygen_y(&file), first_two_words(text(&object["status"]["publicKey"])));
}

/// The API server requires the entry `ssh-privatekey` in a Secret of type `kubernetes.io/ssh-auth`.
#[tokio::test]
async fn a_renamed_private_key_makes_the_secret_opaque() {
    let scene = STRICT.scene("secret-opaque").await;
    let cases = [
        ("private", json!({ "privateKey": "sshPrivateKey" }), "Opaque", ["ssh-publickey", "sshPrivateKey"]),
        ("public", json!({ "publicKey": "key.pub" }), "kubernetes.io/ssh-auth", ["key.pub", "ssh-privatekey"]),
    ];
    for (name, renamed, ..) in &cases {
        scene.create(name, &json!({ "secret": { "keys": renamed } })).await;
    }
    for (name, _, secret_type, data_keys) in cases {
        scene.settled(name, "True/Generated").await;
        let secret = scene.secrets.get(name).await.unwrap();
        assert_eq!((secret.type_.as_deref(), keys(&secret)), (Some(secret_type), data_keys.to_vec()), "{name}");
    }
}

/// The garbage collector deletes one Secret; the other one, without an owner, stays.
#[tokio::test]
async fn the_deletion_policy_decides_whether_the_secret_is_deleted() {
    let scene = STRICT.scene("secret-deletion").await;
    for (name, policy) in [("retained", "Retain"), ("deleted", "Delete")] {
        scene.create(name, &json!({ "secret": { "deletionPolicy": policy } })).await;
    }
    for name in ["retained", "deleted"] {
        scene.settled(name, "True/Generated").await;
    }
    let retained = scene.secrets.get("retained").await.unwrap();
    assert_eq!(retained.owner_references(), []);
    assert_eq!(scene.secrets.get("deleted").await.unwrap().owner_references().len(), 1);

    for name in ["retained", "deleted"] {
        scene.kubectl(&["delete", "kp", name]);
    }
    eventually(PATIENCE, "the Secret to be collected", async || {
        Ok(scene.secrets.get_opt("deleted").await?.is_none().then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(scene.secrets.get("retained").await.unwrap(), retained);
}

/// The operator neither changes nor quotes a foreign Secret, even if it looks like its own.
#[tokio::test]
async fn a_foreign_secret_is_a_conflict_until_it_is_gone() {
    const CONTENT: &str = "a-secret-of-somebody-else";
    let scene = STRICT.scene("secret-foreign").await;
    let look_alike = json!({
        "labels": { "app.kubernetes.io/managed-by": "keypair-operator" },
        "annotations": {
            "keypairs.dev/keypair": "look-alike",
            "keypairs.dev/keypair-uid": "00000000-0000-0000-0000-000000000000",
            "keypairs.dev/fingerprint": "SHA256:AAAA",
        },
    });
    let cases = [
        ("plain", json!({}), "Alibaba", "InternalError"),
        ("look-alike", look_alike, "UCloud", "1000"),
        ("volcengine", json!({}), "Volcengine", "InternalError"),
        ("openssh", json!({}), "OpenSSH", "InternalError"),
    ];
    for (name, metadata, profile, code) in cases {
        let foreign = secret(name, &metadata, &json!({ "ssh-privatekey": CONTENT, "token": CONTENT }));
        let before = scene.secrets.create(&PostParams::default(), &foreign).await.unwrap();
        scene.create(name, &json!({ "profile": profile })).await;
        let object = scene.settled(name, "False/SecretConflict").await;

        let error = &object["status"]["error"];
        assert_eq!((&error["reason"], &error["code"]), (&json!("SecretConflict"), &json!(code)), "{name}: {error}");
        assert_eq!(error["httpStatus"], 500, "{name}");
        let message = text(&error["message"]);
        // The message names the Secret and says what to do.
        assert!(message.contains(name) && message.contains("spec.secret.name"), "{name}: {message}");
        assert_eq!(object["status"]["keyPairID"], Value::Null, "{name}");
        assert!(!object.to_string().contains(CONTENT), "{name}: {object}");
        assert_eq!(scene.secrets.get(name).await.unwrap(), before, "{name}: the operator changed the foreign Secret");
        scene.wait_for_events(name, &["Warning/SecretConflict"]).await;

        scene.kubectl(&["delete", "secret", name]);
        scene.patch(name, &json!({ "metadata": { "annotations": { "touched": "yes" } } })).await;
        let object = scene.settled(name, "True/Generated").await;
        assert_eq!(object["status"]["error"], Value::Null, "{name}");
        scene.wait_for_events(name, &["Normal/Generated", "Warning/SecretConflict"]).await;
    }
    assert!(!STRICT.log().contains(CONTENT));
}

#[tokio::test]
async fn two_key_pairs_cannot_share_a_secret() {
    let scene = STRICT.scene("secret-shared").await;
    let spec = json!({ "secret": { "name": "shared" } });
    scene.create("first", &spec).await;
    scene.settled("first", "True/Generated").await;
    let before = scene.secrets.get("shared").await.unwrap();
    scene.create("second", &spec).await;
    scene.settled("second", "False/SecretConflict").await;
    assert_eq!(scene.secrets.get("shared").await.unwrap(), before);

    // Before acceptance, another Secret name resolves the conflict.
    scene.patch("second", &json!({ "spec": { "secret": { "name": "own" } } })).await;
    let object = scene.settled("second", "True/Generated").await;
    assert_eq!(object["status"]["secretName"], "own");
}

/// Labels, annotations and names that Kubernetes would reject are refused first, without quoting the value: by the rules of the
/// CRD, or by the controller if the CRD has no rules.
#[tokio::test]
async fn settings_invalid_in_kubernetes_report_invalid_secret() {
    let wrong = [
        ("label", json!({ "labels": { "owner": "not a label!" } }), "template.labels: each value"),
        ("key", json!({ "labels": { "not/a/key": "x" } }), "template.labels: each key"),
        ("annotation", json!({ "annotations": { "not a key": "x" } }), "template.annotations: each key"),
    ];
    let (strict, stripped) = (STRICT.scene("secret-invalid").await, STRIPPED.scene("secret-invalid").await);
    for (name, template, words) in wrong {
        let spec = json!({ "secret": { "template": template } });
        let refused = strict.try_create(name, &spec).await.unwrap_err().to_string();
        assert!(refused.contains("InvalidSecret.Malformed") && !refused.contains("not a"), "{refused}");

        stripped.create(name, &spec).await;
        let object = stripped.settled(name, "False/InvalidSecret").await;
        let message = text(&object["status"]["conditions"][0]["message"]);
        assert!(message.starts_with("spec.secret: ") && message.contains(words), "{message}");
        assert!(message.contains("in the order of the keys: 1") && !message.contains("not a"), "{message}");
    }
    assert!(stripped.list("secrets").is_empty());

    let mended = json!({ "spec": { "secret": { "template": { "labels": { "owner": "me" } } } } });
    stripped.patch("label", &mended).await;
    stripped.settled("label", "True/Generated").await;
    assert_eq!(stripped.secrets.get("label").await.unwrap().labels()["owner"], "me");
}

/// Recreates the state after a crash between the creation of the Secret and the status update.
#[tokio::test]
async fn an_owned_secret_is_reused_after_a_crash() {
    let scene = QUIET.scene("secret-adopted").await;
    let dir = Directory::new("adopted");
    let rsa = run("openssl", &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], b"");
    let ed25519 = run("openssl", &["genpkey", "-algorithm", "ED25519"], b"");
    let ecdsa = dir.0.join("ecdsa");
    run("ssh-keygen", &["-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", path(&ecdsa)], b"");
    let files = [dir.write("rsa", &rsa), ecdsa, dir.write("ed25519", &ed25519)];
    let public = [ssh_keygen_y(&files[0]), ssh_keygen_y(&files[1]), openssl_ed25519_line(&files[2])];
    openssl_check(&files[0]);

    let kinds = [
        ("rsa", json!({ "algorithm": "RSA" })),
        ("ecdsa", json!({ "algorithm": "ECDSA", "bits": 384 })),
        ("ed25519", json!({ "algorithm": "Ed25519" })),
    ];
    let mut made = Vec::new();
    for ((name, generate), file) in kinds.iter().zip(&files) {
        let object = scene.create(name, &json!({ "profile": "OpenSSH", "generate": generate })).await;
        let private = std::fs::read_to_string(file).unwrap();
        let owned = secret(name, &json!({ "ownerReferences": owner(&object) }), &json!({ "ssh-privatekey": private }));
        made.push(scene.secrets.create(&PostParams::default(), &owned).await.unwrap());
    }
    let object = scene.create("changed", &json!({})).await;
    let private = json!({ "ssh-privatekey": std::fs::read_to_string(&files[2]).unwrap() });
    let changed = secret("changed", &json!({ "ownerReferences": owner(&object) }), &private);
    let changed = scene.secrets.create(&PostParams::default(), &changed).await.unwrap();

    let _operator = QUIET.spawn(&["--namespace", &scene.namespace], "info");
    for (((name, _), public), made) in kinds.iter().zip(&public).zip(&made) {
        let object = scene.settled(name, "True/Generated").await;
        assert_eq!(text(&object["status"]["publicKey"]), public, "{name}");
        let adopted = scene.secrets.get(name).await.unwrap();
        let written = data(&adopted, "ssh-privatekey");
        assert!(
            written.starts_with("-----BEGIN PRIVATE KEY-----\n"),
            "{name}: the key does not have the encoding of the spec"
        );
        if name != &"ecdsa" {
            assert_eq!(written, data(made, "ssh-privatekey"), "{name}: the key was changed");
        }
        // The operator watches Secrets with this label.
        assert_eq!(adopted.labels()["app.kubernetes.io/managed-by"], "keypair-operator");
    }
    // The KeyPair asks for RSA: the operator neither uses nor overwrites a key of another kind.
    let object = scene.settled("changed", "False/PrivateKeyMismatch").await;
    assert_eq!(object["status"]["keyPairID"], Value::Null);
    assert_eq!(scene.secrets.get("changed").await.unwrap(), changed);
}
