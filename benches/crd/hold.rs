//! Sends requests of one kind continuously, so that the API server can be profiled.

use std::time::{Duration, Instant};

use crate::{cluster::Cluster, number, request::Kind, variant::Variant};

/// Requests per turn.
const BATCH: usize = 400;

pub async fn run(mut cluster: Cluster, variant: &Variant) {
    cluster.install(variant).await;
    let kind = Kind::ALL[number("KEYPAIR_BENCH_KIND", 0)];
    let end = Instant::now() + Duration::from_secs(u64::try_from(number("KEYPAIR_BENCH_SECONDS", 30)).unwrap());
    println!("{}: {}, {}", cluster.kubeconfig(), variant.name, kind.name());
    if !matches!(kind, Kind::Create | Kind::CreateEmpty) {
        let create = if kind == Kind::StatusOfEmpty { Kind::CreateEmpty } else { Kind::Create };
        cluster.send(create, "held", BATCH, 0).await;
    }
    println!("started");
    for turn in 1.. {
        // Creates need new names in each turn; patches change the same objects again.
        let prefix =
            if matches!(kind, Kind::Create | Kind::CreateEmpty) { format!("held-{turn}") } else { "held".to_owned() };
        cluster.send(kind, &prefix, BATCH, turn).await;
        if Instant::now() > end {
            return;
        }
    }
}
