//! How GitOps tools see a KeyPair or a publication: its health in every state, and no drift.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use keypair_test_harness::{ControlPlane, eventually};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::stage::{
    KEY, PATIENCE, TOOLS, apply, get, has_condition, key_pair, kubectl, operator, plane, root, settled,
};

#[derive(Debug, Deserialize)]
struct Health {
    kstatus: String,
    argocd: String,
    message: String,
}

fn health(objects: &[Value]) -> Vec<Health> {
    let mut process = Command::new(&*TOOLS)
        .arg("health")
        .arg(root().join("docs/argocd-health.lua"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(json!(objects).to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A pair in each step of a rotation.
async fn rotations(plane: &ControlPlane) -> Vec<Value> {
    let gate = "example.com/registered";
    let rotation = json!({ "publishBefore": "2s", "keepAfter": "1h", "gates": [gate] });
    let spec = json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "rotation": rotation });
    apply(plane, &key_pair("rotated", &spec));
    let mut states = vec![settled(plane, "rotated", "Generated").await];
    kubectl(plane, &["annotate", "keypair", "rotated", "keypairs.dev/rotate=1"]);
    for reason in ["Published", "WaitingForGates", "KeepingPrevious"] {
        states.push(has_condition(plane, "rotated", "Rotating", reason).await);
        if reason == "WaitingForGates" {
            let mut conditions = states.last().unwrap()["status"]["conditions"].clone();
            let open = conditions.as_array_mut().unwrap().iter_mut().find(|condition| condition["type"] == gate);
            open.unwrap()["status"] = json!("True");
            let patch = json!({ "status": { "conditions": conditions } }).to_string();
            kubectl(plane, &["patch", "keypair", "rotated", "--subresource=status", "--type=merge", "-p", &patch]);
        }
    }
    states
}

/// Every state of a KeyPair, as the API server stores it.
#[tokio::test(flavor = "multi_thread")]
async fn every_state_has_the_documented_health() {
    let plane = plane("health");
    let import = json!({ "profile": "OpenSSH", "publicKey": KEY });
    let with = |changes: Value| {
        let mut spec = import.clone();
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    };
    let mut states: Vec<(&str, Value, &str, &str)> = Vec::new();
    apply(&plane, &key_pair("new", &import));
    states.push(("nobody has looked at it", get(&plane, "new"), "InProgress", "Progressing"));

    let start = |quota: &str| operator(&plane, &["run", quota, "--region-selector=region!=no"]);
    let mut running = start("--quota=6");
    let imported = settled(&plane, "new", "Imported").await;
    let mut edited = imported.clone();
    edited["metadata"]["generation"] = json!(imported["metadata"]["generation"].as_u64().unwrap() + 1);
    states.push(("it was edited just now", edited, "InProgress", "Progressing"));
    let mut deleted = imported.clone();
    deleted["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    states.push(("it is being deleted", deleted, "Terminating", "Progressing"));
    states.push(("imported", imported, "Current", "Healthy"));

    let generated = json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } });
    apply(&plane, &key_pair("generated", &generated));
    states.push(("generated", settled(&plane, "generated", "Generated").await, "Current", "Healthy"));
    for state in rotations(&plane).await {
        states.push(("rotated", state, "Current", "Healthy"));
    }
    apply(&plane, &key_pair("original", &with(json!({ "clientToken": "t", "keyPairName": "token" }))));
    settled(&plane, "original", "Imported").await;
    apply(&plane, &key_pair("replay", &with(json!({ "clientToken": "t", "keyPairName": "token" }))));
    states.push(("replay", settled(&plane, "replay", "IdempotentReplay").await, "Current", "Healthy"));

    // `Failed` if only an edit can help, `InProgress` if something else may help, too.
    kubectl(&plane, &["create", "secret", "generic", "foreign"]);
    kubectl(
        &plane,
        &["annotate", "namespace", "default", "keypairs.dev/projects=shop", "keypairs.dev/default-project=shop"],
    );
    let cut = json!({ "publicKey": &KEY[..40] });
    let waits = json!({ "clientToken": "w", "secret": { "name": "foreign" }, "publicKey": null, "generate": {} });
    for (name, changes, reason, kstatus) in [
        ("malformed", cut, "InvalidPublicKey", "Failed"),
        ("taken", json!({ "keyPairName": "new" }), "KeyPairNameConflict", "InProgress"),
        (
            "mismatch",
            json!({ "clientToken": "t", "description": "other" }),
            "IdempotentParameterMismatch",
            "InProgress",
        ),
        ("conflict", waits.clone(), "SecretConflict", "InProgress"),
        ("project", json!({ "project": "other" }), "ProjectNotFound", "InProgress"),
    ] {
        apply(&plane, &key_pair(name, &with(changes)));
        states.push((name, settled(&plane, name, reason).await, kstatus, "Degraded"));
    }
    let mut same = with(waits);
    same["keyPairName"] = json!("conflict");
    apply(&plane, &key_pair("processing", &same));
    states.push((
        "processing",
        settled(&plane, "processing", "IdempotentProcessing").await,
        "InProgress",
        "Progressing",
    ));
    kubectl(&plane, &["delete", "secret", "generated"]);
    states.push(("lost", settled(&plane, "generated", "PrivateKeyLost").await, "InProgress", "Degraded"));
    running.stop().await.unwrap();
    let _again = start("--quota=0");
    apply(&plane, &key_pair("full", &with(json!({ "keyPairName": "full" }))));
    states.push(("full", settled(&plane, "full", "QuotaExceeded").await, "InProgress", "Degraded"));
    kubectl(&plane, &["label", "namespace", "default", "region=no"]);
    states.push(("nowhere", settled(&plane, "full", "RegionNotFound").await, "InProgress", "Degraded"));

    let objects: Vec<Value> = states.iter().map(|(_, object, ..)| object.clone()).collect();
    for ((what, object, kstatus, argocd), found) in states.iter().zip(health(&objects)) {
        assert_eq!((found.kstatus.as_str(), found.argocd.as_str()), (*kstatus, *argocd), "{what}: {object}");
        assert!(!found.message.is_empty(), "{what}");
    }
}

