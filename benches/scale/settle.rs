//! How fast requests become Ready, compared with null operators: alternately, on the same API server, under the same load.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::Duration,
};

use crate::{
    cluster::{Cluster, Kind, PATIENCE, Running, median, percentile, requests},
    load::{Settled, load},
    null,
    process::{descendant, processor_time},
    section::{Section, Table},
};

const NAMESPACES: usize = 5;
/// The number of warm-up creates, which open connections and page code in.
const WARM_UP: usize = 20;

/// The program that handles the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    /// The null operator with a short status.
    Null,
    /// The null operator with a status as long as the operator's.
    NullMany,
    /// The same, with a CRD without validation rules: the limit of the API server.
    NullBare,
    Ours,
}

const ARMS: [Arm; 4] = [Arm::Null, Arm::NullMany, Arm::NullBare, Arm::Ours];

impl Arm {
    fn name(self) -> &'static str {
        match self {
            Self::Null => "null, few words",
            Self::NullMany => "null, as many words",
            Self::NullBare => "null, as many words, no rules",
            Self::Ours => "ours",
        }
    }

    fn agent(self) -> &'static str {
        if self == Self::Ours { "keypair-operator/" } else { null::AGENT }
    }

    async fn start(self, cluster: &Cluster) -> Running {
        match self {
            Self::Null => cluster.null("null").await,
            Self::NullMany | Self::NullBare => cluster.null("null-many").await,
            Self::Ours => cluster.operator(&[]).await,
        }
    }
}

/// A kind of request, how many are created at once, and the rate at which they are created one by one.
struct Work {
    kind: Kind,
    burst: usize,
    rate: f64,
    paced: usize,
}

