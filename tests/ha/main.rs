//! Several replicas with leader election, against a real control plane.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a panic fails the test")]

#[path = "../operator_account/mod.rs"]
mod operator_account;
mod takeover;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret};
use keypair_operator::{
    api::{KeyPair, KeyPairSpec},
    app,
};
use keypair_test_harness::{
    ControlPlane, Operator, Options, Requests, Signal, eventually, free_port, http_get, namespace, signal,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tempfile::TempPath;

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");
const PATIENCE: Duration = Duration::from_secs(120);
/// Short, so that a test does not wait long for the Lease of a dead leader.
const LEASE: Duration = Duration::from_secs(5);

struct Stage {
    plane: ControlPlane,
    /// The kubeconfig of the replicas, with a service account that is subject to the admission policies.
    kubeconfig: TempPath,
    client: Client,
    namespace: String,
}

struct Replica {
    operator: Operator,
    address: SocketAddr,
}

impl Stage {
    async fn new(topic: &str) -> Self {
        let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("ha-{topic}.crd.yaml"));
        fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
        let plane = ControlPlane::start(&Options { audit: true, crds: vec![crd], ..Options::default() }).unwrap();
        let client = plane.client().await.unwrap();
        let namespace = namespace(&client, topic).await.unwrap();
        let kubeconfig = operator_account::kubeconfig(&plane, false);
        Self { plane, kubeconfig, client, namespace }
    }

    fn replica(&self) -> Replica {
        Self::replica_with(&self.kubeconfig, LEASE)
    }

    fn replica_with(kubeconfig: &Path, lease: Duration) -> Replica {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let (metrics, lease) = (address.to_string(), lease.as_secs().to_string());
        let args = ["run", "--leader-elect", "--lease-duration", &lease, "--metrics-addr", &metrics];
        let operator = Operator::spawn(Path::new(BINARY), kubeconfig, args, [("RUST_LOG", "info")]).unwrap();
        Replica { operator, address }
    }

    fn key_pairs(&self) -> Api<KeyPair> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create(&self, prefix: &str, count: usize) {
        let spec: KeyPairSpec =
            serde_json::from_value(json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } })).unwrap();
        for number in 0..count {
            let key_pair = KeyPair::new(&format!("{prefix}-{number}"), spec.clone());
            self.key_pairs().create(&PostParams::default(), &key_pair).await.unwrap();
        }
    }

    async fn ready(&self) -> usize {
        let list = self.key_pairs().list(&ListParams::default()).await.unwrap();
        let is_ready = |pair: &&KeyPair| {
            pair.status.as_ref().is_some_and(|status| status.key_pair_id.is_some() && status.error.is_none())
        };
        list.iter().filter(is_ready).count()
    }

    async fn all_ready(&self, count: usize) {
        eventually(PATIENCE, &format!("{count} pairs to be ready"), async || {
            Ok((self.ready().await >= count).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Checks that each pair has one Secret with its key, and that no Secret lacks its pair.
    async fn check_secrets(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let found: BTreeMap<String, String> = secrets
            .list(&ListParams::default())
            .await
            .unwrap()
            .iter()
            .map(|secret| (secret.name_any(), secret.annotations()["keypairs.dev/fingerprint"].clone()))
            .collect();
        let pairs = self.key_pairs().list(&ListParams::default()).await.unwrap();
        let expected: BTreeMap<String, String> = pairs
            .iter()
            .map(|pair| (pair.name_any(), pair.status.clone().unwrap().fingerprints.unwrap().sha256))
            .collect();
        assert_eq!(found, expected);
    }

    fn lease(&self) -> Api<Lease> {
        Api::default_namespaced(self.client.clone())
    }
}

impl Replica {
    async fn leads(&self) -> bool {
        let metrics = http_get(self.address, "/metrics").await;
        metrics.is_ok_and(|answer| answer.body.lines().any(|line| line == "keypair_operator_leader 1"))
    }

    async fn is_ready(&self) -> bool {
        http_get(self.address, "/readyz").await.is_ok_and(|answer| answer.status == 200)
    }
}

/// Waits until one of the replicas leads, and returns its index.
async fn leader(replicas: &[Replica]) -> usize {
    eventually(PATIENCE, "one of the replicas to lead", async || {
        let mut leaders = Vec::new();
        for (place, replica) in replicas.iter().enumerate() {
            if replica.leads().await {
                leaders.push(place);
            }
        }
        assert!(leaders.len() < 2, "more than one replica leads");
        Ok(leaders.first().copied())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_leader_hands_over_immediately() {
    let stage = Stage::new("ha-handover").await;
    let mut replicas = vec![stage.replica(), stage.replica(), stage.replica()];
    let first = leader(&replicas).await;
    eventually(PATIENCE, "all to be ready", async || {
        let mut ready = 0;
        for replica in &replicas {
            ready += usize::from(replica.is_ready().await);
        }
        Ok((ready == 3).then_some(()))
    })
    .await
    .unwrap();
    stage.create("a", 5).await;
    stage.all_ready(5).await;
    for (place, replica) in replicas.iter().enumerate() {
        let wrote = replica.operator.log().unwrap().contains("status written");
        assert_eq!(wrote, place == first, "only the leader writes");
    }

    let mut stopped = replicas.remove(first);
    assert!(stopped.operator.stop().await.unwrap().success());
    let gone = Instant::now();
    leader(&replicas).await;
    assert!(gone.elapsed() < LEASE, "the new leader waited for the Lease to expire: {:?}", gone.elapsed());
    stage.create("b", 5).await;
    stage.all_ready(10).await;
    stage.check_secrets().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_the_lease_duration() {
    const PAIRS: usize = 200;
    let stage = Stage::new("ha-killed").await;
    let mut replicas = vec![stage.replica(), stage.replica()];
    let first = leader(&replicas).await;
    let creating = stage.create("pair", PAIRS);
    let killing = async {
        stage.all_ready(PAIRS / 10).await;
        replicas[first].operator.kill().unwrap();
        let gone = Instant::now();
        replicas.remove(first);
        leader(&replicas).await;
        gone.elapsed()
    };
    let ((), took) = tokio::join!(creating, killing);
    // The standby checks the Lease once a second, and the machine is busy.
    assert!(took < LEASE + Duration::from_secs(4), "{took:?}");
    stage.all_ready(PAIRS).await;
    stage.check_secrets().await;
}

/// The process does not know how long it was suspended, and must not continue its work.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_leader_writes_nothing_after_its_term() {
    let stage = Stage::new("ha-suspended").await;
    let replicas = vec![stage.replica(), stage.replica()];
    let first = leader(&replicas).await;
    stage.create("before", 20).await;
    signal(replicas[first].operator.id(), Signal::STOP).unwrap();
    let other = &replicas[1 - first];
    eventually(PATIENCE, "the other to lead", async || Ok(other.leads().await.then_some(()))).await.unwrap();
    stage.create("meanwhile", 20).await;
    stage.all_ready(40).await;
    // Both have the same name in the audit log, but the new leader has nothing to write now.
    let audit = stage.plane.audit().unwrap();
    let mark = audit.mark().unwrap();
    signal(replicas[first].operator.id(), Signal::CONT).unwrap();
    eventually(PATIENCE, "the first to stand by", async || {
        Ok((!replicas[first].leads().await && replicas[first].is_ready().await).then_some(()))
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let writes: BTreeSet<String> = audit
        .matching(mark, &Requests::any().by_agent("keypair-operator/").namespace(&stage.namespace))
        .unwrap()
        .into_iter()
        .filter(|request| ["create", "update", "patch", "delete"].contains(&request.verb.as_str()))
        // Requests that were half sent when the process was suspended fail in the end: with 409, or with 504 if the API
        // server has waited long enough.
        .filter(|request| (200..300).contains(&request.code()))
        .map(|request| format!("{} {} {}", request.verb, request.uri, request.code()))
        .collect();
    assert!(writes.is_empty(), "{writes:?}");
    assert!(other.leads().await);
    stage.check_secrets().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manually_changed_lease_changes_only_the_leader() {
    let stage = Stage::new("ha-hands").await;
    let replicas = vec![stage.replica(), stage.replica()];
    leader(&replicas).await;
    let lease = stage.lease();
    let thief = json!({ "spec": { "holderIdentity": "somebody", "leaseDurationSeconds": 5 } });
    lease.patch("keypair-operator", &PatchParams::default(), &Patch::Merge(thief)).await.unwrap();
    eventually(PATIENCE, "the leader to step down", async || {
        Ok((!replicas[0].leads().await && !replicas[1].leads().await).then_some(()))
    })
    .await
    .unwrap();
    leader(&replicas).await;
    lease.delete("keypair-operator", &DeleteParams::default()).await.unwrap();
    stage.create("pair", 5).await;
    stage.all_ready(5).await;
    leader(&replicas).await;
    stage.check_secrets().await;
}
