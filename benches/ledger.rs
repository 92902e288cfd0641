//! Measures a decision with 10 to 100,000 key pairs in the namespace: the ledger uses lookups, not a scan.
//!
//! `cargo bench --bench ledger`

#![allow(missing_docs, reason = "a benchmark has no users")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use keypair_operator::domain::{
    ledger::{Claim, Ledger, Seniority},
    region::Region,
};

const SIZES: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];

fn claim(number: u32, accepted: bool) -> Claim {
    Claim {
        uid: format!("0c9b1f8e-4f0e-4d5c-9a51-{number:012x}").into(),
        seniority: Seniority { created: i64::from(number), object_name: format!("pair-{number}").into() },
        key_pair_name: format!("name-{number}").into(),
        accepted,
        token: None,
    }
}

/// A namespace of `size` pairs: half are accepted, and half wait for a slot.
fn ledger(size: u32) -> Ledger {
    let half = size / 2;
    let region = Region::with_quota(usize::try_from(half).unwrap_or_default());
    Ledger::load(region, (0..size).map(|number| claim(number, number < half)), None)
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ledger");
    for size in SIZES {
        let mut ledger = ledger(size);
        let uid = claim(size / 3, true).uid;
        group.bench_with_input(BenchmarkId::new("standing", size), &size, |bencher, _| {
            bencher.iter(|| black_box(ledger.claim_state(black_box(&uid))));
        });
        group.bench_with_input(BenchmarkId::new("create and delete", size), &size, |bencher, _| {
            let new = claim(size + 1, false);
            bencher.iter_batched(
                || new.clone(),
                |new| {
                    black_box(ledger.claim(new));
                    black_box(ledger.withdraw(&claim(size + 1, false).uid));
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_with_input(BenchmarkId::new("delete and promote", size), &size, |bencher, _| {
            // The promoted pair takes the slot that the next round frees.
            let mut turn = 0;
            bencher.iter(|| {
                let uid = claim(turn % size, true).uid;
                black_box(ledger.withdraw(&uid));
                black_box(ledger.claim(claim(turn % size, false)));
                turn += 1;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
