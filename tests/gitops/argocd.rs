//! A git repository, synced by Argo CD's engine.

use std::fs;

use keypair_test_harness::{ControlPlane, Options, eventually, free_port};
use serde_json::{Value, json};

use crate::{
    repository::{Application, Report, Repository},
    stage::{KEY, PATIENCE, get, key_pair, kubectl, operator, plane, root, settled},
};

const CRDS: [&str; 3] = ["authorizedkeys.keypairs.dev", "keypairs.keypairs.dev", "knownhosts.keypairs.dev"];

fn in_wave(wave: &str, mut object: Value) -> Value {
    object["metadata"]["annotations"] = json!({ "argocd.argoproj.io/sync-wave": wave });
    object
}

fn generated(policy: &str) -> Value {
    json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "deletionPolicy": policy } })
}

fn version(plane: &ControlPlane, kind: &str, name: &str) -> u64 {
    kubectl(plane, &["get", kind, name, "-o=jsonpath={.metadata.resourceVersion}"]).parse().unwrap()
}

async fn healthy(application: &Application<'_>) -> Report {
    eventually(PATIENCE, "the application to be healthy", async || {
        let report = application.status();
        Ok(report.all_healthy().then_some(report))
    })
    .await
    .unwrap()
}

/// One sync applies the CRDs, a namespace and the examples on a cluster that does not know KeyPairs. Afterwards, nothing
/// differs from git, and another sync writes nothing.
async fn everything_from_one_repository(options: &[&'static str]) {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let _operator = operator(&plane, &["run"]);
    let repository = Repository::new();
    let wave = "argocd.argoproj.io/sync-wave=-2";
    for name in CRDS {
        let path = format!("crds/{name}.yaml");
        let crd = root().join(&path).display().to_string();
        repository.write(&path, Some(&kubectl(&plane, &["annotate", "--local", "-f", &crd, wave, "-o=yaml"])));
    }
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    repository.write("shop/namespace.yaml", Some(&in_wave("-1", namespace).to_string()));
    for file in fs::read_dir(root().join("examples")).unwrap() {
        let path = file.unwrap().path();
        // The policies are for a cluster, not for a namespace.
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        repository.write(&format!("shop/{name}"), Some(&fs::read_to_string(&path).unwrap()));
    }
    repository.commit("everything");

    let options = [options, &["--namespace=shop", "--prune"]].concat();
    let application = Application { plane: &plane, repository: &repository, options };
    let first = application.synced(&[]);
    // The namespace of the application comes first, then the definitions in any order.
    let mut done = first.done()[..4].to_vec();
    done[1..].sort_unstable();
    let crds = CRDS.map(|name| format!("CustomResourceDefinition/{name}"));
    assert_eq!((done[0], &done[1..]), ("Namespace/shop", &crds.each_ref().map(String::as_str)[..]));
    let report = healthy(&application).await;
    assert_eq!(report.out_of_sync(), [""; 0], "{report:?}");
    let count = |kind: &str| report.resources().iter().filter(|resource| resource.object.starts_with(kind)).count();
    assert!(count("KeyPair/shop/") > 5, "{report:?}");
    assert!(count("AuthorizedKeys/shop/") > 0 && count("KnownHosts/shop/") > 0, "{report:?}");
    assert_eq!(count("Secret/") + count("ConfigMap/"), 0, "{report:?}");

    let versions = || {
        let printed = "-o=jsonpath={range .items[*]}{.kind}/{.metadata.name}={.metadata.resourceVersion} {end}";
        let namespaced =
            kubectl(&plane, &["get", "secrets,configmaps,keypairs,authorizedkeys,knownhosts", "-n=shop", printed]);
        let crds = CRDS.map(|name| format!("crd/{name}"));
        let others = [&["get", "namespace/shop"], &crds.each_ref().map(String::as_str)[..], &[printed]].concat();
        namespaced + &kubectl(&plane, &others)
    };
    let before = versions();
    assert!(before.contains("Secret/minimal=") && before.contains("ConfigMap/admins="), "{before}");
    let second = application.synced(&[]);
    assert_eq!(second.out_of_sync(), [""; 0], "{second:?}");
    assert_eq!(versions(), before);

    // Changes that somebody makes in the cluster are detected and reverted.
    let by_hand = r#"{"spec":{"description":"By hand"}}"#;
    kubectl(&plane, &["patch", "keypair", "alibaba-import", "-n=shop", "--type=merge", "--patch", by_hand]);
    assert_eq!(application.status().out_of_sync(), ["KeyPair/shop/alibaba-import"]);
    application.synced(&[]);
    let report = healthy(&application).await;
    assert_eq!(report.out_of_sync(), [""; 0], "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn argocd_syncs_the_examples_with_client_side_apply() {
    everything_from_one_repository(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn argocd_syncs_the_examples_with_server_side_apply() {
    everything_from_one_repository(&["--server-side", "--label"]).await;
}

/// Argo CD applies the user of a Secret once the Secret exists, and never if the key cannot be generated.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_sync_wave_waits_for_the_key() {
    let plane = plane("waves");
    let repository = Repository::new();
    let application = Application { plane: &plane, repository: &repository, options: Vec::new() };
    let labels = json!({ "app": "web" });
    let container = json!({
        "name": "web", "image": "example.com/web", "volumeMounts": [{ "name": "key", "mountPath": "/etc/ssh-key" }],
    });
    let volumes = json!([{ "name": "key", "secret": { "secretName": "deploy" } }]);
    let workload = in_wave(
        "2",
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": [container], "volumes": volumes } },
            },
        }),
    );
    repository.put(&[&in_wave("1", key_pair("deploy", &generated("Delete"))), &workload]);

    // No operator runs yet.
    let waiting = application.sync(&["--timeout=5s"]);
    assert_eq!(waiting.phase, "Running", "{waiting:?}");
    assert_eq!(waiting.message, "waiting for healthy state of keypairs.dev/KeyPair/deploy");
    assert_eq!(waiting.done(), ["KeyPair/default/deploy"]);
    assert_eq!(waiting.resource("Deployment/default/web").health, "Missing");

    let _operator = operator(&plane, &["run"]);
    let report = application.synced(&[]);
    assert_eq!(report.done(), ["KeyPair/default/deploy", "Deployment/default/web"]);
    let workload_came = version(&plane, "deployment", "web");
    for kind in ["secret", "keypair"] {
        assert!(version(&plane, kind, "deploy") < workload_came, "the {kind} was created after the Deployment");
    }

    // If the key pair fails, so does the sync.
    let broken = key_pair("deploy", &json!({ "profile": "OpenSSH", "publicKey": &KEY[..40] }));
    let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "later" } });
    let replaced = [&in_wave("1", broken), &in_wave("2", config)];
    kubectl(&plane, &["delete", "keypair", "deploy"]);
    repository.put(&replaced);
    let failed = application.sync(&[]);
    assert_eq!(failed.phase, "Failed", "{failed:?}");
    assert!(failed.result("KeyPair/default/deploy").1.starts_with("InvalidPublicKey: "), "{failed:?}");
    assert_eq!(failed.resource("ConfigMap/default/later").health, "Missing");
}

