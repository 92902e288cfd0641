//! The operator stays within the memory limit of the chart, regardless of the size of the tenants' objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use keypair_test_harness::{ControlPlane, Operator, Options, eventually, namespace};
use kube::{
    api::{Api, DynamicObject, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::support::{BINARY, Directory, PATIENCE, QUIET, stripped_crd, vector};

/// The memory limit of the chart.
const LIMIT_KIB: u64 = 256 * 1024;
/// Enough objects to exceed half of the limit if the operator kept them all.
const OBJECTS: usize = 120;

/// Incompressible text.
fn noise(length: usize, seed: usize) -> String {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b"0123456789abcdefghijklmnopqrstuv"[usize::try_from(state % 32).unwrap()])
    };
    std::iter::repeat_with(letter).take(length).collect()
}

/// An object close to the maximum size that the API server stores; `number` selects the large field.
fn large(number: usize, noise: &str) -> Value {
    let name = format!("large-{number}");
    let mut object = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name },
        "spec": { "profile": "OpenSSH", "publicKey": vector("public/ed25519.pub") },
    });
    match number % 4 {
        0 => object["spec"]["secret"] = json!({ "template": { "stringData": { "a": noise } } }),
        1 => object["spec"] = json!({ "secret": { "template": { "annotations": { "a": noise } } } }),
        2 => {
            let labels: BTreeMap<String, &str> = (0..noise.len() / 130)
                .map(|n| (format!("l-{}-{n}", &noise[n * 63..n * 63 + 50]), &noise[n * 63..n * 63 + 63]))
                .collect();
            object["metadata"]["labels"] = json!(labels);
        }
        _ => object["metadata"]["annotations"] = json!({ "keypairs.dev/a": &noise[..250_000] }),
    }
    object
}

fn resident_at_most(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits in the log until the operator has written this many first statuses. Reading the large objects would take too long.
async fn judged(operator: &Operator, count: usize) {
    eventually(PATIENCE * 2, "every KeyPair to be judged", async || {
        let log = operator.log()?;
        let named =
            log.lines().filter(|line| line.contains("status written")).filter_map(|line| line.split("name=").nth(1));
        let judged: BTreeSet<&str> = named.filter_map(|name| name.split(' ').next()).collect();
        Ok((judged.len() == count).then_some(()))
    })
    .await
    .unwrap();
}

/// Uses the CRD without its rules, as if the objects were older than the rules. `watch_list`: whether the API server supports
/// streaming lists; otherwise the operator lists in pages.
async fn keeps_within_its_limit(watch_list: bool) {
    let dir = Directory::new("bounds");
    let crd = dir.write("crd.json", stripped_crd().to_string().as_bytes());
    let feature_gates = (!watch_list).then(|| "WatchList=false".to_owned());
    let plane = ControlPlane::start(&Options { crds: vec![crd], feature_gates, ..Options::default() }).unwrap();
    let client = plane.client().await.unwrap();
    let namespace = namespace(&client, "bounds").await.unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("keypairs.dev", "v1alpha1", "KeyPair"));
    let key_pairs: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
    let secrets: Api<DynamicObject> =
        Api::namespaced_with(client, &namespace, &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret")));
    let noise = noise(1_300_000, 7);
    let create = async |numbers: std::ops::Range<usize>| {
        for number in numbers {
            // Each object has different text, as real objects do.
            let object = large(number, &noise[number % 97..]);
            key_pairs.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
            // JSON encodes a control character in six bytes.
            let applied = if number % 2 == 0 { noise[..120_000].to_owned() } else { "\u{1}".repeat(120_000) };
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {
                    "name": format!("labelled-{number}"),
                    "labels": { "app.kubernetes.io/managed-by": "keypair-operator" },
                    "annotations": { "keypairs.dev/applied": applied, "keypairs.dev/keypair-uid": &noise[..120_000] },
                },
            });
            secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
        }
    };
    create(0..OBJECTS / 2).await;
    // Half of the objects exist before the operator starts, the rest appear while it runs.
    let spawn = || Operator::spawn(BINARY.as_ref(), plane.kubeconfig(), ["run"], [("RUST_LOG", "info")]).unwrap();
    let mut operator = spawn();
    judged(&operator, OBJECTS / 2).await;
    create(OBJECTS / 2..OBJECTS).await;
    judged(&operator, OBJECTS).await;
    let after_all = resident_at_most(operator.id());
    assert!(operator.stop().await.unwrap().success());

    let mut operator = spawn();
    operator.wait_for_line("every KeyPair and Secret is listed", PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after_restart = resident_at_most(operator.id());
    println!("at most {} MiB resident, after a restart {} MiB", after_all / 1024, after_restart / 1024);
    assert!(after_all.max(after_restart) < LIMIT_KIB / 2, "{after_all} KiB, after a restart {after_restart} KiB");
    assert!(operator.ended().unwrap().is_none());
}

#[tokio::test]
async fn large_objects_do_not_crash_the_operator() {
    keeps_within_its_limit(true).await;
}

#[tokio::test]
async fn large_objects_in_list_pages_do_not_crash_the_operator() {
    keeps_within_its_limit(false).await;
}

/// A Secret with tens of thousands of entries, each of which takes twenty times its size when parsed.
fn many_entries(name: &str) -> Value {
    let mut entries: BTreeMap<String, String> = (0..25_000).map(|n| (format!("e{n}"), String::new())).collect();
    entries.insert("ssh-privatekey".to_owned(), vector("private/plain/ed25519.pkcs8"));
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "annotations": { "keypairs.dev/adopt": name } }, "stringData": entries,
    })
}

#[tokio::test]
async fn adopting_many_large_secrets_does_not_crash_the_operator() {
    const SECRETS: usize = 36;
    let scene = QUIET.scene("bounds-adopted").await;
    for number in 0..SECRETS {
        let name = format!("large-{number}");
        let secret = serde_json::from_value(many_entries(&name)).unwrap();
        scene.secrets.create(&PostParams::default(), &secret).await.unwrap();
        scene.create(&name, &json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } })).await;
    }
    let operator = QUIET.spawn(&["--namespace", &scene.namespace], "info");
    judged(&operator, SECRETS).await;
    scene.settled("large-0", "True/Generated").await;
    let resident = resident_at_most(operator.id());
    println!("at most {} MiB resident", resident / 1024);
    assert!(resident < LIMIT_KIB * 3 / 4, "{resident} KiB");
}
