//! A thousand simultaneous creates.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use keypair_test_harness::namespace;
use kube::api::{DynamicObject, ListParams, PostParams};
use serde_json::json;
use tokio::time::sleep;

use super::{
    checker,
    keys::IMPORTS,
    operators::Operators,
    recorder::Recorder,
    stage::{PLANE, TURN, key_pairs},
};

const CREATES: usize = 1000;
const QUOTA: usize = 500;
const PATIENCE: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_creates_fills_exactly_the_quota() {
    let _turn = TURN.lock().await;
    let client = PLANE.client().await.unwrap();
    let namespaces = [namespace(&client, "burst").await.unwrap()];
    let recorder = Recorder::start(&client, &namespaces, QUOTA);
    let mut operators = Operators::start(PLANE.kubeconfig(), &namespaces, QUOTA);
    let api = key_pairs(&client, &namespaces[0]);
    let creates = tokio::spawn({
        let api = api.clone();
        async move {
            let all = stream::iter(0..CREATES).map(|number| {
                let api = api.clone();
                async move {
                    let spec = if number % 2 == 0 {
                        json!({ "profile": "OpenSSH", "publicKey": IMPORTS[0].trim() })
                    } else {
                        json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } })
                    };
                    let object: DynamicObject = serde_json::from_value(json!({
                        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
                        "metadata": { "name": format!("kp-{number}") }, "spec": spec,
                    }))
                    .unwrap();
                    api.create(&PostParams::default(), &object).await.unwrap();
                }
            });
            all.buffer_unordered(100).collect::<Vec<()>>().await;
        }
    });
    // Kills an operator in the middle of its work.
    let deadline = Instant::now() + PATIENCE;
    for least in [50, 200, 400] {
        while recorder.accepted() < least {
            assert!(Instant::now() < deadline, "only {} accepted", recorder.accepted());
            sleep(Duration::from_millis(10)).await;
        }
        operators.kill_one(0);
    }
    creates.await.unwrap();
    let violations = loop {
        let mut violations = checker::check(&client, &namespaces[0], QUOTA, true).await.unwrap();
        violations.extend(recorder.violations());
        if violations.is_empty() || Instant::now() > deadline {
            break violations;
        }
        sleep(Duration::from_secs(1)).await;
    };
    assert!(violations.is_empty(), "{}\n{}", violations.join("\n"), operators.logs());
    let objects = api.list(&ListParams::default()).await.unwrap().items;
    let accepted = objects.iter().filter(|object| object.data["status"]["keyPairID"].is_string()).count();
    let refused = objects.iter().filter(|object| object.data["status"]["error"]["reason"] == "QuotaExceeded").count();
    assert_eq!((accepted, refused), (QUOTA, CREATES - QUOTA));
}
