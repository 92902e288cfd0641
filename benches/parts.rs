//! Measures the parts of the work for one KeyPair: parsing a public key, making a decision, adding an event to the index.
//!
//! `cargo bench --bench parts`

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::{
    collections::{BTreeMap, BTreeSet},
    hint::black_box,
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use k8s_openapi::jiff::Timestamp;
use keypair_operator::{
    api::{ClaimRequest, KeyPair, KeyPairSpec, KeyPairStatus, translate},
    cache::Index,
    domain::{
        decide::{NextStep, Observed, decide},
        key::PublicKey,
        ledger::Ledger,
        publication::PublicationProgress,
        region::Region,
    },
};
use kube::runtime::watcher::Event;

const RSA: &str = include_str!("../tests/vectors/public/rsa2048.pub");
const KEYS: [(&str, &str); 4] = [
    ("RSA-2048 line", RSA),
    ("RSA-2048 PEM", include_str!("../tests/vectors/public/rsa2048.spki")),
    ("ECDSA P-256 line", include_str!("../tests/vectors/public/ecdsa256.pub")),
    ("Ed25519 line", include_str!("../tests/vectors/public/ed25519.pub")),
];
const SIZES: [usize; 3] = [10, 1_000, 100_000];
const NAMESPACE: &str = "shop";

fn key_pair(number: usize) -> KeyPair {
    let spec = KeyPairSpec { public_key: Some(RSA.trim().to_owned()), ..KeyPairSpec::default() };
    let mut key_pair = KeyPair::new(&format!("pair-{number}"), spec);
    key_pair.metadata.namespace = Some(NAMESPACE.to_owned());
    key_pair.metadata.uid = Some(format!("0c9b1f8e-4f0e-4d5c-9a51-{number:012x}"));
    key_pair.metadata.generation = Some(1);
    key_pair
}

fn observed(key_pair: &KeyPair) -> Observed {
    Observed {
        recorded: translate::accepted_key_pair(key_pair),
        original: None,
        created_secrets: BTreeSet::new(),
        refused: None,
        is_contended: false,
        secrets: BTreeMap::new(),
        open_gates: BTreeSet::new(),
        publication: PublicationProgress::default(),
        now: Timestamp::UNIX_EPOCH,
    }
}

fn region() -> Region {
    Region::with_quota(1_000_000)
}

/// The status that the operator computes for an import.
fn settle(key_pair: &KeyPair, ledger: &Ledger) -> KeyPairStatus {
    let desired = translate::desired(key_pair);
    let NextStep::Report(report) = decide(&desired, &observed(key_pair), ledger) else {
        panic!("expected a status for the import")
    };
    KeyPairStatus::from_report(key_pair, &desired.parameters.key_pair_name, *report, Timestamp::UNIX_EPOCH)
}

fn public_keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("public key");
    for (name, text) in KEYS {
        group.bench_function(BenchmarkId::new("read", name), |bencher| {
            bencher.iter(|| PublicKey::parse(black_box(text)).unwrap());
        });
        let key = PublicKey::parse(text).unwrap();
        group.bench_function(BenchmarkId::new("fingerprints", name), |bencher| {
            bencher.iter(|| black_box(&key).fingerprints());
        });
    }
    group.finish();
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let mut import = key_pair(0);
    let mut ledger = Ledger::new(region());
    ledger.claim(ClaimRequest::of(&import).claim(&region()).unwrap());
    group.bench_function("new import", |bencher| bencher.iter(|| settle(black_box(&import), &ledger)));
    import.status = Some(settle(&import, &ledger));
    group.bench_function("settled import", |bencher| bencher.iter(|| settle(black_box(&import), &ledger)));
    group.finish();
}

fn events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("index");
    for size in SIZES {
        let index = Index::default();
        index.set_region(NAMESPACE, region(), |_| None);
        index.apply(&Event::<KeyPair>::Init);
        for number in 0..size {
            index.apply(&Event::InitApply(key_pair(number)));
        }
        index.apply(&Event::<KeyPair>::InitDone);
        let (new, gone) = (Event::Apply(key_pair(size)), Event::Delete(key_pair(size)));
        group.bench_function(BenchmarkId::new("create and delete", size), |bencher| {
            bencher.iter(|| {
                black_box(index.apply(black_box(&new)));
                black_box(index.apply(black_box(&gone)));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, public_keys, decisions, events);
criterion_main!(benches);
