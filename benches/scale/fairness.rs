//! Whether a burst of RSA requests uses the whole machine, and whether it delays other users.

use std::{
    collections::BTreeMap,
    env, thread,
    time::{Duration, Instant},
};

use futures::{StreamExt, future};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    runtime::watcher::{self, Event, watcher},
};
use tokio::{task::JoinHandle, time::sleep};

use crate::{
    cluster::{Cluster, Kind, PATIENCE, Running, percentile},
    load::{create, load},
    process::processor_time,
    section::{Section, Table},
};

const LEASE: &str = "keypair-operator";
const RATE: f64 = 5.0;
const PROBE: Duration = Duration::from_millis(100);

/// What was measured during the load.
struct Seen {
    imports: Vec<f64>,
    small: Vec<f64>,
    alive: Vec<f64>,
    renewals: Vec<f64>,
    cores: f64,
}

/// Probes the operator and watches its Lease until it is told to stop.
fn probe(cluster: &Cluster, operator: &Running) -> (JoinHandle<()>, JoinHandle<()>, Probes) {
    let probes = Probes::default();
    let (alive, metrics) = (std::sync::Arc::clone(&probes.alive), operator.metrics);
    let asking = tokio::spawn(async move {
        loop {
            let asked = Instant::now();
            let answer = keypair_test_harness::http_get(metrics, "/livez").await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.body);
            alive.lock().unwrap().push(asked.elapsed().as_secs_f64() * 1000.0);
            sleep(PROBE).await;
        }
    });
    let leases: Api<Lease> = Api::default_namespaced(cluster.client.clone());
    let renewals = std::sync::Arc::clone(&probes.renewals);
    let watching = tokio::spawn(async move {
        let only = watcher::Config::default().fields(&format!("metadata.name={LEASE}"));
        let mut last = None;
        watcher(leases, only)
            .for_each(|event| {
                if let Ok(Event::Apply(_)) = event {
                    let now = Instant::now();
                    if let Some(before) = last.replace(now) {
                        renewals.lock().unwrap().push(now.duration_since(before).as_secs_f64());
                    }
                }
                future::ready(())
            })
            .await;
    });
    (asking, watching, probes)
}

#[derive(Default)]
struct Probes {
    alive: std::sync::Arc<std::sync::Mutex<Vec<f64>>>,
    renewals: std::sync::Arc<std::sync::Mutex<Vec<f64>>>,
}

impl Probes {
    fn take(&self) -> (Vec<f64>, Vec<f64>) {
        let take = |of: &std::sync::Mutex<Vec<f64>>| {
            let mut values = std::mem::take(&mut *of.lock().unwrap());
            values.sort_by(f64::total_cmp);
            values
        };
        (take(&self.alive), take(&self.renewals))
    }
}

/// Creates imports and Ed25519 pairs at a steady rate in two namespaces, and returns what was measured meanwhile.
async fn pace(cluster: &Cluster, operator: &Running, probes: &Probes, from: usize, count: usize) -> Seen {
    probes.take();
    let (begun, before) = (Instant::now(), processor_time(operator.id()));
    let spaces = [["calm-0".to_owned()], ["calm-1".to_owned()]];
    let settle =
        |space: usize, kind| load(&cluster.client, &spaces[space], kind, from..from + count, Some(RATE), PATIENCE * 2);
    let (imports, small) = future::join(settle(0, Kind::Import), settle(1, Kind::Ed25519)).await;
    let used = processor_time(operator.id()).saturating_sub(before);
    let cores = used.as_secs_f64() / begun.elapsed().as_secs_f64();
    let (alive, renewals) = probes.take();
    Seen { imports: imports.latencies, small: small.latencies, alive, renewals, cores }
}

pub async fn run() {
    let burst: usize = env::var("KEYPAIR_BENCH_BURST").map_or(500, |burst| burst.parse().unwrap());
    let paced: usize = env::var("KEYPAIR_BENCH_PACED").map_or(150, |paced| paced.parse().unwrap());
    let cluster = Cluster::start().await;
    let calm = cluster.namespaces("calm", 2).await;
    let busy = cluster.namespaces("busy", 1).await;
    let operator = cluster.operator(&["--leader-elect"]).await;
    let (asking, watching, probes) = probe(&cluster, &operator);
    println!("{paced} imports and as many Ed25519 pairs, {RATE} a second, without anybody else…");
    load(&cluster.client, &calm, Kind::Mixed, 0..20, None, PATIENCE).await;
    let alone = pace(&cluster, &operator, &probes, 1000, paced).await;
    println!("the same while {burst} RSA-4096 pairs are generated for another namespace…");
    create(&cluster.client, &busy, Kind::Rsa4096, 0..burst, None).await;
    let beside = pace(&cluster, &operator, &probes, 10_000, paced).await;
    asking.abort();
    watching.abort();
    cluster.clear(&busy).await;
    operator.end().await;

    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut table = Table::new("", &["", "alone", &format!("beside {burst} RSA-4096 pairs of another namespace")]);
    let both = |sample: &[f64]| format!("{:.0} / {:.0} ms", percentile(sample, 500), percentile(sample, 990));
    let mut row = |what: &str, of: &dyn Fn(&Seen) -> String| {
        table.rows.push(vec![what.to_owned(), of(&alone), of(&beside)]);
        println!("  {}", table.rows.last().unwrap().join(" | "));
    };
    row("import, p50 / p99", &|seen| both(&seen.imports));
    row("Ed25519, p50 / p99", &|seen| both(&seen.small));
    row("`/livez`, p50 / p99", &|seen| both(&seen.alive));
    row("longest time between two renewals of the Lease", &|seen| format!("{:.1} s", percentile(&seen.renewals, 1000)));
    row("cores used by the operator", &|seen| format!("{:.2} of {cores}", seen.cores));
    let section = Section {
        title: "Fairness".to_owned(),
        method: format!(
            "The load generator requests {burst} RSA-4096 pairs at once in one namespace. Meanwhile it creates imports in a second \
             namespace and Ed25519 pairs in a third, {RATE} a second each; before, it does the same without the burst. It reads \
             `/livez` ten times a second. The operator takes part in leader election with a Lease of 15 seconds, which it renews \
             every three. The API server and the load generator also use the cores.",
        ),
        tables: vec![table],
        figures: BTreeMap::from([
            ("import alone".to_owned(), percentile(&alone.imports, 990)),
            ("import beside".to_owned(), percentile(&beside.imports, 990)),
        ]),
    };
    section.save("fairness");
}
