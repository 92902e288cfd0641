//! Checks every order of events, within bounds, against the index and its ledgers.
//!
//! Other tests sample histories; this one explores all histories of a few `KeyPair`s in one namespace: pairs are created,
//! renamed and deleted; the namespace is edited, deleted and recreated; each of the two watches lags, or restarts with a
//! list; writes that accept a pair are lost, or reach the API server after the operator has given up on them; the operator
//! restarts. The API server and the reconciler are models ([`world`], [`operator`]); the
//! [`Index`](keypair_operator::cache::Index), its ledgers and their decisions are the operator's own code. The model checker
//! visits each state once, and shows the shortest path to a violation.
//!
//! Not covered: a process whose write arrives after the process has ended (docs/reliability.md, Late writes).

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

mod model;
mod operator;
mod world;

use std::{env, time::Instant};

use stateright::{Checker, Model};

use self::model::{Bounds, Everything};

/// Visits all states within these bounds.
fn visit(name: &str, bounds: Bounds) {
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = Everything(bounds).checker().threads(threads);
    let told = |states: usize| println!("{name}: {states} states, {:.1?}", begun.elapsed());
    if more() == 0 {
        let checker = checker.spawn_bfs().join();
        told(checker.unique_state_count());
        checker.assert_properties();
    } else {
        // Depth-first search does not find the shortest path to a violation, but needs a tenth of the memory.
        let checker = checker.spawn_dfs().join();
        told(checker.unique_state_count());
        checker.assert_properties();
    }
}

/// How many more edits users make than in a normal run. Each additional edit takes about ten times as long.
fn more() -> u8 {
    env::var("KEYPAIR_EXHAUSTION").ok().and_then(|more| more.parse().ok()).unwrap_or_default()
}

#[test]
fn guarantees_hold_while_a_namespace_is_recreated() {
    visit("namespaces", Bounds { edits: 3 + more(), is_made_anew: true, ..of(2) });
}

#[test]
fn guarantees_hold_with_lost_and_late_writes() {
    visit("late writes", Bounds { edits: 1 + more(), losses: 1, are_there: true, ..of(2) });
}

#[test]
fn guarantees_hold_when_watches_list_again() {
    visit("lists", Bounds { edits: 1 + more(), lists: 1, restarts: 1, are_there: true, ..of(2) });
}

#[test]
fn guarantees_hold_for_three_competing_key_pairs() {
    visit("three pairs", Bounds { edits: 1 + more(), are_there: true, ..of(3) });
}

/// Bounds with this many objects and no events.
fn of(objects: usize) -> Bounds {
    Bounds { objects, ..Bounds::default() }
}
