//! Forged statuses and annotations, and objects that are older than the schema. They cause no additional requests, never appear
//! unescaped, and never cause a lost key.

use std::{io::Error, path::Path, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use keypair_test_harness::{Operator, Requests, eventually};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::{
    mistakes::valid,
    support::{AGENT, BINARY, PATIENCE, STRICT, Scene, Stage, condition, stripped_crd, text, to_json, vector},
};

/// The status without the fields that change on each reconciliation.
fn facts(object: &Value) -> Value {
    let mut status = object["status"].clone();
    let fields = status.as_object_mut().unwrap();
    fields.retain(|field, _| !["conditions", "secretVersion", "observedGeneration"].contains(&field.as_str()));
    status
}

/// Overwrites parts of a status, and waits until the operator restores it.
async fn forge(scene: &Scene, name: &str, honest: &Value, forged: &Value) {
    let patch = Patch::Merge(json!({ "status": forged }));
    scene.key_pairs.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    let what = format!("{}/{name} to be put right after {forged}", scene.namespace);
    eventually(PATIENCE, &what, async || {
        let object = to_json(&scene.key_pairs.get(name).await?);
        let is_ready = condition(&object, "Ready")["status"] == "True";
        if is_ready && facts(&object) == facts(honest) {
            return Ok(Some(()));
        }
        Err(Error::other(format!("found the status {}", object["status"])).into())
    })
    .await
    .unwrap();
}

/// Writing a status, or restoring an old one, causes no other requests and no lost key.
#[tokio::test]
async fn a_forged_status_is_corrected() {
    let scene = STRICT.scene("forged-status").await;
    let spec = json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "name": "web-key" } });
    scene.create("web", &spec).await;
    let honest = scene.settled("web", "True/Generated").await;
    let before = scene.secrets.get("web-key").await.unwrap();
    let audit = scene.stage.plane.audit().unwrap();
    let mark = audit.mark().unwrap();

    let other = vector("public/sk-ed25519.pub").trim().to_owned();
    for forged in [
        json!({ "secretName": "../../victim/secrets/db" }),
        json!({ "secretName": "web-key?watch=true" }),
        json!({ "secretName": "" }),
        json!({ "secretVersion": "\u{1b}[2J\n" }),
        json!({ "keyPairID": "kp-\u{202e}" }),
        json!({ "publicKey": other }),
        json!({ "publicKey": "no key\u{200b}" }),
        json!({ "fingerprints": { "md5": "x", "sha256": "SHA256:\n" } }),
        json!({ "fingerprint": "a\u{202e}b", "algorithm": "R\u{7}SA", "bits": -1 }),
        json!({
            "secretName": "..", "secretVersion": "..", "keyPairID": "..", "publicKey": "..", "fingerprint": "..",
            "fingerprints": { "md5": "..", "sha256": ".." }, "algorithm": "..", "bits": 7,
        }),
    ] {
        forge(&scene, "web", &honest, &forged).await;
    }

    let after = scene.secrets.get("web-key").await.unwrap();
    assert_eq!((after.metadata.uid, after.data), (before.metadata.uid, before.data), "the key should not change");
    assert_eq!(scene.secrets.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let asked = audit.matching(mark, &Requests::any().by_agent(AGENT).resource("secrets")).unwrap();
    // HTTP clients resolve dots in a path before they send the request.
    let strange: Vec<_> = asked
        .iter()
        .filter_map(|request| request.object_ref.as_ref())
        .filter(|object| {
            object.namespace == "victim"
                || object.namespace == scene.namespace && !["", "web-key"].contains(&object.name.as_str())
        })
        .collect();
    assert!(!asked.is_empty() && strange.is_empty(), "{strange:?}");
    assert!(
        !scene.events("web").iter().any(|event| event.contains("PrivateKeyRegenerated")),
        "the key was regenerated"
    );
}

