//! The operator between faults: a proxy that loses, delays and refuses, kill -9 and a restarted API server, while many
//! key pairs are made, changed and deleted. A recorder watches the promises at every moment, a checker compares the end
//! with an independent model.
//!
//! `KEYPAIR_FAULT_RUNS` says how many runs there are, `KEYPAIR_FAULT_SEED` the one seed to repeat, and
//! `KEYPAIR_OPERATOR_BINARY` another operator, such as a broken one that the suite must find out.
#![allow(missing_docs, clippy::indexing_slicing, clippy::unwrap_used, reason = "tests: a panic fails them")]

mod burst;
mod checker;
mod keys;
mod operators;
mod recorder;
mod stage;
mod storm;
mod workload;
