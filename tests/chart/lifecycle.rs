//! Install, upgrade and uninstall.

use std::{fs, path::Path, process::Command};

use keypair_test_harness::{ControlPlane, Options};
use serde_json::Value;

use crate::support::{CHART, Release};

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_and_uninstall_keep_every_key_pair() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let release = Release::install(&plane, "life", &[]);
    plane.kubectl(&["wait", "--for=condition=Established", "crd/keypairs.keypairs.dev"]).unwrap().ok().unwrap();
    let manifest =
        r#"{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {"name": "kept"}, "spec": {}}"#;
    plane.kubectl_with_input(&["create", "-f", "-"], manifest).unwrap().ok().unwrap();
    let uids = || -> Vec<String> {
        ["crd/keypairs.keypairs.dev", "keypair/kept"]
            .map(|object| plane.kubectl(&["get", object, "-o=jsonpath={.metadata.uid}"]).unwrap().ok().unwrap())
            .to_vec()
    };
    let before = uids();

    assert!(release.args().contains(&"--quota=500".to_owned()));
    // Large enough that Helm prints it with an exponent if it treats it as a float.
    release.helm(&["upgrade", release.name, CHART, "--set", "quota=12345678"]);
    assert!(release.args().contains(&"--quota=12345678".to_owned()), "{:?}", release.args());
    assert_eq!(uids(), before);

    release.helm(&["uninstall", release.name]);
    assert_eq!(uids(), before);
    let left: Value = serde_json::from_str(&release.kubectl(&["get", "deployments", "-o=json"])).unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 0);
    let roles = plane.kubectl(&["get", "clusterroles,clusterrolebindings", "-o=name"]).unwrap().ok().unwrap();
    assert!(!roles.contains("life"), "{roles}");

    // As the chart's README says, another release can take over the objects that Helm kept.
    Release::install(&plane, "again", &["--take-ownership"]);
    assert_eq!(uids(), before);
}

/// The key stays byte for byte the same, whatever Helm does with the release.
#[tokio::test(flavor = "multi_thread")]
async fn upgrade_rollback_and_uninstall_keep_every_key() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let release = Release::install(&plane, "kept", &[]);
    let kubectl = |args: &[&str]| plane.kubectl(args).unwrap().ok().unwrap_or_else(|error| panic!("{args:?}: {error}"));
    kubectl(&["wait", "--for=condition=Established", "crd/keypairs.keypairs.dev"]);
    let pair = |name: &str| {
        let spec = r#"{"profile": "OpenSSH", "generate": {"algorithm": "Ed25519"}}"#;
        let manifest = format!(
            r#"{{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {{"name": "{name}"}}, "spec": {spec}}}"#
        );
        plane.kubectl_with_input(&["create", "-f", "-"], &manifest).unwrap().ok().unwrap();
    };
    let ready = |name: &str| kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("keypair/{name}")]);
    let key = |name: &str| kubectl(&["get", "secret", name, "-o=jsonpath={.data} {.metadata.uid}"]);

    let mut keys = Vec::new();
    let mut expect_all = |name: &str| {
        keys.push((name.to_owned(), key(name)));
        for (name, before) in &keys {
            assert_eq!(key(name), *before, "the key of {name} has changed");
        }
    };
    for (name, change) in [
        ("first", None),
        (
            "second",
            Some(["upgrade", release.name, CHART, "--set", "quota=3", "--set", "webhook.enabled=true"].as_slice()),
        ),
        ("third", Some(&["rollback", release.name, "1"])),
    ] {
        if let Some(change) = change {
            release.helm(change);
        }
        let (mut operator, _, _kubeconfig) = release.run();
        pair(name);
        ready(name);
        expect_all(name);
        assert_eq!(operator.stop().await.unwrap().code(), Some(0));
    }
    assert!(release.args().contains(&"--quota=500".to_owned()), "{:?}", release.args());
    release.helm(&["uninstall", release.name]);
    for (name, before) in &keys {
        assert_eq!(key(name), *before);
    }
}

/// The previous chart: that of the newest release or, if there is none, that of the first commit with a complete chart.
fn chart_before(directory: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(args).output().unwrap();
        output.status.success().then_some(output.stdout)
    };
    let line = |args: &[&str]| git(args).map(|output| String::from_utf8(output).unwrap().trim().to_owned());
    let released = line(&["describe", "--tags", "--abbrev=0", "--match=v*", "HEAD"]);
    let first = || {
        line(&[
            "log",
            "--format=%H",
            "--diff-filter=A",
            "--",
            "charts/keypair-operator/files/keypairs.keypairs.dev.yaml",
        ])
    };
    let commit = released.or_else(first).filter(|commit| !commit.is_empty());
    let commit = commit.expect("the chart should have a Git history: clone the repository with its history");
    let archive = directory.join("chart.tar");
    fs::write(&archive, git(&["archive", &commit, "charts"]).unwrap()).unwrap();
    let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(directory).status().unwrap();
    assert!(unpacked.success());
    directory.join("charts/keypair-operator").display().to_string()
}

/// Upgrades from an older version of the chart, with an older CRD.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_from_the_previous_chart_keeps_every_key() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let kubectl = |args: &[&str]| plane.kubectl(args).unwrap().ok().unwrap_or_else(|error| panic!("{args:?}: {error}"));
    let crd =
        || -> Value { serde_json::from_str(&kubectl(&["get", "crd", "keypairs.keypairs.dev", "-o=json"])).unwrap() };
    let before = tempfile::tempdir().unwrap();
    let before = chart_before(before.path());
    let release = Release::installed(&plane, "older", "older-system");
    release.helm(&["install", release.name, &before, "--create-namespace"]);
    kubectl(&["wait", "--for=condition=Established", "crd/keypairs.keypairs.dev"]);
    let older = crd();

    let create = |name: &str| {
        let manifest = format!(
            r#"{{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {{"name": "{name}"}}, "spec": {{}}}}"#
        );
        plane.kubectl_with_input(&["create", "-f", "-"], &manifest).unwrap().ok().unwrap();
        kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("keypair/{name}")]);
    };
    let key = || kubectl(&["get", "secret", "kept", "-o=jsonpath={.data} {.metadata.uid}"]);
    // Only the chart of the older version is available, and the current program may need rights that the old chart did not grant.
    let (mut operator, _) = release.run_with(plane.kubeconfig(), &[]);
    create("kept");
    let kept = key();
    assert_eq!(operator.stop().await.unwrap().code(), Some(0));

    release.helm(&["upgrade", release.name, CHART]);
    assert_ne!(crd()["spec"]["versions"], older["spec"]["versions"], "the CRD was not upgraded");
    let (mut operator, _, _kubeconfig) = release.run();
    create("new");
    kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "keypair/kept"]);
    assert_eq!(key(), kept);
    assert_eq!(operator.stop().await.unwrap().code(), Some(0));
    release.helm(&["uninstall", release.name]);
    assert_eq!(key(), kept);
}
