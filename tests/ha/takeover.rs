//! How soon another replica leads: after the leader is stopped at any moment, and after it is killed while requests fail.

use std::time::{Duration, Instant};

use keypair_test_harness::{Dice, FaultProxy};
use tempfile::TempPath;

use super::{LEASE, PATIENCE, Replica, Stage, leader};

/// So long that only a released Lease explains a quick takeover.
const LONG_LEASE: Duration = Duration::from_secs(60);

async fn until_another_leads(replicas: &[Replica], limit: Duration) -> (usize, Duration) {
    let begin = Instant::now();
    loop {
        for (place, replica) in replicas.iter().enumerate() {
            if replica.leads().await {
                return (place, begin.elapsed());
            }
        }
        assert!(begin.elapsed() < limit, "no replica leads after {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_at_any_moment_hands_over_quickly() {
    const ROUNDS: usize = 12;
    const BATCH: usize = 20;
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let stage = Stage::new("ha-stopped").await;
    let start = || Stage::replica_with(&stage.kubeconfig, LONG_LEASE);
    let mut replicas = vec![start(), start()];
    let mut longest = Duration::ZERO;
    for round in 0..ROUNDS {
        let first = leader(&replicas).await;
        // When it is ready, the other replica has checked the Lease once, and so is a candidate.
        super::eventually(PATIENCE, "the other to stand by", async || {
            Ok(replicas[1 - first].is_ready().await.then_some(()))
        })
        .await
        .unwrap();
        let prefix = format!("round-{round}");
        let creating = stage.create(&prefix, BATCH);
        // During the takeover, the renewal of the Lease, or the writes for the new pairs.
        let pause = Duration::from_millis(dice.below(if round % 2 == 0 { 500 } else { 13_000 }));
        let stopping = async {
            tokio::time::sleep(pause).await;
            let mut stopped = replicas.remove(first);
            keypair_test_harness::signal(stopped.operator.id(), keypair_test_harness::Signal::TERM).unwrap();
            let (_, took) = until_another_leads(&replicas, PATIENCE).await;
            assert!(stopped.operator.wait(PATIENCE).await.unwrap().success());
            took
        };
        let ((), took) = tokio::join!(creating, stopping);
        longest = longest.max(took);
        assert!(took <= Duration::from_secs(2), "round {round}, stopped after {pause:?}: {took:?}");
        replicas.push(start());
    }
    println!("hand-over: {longest:?} at the most");
    stage.all_ready(ROUNDS * BATCH).await;
    stage.check_secrets().await;
}

/// The renewal may be on its way to the API server, done, or its response on the way back: the leader cannot know.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_stopped_during_renewal_releases_the_lease() {
    const LATENCY: Duration = Duration::from_millis(100);
    let stage = Stage::new("ha-renewing").await;
    let proxy = FaultProxy::forwarding(stage.client.clone()).await.unwrap();
    proxy.delay(LATENCY);
    let kubeconfig = proxy.kubeconfig().unwrap();
    let start = || Stage::replica_with(&kubeconfig, Duration::from_secs(20));
    let mut replicas = vec![start(), start()];
    let mut longest = Duration::ZERO;
    for round in 0..6 {
        let first = leader(&replicas).await;
        super::eventually(PATIENCE, "the other to stand by", async || {
            Ok(replicas[1 - first].is_ready().await.then_some(()))
        })
        .await
        .unwrap();
        proxy.renewal().await;
        tokio::time::sleep(LATENCY * round * 2 / 5).await;
        let mut stopped = replicas.remove(first);
        keypair_test_harness::signal(stopped.operator.id(), keypair_test_harness::Signal::TERM).unwrap();
        let (_, took) = until_another_leads(&replicas, PATIENCE).await;
        longest = longest.max(took);
        assert!(took <= Duration::from_secs(2), "round {round}: {took:?}");
        assert!(stopped.operator.wait(PATIENCE).await.unwrap().success());
        replicas.push(start());
    }
    println!("hand-over while renewing: {longest:?} at the most");
}

#[tokio::test(flavor = "multi_thread")]
async fn takeover_with_failing_requests_takes_at_most_two_leases() {
    const ROUNDS: u64 = 6;
    let stage = Stage::new("ha-rough").await;
    let proxy = FaultProxy::forwarding(stage.client.clone()).await.unwrap();
    proxy.fail(200);
    let kubeconfig: TempPath = proxy.kubeconfig().unwrap();
    let start = || Stage::replica_with(&kubeconfig, LEASE);
    let mut replicas = vec![start(), start()];
    let mut longest = Duration::ZERO;
    for round in 0..ROUNDS {
        let (first, _) = until_another_leads(&replicas, PATIENCE).await;
        stage.create(&format!("round-{round}"), 5).await;
        tokio::time::sleep(Duration::from_millis(700 * round)).await;
        // The Lease sometimes changes hands by itself.
        let first = if replicas[first].leads().await { first } else { leader(&replicas).await };
        replicas[first].operator.kill().unwrap();
        replicas.remove(first);
        replicas.push(start());
        let (_, took) = until_another_leads(&replicas, PATIENCE).await;
        longest = longest.max(took);
        assert!(took <= 2 * LEASE, "round {round}: {took:?}");
    }
    println!("takeover: {longest:?} at the most");
    let all = usize::try_from(ROUNDS * 5).unwrap();
    stage.all_ready(all).await;
    stage.check_secrets().await;
}
