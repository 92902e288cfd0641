//! Two replicas with leader election, each with a webhook.

use std::{io, net::SocketAddr, path::Path, time::Instant};

use http::Request;
use http_body_util::BodyExt as _;
use keypair_test_harness::eventually;
use kube::{Client, Config, client::Body};
use serde_json::{Value, json};

use crate::stage::{LATE, PATIENCE, Replica, SHOP, Stage, UNASKED, local};

/// A replica whose webhook can be called directly.
struct Answering {
    replica: Replica,
    webhook: SocketAddr,
}

impl Answering {
    fn spawn(kubeconfig: &Path) -> Self {
        let webhook = local();
        let args = ["--leader-elect".to_owned(), "--lease-duration=5".to_owned(), format!("--webhook-addr={webhook}")];
        Self { replica: Replica::spawn(kubeconfig, &args), webhook }
    }

    /// The response to the create of a `KeyPair`: the reason of the refusal, or an empty string; `None` without a response.
    async fn says(&self, namespace: &str, name: &str) -> Option<String> {
        let mut config = Config::new(format!("https://{}/", self.webhook).parse().ok()?);
        config.accept_invalid_certs = true;
        config.proxy_url = None;
        let client = Client::try_from(config).ok()?;
        let object = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name, "namespace": namespace },
            "spec": { "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } },
        });
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u", "operation": "CREATE", "namespace": namespace, "name": name, "userInfo": {}, "object": object,
                "kind": { "group": "keypairs.dev", "version": "v1alpha1", "kind": "KeyPair" },
                "resource": { "group": "keypairs.dev", "version": "v1alpha1", "resource": "keypairs" },
            },
        });
        let request = Request::post("/")
            .header("content-type", "application/json")
            .body(Body::from(review.to_string().into_bytes()))
            .ok()?;
        let answer = client.send(request).await.ok()?.into_body().collect().await.ok()?.to_bytes();
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        let answer = answer.get("response").filter(|response| response["allowed"].is_boolean())?;
        Some(answer["status"]["reason"].as_str().unwrap_or_default().to_owned())
    }
}

/// Registers the webhook of a replica, as the chart does. The replicas fill in the CA bundle.
fn register(stage: &Stage, webhook: SocketAddr) {
    stage.apply(&json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "keypair-operator" },
        "webhooks": [{
            "name": "validate.keypairs.dev", "clientConfig": { "url": format!("https://{webhook}/") },
            "rules": [{
                "apiGroups": ["keypairs.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE", "UPDATE"],
                "resources": ["keypairs"],
            }],
            "objectSelector": { "matchExpressions": [{ "key": UNASKED, "operator": "DoesNotExist" }] },
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore", "timeoutSeconds": 3,
        }],
    }));
}

/// Waits until the API server gets a response that it trusts.
async fn the_api_server_refuses(stage: &Stage, begun: Instant, namespace: &str) {
    let object = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": "other", "namespace": namespace },
        "spec": { "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } },
    })
    .to_string();
    eventually(PATIENCE.saturating_sub(begun.elapsed()), "the API server to be answered", async || {
        let said = stage.plane.kubectl_with_input(&["create", "--dry-run=server", "-f", "-"], &object)?;
        if said.stderr.contains("validate.keypairs.dev") {
            return Ok(Some(()));
        }
        Err(io::Error::other(format!("{said:?}")).into())
    })
    .await
    .unwrap();
}

const FULL: &str = "LimitExceeded.MaximumKeyPairs";

async fn every_replica_says(replicas: &[Answering], begun: Instant, namespace: &str, name: &str, expected: &str) {
    let left = PATIENCE.saturating_sub(begun.elapsed());
    eventually(left, &format!("{expected:?} of {namespace}/{name}"), async || {
        let mut said = Vec::new();
        for replica in replicas {
            said.push(replica.says(namespace, name).await);
        }
        if said.iter().all(|said| said.as_deref() == Some(expected)) {
            return Ok(Some(()));
        }
        Err(io::Error::other(format!("they say {said:?}")).into())
    })
    .await
    .unwrap();
}

async fn replicas(topic: &str, streams: bool) {
    let stage = Stage::new(topic, streams);
    let mut replicas = [Answering::spawn(&stage.kubeconfig), Answering::spawn(&stage.kubeconfig)];
    register(&stage, replicas[0].webhook);
    for replica in &mut replicas {
        replica.replica.ready().await;
    }
    let keys = stage.before().await;
    every_replica_says(&replicas, Instant::now(), SHOP, "other", FULL).await;
    the_api_server_refuses(&stage, Instant::now(), SHOP).await;
    stage.after().await;
    // Forces a new certificate from a new CA.
    stage.delete("secret", "default", "keypair-operator-webhook");
    the_api_server_refuses(&stage, Instant::now(), SHOP).await;
    // In this history, one namespace has free slots.
    stage.delete("keypair", SHOP, "fresh");
    stage.delete("keypair", SHOP, "imported");
    every_replica_says(&replicas, Instant::now(), SHOP, "other", "").await;
    stage.write_much();

    let begun = stage.put_back();
    every_replica_says(&replicas, begun, SHOP, "other", FULL).await;
    stage.check(begun, &keys).await;
    // All replicas see later changes as well.
    every_replica_says(&replicas, begun, SHOP, "other", FULL).await;
    for name in ["second", "third"] {
        stage.generated(LATE, name);
    }
    stage.settled(begun, LATE, &[("second", "Generated"), ("third", "Generated")]).await;
    every_replica_says(&replicas, begun, LATE, "other", FULL).await;

    the_api_server_refuses(&stage, begun, LATE).await;
    let mut leaders = 0;
    for replica in &mut replicas {
        assert!(replica.replica.operator.ended().unwrap().is_none());
        leaders += usize::from(replica.replica.leads().await);
    }
    assert_eq!(leaders, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_follows_the_restored_state() {
    replicas("replicas", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_follows_the_restored_state_without_streaming_lists() {
    replicas("replicas-list", false).await;
}
