//! The runs with all faults at once.

use std::{
    env,
    time::{Duration, Instant},
};

use futures::future::join_all;
use keypair_test_harness::{Dice, Fault, FaultProxy, namespace};
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

use super::{
    checker,
    operators::Operators,
    recorder::Recorder,
    stage::{PLANE, TURN},
    workload,
};

const QUOTA: usize = 50;
const NAMESPACES: usize = 4;
const TASKS: u64 = 12;
const OPERATIONS: usize = 2000;
/// How long the operator may take to settle everything after the last fault.
const PATIENCE: Duration = Duration::from_secs(150);

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is not a number")))
}

#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_under_faults() {
    let _turn = TURN.lock().await;
    let seeds = match number("KEYPAIR_FAULT_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("KEYPAIR_FAULT_RUNS").unwrap_or(2),
    };
    for seed in seeds {
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let begin = Instant::now();
    println!("fault run, seed {seed}");
    let client = PLANE.client().await.unwrap();
    let mut namespaces = Vec::new();
    for _ in 0..NAMESPACES {
        let name = namespace(&client, "faults").await.unwrap();
        workload::foreign_secrets(&client, &name).await;
        namespaces.push(name);
    }
    let recorder = Recorder::start(&client, &namespaces, QUOTA);
    let proxy = FaultProxy::start(client.clone(), seed).await.unwrap();
    let kubeconfig = proxy.kubeconfig().unwrap();
    let mut operators = Operators::start(&kubeconfig, &namespaces, QUOTA);

    let per_task = OPERATIONS.div_ceil(usize::try_from(TASKS).unwrap());
    let work = tokio::task::spawn_blocking({
        let (client, namespaces) = (client.clone(), namespaces.clone());
        move || {
            let tasks = (0..TASKS).map(|task| workload::work(client.clone(), namespaces.clone(), seed, task, per_task));
            // All on one thread, because they only wait for the API server.
            Handle::current().block_on(join_all(tasks))
        }
    });
    let mut work = std::pin::pin!(work);
    let mut dice = Dice::new(!seed);
    // In every other run, the API server is down for a while.
    let restarts = seed.is_multiple_of(2);
    let mut restart = restarts;
    let done = loop {
        // Long enough for another replica to take over and make progress, before it is killed, too.
        let pause = Duration::from_millis(2000 + dice.below(5000));
        if let Ok(done) = timeout(pause, &mut work).await {
            break done;
        }
        operators.kill_one(usize::try_from(dice.below(2)).unwrap());
        if std::mem::take(&mut restart) {
            tokio::task::spawn_blocking(|| PLANE.restart_apiserver()).await.unwrap().unwrap();
        }
    };
    let operations: usize = done.unwrap().into_iter().sum();
    for place in 0..2 {
        // The operators work on the backlog between faults, too.
        sleep(Duration::from_millis(4000 + dice.below(3000))).await;
        operators.kill_one(place);
    }
    sleep(Duration::from_secs(5)).await;
    let worked = begin.elapsed();
    proxy.quiet();

    let deadline = Instant::now() + PATIENCE;
    let violations = loop {
        operators.revive();
        let mut violations = recorder.violations();
        let broken_meanwhile = !violations.is_empty();
        for namespace in &namespaces {
            match checker::check(&client, namespace, QUOTA, !restarts).await {
                Ok(found) => violations.extend(found),
                Err(error) => violations.push(format!("{namespace}: {error}")),
            }
        }
        if violations.is_empty() || broken_meanwhile || Instant::now() > deadline {
            break violations;
        }
        println!("seed {seed}: {} findings, such as {}", violations.len(), violations[0]);
        sleep(Duration::from_secs(2)).await;
    };
    let (most, events) = recorder.figures();
    println!(
        "seed {seed}: {operations} operations in {worked:.1?}, settled after {:.1?}; {} kills, at most {most} accepted, \
         {events} events, faults {:?}",
        begin.elapsed(),
        operators.kills,
        proxy.counts(),
    );
    let shown = violations.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    assert!(
        violations.is_empty(),
        "{} violations:\n{shown}\n\nthe ends of the operators' logs:\n{}\n\nto repeat: \
         KEYPAIR_FAULT_SEED={seed} cargo test --test faults guarantees_hold_under_faults -- --nocapture",
        violations.len(),
        operators.logs(),
    );
    assert!(operations >= OPERATIONS, "only {operations} operations");
    let faults = proxy.counts();
    for worst in [Fault::DropReply, Fault::CutWatch] {
        assert!(faults.get(&worst).is_some_and(|count| *count > 0), "no {worst:?} among {faults:?}");
    }
}