/// Every state of a publication, as the API server stores it.
#[tokio::test(flavor = "multi_thread")]
async fn every_state_of_a_publication_has_the_documented_health() {
    let plane = plane("publication-health");
    let pair = json!([{ "keyPair": "pair" }]);
    let publication = |name: &str, spec: Value| {
        let kind = if name.starts_with("hosts") { "KnownHosts" } else { "AuthorizedKeys" };
        json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": kind,
            "metadata": { "name": name, "namespace": "default" }, "spec": spec,
        })
    };
    let shown = |name: &str| -> Value {
        let kind = if name.starts_with("hosts") { "knownhosts" } else { "authorizedkeys" };
        serde_json::from_str(&kubectl(&plane, &["get", kind, name, "-o", "json"])).unwrap()
    };
    let mut states: Vec<(&str, Value, &str, &str)> = Vec::new();
    for name in ["keys", "hosts"] {
        let mut entries = pair.clone();
        if name == "hosts" {
            entries[0]["hosts"] = json!(["example.com"]);
        }
        apply(&plane, &publication(name, json!({ "entries": entries })));
        states.push((name, shown(name), "InProgress", "Progressing"));
    }
    let _operator = operator(&plane, &["run"]);
    let reached = async |name: &str, reason: &str| {
        eventually(PATIENCE, &format!("{name} to be {reason}"), async || {
            let object = shown(name);
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_so =
                conditions.iter().any(|condition| condition["type"] == "Ready" && condition["reason"] == reason);
            let is_new = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            Ok((is_so && is_new).then_some(object))
        })
        .await
        .unwrap()
    };
    for name in ["keys", "hosts"] {
        states.push(("no such pair", reached(name, "KeyPairNotFound").await, "InProgress", "Progressing"));
    }
    apply(&plane, &key_pair("pair", &json!({ "profile": "OpenSSH", "publicKey": KEY })));
    for name in ["keys", "hosts"] {
        let published = reached(name, "Published").await;
        let mut edited = published.clone();
        edited["metadata"]["generation"] = json!(published["metadata"]["generation"].as_u64().unwrap() + 1);
        states.push(("it was edited just now", edited, "InProgress", "Progressing"));
        let mut deleted = published.clone();
        deleted["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        states.push(("it is being deleted", deleted, "Terminating", "Progressing"));
        states.push(("published", published, "Current", "Healthy"));
    }
    kubectl(&plane, &["create", "configmap", "foreign"]);
    // More than a target can hold.
    let command = "x".repeat(4096);
    let many = (0..260).map(|number| {
        key_pair(&format!("pair-{number}"), &json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } }))
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": many.collect::<Vec<_>>() });
    apply(&plane, &list);
    // The API server knows nothing about the structure of a key.
    let malformed = json!([{ "hosts": ["example.com"], "publicKeys": ["ssh-ed25519 AAAA"] }]);
    for (name, spec, reason, kstatus, argocd) in [
        ("hosts-invalid", json!({ "entries": malformed }), "InvalidEntry", "Failed", "Degraded"),
        ("foreign", json!({ "entries": pair }), "TargetConflict", "InProgress", "Degraded"),
        (
            "large",
            json!({ "entries": [{ "selector": {}, "options": { "command": command } }] }),
            "TooLarge",
            "InProgress",
            "Degraded",
        ),
        (
            "unshared",
            json!({ "entries": [{ "keyPair": "pair", "namespace": "elsewhere" }] }),
            "NotShared",
            "InProgress",
            "Progressing",
        ),
        (
            "nothing",
            json!({ "entries": [{ "selector": { "matchLabels": { "team": "web" } } }] }),
            "NothingSelected",
            "InProgress",
            "Progressing",
        ),
    ] {
        apply(&plane, &publication(name, spec));
        states.push((reason, reached(name, reason).await, kstatus, argocd));
    }
    let objects: Vec<Value> = states.iter().map(|(_, object, ..)| object.clone()).collect();
    for ((what, object, kstatus, argocd), found) in states.iter().zip(health(&objects)) {
        assert_eq!((found.kstatus.as_str(), found.argocd.as_str()), (*kstatus, *argocd), "{what}: {object}");
        assert!(!found.message.is_empty(), "{what}");
    }
}

