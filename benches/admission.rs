//! Measures the latency that the admission webhook adds to a create, against creates without it, interleaved in one run.
//!
//! `cargo build --release --workspace && cargo bench --bench admission`; `KEYPAIR_BENCH_PAIRS` sets the number of existing
//! `KeyPair`s (50,000), in namespaces of 500.
//!
//! The baseline is a bare webhook that admits everything without reading the review: its cost is the API server's share, the
//! lower bound for any webhook. "Validating only" omits the match condition with which the API server detects violations of
//! the CRD's rules.
//!
//! It measures twice: first the arms one after another, each with the whole machine; then interleaved, so that all get the
//! same load.
//!
//! The operator is a standby replica, so that only admission is measured: it writes no status, and answers from the index
//! that every replica keeps. The label `asks` of a namespace selects the webhook that the API server calls.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, reason = "a benchmark")]

#[path = "support/process.rs"]
mod process;
#[path = "support/section.rs"]
mod section;

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::body::Bytes;
use axum_server::tls_rustls::RustlsConfig;
use futures::future::join_all;
use k8s_openapi::{
    ByteString,
    api::{coordination::v1::Lease, core::v1::Namespace},
};
use keypair_operator::{
    api::{self, KeyPair, KeyPairSpec},
    app,
};
use keypair_test_harness::{ControlPlane, Operator, Options, eventually, free_port, http_get};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use rustls::ServerConfig;
use serde_json::json;

use self::{
    process::{processor_time, resident},
    section::{Section, Table},
};

const KEY: &str = include_str!("../tests/vectors/public/rsa2048.pub");
const NAMESPACE_SIZE: usize = 500;
/// The maximum number of concurrent creates.
const CONCURRENT: usize = 64;
/// One round to open connections, then one per arm.
const ROUNDS: usize = 5;
const CREATES: usize = 1000;
/// Creates per second in the rate-limited measurements.
const RATES: [f64; 2] = [100.0, 200.0];
const ARMS: [(&str, &str); 4] = [
    ("without a webhook", "nobody"),
    ("with a bare one", "bare"),
    ("validating only", "validating"),
    ("with ours", "ours"),
];
const PATIENCE: Duration = Duration::from_secs(300);

fn key_pair(name: &str) -> KeyPair {
    let spec = KeyPairSpec { public_key: Some(KEY.trim().to_owned()), ..KeyPairSpec::default() };
    KeyPair::new(name, spec)
}

/// Creates `count` `KeyPair`s in each namespace, at most 64 at a time, and returns the latencies by namespace. With a
/// `rate`, starts that many per second, whether or not earlier ones have finished; without one, starts the next when one
/// finishes.
async fn create(
    client: &Client,
    namespaces: &[String],
    prefix: &str,
    count: usize,
    rate: Option<f64>,
) -> Vec<Vec<Duration>> {
    let next = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let workers = (0..CONCURRENT).map(|_| {
        let (client, next) = (client.clone(), Arc::clone(&next));
        async move {
            let mut took = vec![Vec::new(); namespaces.len()];
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count * namespaces.len() {
                    return took;
                }
                let mut begun = Instant::now();
                if let Some(rate) = rate {
                    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
                    let due = start + Duration::from_secs_f64(number as f64 / rate);
                    tokio::time::sleep_until(due.into()).await;
                    begun = due.max(begun);
                }
                let at = number % namespaces.len();
                let api: Api<KeyPair> = Api::namespaced(client.clone(), &namespaces[at]);
                api.create(&PostParams::default(), &key_pair(&format!("{prefix}-{number}"))).await.unwrap();
                took[at].push(begun.elapsed());
            }
        }
    });
    let mut all = vec![Vec::new(); namespaces.len()];
    for took in join_all(workers).await {
        for (all, took) in all.iter_mut().zip(took) {
            all.extend(took);
        }
    }
    all
}

fn percentile(sorted: &[Duration], per_mille: usize) -> f64 {
    sorted[(sorted.len() * per_mille / 1000).min(sorted.len() - 1)].as_secs_f64() * 1000.0
}

