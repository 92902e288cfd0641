//! The control plane, and the CPU time of its API server.

use std::{
    fs,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use keypair_operator::api::KeyPair;
use keypair_test_harness::{ControlPlane, Options, eventually};
use kube::{
    Api, Client,
    api::{ListParams, PartialObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    request::{self, Kind, NAMESPACE, key_pairs},
    variant::Variant,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// The maximum number of concurrent requests.
pub const CONCURRENT: usize = 4;
/// Warm-up requests before each measurement.
const WARM_UP: usize = 50;
/// The API server counts as idle if it uses at most this much CPU time in a second.
const IDLE: Duration = Duration::from_millis(40);
const CRD: &str = "keypairs.keypairs.dev";
/// The limit of `project` in the first installed version.
const FIRST_LIMIT: usize = 512;

/// What one request costs the API server.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU time in milliseconds.
    pub ms: f64,
    /// Allocated memory in KiB.
    pub kib: f64,
}

pub struct Cluster {
    /// Stops the servers when dropped.
    plane: ControlPlane,
    client: Client,
    api_server: u32,
    limit: usize,
}

impl Cluster {
    pub async fn start() -> Self {
        println!("starting a control plane…");
        let plane = ControlPlane::start(&Options::default()).unwrap();
        let api_server = plane.ready().expect("the control plane is not external").pids["kube-apiserver"];
        let client = plane.client().await.unwrap();
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": NAMESPACE } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Self { plane, client, api_server, limit: FIRST_LIMIT }
    }

    pub fn kubeconfig(&self) -> String {
        self.plane.kubeconfig().display().to_string()
    }

    /// Updates the CRD, and waits until the API server uses the new version and is idle.
    pub async fn install(&mut self, variant: &Variant) {
        self.limit += 1;
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let mut crd = variant.crd.clone();
        crd["spec"]["versions"] = variant.versions(self.limit);
        if crds.get_opt(CRD).await.unwrap().is_some() {
            crds.patch(CRD, &PatchParams::default(), &Patch::Merge(crd)).await.unwrap();
        } else {
            crds.create(&PostParams::default(), &serde_json::from_value(crd).unwrap()).await.unwrap();
        }
        eventually(PATIENCE, "the new version of the CRD", async || Ok(self.is_served().await.then_some(())))
            .await
            .unwrap();
        self.idle().await;
    }

    /// Whether the API server rejects a too long `project` with the limit of the last installed version.
    async fn is_served(&self) -> bool {
        let request = request::create("too-long", &json!({ "project": "x".repeat(2000) }));
        let error = self.client.request::<Value>(request).await.unwrap_err().to_string();
        error.contains(&format!(" {} ", self.limit))
    }

    async fn idle(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.processor_time();
            sleep(Duration::from_secs(1)).await;
            if self.processor_time().saturating_sub(before) <= IDLE {
                return;
            }
            if Instant::now() > deadline {
                println!("the API server is not idle after {PATIENCE:?}");
                return;
            }
        }
    }

    /// The CPU time of the API server, as precisely as the kernel reports it.
    fn processor_time(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.api_server)).unwrap().flatten();
        let nanoseconds = threads.map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            text.split(' ').next().and_then(|used| used.parse::<u64>().ok()).unwrap_or_default()
        });
        // The kernel counts nanoseconds here; `/proc/ID/stat` has ticks of 10 ms.
        let sum = nanoseconds.sum();
        assert!(sum > 0, "the kernel does not provide schedstat");
        Duration::from_nanos(sum)
    }

    /// The bytes that the API server has allocated since it started.
    async fn allocated(&self) -> f64 {
        let request = http::Request::get("/debug/pprof/heap?debug=1").body(Vec::new()).unwrap();
        let text = self.client.request_text(request).await.unwrap();
        text.lines().find_map(|line| line.strip_prefix("# TotalAlloc = ")).unwrap().parse().unwrap()
    }

    /// Sends requests of each kind, and returns the cost of one request of each kind.
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    pub async fn measure(&self, kinds: &[Kind], count: usize) -> Vec<Cost> {
        let mut costs = Vec::new();
        for &kind in kinds {
            self.send(kind, "warm-up", WARM_UP, 1).await;
            // Reading the counter allocates memory, too: two reads show how much to subtract.
            let first = self.allocated().await;
            let begin = self.allocated().await;
            let before = self.processor_time();
            self.send(kind, "pair", count, 1).await;
            let used = self.processor_time().saturating_sub(before);
            let bytes = self.allocated().await - begin - (begin - first);
            let count = count as f64;
            costs.push(Cost { ms: used.as_secs_f64() * 1e3 / count, kib: bytes / 1024.0 / count });
        }
        self.clear().await;
        costs
    }

    pub async fn send(&self, kind: Kind, prefix: &str, count: usize, turn: u32) {
        let requests =
            stream::iter(0..count).map(|number| self.client.request_text(kind.request(prefix, number, turn)));
        requests.buffer_unordered(CONCURRENT).for_each(async |answer| drop(answer.unwrap())).await;
    }

    /// Deletes all KeyPairs.
    pub async fn clear(&self) {
        let api: Api<PartialObjectMeta<KeyPair>> = Api::namespaced(self.client.clone(), NAMESPACE);
        let all = http::Request::delete(key_pairs()).body(Vec::new()).unwrap();
        self.client.request_text(all).await.unwrap();
        eventually(PATIENCE, "the KeyPairs to be gone", async || {
            Ok(api.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty().then_some(()))
        })
        .await
        .unwrap();
        self.idle().await;
    }
}
