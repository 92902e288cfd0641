//! Compares the operator with a null operator on the same API server: throughput and latency, requests, restart and memory
//! with up to 100,000 pairs, fairness. Then generates `docs/benchmarks.md` from the results of all benchmarks.
//!
//! `cargo build --release --workspace && cargo bench --bench scale`; for only one part, add `-- settle`, `-- restart`,
//! `-- fairness`, `-- rotation`, `-- publication` or `-- report`. `KEYPAIR_BENCH_PAIRS` sets the number of pairs for a restart (100,000),
//! `KEYPAIR_BENCH_BURST` the number of simultaneous creates (500), `KEYPAIR_BENCH_ROUNDS` the number of rounds (5),
//! `KEYPAIR_BENCH_ROTATIONS` the number of rotated pairs (10,000), and `KEYPAIR_BENCH_OPERATOR` the operator binary, if not
//! this one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, reason = "a benchmark")]

mod cluster;
mod fairness;
mod load;
mod null;
mod peers;
mod picture;
mod process;
mod publication;
mod report;
mod restart;
mod rotation;
#[path = "../support/section.rs"]
mod section;
mod settle;

use kube::runtime::watcher;

#[tokio::main]
async fn main() {
    // Cargo passes `--bench` to a benchmark.
    let parts: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let all = ["settle", "fairness", "restart", "rotation", "publication", "report"];
    for part in if parts.is_empty() { &all[..] } else { &parts[..] } {
        match *part {
            "settle" => settle::run().await,
            "fairness" => fairness::run().await,
            "restart" => restart::run().await,
            "rotation" => rotation::run().await,
            "publication" => publication::run().await,
            "report" => report::run(),
            "null" => null::operate(false).await,
            "null-many" => null::operate(true).await,
            "list" => null::list(watcher::Config::default()).await,
            "stream" => null::list(watcher::Config::default().streaming_lists()).await,
            other => panic!("unknown part {other:?}: expected one of {all:?}"),
        }
    }
}
