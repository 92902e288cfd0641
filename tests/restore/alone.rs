//! One operator, without leader election.

use std::time::Instant;

use keypair_test_harness::{Fault, FaultProxy, Write};

use crate::{
    operator_account,
    stage::{Replica, SHOP, Stage},
};

/// The resource version of the server is behind what the operator has seen when its watches restart: they would deliver
/// nothing for a long time.
async fn behind(topic: &str, streams: bool) {
    let stage = Stage::new(topic, streams);
    let mut operator = Replica::spawn(&stage.kubeconfig, &[]);
    operator.ready().await;
    let keys = stage.before().await;
    stage.after().await;
    stage.write_much();
    let last = stage.put_back();
    stage.check(last, &keys).await;
    assert!(operator.operator.ended().unwrap().is_none());
}

/// The resource version of the server has passed what the operator had seen before its watches restart: they would continue
/// in another history.
async fn passed(topic: &str, streams: bool) {
    let stage = Stage::new(topic, streams);
    let proxy = FaultProxy::forwarding(operator_account::client(&stage.kubeconfig).await).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let mut operator = Replica::spawn(kubeconfig.as_ref(), &[]);
    operator.ready().await;
    let keys = stage.before().await;
    stage.after().await;
    proxy.cut_off();
    stage.put_back();
    // A new object, a missing one, and an edit, none of which a watch delivers.
    stage.generated(SHOP, "between");
    stage.kubectl(&["annotate", "namespace", SHOP, "example.com/edited=yes"]);
    stage.write_much();
    proxy.restore();
    let begun = Instant::now();
    stage.settled(begun, SHOP, &[("between", "QuotaExceeded")]).await;
    stage.delete("keypair", SHOP, "between");
    stage.check(begun, &keys).await;
    assert!(operator.operator.ended().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_follows_a_restored_older_state() {
    behind("behind", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_follows_a_restored_older_state_without_streaming_lists() {
    behind("behind-list", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_follows_a_restored_state_with_reused_versions() {
    passed("passed", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_follows_reused_versions_without_streaming_lists() {
    passed("passed-list", false).await;
}

/// The snapshot contains a Secret that the status does not mention yet: the operator uses it and generates no second key.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_secret_without_a_status_keeps_its_key() {
    let stage = Stage::new("adopted", true);
    let proxy = FaultProxy::forwarding(operator_account::client(&stage.kubeconfig).await).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let mut operator = Replica::spawn(kubeconfig.as_ref(), &[]);
    operator.ready().await;
    for _ in 0..7 {
        proxy.fail_next(Write::Status, Fault::ServerError);
    }
    stage.generated(SHOP, "half");
    let half = stage.secret(SHOP, "half").await;
    stage.save();
    assert_eq!(stage.key_pair_id(SHOP, "half"), "", "the snapshot must be older than the status");
    let begun = Instant::now();
    stage.settled(begun, SHOP, &[("half", "Generated")]).await;
    stage.write_much();
    let begun = stage.put_back();
    stage.settled(begun, SHOP, &[("half", "Generated")]).await;
    assert_eq!(stage.keys(SHOP).await["half"], half);
    assert!(operator.operator.ended().unwrap().is_none());
}