/// A replay copies its values from the status of its original, which is untrusted as well.
#[tokio::test]
async fn a_replay_reports_corrected_values_of_a_forged_status() {
    let scene = STRICT.scene("forged-original").await;
    let mut spec = valid("OpenSSH");
    spec["clientToken"] = json!("t");
    spec["keyPairName"] = json!("pair");
    scene.create("original", &spec).await;
    scene.settled("original", "True/Imported").await;
    scene.create("replay", &spec).await;
    let honest = scene.settled("replay", "True/IdempotentReplay").await;
    let forged = json!({ "secretName": "../x", "publicKey": "x\ny", "keyPairID": "\u{1b}" });
    let patch = Patch::Merge(json!({ "status": forged }));
    scene.key_pairs.patch_status("original", &PatchParams::default(), &patch).await.unwrap();
    forge(&scene, "replay", &honest, &forged).await;
}

/// Annotations of a Namespace and project names cannot add lines to the statuses in that namespace.
#[tokio::test]
async fn annotations_are_shown_escaped_and_bounded() {
    let scene = STRICT.scene("forged-projects").await;
    let client = scene.stage.plane.client().await.unwrap();
    let mut projects: Vec<String> = (0..2000).map(|n| format!("p{n:04}")).collect();
    projects.insert(0, "a\nReady: True \u{1b}[2J\u{202e}".to_owned());
    let annotations = json!({
        "keypairs.dev/projects": projects.join(","), "keypairs.dev/default-project": "b\r\u{200b}", "keypairs.dev/quota": "9\n\u{1b}[2J",
    });
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.patch(&scene.namespace, &PatchParams::default(), &patch).await.unwrap();
    let mut spec = valid("OpenSSH");
    for (name, project, told) in [("other", Some("zz"), "and 246 more"), ("none", None, "keypairs.dev/default-project")]
    {
        spec["project"] = json!(project);
        scene.create(name, &spec).await;
        let object = scene.settled(name, "False/ProjectNotFound").await;
        let message = text(&condition(&object, "Ready")["message"]).to_owned();
        assert!(message.contains(told) && message.len() < 600, "{message}");
        assert!(message.chars().all(|c| !c.is_control() && !matches!(c, '\u{202e}' | '\u{200b}')), "{message:?}");
    }
    let log = scene.stage.log();
    let told: Vec<&str> =
        log.lines().filter(|line| line.contains(&scene.namespace) && line.contains("annotation")).collect();
    assert_eq!(told.len(), 1, "expected one log line: {told:?}");
    for escaped in [r"a\nReady: True \u{1b}[2J\u{202e}", r"b\r\u{200b}", r"9\n\u{1b}[2J", "more than 256 projects"] {
        assert!(told[0].contains(&escaped.replace('\\', r"\\")) || told[0].contains(escaped), "{escaped}: {}", told[0]);
    }
}

/// The annotations of a Secret name KeyPairs, entries and keys. The operator does not follow them to other objects.
#[tokio::test]
async fn forged_secret_annotations_cause_no_other_requests() {
    let scene = STRICT.scene("forged-marks").await;
    scene.create("web", &json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } })).await;
    let honest = scene.settled("web", "True/Generated").await;
    let before = scene.secrets.get("web").await.unwrap();
    for (annotation, value) in [
        ("keypair", "../../victim"),
        ("keypair", "we\u{202e}b\n"),
        ("fingerprint", "SHA256:\n\u{1b}[2J"),
        ("applied", "[\"0\",\"../x\",\"b\",\"PKCS8\",[],[],[\"ssh-privatekey\"]]"),
        ("applied", "{\"digest\":\"0\",\"privateKey\":\"../x\",\"publicKey\":\"b\",\"encoding\":\"PKCS8\"}"),
        ("replaces", "x\ny"),
    ] {
        let annotations = json!({ format!("keypairs.dev/{annotation}"): value });
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        scene.secrets.patch("web", &PatchParams::default(), &patch).await.unwrap();
        // An edit triggers a reconciliation even if the event of the Secret does not.
        let patch = json!({ "spec": { "description": format!("a{}", value.len()) } });
        scene.patch("web", &patch).await;
        let object = scene.settled("web", "True/Generated").await;
        assert_eq!(facts(&object), facts(&honest), "{annotation}: {value:?}");
        let secret: Secret = scene.secrets.get("web").await.unwrap();
        assert_eq!(secret.data, before.data, "{annotation}: {value:?}");
    }
}