/// The measurements of one arm for one kind of work.
#[derive(Default)]
struct Measured {
    /// Pairs per second, by round.
    rates: Vec<f64>,
    burst: Vec<f64>,
    paced: Vec<f64>,
    /// Milliseconds of the operator's CPU time per pair, by round.
    processor: Vec<f64>,
    /// The same for the API server.
    server: Vec<f64>,
    /// Requests per pair, by verb and resource, in the last round.
    requests: BTreeMap<String, f64>,
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn each(total: usize, count: usize) -> f64 {
    total as f64 / count as f64
}

async fn round(cluster: &Cluster, namespaces: &[String], work: &Work, arm: Arm, measured: &mut Measured) {
    cluster.enforce_rules(arm != Arm::NullBare).await;
    let operator = arm.start(cluster).await;
    let client = &cluster.client;
    let settle = |from: usize, count: usize, rate: Option<f64>| {
        load(client, namespaces, work.kind, from..from + count, rate, PATIENCE)
    };
    settle(0, WARM_UP, None).await;
    let mark = cluster.audit().mark().unwrap();
    let processes = [operator.id(), descendant("kube-apiserver").unwrap()];
    let before = processes.map(processor_time);
    let Settled { seconds, latencies } = settle(1000, work.burst, None).await;
    let [used, served] = [0, 1].map(|at| processor_time(processes[at]).saturating_sub(before[at]));
    measured.rates.push(each(work.burst, 1) / seconds);
    measured.burst.extend(latencies);
    measured.processor.push(used.as_secs_f64() * 1000.0 / each(work.burst, 1));
    measured.server.push(served.as_secs_f64() * 1000.0 / each(work.burst, 1));
    let requests = requests(cluster, mark, arm.agent()).await;
    measured.requests = requests.into_iter().map(|(what, count)| (what, each(count, work.burst))).collect();
    let Settled { latencies, .. } = settle(5000, work.paced, Some(work.rate)).await;
    measured.paced.extend(latencies);
    println!(
        "  {}, {}: {:.1} pairs a second, {:.2} ms of processor time each, {:.2} ms of the API server's",
        work.kind.name(),
        arm.name(),
        measured.rates.last().unwrap(),
        measured.processor.last().unwrap(),
        measured.server.last().unwrap(),
    );
    operator.end().await;
    cluster.clear(namespaces).await;
    // Gives other watchers time to catch up.
    tokio::time::sleep(Duration::from_secs(1)).await;
}

pub async fn run() {
    let rounds: usize = env::var("KEYPAIR_BENCH_ROUNDS").map_or(5, |rounds| rounds.parse().unwrap());
    let burst: usize = env::var("KEYPAIR_BENCH_BURST").map_or(500, |burst| burst.parse().unwrap());
    let cluster = Cluster::start().await;
    let namespaces = cluster.namespaces("settle", NAMESPACES).await;
    let works = [
        Work { kind: Kind::Import, burst, rate: 25.0, paced: 100 },
        Work { kind: Kind::Ed25519, burst, rate: 25.0, paced: 100 },
        Work { kind: Kind::Rsa2048, burst: burst * 2 / 5, rate: 5.0, paced: 20 },
    ];
    println!("settling bursts of {burst}, {rounds} rounds of null operators and ours by turns");
    let mut section = Section {
        title: "From create to Ready".to_owned(),
        method: format!(
            "The load generator creates KeyPairs in {NAMESPACES} namespaces, {} of each kind (RSA: {}): first all at once, then one \
             after another (25 a second; RSA: 5). It watches them until they are Ready. Null operators and this operator run in \
             turns, never at the same time, {rounds} times each. Rates are medians; ratios are medians of the ratios of each round. \
             A null operator watches KeyPairs and patches the status of each new one with a fixed text. For a KeyPair without a \
             public key it first creates a Secret with fixed bytes. It is the minimum that any operator has to do. One null \
             operator writes a public key and a condition; the other writes as much text as this operator, so that the API server \
             stores and sends the same amount. It also runs with a CRD without validation rules, which is the limit of what the \
             API server can do. All use the same client library and the same concurrency (32). They generate no \
             keys, so their RSA is as fast as their Ed25519. The load generator, the API server, etcd and the operator share the \
             cores of the machine.",
            burst,
            burst * 2 / 5,
        ),
        tables: Vec::new(),
        figures: BTreeMap::new(),
    };
    let mut rates = Table::new(
        "",
        &[
            "",
            "",
            "pairs/s",
            "ours / this",
            "CPU ms per pair",
            "CPU ms of the API server",
            "all at once: p50 / p99 ms",
            "one by one: p50 / p99 ms",
        ],
    );
    let mut counts = Table::new("Requests per KeyPair:", &["", "verb and resource", "null", "ours"]);
    for work in &works {
        let mut measured: [Measured; ARMS.len()] = Default::default();
        for number in 0..rounds {
            // Each round starts with a different arm.
            for at in (0..ARMS.len()).map(|at| (at + number) % ARMS.len()) {
                round(&cluster, &namespaces, work, ARMS[at], &mut measured[at]).await;
            }
        }
        let name = work.kind.name();
        let ours = measured[ARMS.len() - 1].rates.clone();
        for (arm, of) in ARMS.iter().zip(&mut measured) {
            let ratios: Vec<f64> = ours.iter().zip(&of.rates).map(|(ours, this)| ours / this).collect();
            let [at_once, one_by_one] = [&mut of.burst, &mut of.paced].map(|sample| {
                sample.sort_by(f64::total_cmp);
                format!("{:.0} / {:.0}", percentile(sample, 500), percentile(sample, 990))
            });
            rates.rows.push(vec![
                name.to_owned(),
                arm.name().to_owned(),
                format!("{:.0}", median(&of.rates)),
                if *arm == Arm::Ours { String::new() } else { format!("{:.2}", median(&ratios)) },
                format!("{:.2}", median(&of.processor)),
                format!("{:.2}", median(&of.server)),
                at_once,
                one_by_one,
            ]);
            section.figures.insert(format!("{name} {}", arm.name()), median(&of.rates));
        }
        let [_, null, _, ours] = &measured;
        let all: BTreeSet<&String> = null.requests.keys().chain(ours.requests.keys()).collect();
        for what in all {
            let count = |arm: &Measured| format!("{:.2}", arm.requests.get(what).copied().unwrap_or_default());
            counts.rows.push(vec![name.to_owned(), what.clone(), count(null), count(ours)]);
        }
    }
    section.tables = vec![rates, counts];
    section.save("settle");
}
