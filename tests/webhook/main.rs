//! The admission webhook, called by a real API server.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a panic fails the test")]

mod certificates;
mod changes;
mod conformance;
#[path = "../e2e/expected.rs"]
#[allow(dead_code, reason = "what is told in the status is looked at elsewhere")]
mod expected;
#[path = "../operator_account/mod.rs"]
mod operator_account;
mod planted;
mod publications;
mod replicas;
mod stage;
