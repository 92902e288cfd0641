//! Checks that the rules in the CustomResourceDefinition, evaluated by the API server, agree with the Rust check.
//!
//! Both are generated from the same tables, but use different regular expression engines, Unicode versions and definitions of
//! length. So the tests submit the same objects to both. `KEYPAIR_CASES` sets the number of objects (`all` adds every code
//! point), `KEYPAIR_SEED` the random seed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic fails the test"
)]

mod code_points;
mod cost;
mod manifests;
mod objects;
mod older;
mod public_keys;
mod publications;
mod random;
mod referee;
mod texts;
mod transitions;

use std::{fs, path::Path, sync::LazyLock};

use keypair_operator::{app, domain::display::first_invisible};
use keypair_test_harness::{ControlPlane, Options};
use kube::Client;
use serde_json::{Value, json};

use random::{Cases, Random};
use referee::{Agreement, Answer, compare, create, theirs};

static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cel.crd.yaml");
    fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
    ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).expect("the control plane should start")
});

async fn client() -> Client {
    PLANE.client().await.unwrap()
}

/// Compares the answers for random objects of one group.
async fn group(purpose: &str, percent: usize, make: fn(&mut Random) -> Value) {
    let mut random = Random::of(purpose);
    let objects: Vec<Value> = (0..Cases::wanted().percent(percent)).map(|_| make(&mut random)).collect();
    let number = objects.len();
    let tally = compare(&client().await, Agreement::Exact, objects).await;
    println!("{purpose}: {tally}");
    // A generator tests nothing if it makes only valid or only invalid objects, or objects that the schema already refuses.
    if number >= 200 {
        assert!(tally.accepted > number / 10 && tally.refused > number / 10, "{purpose}: {tally}");
        assert!(tally.by_schema < number / 5, "{purpose}: {tally}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_names() {
    group("names", 30, objects::name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_single_text_fields() {
    group("texts", 15, objects::text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_tags() {
    group("tags", 15, objects::tags).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_secret_settings() {
    group("secrets", 15, objects::secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_secret_names() {
    group("secret names", 5, objects::secret_name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_rotations() {
    group("rotations", 15, objects::rotation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_shared_namespaces() {
    group("shared namespaces", 5, objects::share_with).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_template_sizes() {
    group("template sizes", 5, objects::template_size).await;
}

/// Only the Rust check can decide whether a key is valid, but both checks detect an invisible character in it.
#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_invisible_characters_in_keys() {
    let mut random = Random::of("invisible characters");
    let objects: Vec<Value> = (0..Cases::wanted().percent(5)).map(|_| objects::invisible(&mut random)).collect();
    let found = |object: &Value| first_invisible(object["spec"]["publicKey"].as_str().unwrap()).is_some();
    let (invisible, others): (Vec<Value>, Vec<Value>) = objects.into_iter().partition(found);
    let number = invisible.len();
    let tally = compare(&client().await, Agreement::Exact, invisible).await;
    assert_eq!(tally.refused, number, "{tally}");
    println!("invisible characters: {tally}; others: {}", compare(&client().await, Agreement::OneSided, others).await);

    // A user whose request the API server refuses sees which character is the problem.
    let body = format!("\u{feff}{}", objects::PUBLIC_KEY);
    for (profile, code) in [("OpenSSH", "InvalidKeyPairPublicKey.Malformed"), ("UCloud", "230")] {
        let object = objects::key_pair("a1", &json!({"profile": profile, "publicKey": body}));
        let Answer::Refused(messages) = theirs(&client().await, create(&object)).await else { panic!("accepted") };
        let named = |message: &String| {
            message.contains(code)
                && message.contains("invisible character")
                && message.contains("U+FEFF BYTE ORDER MARK")
        };
        assert!(messages.iter().any(named), "{messages:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_combinations_of_fields() {
    group("mixtures", 10, objects::mixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_algorithms_sizes_and_encodings() {
    let objects: Vec<Value> = objects::every_generate().chain(objects::every_encoding()).collect();
    let tally = compare(&client().await, Agreement::Exact, objects).await;
    println!("algorithms: {tally}");
    assert!(tally.accepted > 50 && tally.refused > 300, "{tally}");
}
