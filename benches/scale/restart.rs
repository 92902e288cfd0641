//! The cost of a restart, and the memory of the operator with many pairs.

use std::{collections::BTreeMap, env, time::Duration};

use keypair_test_harness::free_port;

use crate::{
    cluster::{Cluster, Kind, Running, median, requests},
    load::load,
    process::{idle, peak, processor_time, resident},
    section::{Section, Table},
};

const NAMESPACES: usize = 200;
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(600);
/// The time limit per pair for creating them.
const FILL: Duration = Duration::from_millis(50);
/// After many writes, the API server stays busy for a while.
const SETTLE: Duration = Duration::from_secs(5);

/// One start of a process.
struct Start {
    ready: f64,
    idle: f64,
    processor: f64,
    resident: f64,
    peak: f64,
}

impl Start {
    async fn measure(running: &Running) -> Self {
        let idle = idle(running.id(), PATIENCE).await;
        Self {
            ready: running.ready.as_secs_f64(),
            idle: idle.duration_since(running.started).max(running.ready).as_secs_f64(),
            processor: processor_time(running.id()).as_secs_f64(),
            resident: resident(running.id()),
            peak: peak(running.id()),
        }
    }
}

/// The median of a value over several starts.
fn of(starts: &[Start], what: impl Fn(&Start) -> f64) -> f64 {
    median(&starts.iter().map(what).collect::<Vec<_>>())
}

/// Several starts with the same objects.
#[derive(Default)]
struct Starts {
    listing: Vec<Start>,
    streaming: Vec<Start>,
    ours: Vec<Start>,
    answering: Vec<Start>,
    /// The requests of the operator's last start.
    requests: BTreeMap<String, usize>,
}

async fn starts_with(cluster: &Cluster, pairs: usize) -> Starts {
    let mut starts = Starts::default();
    for round in 0..ROUNDS {
        println!("starting with {pairs} pairs, {} of {ROUNDS}…", round + 1);
        for (way, starts) in [("list", &mut starts.listing), ("stream", &mut starts.streaming)] {
            tokio::time::sleep(SETTLE).await;
            let bare = cluster.null(way).await;
            starts.push(Start::measure(&bare).await);
            bare.end().await;
        }
        tokio::time::sleep(SETTLE).await;
        let mark = cluster.audit().mark().unwrap();
        let operator = cluster.operator(&[]).await;
        starts.ours.push(Start::measure(&operator).await);
        starts.requests = requests(cluster, mark, "keypair-operator/").await;
        operator.end().await;
    }
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let flags = [format!("--webhook-addr={address}"), format!("--webhook-url=https://{address}/")];
    let operator = cluster.operator(&flags.each_ref().map(String::as_str)).await;
    starts.answering.push(Start::measure(&operator).await);
    operator.end().await;
    cluster.unregister_webhook().await;
    starts
}

fn mib(kib: f64) -> String {
    format!("{:.1} MiB", kib / 1024.0)
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

pub async fn run() {
    let most: usize = env::var("KEYPAIR_BENCH_PAIRS").map_or(100_000, |pairs| pairs.parse().unwrap());
    let cluster = Cluster::start().await;
    let namespaces = cluster.namespaces("scale", NAMESPACES).await;
    let mut filling = Table::new(
        "Memory of the operator after it has settled the last KeyPairs and is idle:",
        &["pairs", "resident"],
    );
    let mut starts = Table::new(
        "Start:",
        &[
            "pairs",
            "bare list",
            "bare stream",
            "ours: ready",
            "ours: idle",
            "idle / bare list",
            "idle / bare stream",
            "CPU of list, stream, ours",
        ],
    );
    let mut memory = Table::new(
        "Memory when idle after a start:",
        &["pairs", "resident", "peak", "added per pair", "with webhook", "added per pair"],
    );
    let mut asked = Table::new(
        "Requests of a start besides its three watches, and how many of them write:",
        &["pairs", "requests", "writes"],
    );
    let mut figures = BTreeMap::new();
    let mut none = None;
    let mut there = 0;
    for pairs in [0, most / 10, most] {
        if pairs > there {
            println!("filling up to {pairs} pairs…");
            let operator = cluster.operator(&[]).await;
            let count = pairs - there;
            let patience = PATIENCE + FILL * u32::try_from(count).unwrap();
            load(&cluster.client, &namespaces, Kind::Mixed, there..pairs, None, patience).await;
            idle(operator.id(), PATIENCE).await;
            filling.rows.push(vec![pairs.to_string(), mib(resident(operator.id()))]);
            operator.end().await;
            there = pairs;
        }
        let Starts { listing, streaming, ours, answering, requests: counts } = starts_with(&cluster, pairs).await;
        let kib = [of(&ours, |start| start.resident), of(&answering, |start| start.resident)];
        let none = *none.get_or_insert(kib);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand")]
        let beyond = |at: usize| match pairs {
            0 => String::new(),
            _ => format!("{:.2} KiB", (kib[at] - none[at]) / pairs as f64),
        };
        let [list, stream] = [&listing, &streaming].map(|starts| of(starts, |start| start.ready));
        let done = of(&ours, |start| start.idle);
        starts.rows.push(vec![
            pairs.to_string(),
            seconds(list),
            seconds(stream),
            seconds(of(&ours, |start| start.ready)),
            seconds(done),
            format!("{:.2}", done / list),
            format!("{:.2}", done / stream),
            [&listing, &streaming, &ours].map(|starts| seconds(of(starts, |start| start.processor))).join(", "),
        ]);
        memory.rows.push(vec![
            pairs.to_string(),
            mib(kib[0]),
            mib(of(&ours, |start| start.peak)),
            beyond(0),
            mib(kib[1]),
            beyond(1),
        ]);
        let total: usize = counts.values().sum();
        let writes: BTreeMap<&String, &usize> =
            counts.iter().filter(|(what, _)| !what.starts_with("list ") && !what.starts_with("get ")).collect();
        let writes = if writes.is_empty() { "none".to_owned() } else { format!("{writes:?}") };
        asked.rows.push(vec![pairs.to_string(), total.to_string(), writes]);
        figures.insert(format!("memory {pairs}"), kib[0] / 1024.0);
        figures.insert(format!("start {pairs}"), done);
        figures.insert(format!("list {pairs}"), list);
        for row in [&starts, &memory, &asked].map(|table| table.rows.last().unwrap().join(" | ")) {
            println!("  {row}");
        }
    }
    let section = Section {
        title: "Restart and memory".to_owned(),
        method: format!(
            "The operator creates and settles KeyPairs over {NAMESPACES} namespaces, alternately an imported RSA-2048 and a \
             generated Ed25519 pair. Then it starts {ROUNDS} times, in turns with two bare programs that use the same client \
             library. These read the same Namespaces, KeyPairs and Secrets (metadata) into the same types and drop them: one lists \
             them in pages of 500, the other streams them (`sendInitialEvents`), as the operator does. A start is ready when \
             `/readyz` says so, and idle when it uses no more CPU time. All figures are medians.",
        ),
        tables: vec![starts, memory, asked, filling],
        figures,
    };
    section.save("restart");
}
