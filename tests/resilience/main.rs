//! Failures of the API server: the operator recovers without help and does not add load.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a panic fails the test")]

#[path = "../operator_account/mod.rs"]
mod operator_account;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use keypair_operator::app;
use keypair_test_harness::{
    ControlPlane, Fault, FaultProxy, Operator, Options, Requests, Write, eventually, free_port, http_get, namespace,
};
use kube::Client;
use serde_json::{Value, json};
use tempfile::TempPath;

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");
const PATIENCE: Duration = Duration::from_secs(120);
/// How long requests are counted while the operator cannot do anything.
const WATCHED: Duration = Duration::from_secs(10);
/// More requests than this in that time mean a hot loop.
const MOST_REQUESTS: usize = 150;

struct Stage {
    plane: ControlPlane,
    client: Client,
    /// The kubeconfig of the operator, with a service account that is subject to the admission policies.
    kubeconfig: TempPath,
    crd: String,
}

impl Stage {
    async fn new(topic: &str) -> Self {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{topic}.crd.yaml"));
        fs::write(&file, app::crd_yaml().unwrap()).unwrap();
        let crd = file.display().to_string();
        let plane = ControlPlane::start(&Options { audit: true, crds: vec![file], ..Options::default() }).unwrap();
        let client = plane.client().await.unwrap();
        let kubeconfig = operator_account::kubeconfig(&plane, false);
        Self { plane, client, kubeconfig, crd }
    }

    fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(args).unwrap().ok().unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    fn apply(&self, object: &Value) {
        self.plane.kubectl_with_input(&["apply", "-f", "-"], &object.to_string()).unwrap().ok().unwrap();
    }

    fn pair(&self, namespace: &str, name: &str) {
        self.apply(&json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name, "namespace": namespace },
            "spec": { "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } },
        }));
    }

    async fn ready(&self, namespace: &str, name: &str) {
        let path = r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#;
        eventually(PATIENCE, &format!("{name} to be ready"), async || {
            let reason = self.plane.kubectl(&["get", "keypair", name, "-n", namespace, path])?.ok()?;
            Ok((reason == "Generated").then_some(()))
        })
        .await
        .unwrap();
    }

    /// Counts the requests of the operator during [`WATCHED`].
    async fn requests(&self) -> usize {
        let audit = self.plane.audit().unwrap();
        let mark = audit.mark().unwrap();
        tokio::time::sleep(WATCHED).await;
        audit.count(mark, &Requests::any().by_agent("keypair-operator/")).unwrap()
    }
}

fn spawn(kubeconfig: &Path, args: &[&str]) -> (Operator, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let metrics = address.to_string();
    let args = [&["run", "--metrics-addr", &metrics], args].concat();
    (Operator::spawn(Path::new(BINARY), kubeconfig, args, [("RUST_LOG", "info")]).unwrap(), address)
}

/// Waits until the metrics have these values for the watches.
async fn watching(address: SocketAddr, expected: [u8; 3]) {
    eventually(PATIENCE, &format!("the watches to be {expected:?}"), async || {
        let metrics = http_get(address, "/metrics").await?.body;
        let say = |resource: &str, works: u8| {
            metrics.contains(&format!("keypair_operator_watching{{resource=\"{resource}\"}} {works}\n"))
        };
        let all = ["KeyPairs", "Namespaces", "Secrets"].into_iter().zip(expected);
        Ok(all.into_iter().all(|(resource, works)| say(resource, works)).then_some(()))
    })
    .await
    .unwrap();
}