/// A sync with pruning deletes only what it applied. The Secret is deleted with its KeyPair unless the deletion policy is
/// `Retain`; a KeyPair of the same name can adopt a retained Secret if its owner offers it.
#[tokio::test(flavor = "multi_thread")]
async fn secrets_survive_prune_and_sync_as_documented() {
    let plane = plane("prune");
    let _operator = operator(&plane, &["run"]);
    let repository = Repository::new();
    let application = Application { plane: &plane, repository: &repository, options: vec!["--prune"] };
    let [goes, stays, mut kept] = [("goes", "Delete"), ("stays", "Retain"), ("kept", "Delete")]
        .map(|(name, policy)| key_pair(name, &generated(policy)));
    kept["metadata"]["annotations"] = json!({ "argocd.argoproj.io/sync-options": "Prune=false" });
    repository.put(&[&goes, &stays, &kept]);
    application.synced(&[]);
    healthy(&application).await;
    let key = |name: &str| get(&plane, name)["status"]["fingerprints"]["sha256"].clone();
    let keys = ["goes", "stays", "kept"].map(key);

    repository.remove(&[&goes, &stays, &kept]);
    repository.write("keep", Some(""));
    let pruned = application.synced(&[]);
    assert_eq!(pruned.result("KeyPair/default/goes"), ("Pruned", "pruned"));
    assert_eq!(pruned.result("KeyPair/default/stays"), ("Pruned", "pruned"));
    assert_eq!(pruned.result("KeyPair/default/kept"), ("PruneSkipped", "ignored (no prune)"));
    eventually(PATIENCE, "the one Secret to be collected", async || {
        let left = kubectl(&plane, &["get", "secrets,keypairs", "-o=name"]);
        let kept = ["secret/kept", "secret/stays", "keypair.keypairs.dev/kept"];
        Ok(left.split_whitespace().eq(kept).then_some(()))
    })
    .await
    .unwrap();
    assert!(application.status().resource("KeyPair/default/kept").prune);

    repository.put(&[&goes, &stays, &kept]);
    let back = application.synced(&[]);
    assert_eq!(back.out_of_sync(), [""; 0], "{back:?}");
    settled(&plane, "stays", "SecretConflict").await;
    let seen = application.status();
    let conflict = seen.resource("KeyPair/default/stays");
    assert_eq!(conflict.health, "Degraded");
    assert!(conflict.message.starts_with("SecretConflict: "), "{conflict:?}");
    kubectl(&plane, &["annotate", "secret", "stays", "keypairs.dev/adopt=stays"]);
    healthy(&application).await;
    let again = ["goes", "stays", "kept"].map(key);
    assert_eq!(again[1..], keys[1..]);
    assert_ne!(again[0], keys[0]);
}

