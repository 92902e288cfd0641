//! etcd is restored to an older snapshot while operators are running: later changes are undone, and the same resource versions
//! are assigned again to other changes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a panic fails the test")]

#[path = "../operator_account/mod.rs"]
mod operator_account;

mod alone;
mod replicas;
mod stage;