/// The applied object stays unchanged: the operator writes no spec, label or annotation of a KeyPair or publication.
#[tokio::test(flavor = "multi_thread")]
async fn applied_objects_do_not_drift() {
    let plane = plane("drift");
    let _operator = operator(&plane, &["run"]);
    let examples = root().join("examples").display().to_string();
    kubectl(&plane, &["apply", "--server-side", "-f", &examples]);
    let kinds = "keypairs,authorizedkeys,knownhosts";
    kubectl(&plane, &["wait", "--for=condition=Ready", kinds, "--all", "--timeout=120s"]);
    // `kubectl diff` exits with 1 if anything differs.
    for server_side in ["--server-side=true", "--server-side=false"] {
        let diff = plane.kubectl(&["diff", server_side, "-f", &examples]).unwrap();
        assert!(diff.status.success() && diff.stdout.is_empty(), "{server_side}: {}{}", diff.stdout, diff.stderr);
    }
    let list: Value =
        serde_json::from_str(&kubectl(&plane, &["get", kinds, "-o=json", "--show-managed-fields"])).unwrap();
    let mut written: BTreeMap<String, usize> = BTreeMap::new();
    for object in list["items"].as_array().unwrap() {
        for fields in object["metadata"]["managedFields"].as_array().unwrap() {
            let manager = fields["manager"].as_str().unwrap();
            if manager != "kubectl" {
                assert_eq!(fields["subresource"], "status", "{manager} wrote {fields}");
                *written.entry(manager.to_owned()).or_default() += 1;
            }
        }
    }
    assert_eq!(written.len(), 1, "{written:?}");
    // Applies again, as a tool does at each sync: nothing is written or generated.
    let versions = || {
        let kinds = format!("secrets,configmaps,{kinds}");
        kubectl(&plane, &["get", &kinds, "-o=jsonpath={.items[*].metadata.resourceVersion}"])
    };
    let before = versions();
    kubectl(&plane, &["apply", "--server-side", "-f", &examples]);
    let after = versions();
    assert_eq!(before, after);
}