async fn waits_for_keypairs(address: SocketAddr) {
    eventually(PATIENCE, "the metrics to say what is waited for", async || {
        let metrics = http_get(address, "/metrics").await?.body;
        Ok(metrics.contains(r#"keypair_operator_watching{resource="KeyPairs"} 0"#).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_recovers_when_the_crd_is_reinstalled() {
    let stage = Stage::new("resilience-crd").await;
    let (mut operator, address) = spawn(&stage.kubeconfig, &[]);
    let namespace = namespace(&stage.client, "crd").await.unwrap();
    stage.pair(&namespace, "before");
    stage.ready(&namespace, "before").await;
    stage.kubectl(&["delete", "-f", &stage.crd, "--timeout=60s"]);
    operator.wait_for_line("cannot watch KeyPairs", PATIENCE).await.unwrap();
    waits_for_keypairs(address).await;
    let requests = stage.requests().await;
    assert!(requests < MOST_REQUESTS, "{requests} requests in {WATCHED:?}");
    assert_eq!(http_get(address, "/livez").await.unwrap().status, 200);

    stage.kubectl(&["apply", "-f", &stage.crd]);
    stage.kubectl(&["wait", "--for=condition=Established", "-f", &stage.crd]);
    eventually(PATIENCE, "the Secret of before to be collected", async || {
        let left = stage.plane.kubectl(&["get", "secrets", "-n", &namespace, "-o=name"])?.ok()?;
        Ok(left.is_empty().then_some(()))
    })
    .await
    .unwrap();
    stage.pair(&namespace, "after");
    stage.ready(&namespace, "after").await;
    assert!(operator.ended().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_recovers_when_its_rights_are_restored() {
    let stage = Stage::new("resilience-rbac").await;
    let namespace = namespace(&stage.client, "rbac").await.unwrap();
    stage.kubectl(&["create", "serviceaccount", "operator", "-n", &namespace]);
    let subject = format!("--serviceaccount={namespace}:operator");
    let bind = || stage.kubectl(&["create", "clusterrolebinding", "operator", "--clusterrole=cluster-admin", &subject]);
    bind();
    let kubeconfig = stage.plane.service_account_kubeconfig(&namespace, "operator").unwrap();
    let (mut operator, _) = spawn(kubeconfig.as_ref(), &[]);
    stage.pair(&namespace, "before");
    stage.ready(&namespace, "before").await;
    stage.kubectl(&["delete", "clusterrolebinding", "operator"]);
    stage.pair(&namespace, "meanwhile");
    operator.wait_for_line("reconciliation failed", PATIENCE).await.unwrap();
    let requests = stage.requests().await;
    assert!(requests < MOST_REQUESTS, "{requests} requests in {WATCHED:?}");
    bind();
    stage.ready(&namespace, "meanwhile").await;
    stage.pair(&namespace, "after");
    stage.ready(&namespace, "after").await;
    assert!(operator.ended().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_survives_api_server_restarts_and_disconnection() {
    let stage = Stage::new("resilience-restart").await;
    let proxy = FaultProxy::forwarding(operator_account::client(&stage.kubeconfig).await).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let (mut operator, address) = spawn(kubeconfig.as_ref(), &[]);
    let namespace = namespace(&stage.client, "restart").await.unwrap();
    stage.pair(&namespace, "before");
    stage.ready(&namespace, "before").await;

    stage.plane.restart_apiserver().unwrap();
    stage.pair(&namespace, "restarted");
    stage.ready(&namespace, "restarted").await;

    proxy.cut_off();
    stage.pair(&namespace, "cut-off");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(http_get(address, "/livez").await.unwrap().status, 200);
    proxy.restore();
    stage.ready(&namespace, "cut-off").await;

    // If nothing happens, the resumed watches deliver nothing, but still count as working.
    proxy.cut_off();
    watching(address, [0; 3]).await;
    proxy.restore();
    watching(address, [1; 3]).await;
    assert!(operator.ended().unwrap().is_none());
}

/// A conflict usually means that the object has changed and that an event will arrive. If the response has another cause, no
/// event arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_without_an_event_is_retried() {
    let stage = Stage::new("resilience-conflict").await;
    let proxy = FaultProxy::forwarding(operator_account::client(&stage.kubeconfig).await).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let (_operator, _) = spawn(kubeconfig.as_ref(), &[]);
    let namespace = namespace(&stage.client, "conflict").await.unwrap();
    stage.pair(&namespace, "before");
    stage.ready(&namespace, "before").await;
    proxy.fail_next(Write::Status, Fault::Conflict);
    stage.pair(&namespace, "refused");
    stage.ready(&namespace, "refused").await;
}

/// The response to the create of a Secret is lost, the watch is late, and the next attempt is refused, as by an API server that
/// has just started. The operator remembers that the Secret may exist, so that an edit of the name meanwhile does not cause a
/// second key.
#[tokio::test(flavor = "multi_thread")]
async fn an_uncertain_secret_create_causes_no_second_key() {
    let stage = Stage::new("resilience-doubt").await;
    let proxy = FaultProxy::forwarding(operator_account::client(&stage.kubeconfig).await).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let (mut operator, _) = spawn(kubeconfig.as_ref(), &[]);
    let namespace = namespace(&stage.client, "doubt").await.unwrap();
    operator.wait_for_line("every KeyPair and Secret is listed", PATIENCE).await.unwrap();
    proxy.hold_secrets_back(true);
    proxy.fail_next(Write::Secret, Fault::DropReply);
    for _ in 0..5 {
        proxy.fail_next(Write::Secret, Fault::Forbidden);
    }
    stage.pair(&namespace, "web");
    operator.wait_for_line("status written", PATIENCE).await.unwrap();

    let edit = json!({ "spec": { "secret": { "name": "moved" } } }).to_string();
    stage.kubectl(&["patch", "keypair", "web", "-n", &namespace, "--type=merge", "-p", &edit]);
    eventually(PATIENCE, "the Secret to be moved", async || {
        let path = "-o=jsonpath={.status.secretName}";
        let name = stage.plane.kubectl(&["get", "keypair", "web", "-n", &namespace, path])?.ok()?;
        Ok((name == "moved").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(stage.kubectl(&["get", "secrets", "-n", &namespace, "-o=name"]).trim(), "secret/moved");
}

/// The KeyPairs are deleted with the namespace in any state, and the operator retries nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_leaves_nothing_to_retry() {
    let stage = Stage::new("resilience-namespace").await;
    let (mut operator, _) = spawn(&stage.kubeconfig, &[]);
    let namespace = namespace(&stage.client, "gone").await.unwrap();
    for number in 0..20 {
        stage.pair(&namespace, &format!("pair-{number}"));
    }
    stage.kubectl(&["delete", "namespace", &namespace, "--timeout=90s"]);
    // After the operator has reconciled each pair whose Secret was deleted first.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let requests = stage.requests().await;
    assert!(requests < 20, "{requests} requests in {WATCHED:?}");
    assert!(operator.ended().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_rsa_requests_delays_no_other_namespace() {
    const BURST: usize = 40;
    let stage = Stage::new("resilience-burst").await;
    let (mut operator, address) = spawn(&stage.kubeconfig, &["--keygen-threads=1", "--concurrency=2"]);
    operator.wait_for_http(address, "/readyz", PATIENCE).await.unwrap();
    let busy = namespace(&stage.client, "busy").await.unwrap();
    let calm = namespace(&stage.client, "calm").await.unwrap();
    let rsa = |namespace: &str, name: String, bits: u32| {
        json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name, "namespace": namespace },
            "spec": { "generate": { "algorithm": "RSA", "bits": bits } },
        })
    };
    let burst: Vec<Value> = (0..BURST).map(|number| rsa(&busy, format!("pair-{number}"), 4096)).collect();
    stage.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": burst }));
    // Neither an Ed25519 pair nor a single RSA pair waits for the whole burst.
    stage.pair(&calm, "ed25519");
    stage.apply(&rsa(&calm, "rsa".to_owned(), 2048));
    stage.ready(&calm, "ed25519").await;
    stage.ready(&calm, "rsa").await;
    let path = r#"-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].reason}"#;
    let ready = stage.kubectl(&["get", "keypairs", "-n", &busy, path]).split_whitespace().count();
    assert!(ready < BURST, "the whole burst was ready first");
    operator.stop().await.unwrap();
}
