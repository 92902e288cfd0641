//! The control plane, the operators and the KeyPairs that are requested.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use k8s_openapi::{
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1::{Namespace, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use keypair_operator::{
    api::{
        self, KeyPair, KeyPairSpec,
        key_pair::{GenerateAlgorithm, GenerateSpec},
    },
    app,
    domain::profile::Profile,
};
use keypair_test_harness::{Audit, ControlPlane, Mark, Operator, Options, eventually, free_port, without_rules};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PartialObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::sleep;

use crate::null;

/// The default timeout.
pub const PATIENCE: Duration = Duration::from_secs(300);
const RSA: &str = include_str!("../../tests/vectors/public/rsa2048.pub");

/// A kind of requested key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Import,
    Ed25519,
    Rsa2048,
    Rsa4096,
    /// Alternately an import and an Ed25519 pair.
    Mixed,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Ed25519 => "Ed25519",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa4096 => "RSA-4096",
            Self::Mixed => "mixed",
        }
    }

    pub fn key_pair(self, number: usize) -> KeyPair {
        let generate = |algorithm, bits| KeyPairSpec {
            profile: Profile::OpenSSH,
            generate: Some(GenerateSpec { algorithm, bits }),
            ..KeyPairSpec::default()
        };
        let spec = match self {
            Self::Mixed if number % 2 == 1 => return Self::Ed25519.key_pair(number),
            Self::Import | Self::Mixed => {
                KeyPairSpec { public_key: Some(RSA.trim().to_owned()), ..KeyPairSpec::default() }
            }
            Self::Ed25519 => generate(GenerateAlgorithm::Ed25519, None),
            Self::Rsa2048 => generate(GenerateAlgorithm::RSA, Some(2048)),
            Self::Rsa4096 => generate(GenerateAlgorithm::RSA, Some(4096)),
        };
        KeyPair::new(&format!("pair-{number}"), spec)
    }
}

/// A control plane with an audit log.
pub struct Cluster {
    plane: ControlPlane,
    pub client: Client,
}

impl Cluster {
    pub async fn start() -> Self {
        println!("starting a control plane…");
        let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale.crd.yaml");
        fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
        let plane = ControlPlane::start(&Options { crds: vec![crd], audit: true, ..Options::default() }).unwrap();
        let client = plane.client().await.unwrap();
        Self { plane, client }
    }

    pub fn audit(&self) -> Audit {
        self.plane.audit().unwrap()
    }

    pub async fn namespaces(&self, prefix: &str, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for number in 0..count {
            let name = format!("{prefix}-{number}");
            let annotations = json!({ "keypairs.dev/quota": "1000000" });
            let namespace: Namespace =
                serde_json::from_value(json!({ "metadata": { "name": name, "annotations": annotations } })).unwrap();
            Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
            names.push(name);
        }
        names
    }

    /// Deletes all `KeyPair`s and their Secrets in these namespaces, and waits until they are gone.
    pub async fn clear(&self, namespaces: &[String]) {
        for namespace in namespaces {
            let key_pairs: Api<KeyPair> = Api::namespaced(self.client.clone(), namespace);
            let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
            let all = ListParams::default();
            key_pairs.delete_collection(&DeleteParams::background(), &all).await.unwrap();
            secrets.delete_collection(&DeleteParams::background(), &all).await.unwrap();
            eventually(PATIENCE, "the KeyPairs to be gone", async || {
                let metadata: Api<PartialObjectMeta<KeyPair>> = Api::namespaced(self.client.clone(), namespace);
                Ok(metadata.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty().then_some(()))
            })
            .await
            .unwrap();
        }
    }

