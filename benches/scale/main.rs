//! What the operator can do, beside a null operator on the same API server: throughput and latency, requests, restart and memory
//! with up to 100,000 pairs, fairness. Then `docs/benchmarks.md` is put together from what all benchmarks have found.
//!
//! `cargo build --release --workspace && cargo bench --bench scale`, or only a part of it: `-- settle`, `-- restart`,
//! `-- fairness`, `-- rotation`, `-- report`. `KEYPAIR_BENCH_PAIRS` says how many pairs there are for a restart (100,000),
//! `KEYPAIR_BENCH_BURST` how many are created at once (500), `KEYPAIR_BENCH_ROUNDS` how often each is measured (5),
//! `KEYPAIR_BENCH_ROTATIONS` how many pairs are rotated (10,000), `KEYPAIR_BENCH_OPERATOR` which operator is run, if not this one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, reason = "a benchmark")]

mod cluster;
mod fairness;
mod load;
mod null;
mod picture;
mod process;
mod report;
mod restart;
mod rotation;
#[path = "../support/section.rs"]
mod section;
mod settle;

use kube::runtime::watcher;

#[tokio::main]
async fn main() {
    // Cargo says of itself that this is a benchmark.
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let all = ["settle", "fairness", "restart", "rotation", "report"];
    for part in if parts.is_empty() { &all[..] } else { &parts[..] } {
        match *part {
            "settle" => settle::run().await,
            "fairness" => fairness::run().await,
            "restart" => restart::run().await,
            "rotation" => rotation::run().await,
            "report" => report::run(),
            "null" => null::operate(false).await,
            "null-many" => null::operate(true).await,
            "list" => null::list(watcher::Config::default()).await,
            "stream" => null::list(watcher::Config::default().streaming_lists()).await,
            other => panic!("there is no part {other:?}: there are {all:?}"),
        }
    }
}
