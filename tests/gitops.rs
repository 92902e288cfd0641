//! What GitOps tools see: the health of every state, by the reference library of kstatus (Flux) and by Argo CD's script in a
//! Lua interpreter, and no drift.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Operator, Options, eventually};
use serde::Deserialize;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");
const PATIENCE: Duration = Duration::from_secs(120);
const KEY: &str = include_str!("vectors/public/ed25519.pub");

/// The program that computes health.
static HEALTH: LazyLock<String> = LazyLock::new(|| {
    std::env::var("GITOPS_HEALTH").unwrap_or_else(|_| {
        let output = Command::new(root().join("hack/gitops-health.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "hack/gitops-health.sh");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
});

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[derive(Debug, Deserialize)]
struct Health {
    kstatus: String,
    argocd: String,
    message: String,
}

fn health(objects: &[Value]) -> Vec<Health> {
    let mut process = Command::new(&*HEALTH)
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

fn plane(topic: &str) -> ControlPlane {
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gitops-{topic}.crd.yaml"));
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap()
}

fn kubectl(plane: &ControlPlane, args: &[&str]) -> String {
    plane.kubectl(args).unwrap().ok().unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

fn apply(plane: &ControlPlane, object: &Value) {
    plane.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).unwrap().ok().unwrap();
}

fn get(plane: &ControlPlane, name: &str) -> Value {
    serde_json::from_str(&kubectl(plane, &["get", "keypair", name, "-o", "json"])).unwrap()
}

fn key_pair(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name, "namespace": "default" },
        "spec": spec,
    })
}

async fn settled(plane: &ControlPlane, name: &str, reason: &str) -> Value {
    eventually(PATIENCE, &format!("{name} to be {reason}"), async || {
        let object = get(plane, name);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_so = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["reason"] == reason);
        let is_new = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok((is_so && is_new).then_some(object))
    })
    .await
    .unwrap()
}

/// Every state that a KeyPair can be in, as the API server stores it.
#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_every_state() {
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

    let operator = |quota: &str| {
        let args = ["run", quota, "--region-selector=region!=no"];
        Operator::spawn(Path::new(BINARY), plane.kubeconfig(), args, [("RUST_LOG", "info")]).unwrap()
    };
    let mut running = operator("--quota=6");
    let imported = settled(&plane, "new", "Imported").await;
    let mut edited = imported.clone();
    edited["metadata"]["generation"] = json!(imported["metadata"]["generation"].as_u64().unwrap() + 1);
    states.push(("it was edited just now", edited, "InProgress", "Progressing"));
    let mut deleted = imported.clone();
    deleted["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    states.push(("it is being deleted", deleted, "Terminating", "Healthy"));
    states.push(("imported", imported, "Current", "Healthy"));

    let generated = json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } });
    apply(&plane, &key_pair("generated", &generated));
    states.push(("generated", settled(&plane, "generated", "Generated").await, "Current", "Healthy"));
    apply(&plane, &key_pair("original", &with(json!({ "clientToken": "t", "keyPairName": "token" }))));
    settled(&plane, "original", "Imported").await;
    apply(&plane, &key_pair("replay", &with(json!({ "clientToken": "t", "keyPairName": "token" }))));
    states.push(("replay", settled(&plane, "replay", "IdempotentReplay").await, "Current", "Healthy"));

    // Only an edit can help: failed. Something else may help: not yet.
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
    let _again = operator("--quota=0");
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

/// What was applied is what is there: the operator writes no spec, no label and no annotation of a KeyPair.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_drifts() {
    let plane = plane("drift");
    let _operator = Operator::spawn(Path::new(BINARY), plane.kubeconfig(), ["run"], [("RUST_LOG", "info")]).unwrap();
    let examples = root().join("examples").display().to_string();
    kubectl(&plane, &["apply", "--server-side", "-f", &examples]);
    kubectl(&plane, &["wait", "--for=condition=Ready", "keypairs", "--all", "--timeout=120s"]);
    // It exits with 1 if anything differs.
    for server_side in ["--server-side=true", "--server-side=false"] {
        let diff = plane.kubectl(&["diff", server_side, "-f", &examples]).unwrap();
        assert!(diff.status.success() && diff.stdout.is_empty(), "{server_side}: {}{}", diff.stdout, diff.stderr);
    }
    let list: Value =
        serde_json::from_str(&kubectl(&plane, &["get", "keypairs", "-o=json", "--show-managed-fields"])).unwrap();
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
    // Again, as a tool does at each sync: nothing is written, and nothing is made anew.
    let before = kubectl(&plane, &["get", "secrets,keypairs", "-o=jsonpath={.items[*].metadata.resourceVersion}"]);
    kubectl(&plane, &["apply", "--server-side", "-f", &examples]);
    let after = kubectl(&plane, &["get", "secrets,keypairs", "-o=jsonpath={.items[*].metadata.resourceVersion}"]);
    assert_eq!(before, after);
}

/// A tool that prunes deletes what it applied, and only that. The Secret follows its KeyPair, unless it is to stay; and a Secret
/// that stayed is taken over by a KeyPair of the same name when its owner says so.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_survive_prune_and_sync_as_documented() {
    let plane = plane("prune");
    let _operator = Operator::spawn(Path::new(BINARY), plane.kubeconfig(), ["run"], [("RUST_LOG", "info")]).unwrap();
    let spec = |policy: &str| json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "deletionPolicy": policy } });
    let both = [key_pair("goes", &spec("Delete")), key_pair("stays", &spec("Retain"))];
    for object in &both {
        apply(&plane, object);
    }
    for name in ["goes", "stays"] {
        settled(&plane, name, "Generated").await;
    }
    let fingerprint = get(&plane, "stays")["status"]["fingerprints"]["sha256"].clone();
    kubectl(&plane, &["delete", "keypair", "goes", "stays"]);
    eventually(PATIENCE, "the one Secret to be collected", async || {
        let left = kubectl(&plane, &["get", "secrets", "-o=name"]);
        Ok((left.trim() == "secret/stays").then_some(()))
    })
    .await
    .unwrap();
    apply(&plane, &both[1]);
    settled(&plane, "stays", "SecretConflict").await;
    kubectl(&plane, &["annotate", "secret", "stays", "keypairs.dev/adopt=stays"]);
    let again = settled(&plane, "stays", "Generated").await;
    assert_eq!(again["status"]["fingerprints"]["sha256"], fingerprint);
}
