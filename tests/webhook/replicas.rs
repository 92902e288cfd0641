//! Every replica answers reviews, the controller decides, and creates work even if no replica responds.

use std::{sync::Arc, time::Duration};

use http::Method;
use keypair_test_harness::{FaultProxy, eventually, namespace};
use serde_json::{Value, json};

use crate::{
    operator_account,
    stage::{PATIENCE, Replica, Stage},
};

fn import() -> Value {
    json!({ "profile": "OpenSSH", "publicKey": include_str!("../vectors/public/ed25519.pub") })
}

/// The replica with the webhook leads only after the other one is killed, and always answers from a complete index.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_answers_reviews_before_and_after_takeover() {
    let stage = Arc::new(Stage::new("standby").await);
    let space = namespace(&stage.client, "standby").await.unwrap();
    let election = ["--leader-elect", "--lease-duration=3", "--quota=1"];
    let elsewhere = [&election[..], &["--webhook-url=https://127.0.0.1:1/", "--webhook-configuration=other"]].concat();
    let mut leader = Replica::spawn(stage.plane.kubeconfig(), &elsewhere);
    eventually(PATIENCE, "a leader", async || Ok(leader.leads().await.then_some(()))).await.unwrap();
    let standby = stage.operator(&election).await;
    stage.create(&space, "one", &import(), false).await.admitted();
    stage.settled(&space, "one", "Imported").await;

    let full = async || {
        let answer = stage.create(&space, "two", &import(), true).await;
        (answer.status, answer.text("reason").to_owned())
    };
    let expected = (400, "LimitExceeded.MaximumKeyPairs".to_owned());
    assert!(!standby.leads().await);
    eventually(PATIENCE, "the standby to have seen the pair", async || Ok((full().await == expected).then_some(())))
        .await
        .unwrap();
    leader.operator.kill().unwrap();
    // At every moment: without a response, the API server would admit the request.
    let mut answers = 0;
    eventually(PATIENCE, "the standby to lead", async || {
        assert_eq!(full().await, expected, "after {answers} answers");
        answers += 1;
        Ok(standby.leads().await.then_some(()))
    })
    .await
    .unwrap();
    for _ in 0..100 {
        assert_eq!(full().await, expected);
    }
    stage.delete(&space, "one").await.admitted();
    eventually(PATIENCE, "the new leader to accept another", async || {
        Ok((stage.create(&space, "two", &import(), false).await.status == 201).then_some(()))
    })
    .await
    .unwrap();
    stage.settled(&space, "two", "Imported").await;
}

/// The webhook admits both, because neither existed when it reviewed them; the controller accepts one.
#[tokio::test(flavor = "multi_thread")]
async fn only_one_of_two_simultaneous_creates_is_accepted() {
    let stage = Stage::new("last-slot").await;
    let space = namespace(&stage.client, "last-slot").await.unwrap();
    let proxy = FaultProxy::forwarding(operator_account::client(&stage.kubeconfig).await).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let replica = Replica::spawn(kubeconfig.as_ref(), &["--quota=1"]);
    replica.ready().await;
    stage.registered().await;
    // The webhook knows only what its watches have delivered.
    proxy.cut_off();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (one, spec) = (import(), import());
    let (first, second) =
        tokio::join!(stage.create(&space, "first", &one, false), stage.create(&space, "second", &spec, false),);
    first.admitted();
    second.admitted();
    proxy.restore();
    let settled = eventually(PATIENCE, "one of them to be accepted, and one not", async || {
        let mut reasons = Vec::new();
        for name in ["first", "second"] {
            let object = stage.get(&space, name).await;
            reasons.push(crate::stage::ready(&object)["reason"].as_str().unwrap_or_default().to_owned());
        }
        reasons.sort();
        Ok((!reasons.contains(&String::new())).then_some(reasons))
    })
    .await
    .unwrap();
    assert_eq!(settled, ["Imported", "QuotaExceeded"]);
    let third = stage.create(&space, "third", &import(), false).await;
    assert_eq!(third.text("reason"), "LimitExceeded.MaximumKeyPairs");
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_work_while_the_operator_is_stopped() {
    let stage = Stage::new("stopped").await;
    let space = namespace(&stage.client, "stopped").await.unwrap();
    let mut replica = stage.operator(&["--quota=1"]).await;
    assert!(replica.operator.stop().await.unwrap().success());
    let cut = json!({ "profile": "OpenSSH", "publicKey": "ssh-ed25519 AAAA" });
    stage.create(&space, "first", &import(), false).await.admitted();
    stage.create(&space, "cut", &cut, false).await.admitted();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    stage.create(&space, "second", &import(), false).await.admitted();
    stage.patch(&space, "first", &json!({ "spec": { "description": "described" } })).await.admitted();
    let _again = Replica::spawn(&stage.kubeconfig, &["--quota=1"]);
    stage.settled(&space, "first", "Imported").await;
    stage.settled(&space, "second", "QuotaExceeded").await;
    stage.settled(&space, "cut", "InvalidPublicKey").await;
    stage.registered().await;
}

/// The API server does not call the webhook for other namespaces.
#[tokio::test(flavor = "multi_thread")]
async fn only_watched_namespaces_are_reviewed() {
    let stage = Stage::new("scopes").await;
    let (here, elsewhere) =
        (namespace(&stage.client, "here").await.unwrap(), namespace(&stage.client, "elsewhere").await.unwrap());
    let replica = Replica::spawn(&stage.kubeconfig, &[&format!("--namespace={here}")]);
    replica.ready().await;
    let cut = json!({ "profile": "OpenSSH", "publicKey": "ssh-ed25519 AAAA" });
    eventually(PATIENCE, "the API server to ask the webhook", async || {
        Ok((stage.create(&here, "cut", &cut, true).await.status == 400).then_some(()))
    })
    .await
    .unwrap();
    stage.create(&elsewhere, "cut", &cut, false).await.admitted();
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/keypair-operator";
    let configuration = stage.send(Method::GET, path, "application/json", &Value::Null).await.admitted();
    let webhook = &configuration["webhooks"][0];
    assert_eq!(webhook["namespaceSelector"]["matchExpressions"][0]["values"], json!([here]));
    assert_eq!(webhook["failurePolicy"], "Ignore");
    assert_eq!(webhook["rules"][0]["operations"], json!(["CREATE", "UPDATE"]));
    assert_eq!(webhook["rules"][0]["resources"], json!(["keypairs", "authorizedkeys", "knownhosts"]));
}
