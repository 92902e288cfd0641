//! Updates: which are refused, which produce a warning, and which the webhook does not review.

use std::{fs, path::Path, process::Command, time::Duration};

use http::Method;
use keypair_test_harness::{http_get, namespace};
use serde_json::{Value, json};

use crate::stage::{Answer, Stage};

const KEY: &str = include_str!("../vectors/public/rsa2048.pub");

/// The reason of a refusal, or an empty string.
fn refused(answer: &Answer) -> &str {
    if answer.status < 300 { "" } else { answer.text("reason") }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_adds_an_error_is_refused() {
    let stage = Stage::new("updates").await;
    let _operator = stage.operator(&["--quota=1"]).await;
    let space = namespace(&stage.client, "updates").await.unwrap();
    stage.create(&space, "web", &json!({ "profile": "OpenSSH", "publicKey": KEY }), false).await.admitted();
    stage.settled(&space, "web", "Imported").await;
    let update = async |spec: Value| stage.patch(&space, "web", &json!({ "spec": spec })).await;

    // Mutable fields can be changed, as long as the values are valid.
    update(json!({ "description": "described", "tags": [{ "key": "team", "value": "a" }] })).await.admitted();
    assert_eq!(refused(&update(json!({ "description": "1" })).await), "InvalidKeyPairDescription.Malformed");
    update(json!({ "publicKey": format!("{}\n", KEY.trim()), "keyPairName": "web" })).await.admitted();
    // Immutable fields cannot.
    for (spec, code, field) in [
        (json!({ "keyPairName": "db" }), "InvalidKeyPairName.Malformed", "keyPairName"),
        (json!({ "clientToken": "t" }), "InvalidClientToken.Malformed", "clientToken"),
        (json!({ "publicKey": null }), "InvalidKeyPairPublicKey.Malformed", "publicKey"),
        (json!({ "profile": "Volcengine" }), "InvalidKeyPairPublicKey.Malformed", "profile"),
    ] {
        let answer = update(spec).await;
        assert_eq!((answer.status, answer.text("reason")), (400, code), "{}", answer.body);
        let words = format!("{field} is immutable once the key pair is accepted: create another KeyPair instead");
        assert!(answer.said().contains(&format!("spec.{field}: {words}")), "{}", answer.body);
        let causes = answer.body["details"]["causes"].as_array().unwrap();
        assert!(causes.iter().any(|cause| cause["field"] == format!("spec.{field}")), "{}", answer.body);
    }

    // The quota is full: another create is refused, but the existing pair can be labelled and deleted.
    let answer = stage.create(&space, "db", &json!({ "profile": "OpenSSH", "publicKey": KEY }), false).await;
    assert_eq!((answer.status, answer.text("reason")), (400, "LimitExceeded.MaximumKeyPairs"));
    assert_eq!(stage.get(&space, "db").await["reason"], "NotFound", "a refused object must not be stored");
    stage.patch(&space, "web", &json!({ "metadata": { "labels": { "team": "a" } } })).await.admitted();
    stage.delete(&space, "web").await.admitted();
}

/// A valid write and an invalid write are reviewed once each; a write that does not change the spec is not reviewed.
#[tokio::test(flavor = "multi_thread")]
async fn each_write_causes_at_most_one_review() {
    let stage = Stage::new("once").await;
    let replica = stage.operator(&[]).await;
    let space = namespace(&stage.client, "once").await.unwrap();
    let asked = async || {
        let metrics = http_get(replica.metrics, "/metrics").await.unwrap().body;
        let counts = metrics.lines().filter(|line| line.starts_with("keypair_operator_admission_reviews_total"));
        counts.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum::<usize>()
    };
    let before = asked().await;
    stage.create(&space, "web", &json!({ "profile": "OpenSSH", "publicKey": KEY }), false).await.admitted();
    assert_eq!(asked().await, before + 1);
    for broken in [json!({ "keyPairName": "a b" }), json!({ "profile": "OpenSSH", "publicKey": &KEY[..40] })] {
        let (before, answer) = (asked().await, stage.create(&space, "broken", &broken, false).await);
        assert_eq!((answer.status, asked().await), (400, before + 1), "{}", answer.body);
    }
    // In the meantime, the status was written, for which the webhook is not called.
    stage.settled(&space, "web", "Imported").await;
    assert_eq!(asked().await, before + 3);
    stage.delete(&space, "web").await.admitted();
    assert_eq!(asked().await, before + 3);
}

/// Errors that the API server detects itself are reported in its own words.
#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_leaves_errors_of_the_api_server_unchanged() {
    let stage = Stage::new("names").await;
    let _operator = stage.operator(&[]).await;
    let space = namespace(&stage.client, "names").await.unwrap();
    let spec = json!({ "profile": "OpenSSH", "publicKey": KEY });
    stage.create(&space, "web", &spec, false).await.admitted();
    stage.settled(&space, "web", "Imported").await;
    let again = stage.create(&space, "web", &spec, false).await;
    assert_eq!((again.status, again.text("reason")), (409, "AlreadyExists"));
    for _ in 0..5 {
        // Like `kubectl replace --force`: the webhook may not have seen the deletion yet.
        stage.delete(&space, "web").await.admitted();
        stage.create(&space, "web", &spec, false).await.admitted();
    }
    stage.settled(&space, "web", "Imported").await;

    let path = format!("/apis/keypairs.dev/v1alpha1/namespaces/{space}/keypairs");
    let generated = async |prefix: &str| {
        let object = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "generateName": prefix }, "spec": {},
        });
        stage.send(Method::POST, &path, "application/json", &object).await
    };
    let name = generated("web-").await.admitted()["metadata"]["name"].as_str().unwrap().to_owned();
    stage.settled(&space, &name, "Generated").await;
    let refused = generated("1-").await;
    assert_eq!((refused.status, refused.text("reason")), (400, "InvalidKeyPairName.Malformed"), "{}", refused.body);

    // Exceeds every limit of the schema, which the API server does not check before it calls the webhook.
    let tags: Vec<Value> = (0..20_000).map(|number| json!({ "key": format!("key-{number}") })).collect();
    let many = stage.create(&space, "many", &json!({ "tags": tags }), false).await;
    assert_eq!((many.status, many.text("reason")), (400, "InvalidTagKey.Malformed"));
    assert!(many.text("message").len() < 500, "{}", many.text("message").len());
    // What does not match the schema at all, the API server reports itself.
    let wrong = stage.create(&space, "wrong", &json!({ "tags": 1 }), false).await;
    assert_eq!((wrong.status, wrong.text("reason")), (422, "Invalid"));
    // The rules of the CRD do not see annotations.
    stage.create(&space, "rotated", &json!({ "rotation": {} }), false).await.admitted();
    let request = json!({ "metadata": { "annotations": { "keypairs.dev/rotate": "a b" } } });
    let answer = stage.patch(&space, "rotated", &request).await;
    assert_eq!((answer.status, answer.text("reason")), (400, "InvalidParameter"), "{}", answer.body);
    assert!(answer.said().contains("the annotation keypairs.dev/rotate must be"), "{}", answer.body);
}