/// Serves a webhook that admits everything, and returns its CA bundle.
fn serve_bare(port: u16) -> ByteString {
    async fn admit(body: Bytes) -> axum::Json<serde_json::Value> {
        let text = std::str::from_utf8(&body).unwrap();
        let uid = text.split_once(r#""uid":""#).and_then(|(_, rest)| rest.split_once('"')).unwrap().0;
        axum::Json(json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": { "uid": uid, "allowed": true },
        }))
    }
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = made.signing_key.serialize_der().try_into().unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = RustlsConfig::from_config(Arc::new(config));
    let router = axum::Router::new().fallback_service(axum::routing::post(admit));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    tokio::spawn(axum_server::bind_rustls(address, config).serve(router.into_make_service()));
    ByteString(made.cert.pem().into_bytes())
}

async fn space(client: &Client, name: &str, asks: &str) -> String {
    let namespace: Namespace =
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "asks": asks } } })).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    name.to_owned()
}

/// Measures each arm, and adds the latencies to `table` as a row.
async fn measure(client: &Client, spaces: &[String], rate: Option<f64>, mixed: bool, table: &mut Table) {
    let mut took = ARMS.map(|_| Vec::new());
    for round in 0..ROUNDS {
        let count = CREATES / if round == 0 { 10 } else { 1 };
        let prefix = format!("round-{round}");
        let clear = async |spaces: &[String]| {
            for space in spaces {
                let api: Api<KeyPair> = Api::namespaced(client.clone(), space);
                api.delete_collection(&DeleteParams::background(), &ListParams::default()).await.unwrap();
            }
            // Gives all watchers time to catch up.
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        let mut samples = vec![Vec::new(); spaces.len()];
        if mixed {
            samples = create(client, spaces, &prefix, count, rate).await;
            clear(spaces).await;
        } else {
            // Each round starts with a different arm.
            for at in (0..spaces.len()).map(|at| (at + round) % spaces.len()) {
                let space = std::slice::from_ref(&spaces[at]);
                samples[at] = create(client, space, &prefix, count, rate).await.concat();
                clear(space).await;
            }
        }
        // The first round only opens connections.
        if round > 0 {
            took.iter_mut().zip(samples).for_each(|(took, sample)| took.extend(sample));
        }
    }
    for sample in &mut took {
        sample.sort();
    }
    let load = match (rate, mixed) {
        (Some(rate), _) => format!("{rate} a second, mixed"),
        (None, true) => "as fast as they can be, mixed".to_owned(),
        (None, false) => "as fast as they can be, one after another".to_owned(),
    };
    for per_mille in [500, 990] {
        let none = percentile(&took[0], per_mille);
        let cells = took.iter().map(|sample| {
            let value = percentile(sample, per_mille);
            format!("{value:.1} ({:+.1})", value - none)
        });
        let row: Vec<String> = [format!("{load}, p{}", per_mille / 10)].into_iter().chain(cells).collect();
        println!("  {}", row.join(" | "));
        table.rows.push(row);
    }
}

#[tokio::main]
async fn main() {
    let pairs: usize = env::var("KEYPAIR_BENCH_PAIRS").map_or(50_000, |pairs| pairs.parse().unwrap());
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench.crd.yaml");
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    let plane = ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap();
    let client = plane.client().await.unwrap();

    println!("creating {pairs} KeyPairs…");
    let mut namespaces = Vec::new();
    for number in 0..pairs.div_ceil(NAMESPACE_SIZE) {
        namespaces.push(space(&client, &format!("full-{number}"), "nobody").await);
    }
    create(&client, &namespaces, "pair", NAMESPACE_SIZE, None).await;
    let mut spaces = Vec::new();
    for (_, asks) in ARMS {
        spaces.push(space(&client, asks, asks).await);
    }

    let (metrics, webhook, bare) = (free_port().unwrap(), free_port().unwrap(), free_port().unwrap());
    let authority = serve_bare(bare);
    let condition = json!([{ "name": "breaks-a-rule", "expression": api::cel::refused_condition() }]);
    for (kind, name, asks, conditions) in [
        ("Mutating", "answer.keypairs.dev", &["ours"][..], condition),
        ("Validating", "validate.keypairs.dev", &["ours", "validating"], json!([])),
        ("Validating", "bare.keypairs.dev", &["bare"], json!([])),
    ] {
        let kind = format!("{kind}WebhookConfiguration");
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", &kind));
        let (name_of_all, client_config) = if asks == ["bare"] {
            ("bare", json!({ "url": format!("https://127.0.0.1:{bare}/"), "caBundle": authority }))
        } else {
            ("keypair-operator", json!({ "url": format!("https://127.0.0.1:{webhook}/") }))
        };
        let configuration = DynamicObject::new(name_of_all, &kind).data(json!({ "webhooks": [{
            "name": name, "clientConfig": client_config, "matchConditions": conditions,
            "rules": [{ "apiGroups": ["keypairs.dev"], "apiVersions": ["v1alpha1"], "resources": ["keypairs"],
                "operations": ["CREATE", "UPDATE"] }],
            "namespaceSelector": { "matchExpressions": [{ "key": "asks", "operator": "In", "values": asks }] },
            "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        }] }));
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
        api.create(&PostParams::default(), &configuration).await.unwrap();
    }
    let lease: Lease = serde_json::from_value(json!({
        "metadata": { "name": "keypair-operator" },
        "spec": { "holderIdentity": "the benchmark", "leaseDurationSeconds": 60_000 },
    }))
    .unwrap();
    Api::default_namespaced(client.clone()).create(&PostParams::default(), &lease).await.unwrap();
    let args = [
        "run".to_owned(),
        "--quota=1000000".to_owned(),
        "--leader-elect".to_owned(),
        "--lease-duration=60000".to_owned(),
        format!("--metrics-addr=127.0.0.1:{metrics}"),
        format!("--webhook-addr=127.0.0.1:{webhook}"),
    ];
    let binary = Path::new(env!("CARGO_BIN_EXE_keypair-operator"));
    let operator = Operator::spawn(binary, plane.kubeconfig(), args, [("RUST_LOG", "warn")]).unwrap();
    let address = ([127, 0, 0, 1], metrics).into();
    eventually(PATIENCE, "the operator to have listed all", async || {
        Ok((http_get(address, "/readyz").await?.status == 200).then_some(()))
    })
    .await
    .unwrap();
    println!("{pairs} KeyPairs in the index, {:.1} MiB resident", resident(operator.id()) / 1024.0);

    let before = processor_time(operator.id());
    let arms = ARMS.map(|(arm, _)| arm);
    let mut table =
        Table::new("Milliseconds per create, and the difference to no webhook:", &[&[""], &arms[..]].concat());
    println!("creating, {CONCURRENT} at a time at most; {}:", arms.join(" | "));
    for rate in RATES {
        measure(&client, &spaces, Some(rate), true, &mut table).await;
    }
    measure(&client, &spaces, None, true, &mut table).await;
    measure(&client, &spaces, None, false, &mut table).await;
    let metrics = http_get(address, "/metrics").await.unwrap().body;
    let reviews = metrics.lines().filter(|line| line.starts_with("keypair_operator_admission_reviews_total"));
    let reviews: u32 = reviews.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum();
    let busy = processor_time(operator.id()).saturating_sub(before);
    let each = format!(
        "{reviews} reviews, {:.0} µs of the operator's CPU time each.",
        busy.as_secs_f64() * 1e6 / f64::from(reviews)
    );
    println!("{each}");
    let method = format!(
        "The time that the webhook adds to the create of an RSA-2048 import, with {pairs} KeyPairs in the index and at most \
         {CONCURRENT} requests at a time. A bare webhook admits everything without looking at it, so no webhook can be faster. {each}"
    );
    let figures = BTreeMap::new();
    Section { title: "Admission".to_owned(), method, tables: vec![table], figures }.save("admission");
}
