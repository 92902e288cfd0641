//! One operator, without leader election.

use keypair_test_harness::FaultProxy;

use crate::{
    fence,
    stage::{Replica, SHOP, Stage},
};

/// The server is behind what the operator has seen when its watches begin again: they would show nothing for a long time.
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

/// The server has reached what the operator had seen before its watches begin again: they would go on in another history.
async fn passed(topic: &str, streams: bool) {
    let stage = Stage::new(topic, streams);
    let proxy = FaultProxy::forwarding(fence::client(&stage.kubeconfig).await).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let mut operator = Replica::spawn(kubeconfig.as_ref(), &[]);
    operator.ready().await;
    let keys = stage.before().await;
    stage.after().await;
    proxy.cut_off();
    stage.put_back();
    // One that comes, one that is gone, and an edit, which no watch shows any more.
    stage.generated(SHOP, "between");
    stage.kubectl(&["annotate", "namespace", SHOP, "example.com/edited=yes"]);
    stage.write_much();
    proxy.restore();
    let begun = std::time::Instant::now();
    stage.settled(begun, SHOP, &[("between", "QuotaExceeded")]).await;
    stage.delete("keypair", SHOP, "between");
    stage.check(begun, &keys).await;
    assert!(operator.operator.ended().unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_the_server_has_not_reached() {
    behind("behind", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_the_server_has_not_reached_without_streams() {
    behind("behind-list", false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_the_server_has_passed_already() {
    passed("passed", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_the_server_has_passed_already_without_streams() {
    passed("passed-list", false).await;
}
