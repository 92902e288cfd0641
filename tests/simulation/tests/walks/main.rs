//! Histories of the simulation, against a real API server and with the real program.
//!
//! The user actions of random histories are sent to a real control plane, many histories at once, each in its own namespaces,
//! with one operator for all of them. The checks of the simulation (`oracle`) judge the recorded watch events and the final
//! state. If a history has no faults and its outcome does not depend on timing, the outcome must equal that of the simulation.
//!
//! `KEYPAIR_WALKS` is the number of histories, `KEYPAIR_SEED` the first seed.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic fails the test"
)]

mod judge;
mod operators;
mod outcome;
mod recorder;
mod script;
mod stage;
mod walk;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use keypair_simulation::history::History;
use tokio::{sync::Mutex, time::Instant};

use self::{
    operators::Operators,
    outcome::outcome_differs,
    stage::Stage,
    walk::{Settled, Walk},
};

/// The number of histories that run concurrently.
const AT_ONCE: usize = 20;
/// After this many failures, no more histories are started.
const ENOUGH: usize = 3;

/// Tests run one at a time, because every operator sees all namespaces.
static TURN: Mutex<()> = Mutex::const_new(());

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The number of histories, and the first seed.
fn walks() -> (u64, u64) {
    (number("KEYPAIR_WALKS", 36), number("KEYPAIR_SEED", 1))
}

/// Histories in which enough happens without the steps that a real cluster cannot perform.
fn histories(seed: u64, faults: bool) -> impl Iterator<Item = History> {
    (seed..).map(move |seed| script::without_what_is_simulated(seed, faults)).filter(script::is_worthwhile)
}

fn told(what: &str, begun: Instant, done: usize, failures: &[String]) {
    println!("{what}: {done} histories in {:.0} s, {} fail", begun.elapsed().as_secs_f64(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Plays a history to its end, and returns how the outcome differs from the simulated one, unless that depends on timing.
async fn alone(stage: &Arc<Stage>, history: History) -> (Walk, Settled, Option<Vec<String>>) {
    let walk = Walk::begin(stage, history);
    walk.play(Instant::now()).await;
    let settled = walk.settle().await;
    let differences = if settled.found.is_empty() { outcome_differs(&walk, &settled).await } else { None };
    (walk, settled, differences)
}

/// Runs two thirds of the histories, without faults.
#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_on_a_real_control_plane() {
    let _turn = TURN.lock().await;
    let (count, seed) = walks();
    let stage = Arc::new(Stage::start().await);
    let mut operators = Operators::start(&stage, 1).await;
    let begun = Instant::now();
    let failures = Arc::new(std::sync::Mutex::new(Vec::new()));
    let count = usize::try_from((count * 2).div_ceil(3)).unwrap();
    let compared = std::sync::atomic::AtomicUsize::new(0);
    stream::iter(histories(seed, false).take(count))
        .for_each_concurrent(AT_ONCE, |history| {
            let (stage, failures, compared) = (Arc::clone(&stage), Arc::clone(&failures), &compared);
            async move {
                if failures.lock().unwrap().len() >= ENOUGH {
                    return;
                }
                let (walk, mut settled, mut differences) = alone(&stage, history).await;
                if differences.as_ref().is_some_and(|differences| !differences.is_empty()) {
                    // On a busy machine, steps can be late. A difference that occurs twice does not depend on timing.
                    let (again, settled_again, differences_again) = alone(&stage, walk.history.clone()).await;
                    again.end().await;
                    if differences != differences_again {
                        differences = None;
                    }
                    settled.found.extend(settled_again.found);
                }
                match differences {
                    Some(differences) => {
                        compared.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        settled.found.extend(differences);
                    }
                    None if !settled.found.is_empty() => {}
                    None => println!("seed {}: a matter of time, not compared", walk.history.seed),
                }
                if !settled.found.is_empty() {
                    let told = walk.explain(&settled).await;
                    failures.lock().unwrap().push(told);
                }
                walk.end().await;
            }
        })
        .await;
    let mut failures = std::mem::take(&mut *failures.lock().unwrap());
    if operators.have_ended() {
        failures.push(format!("the operator ended by itself: {}", operators.logs()));
    }
    let compared = compared.into_inner();
    println!("{compared} of {count} outcomes are no matter of time");
    // A small sample says nothing.
    if failures.is_empty() && count >= 12 {
        assert!(compared * 4 >= count, "too few outcomes are compared: {compared} of {count}");
    }
    told("users alone", begun, count, &failures);
}

/// Runs one third of the histories: two replicas serve all histories of a group at once, and are killed, stopped, suspended and
/// partitioned.
#[tokio::test(flavor = "multi_thread")]
async fn guarantees_hold_on_a_real_control_plane_with_faults() {
    let _turn = TURN.lock().await;
    let (count, seed) = walks();
    let stage = Arc::new(Stage::start().await);
    let begun = Instant::now();
    let mut failures = Vec::new();
    let mut left = usize::try_from(count - (count * 2).div_ceil(3)).unwrap();
    let (total, mut done) = (left, 0);
    let mut drawn = histories(seed.wrapping_add(1 << 32), true);
    let mut operators = Operators::start(&stage, 2).await;
    while left > 0 && failures.len() < ENOUGH {
        let group: Vec<History> = drawn.by_ref().take(left.min(AT_ONCE)).collect();
        left -= group.len();
        let (group, faults) = script::share_faults(group);
        let walks: Vec<Walk> = group.into_iter().map(|history| Walk::begin(&stage, history)).collect();
        // At the same time, so that the faults affect all of them.
        let start = Instant::now() + Duration::from_millis(100);
        let playing = futures::future::join_all(walks.iter().map(|walk| walk.play(start)));
        tokio::join!(playing, operators.suffer(&faults, start));
        operators.calm().await;
        let settled = futures::future::join_all(walks.iter().map(Walk::settle)).await;
        for (walk, settled) in walks.iter().zip(settled) {
            done += 1;
            if !settled.found.is_empty() {
                failures.push(walk.explain(&settled).await);
            }
            walk.end().await;
        }
    }
    println!("{} faults", operators.suffered);
    assert!(total < 8 || operators.suffered >= total / 4, "too few faults: {}", operators.suffered);
    told("between faults", begun, done, &failures);
}