/// The KeyPairs were stored while no webhook responded: their errors remain, and can be corrected.
#[tokio::test(flavor = "multi_thread")]
async fn a_pending_pair_can_be_corrected_and_deleted() {
    let stage = Stage::new("waiting").await;
    let space = namespace(&stage.client, "waiting").await.unwrap();
    let key = json!({ "profile": "OpenSSH", "publicKey": KEY });
    for name in ["first", "second"] {
        stage.create(&space, name, &key, false).await.admitted();
    }
    // The youngest, because creation timestamps have a resolution of one second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    // An invalid key that passes the rules of the CRD.
    let cut = json!({ "profile": "OpenSSH", "publicKey": &KEY[..40] });
    stage.create(&space, "cut", &cut, false).await.admitted();
    let _operator = stage.operator(&["--quota=1"]).await;
    stage.settled(&space, "first", "Imported").await;
    stage.settled(&space, "second", "QuotaExceeded").await;
    stage.settled(&space, "cut", "InvalidPublicKey").await;

    let change = async |name: &str, patch: Value| stage.patch(&space, name, &patch).await;
    for name in ["second", "cut"] {
        let metadata = json!({ "labels": { "team": "a" }, "annotations": { "note": "b" } });
        change(name, json!({ "metadata": metadata })).await.admitted();
    }
    change("second", json!({ "spec": { "description": "described" } })).await.admitted();
    let renamed = change("second", json!({ "spec": { "keyPairName": "first" } })).await;
    assert_eq!((renamed.status, renamed.text("reason")), (409, "InvalidKeyPairName.Conflict"));
    let still_cut = change("cut", json!({ "spec": { "publicKey": &KEY[..44] } })).await;
    assert_eq!((still_cut.status, still_cut.text("reason")), (400, "InvalidKeyPairPublicKey.Malformed"));
    // Corrected, it exceeds the quota and waits.
    change("cut", json!({ "spec": { "publicKey": KEY } })).await.admitted();
    stage.settled(&space, "cut", "QuotaExceeded").await;
    stage.delete(&space, "first").await.admitted();
    stage.settled(&space, "second", "Imported").await;
    for name in ["second", "cut"] {
        stage.delete(&space, name).await.admitted();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn discouraged_settings_produce_a_warning() {
    let stage = Stage::new("warnings").await;
    let _operator = stage.operator(&[]).await;
    let space = namespace(&stage.client, "warnings").await.unwrap();
    let vector = |file: &str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/public").join(file)).unwrap()
    };
    let import = async |name: &str, key: &str| {
        let spec = json!({ "profile": "OpenSSH", "publicKey": key });
        let answer = stage.create(&space, name, &spec, false).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        stage.settled(&space, name, "Imported").await;
        answer.warnings
    };
    assert_eq!(import("wise", KEY).await, Vec::<String>::new());
    for (name, key, words) in [
        ("dsa", vector("dsa.pub"), "DSA key"),
        ("short", vector("rsa1024.pub"), "1024 bits"),
        ("old", vector("rsa3070.pub"), ""),
        ("expired", expired_certificate(), "expired"),
    ] {
        let warnings = import(name, &key).await;
        assert_eq!(warnings.len(), usize::from(!words.is_empty()), "{name}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.contains(words)), "{name}: {warnings:?}");
    }
    // The certificate's plain key is that of `wise`.
    let warnings = import("v00", &vector("rsa2048-v00.cert")).await;
    assert!(warnings.iter().any(|warning| warning.contains("version 00")), "{warnings:?}");
    assert!(warnings.iter().any(|warning| warning.contains(r#"KeyPair "wise" in this namespace has the same key"#)));
    // An edit that is not about the key does not repeat the warning, which would otherwise appear at least twice a day.
    let labelled = stage.patch(&space, "dsa", &json!({ "metadata": { "labels": { "a": "b" } } })).await;
    assert_eq!(labelled.warnings, Vec::<String>::new());
    // kubectl shows the warnings.
    let manifest = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": "shown", "namespace": space },
        "spec": { "profile": "OpenSSH", "publicKey": vector("dsa.pub") },
    });
    let output = stage.plane.kubectl_with_input(&["create", "-f", "-"], &manifest.to_string()).unwrap();
    assert!(output.stderr.contains("Warning: spec.publicKey: this is a DSA key"), "{}", output.stderr);
    let again = stage.plane.kubectl_with_input(&["create", "-f", "-"], &{
        let mut refused = manifest.clone();
        refused["metadata"]["name"] = json!("refused");
        refused["spec"]["keyPairName"] = json!("wise");
        refused.to_string()
    });
    let stderr = again.unwrap().stderr;
    assert!(stderr.starts_with("Error from server (InvalidKeyPairName.Conflict): "), "{stderr}");
    assert!(stderr.contains("denied the request: The specified KeyPairName already exists. "), "{stderr}");
}

/// The refusal has a message, and neither the response nor the log quotes the private key.
#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_private_key_is_not_quoted() {
    const PRIVATE: &str = include_str!("../vectors/private/plain/rsa2048.pkcs8");
    let stage = Stage::new("leaks").await;
    let replica = stage.operator(&[]).await;
    let space = namespace(&stage.client, "leaks").await.unwrap();
    let base64: String = PRIVATE.lines().filter(|line| !line.starts_with('-')).collect();
    let with = |field: &str, value: Value| {
        let mut spec = json!({ "profile": "OpenSSH", "publicKey": KEY });
        spec[field] = value;
        spec
    };
    let mut answers = Vec::new();
    for text in [PRIVATE, &base64, &base64[..600]] {
        for (field, value) in [
            ("publicKey", json!(text)),
            ("keyPairName", json!(text)),
            ("description", json!(text)),
            ("project", json!(text)),
            ("clientToken", json!(text)),
            ("tags", json!([{ "key": text, "value": text }])),
        ] {
            let answer = stage.create(&space, "leak", &with(field, value), false).await;
            assert!((400..500).contains(&answer.status), "{field} was admitted");
            assert!(!answer.said().is_empty());
            answers.push(answer.body.to_string());
        }
        let secret = json!({
            "profile": "OpenSSH",
            "secret": { "name": text, "keys": { "privateKey": text }, "template": { "type": text, "labels": { text: text } } },
        });
        answers.push(stage.create(&space, "leak", &secret, false).await.said().to_owned());
    }
    answers.push(replica.operator.log().unwrap());
    // Every fragment that somebody could have quoted.
    let needles: Vec<&str> = (0..base64.len() - 24).step_by(8).map(|at| &base64[at..at + 24]).collect();
    for answer in answers {
        let leaked = needles.iter().find(|needle| answer.contains(**needle));
        assert!(leaked.is_none(), "a response of {} bytes quotes the key", answer.len());
    }
}

/// An expired certificate, made by `ssh-keygen`.
fn expired_certificate() -> String {
    let dir = tempfile::tempdir().unwrap();
    let keygen = |args: &[&str]| {
        let output = Command::new("ssh-keygen").args(args).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    for key in ["ca", "user"] {
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", key]);
    }
    keygen(&["-q", "-s", "ca", "-I", "user", "-n", "user", "-V", "20200101:20210101", "user.pub"]);
    fs::read_to_string(dir.path().join("user-cert.pub")).unwrap()
}
