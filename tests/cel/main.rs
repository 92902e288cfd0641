//! The rules in the CustomResourceDefinition, as the API server evaluates them, and the Rust check agree.
//!
//! Both are made from the same tables, but two engines of regular expressions, two versions of Unicode and two notions of
//! length evaluate them. So the same objects are given to both: `KEYPAIR_CASES` says how many (`all`: every code point,
//! too), `KEYPAIR_SEED` which.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic fails the test"
)]

mod code_points;
mod objects;
mod public_keys;
mod random;
mod referee;
mod texts;
mod transitions;

use std::{fs, path::Path, sync::LazyLock};

use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Options};
use kube::Client;
use serde_json::Value;

use random::{Cases, Random};
use referee::{Agreement, compare};

static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cel.crd.yaml");
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).expect("a control plane")
});

async fn client() -> Client {
    PLANE.client().await.unwrap()
}

/// Compares the answers to random objects of one group.
async fn group(purpose: &str, percent: usize, make: fn(&mut Random) -> Value) {
    let mut random = Random::of(purpose);
    let objects: Vec<Value> = (0..Cases::wanted().percent(percent)).map(|_| make(&mut random)).collect();
    let number = objects.len();
    let tally = compare(&client().await, Agreement::Exact, objects).await;
    println!("{purpose}: {tally}");
    // A generator that makes only right or only wrong objects, or objects too far from right, tests nothing.
    if number >= 200 {
        assert!(tally.accepted > number / 10 && tally.refused > number / 10, "{purpose}: {tally}");
        assert!(tally.by_schema < number / 5, "{purpose}: {tally}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names() {
    group("names", 30, objects::name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_one_field() {
    group("texts", 15, objects::text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags() {
    group("tags", 15, objects::tags).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_secret() {
    group("secrets", 15, objects::secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_fields_at_once() {
    group("mixtures", 10, objects::mixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_size_and_encoding() {
    let objects: Vec<Value> = objects::every_generate().chain(objects::every_encoding()).collect();
    let tally = compare(&client().await, Agreement::Exact, objects).await;
    println!("algorithms: {tally}");
    assert!(tally.accepted > 50 && tally.refused > 300, "{tally}");
}