    /// Installs the CRD with or without its validation rules, and waits until the API server applies it.
    pub async fn enforce_rules(&self, enforce: bool) {
        let crd = serde_json::to_value(api::crd()).unwrap();
        let crd = if enforce { crd } else { without_rules(crd) };
        let versions = json!({ "spec": { "versions": crd["spec"]["versions"] } });
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        crds.patch("keypairs.keypairs.dev", &PatchParams::default(), &Patch::Merge(versions)).await.unwrap();
        let key_pairs: Api<KeyPair> = Api::default_namespaced(self.client.clone());
        let spec = KeyPairSpec { description: Some("1".to_owned()), ..KeyPairSpec::default() };
        let invalid = KeyPair::new("breaks-a-rule", spec);
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        eventually(PATIENCE, "the API server to follow the CRD", async || {
            Ok((key_pairs.create(&dry_run, &invalid).await.is_err() == enforce).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Prevents calls of a webhook whose operator no longer runs.
    pub async fn unregister_webhook(&self) {
        const NAME: &str = "keypair-operator";
        let (mutating, validating): (Api<MutatingWebhookConfiguration>, Api<ValidatingWebhookConfiguration>) =
            (Api::all(self.client.clone()), Api::all(self.client.clone()));
        mutating.delete(NAME, &DeleteParams::default()).await.unwrap();
        validating.delete(NAME, &DeleteParams::default()).await.unwrap();
    }

    /// Starts the operator, and waits until it is ready.
    pub async fn operator(&self, flags: &[&str]) -> Running {
        let metrics = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let args = ["run".to_owned(), format!("--metrics-addr={metrics}")];
        let args = args.into_iter().chain(flags.iter().map(ToString::to_string));
        let started = Instant::now();
        // Another version can be compared.
        let binary = env::var_os("KEYPAIR_BENCH_OPERATOR").unwrap_or(env!("CARGO_BIN_EXE_keypair-operator").into());
        let mut process =
            Operator::spawn(Path::new(&binary), self.plane.kubeconfig(), args, [("RUST_LOG", "warn")]).unwrap();
        process.wait_for_http(metrics, "/readyz", PATIENCE).await.unwrap();
        Running { process, metrics, started, ready: started.elapsed() }
    }

    /// Starts one of the processes of [`null`], and waits until it has listed everything.
    pub async fn null(&self, mode: &str) -> Running {
        let started = Instant::now();
        let binary = env::current_exe().unwrap();
        let metrics = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Operator::spawn(&binary, self.plane.kubeconfig(), [mode], [("RUST_LOG", "warn")]).unwrap();
        process.wait_for_line(null::LISTED, PATIENCE).await.unwrap();
        Running { process, metrics, started, ready: started.elapsed() }
    }
}

/// A process that is ready.
pub struct Running {
    pub process: Operator,
    pub metrics: SocketAddr,
    pub started: Instant,
    /// How long it took to become ready.
    pub ready: Duration,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops the operator gracefully. Other processes have nothing to finish, so they are killed.
    pub async fn end(mut self) {
        if self.metrics.port() == 0 {
            self.process.kill().unwrap();
        } else {
            self.process.stop().await.unwrap();
        }
    }
}

/// Counts the requests of a program after `mark` by verb and resource, without watches, which end and restart by themselves.
pub async fn requests(cluster: &Cluster, mark: Mark, agent: &str) -> BTreeMap<String, usize> {
    // The API server writes its log shortly after the response.
    sleep(Duration::from_secs(1)).await;
    let mut counts = BTreeMap::new();
    for request in cluster.audit().since(mark).unwrap() {
        let object = request.object_ref.unwrap_or_default();
        if request.user_agent.starts_with(agent) && request.verb != "watch" && object.resource != "leases" {
            let slash = if object.subresource.is_empty() { "" } else { "/" };
            let what = format!("{} {}{slash}{}", request.verb, object.resource, object.subresource);
            *counts.entry(what).or_default() += 1;
        }
    }
    counts
}

/// The percentile of sorted values, in thousandths.
pub fn percentile(sorted: &[f64], per_mille: usize) -> f64 {
    sorted.get((sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 500)
}