/// A CRD without a schema, which stores any spec and status.
fn shapeless_crd() -> Value {
    let mut crd = stripped_crd();
    let version = &mut crd["items"][0]["spec"]["versions"][0];
    // They name fields of the schema.
    version.as_object_mut().unwrap().remove("selectableFields");
    let root = &mut version["schema"]["openAPIV3Schema"];
    for part in ["spec", "status"] {
        root["properties"][part] = json!({ "x-kubernetes-preserve-unknown-fields": true });
    }
    crd
}

/// Objects that were stored before the schema existed are skipped and logged without their content, and do not affect other
/// objects.
#[tokio::test]
async fn arrays_instead_of_objects_are_ignored() {
    let stage: &'static Stage = Box::leak(Box::new(Stage::new(&shapeless_crd())));
    let scene = stage.scene("shapeless").await;
    let secret = "c2VjcmV0LXRleHQ";
    let wrong = [
        json!([]),
        json!(["OpenSSH", secret]),
        json!({ "profile": "OpenSSH", "secret": [] }),
        json!({ "profile": "OpenSSH", "secret": [secret] }),
        json!({ "profile": "OpenSSH", "secret": { "template": [secret] } }),
        json!({ "profile": "OpenSSH", "secret": { "keys": [secret] } }),
        json!({ "profile": "OpenSSH", "generate": ["Ed25519", null] }),
        json!({ "profile": "OpenSSH", "tags": [["key", secret]] }),
    ];
    for (index, spec) in wrong.iter().enumerate() {
        scene.create(&format!("wrong-{index}"), spec).await;
    }
    let log = Operator::spawn(Path::new(BINARY), stage.plane.kubeconfig(), ["run"], [("RUST_LOG", "info")]).unwrap();
    scene.create("right", &valid("OpenSSH")).await;
    scene.settled("right", "True/Imported").await;
    for (index, spec) in wrong.iter().enumerate() {
        let name = format!("wrong-{index}");
        let object = to_json(&scene.key_pairs.get(&name).await.unwrap());
        assert_eq!(object["status"], Value::Null, "{spec}");
        let line = format!("name=\"{name}\"");
        let text = log.log().unwrap();
        assert!(
            text.lines().any(|it| it.contains(&line) && it.contains("does not match the schema of this version")),
            "{spec}: {text}"
        );
    }
    assert!(!log.log().unwrap().contains(secret));
    assert_eq!(
        scene.secrets.list(&ListParams::default()).await.unwrap().items.len(),
        0,
        "the operator should not generate a key for any of them"
    );
    // After a correction, the operator accepts the object.
    let mut object = to_json(&scene.key_pairs.get("wrong-0").await.unwrap());
    object["spec"] = valid("OpenSSH");
    let object = serde_json::from_value(object).unwrap();
    scene.key_pairs.replace("wrong-0", &PostParams::default(), &object).await.unwrap();
    scene.settled("wrong-0", "True/Imported").await;
}

/// A condition of another writer survives all status updates of the operator, and triggers none.
#[tokio::test]
async fn conditions_of_other_writers_stay() {
    let scene = STRICT.scene("foreign-conditions").await;
    let mut spec = valid("OpenSSH");
    spec["project"] = json!("c");
    scene.create("web", &spec).await;
    let object = scene.settled("web", "True/Imported").await;
    let mut conditions = object["status"]["conditions"].as_array().unwrap().clone();
    let registered = json!({
        "type": "example.com/registered", "status": "False", "reason": "Pending", "message": "not yet",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    conditions.insert(0, registered.clone());
    let audit = scene.stage.plane.audit().unwrap();
    let mark = audit.mark().unwrap();
    let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
    scene.key_pairs.patch_status("web", &PatchParams::default(), &patch).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let requests = Requests::any().by_agent(AGENT).namespace(&scene.namespace);
    assert_eq!(audit.count(mark, &requests).unwrap(), 0, "a condition of another writer should cause no requests");

    let namespaces: Api<Namespace> = Api::all(scene.stage.plane.client().await.unwrap());
    for (projects, ready) in [(json!("a,b"), "False/ProjectNotFound"), (Value::Null, "True/Imported")] {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { "keypairs.dev/projects": projects } } }));
        namespaces.patch(&scene.namespace, &PatchParams::default(), &patch).await.unwrap();
        let object = scene.settled("web", ready).await;
        assert_eq!(condition(&object, "example.com/registered"), registered);
    }
}
