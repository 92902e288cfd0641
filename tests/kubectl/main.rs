//! `kubectl keypair` against a real control plane with the operator, and with real `ssh` and `sshd`.
//!
//! Every command runs as a service account that has only the role edit in its namespace, to which the chart adds the rights for
//! KeyPairs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a panic fails the test"
)]

mod adopt;
mod create;
mod keys;
mod login;
mod processes;
#[path = "../release/mod.rs"]
mod release;
mod rotate;
mod shell;
mod stage;
mod who;
