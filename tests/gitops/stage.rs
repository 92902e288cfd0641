//! A control plane, an operator and KeyPairs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Operator, Options, eventually};
use serde_json::{Value, json};

pub const PATIENCE: Duration = Duration::from_secs(120);
pub const KEY: &str = include_str!("../vectors/public/ed25519.pub");

/// The program that contains the libraries of the GitOps tools.
pub static TOOLS: LazyLock<String> = LazyLock::new(|| {
    std::env::var("GITOPS_TOOLS").unwrap_or_else(|_| {
        let output = Command::new(root().join("hack/gitops-tools.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "hack/gitops-tools.sh failed");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    })
});

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn plane(topic: &str) -> ControlPlane {
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("gitops-{topic}.crd.yaml"));
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap()
}

pub fn operator(plane: &ControlPlane, args: &[&str]) -> Operator {
    let binary = Path::new(env!("CARGO_BIN_EXE_keypair-operator"));
    Operator::spawn(binary, plane.kubeconfig(), args, [("RUST_LOG", "info")]).unwrap()
}

pub fn kubectl(plane: &ControlPlane, args: &[&str]) -> String {
    plane.kubectl(args).unwrap().ok().unwrap_or_else(|error| panic!("{args:?}: {error}"))
}

pub fn apply(plane: &ControlPlane, object: &Value) {
    plane.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).unwrap().ok().unwrap();
}

pub fn get(plane: &ControlPlane, name: &str) -> Value {
    serde_json::from_str(&kubectl(plane, &["get", "keypair", name, "-o", "json"])).unwrap()
}

pub fn key_pair(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name, "namespace": "default" },
        "spec": spec,
    })
}

pub async fn settled(plane: &ControlPlane, name: &str, reason: &str) -> Value {
    has_condition(plane, name, "Ready", reason).await
}

/// Waits until the status reflects the spec, and the condition of this type has the reason.
pub async fn has_condition(plane: &ControlPlane, name: &str, type_: &str, reason: &str) -> Value {
    eventually(PATIENCE, &format!("{type_} of {name} to be {reason}"), async || {
        let object = get(plane, name);
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_so = conditions.iter().any(|condition| condition["type"] == type_ && condition["reason"] == reason);
        let is_new = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        Ok((is_so && is_new).then_some(object))
    })
    .await
    .unwrap()
}