/// A template that contains the tracking metadata of Argo CD: the label adds the Secret to the application, a copied annotation
/// does not.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_tracking_label_adds_a_secret_to_the_application() {
    let plane = plane("tracking");
    let _operator = operator(&plane, &["run"]);
    let repository = Repository::new();
    let marked = |name: &str, template: Value| {
        let mut spec = generated("Retain");
        spec["secret"]["template"] = template;
        key_pair(name, &spec)
    };
    let label = marked("label", json!({ "labels": { "app.kubernetes.io/instance": "shop" } }));
    let id = "shop:keypairs.dev/KeyPair:default/annotation";
    let annotation = marked("annotation", json!({ "annotations": { "argocd.argoproj.io/tracking-id": id } }));
    repository.put(&[&label, &annotation]);

    let by_annotation = Application { plane: &plane, repository: &repository, options: vec!["--prune"] };
    by_annotation.synced(&[]);
    let report = healthy(&by_annotation).await;
    assert_eq!(report.out_of_sync(), [""; 0], "{report:?}");
    assert_eq!(report.resources().len(), 2, "{report:?}");
    by_annotation.synced(&[]);
    kubectl(&plane, &["get", "secret", "label", "annotation"]);

    let by_label = Application { options: vec!["--prune", "--label"], ..by_annotation };
    by_label.synced(&["--prune=false"]);
    assert_eq!(by_label.status().out_of_sync(), ["Secret/default/label"]);
    assert_eq!(by_label.synced(&[]).result("Secret/default/label").0, "Pruned");
}

/// An error that the API server refuses fails the sync with the cloud's message; with the webhook, every error does. An error
/// that only the operator finds makes the KeyPair unhealthy.
#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_manifest_fails_the_sync_with_the_clouds_message() {
    let plane = plane("mistakes");
    let repository = Repository::new();
    let application = Application { plane: &plane, repository: &repository, options: vec!["--server-side"] };
    let name = key_pair("name", &json!({ "keyPairName": "?" }));
    let cut = key_pair("cut", &json!({ "profile": "OpenSSH", "publicKey": &KEY[..40] }));
    let good = key_pair("good", &json!({ "profile": "OpenSSH", "publicKey": KEY }));
    repository.put(&[&name, &cut, &good]);
    let mut running = operator(&plane, &["run"]);
    let report = application.sync(&[]);
    assert_eq!(report.phase, "Failed", "{report:?}");
    let (status, message) = report.result("KeyPair/default/name");
    assert_eq!(status, "SyncFailed");
    assert!(message.contains("InvalidKeyPairName.Malformed: Specified Key Pair name is not valid."), "{message}");
    for name in ["cut", "good"] {
        assert_eq!(report.result(&format!("KeyPair/default/{name}")).0, "Synced");
    }
    settled(&plane, "cut", "InvalidPublicKey").await;
    settled(&plane, "good", "Imported").await;
    let report = application.status();
    assert_eq!(report.out_of_sync(), ["KeyPair/default/name"]);
    let health = ["name", "cut", "good"].map(|name| report.resource(&format!("KeyPair/default/{name}")));
    assert_eq!(health.map(|resource| resource.health.as_str()), ["Missing", "Degraded", "Healthy"]);
    assert!(health[1].message.starts_with("InvalidPublicKey: spec.publicKey: the key is damaged"), "{report:?}");
    running.stop().await.unwrap();

    kubectl(&plane, &["delete", "keypair", "cut"]);
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let (listen, url) = (format!("--webhook-addr={address}"), format!("--webhook-url=https://{address}/"));
    let _operator = operator(&plane, &["run", &listen, &url]);
    for object in [&name, &cut] {
        eventually(PATIENCE, "the webhook to be asked", async || {
            let args = ["create", "--dry-run=server", "-f", "-"];
            let answer = plane.kubectl_with_input(&args, &object.to_string())?;
            Ok(answer.stderr.contains("admission webhook").then_some(()))
        })
        .await
        .unwrap();
    }
    let report = application.sync(&[]);
    let (status, message) = report.result("KeyPair/default/cut");
    assert_eq!(status, "SyncFailed");
    assert!(message.contains("The specified KeyPairPublicKey is malformed."), "{message}");
}
