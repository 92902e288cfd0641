//! Fault injection: a proxy that loses, delays and refuses requests, SIGKILL, and a restarted API server, while many
//! KeyPairs are created, changed and deleted. A recorder checks the invariants at every moment; a checker compares the final
//! state with an independent model.
//!
//! `KEYPAIR_FAULT_RUNS` sets the number of runs, `KEYPAIR_FAULT_SEED` a single seed to repeat, and `KEYPAIR_OPERATOR_BINARY`
//! another operator, such as a broken one that the suite must detect.
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used, reason = "tests: a panic fails them")]

mod burst;
mod checker;
mod keys;
mod operators;
mod recorder;
mod stage;
mod storm;
mod workload;
