//! How fast requests become Ready, beside the null operator: the two by turns, on the same API server, under the same load.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    time::Duration,
};

use crate::{
    cluster::{Cluster, Kind, PATIENCE, Running, median, percentile, requests},
    load::{Settled, load},
    null,
    process::processor_time,
    section::{Section, Table},
};

const NAMESPACES: usize = 5;
/// How many are created at once to begin with, so that connections are open and code is paged in.
const WARM_UP: usize = 20;
const OURS: &str = "keypair-operator/";

/// A kind of request, how many are created at once, and how many a second where they come one after another.
struct Work {
    kind: Kind,
    burst: usize,
    rate: f64,
    paced: usize,
}

/// What was measured of one arm in one kind of work.
#[derive(Default)]
struct Measured {
    /// Pairs a second, by round.
    rates: Vec<f64>,
    burst: Vec<f64>,
    paced: Vec<f64>,
    /// Milliseconds of processor time of the operator for each pair, by round.
    processor: Vec<f64>,
    /// Requests for each pair, by verb and resource, of the last round.
    requests: BTreeMap<String, f64>,
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn each(total: usize, count: usize) -> f64 {
    total as f64 / count as f64
}

async fn start(cluster: &Cluster, ours: bool) -> Running {
    if ours { cluster.operator(&[]).await } else { cluster.null("null").await }
}

async fn round(cluster: &Cluster, namespaces: &[String], work: &Work, ours: bool, measured: &mut Measured) {
    let operator = start(cluster, ours).await;
    let client = &cluster.client;
    let settle = |from: usize, count: usize, rate: Option<f64>| {
        load(client, namespaces, work.kind, from..from + count, rate, PATIENCE)
    };
    settle(0, WARM_UP, None).await;
    let mark = cluster.audit().mark().unwrap();
    let before = processor_time(operator.id());
    let Settled { seconds, latencies } = settle(1000, work.burst, None).await;
    let used = processor_time(operator.id()).saturating_sub(before);
    measured.rates.push(each(work.burst, 1) / seconds);
    measured.burst.extend(latencies);
    measured.processor.push(used.as_secs_f64() * 1000.0 / each(work.burst, 1));
    let agent = if ours { OURS } else { null::AGENT };
    let requests = requests(cluster, mark, agent).await;
    measured.requests = requests.into_iter().map(|(what, count)| (what, each(count, work.burst))).collect();
    let Settled { latencies, .. } = settle(5000, work.paced, Some(work.rate)).await;
    measured.paced.extend(latencies);
    println!(
        "  {}, {}: {:.1} pairs a second, {:.2} ms of processor time each",
        work.kind.name(),
        if ours { "ours" } else { "null" },
        measured.rates.last().unwrap(),
        measured.processor.last().unwrap(),
    );
    operator.end().await;
    cluster.clear(namespaces).await;
    // Whoever else watches is to be done with it.
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
    println!("settling bursts of {burst}, {rounds} rounds of the null operator and ours by turns");
    let mut section = Section {
        title: "From create to Ready".to_owned(),
        method: format!(
            "KeyPairs are created all at once over {NAMESPACES} namespaces, {} of each kind (RSA: {}), and then again one after \
             another (25 a second; RSA: 5), and watched until they are Ready. The null operator and ours run by turns, never at \
             once, {rounds} times each; rates are medians. The null operator is a watch of KeyPairs that patches the status of \
             each new one with fixed words, and creates a Secret with fixed bytes before where there is no public key: what is \
             left of an operator that does nothing. It is written with the same client library, and does as many at once (32). \
             It generates no keys, so its RSA is as fast as its Ed25519. The load generator, the API server, etcd and the \
             operator share the machine's cores.",
            burst,
            burst * 2 / 5,
        ),
        tables: Vec::new(),
        figures: BTreeMap::new(),
    };
    let mut rates =
        Table::new("", &["", "null: pairs/s", "ours: pairs/s", "ratio", "null: CPU ms a pair", "ours: CPU ms a pair"]);
    let mut latency = Table::new(
        "From create to Ready, p50 / p99 in ms:",
        &["", "null, at once", "ours, at once", "null, one after another", "ours, one after another"],
    );
    let mut counts = Table::new("Requests for each pair:", &["", "verb and resource", "null", "ours"]);
    for work in &works {
        let mut arms = [Measured::default(), Measured::default()];
        for number in 0..rounds {
            // Another one is the first in each round.
            for ours in [number % 2 == 1, number % 2 == 0] {
                round(&cluster, &namespaces, work, ours, &mut arms[usize::from(ours)]).await;
            }
        }
        let name = work.kind.name();
        let [none, ours] = &mut arms;
        let ratio = median(&ours.rates) / median(&none.rates);
        rates.rows.push(vec![
            name.to_owned(),
            format!("{:.0}", median(&none.rates)),
            format!("{:.0}", median(&ours.rates)),
            format!("{ratio:.2}"),
            format!("{:.2}", median(&none.processor)),
            format!("{:.2}", median(&ours.processor)),
        ]);
        let mut cells = vec![name.to_owned()];
        for sample in [&mut none.burst, &mut ours.burst, &mut none.paced, &mut ours.paced] {
            sample.sort_by(f64::total_cmp);
            cells.push(format!("{:.0} / {:.0}", percentile(sample, 500), percentile(sample, 990)));
        }
        latency.rows.push(cells);
        let all: BTreeSet<&String> = none.requests.keys().chain(ours.requests.keys()).collect();
        for what in all {
            let count = |arm: &Measured| format!("{:.2}", arm.requests.get(what).copied().unwrap_or_default());
            counts.rows.push(vec![name.to_owned(), what.clone(), count(none), count(ours)]);
        }
        for (arm, measured) in [("null", &*none), ("ours", &*ours)] {
            section.figures.insert(format!("{name} {arm}"), median(&measured.rates));
        }
    }
    section.tables = vec![rates, latency, counts];
    section.save("settle");
}
