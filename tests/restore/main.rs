//! etcd is put back to an older snapshot under operators that go on running: what happened since has never happened, and the same
//! resource versions are given once more, to other changes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a panic fails the test")]

#[path = "../operator_account/mod.rs"]
mod operator_account;

mod alone;
mod replicas;
mod stage;
