//! A client without credentials that can reach the operator's ports cannot stop its probes, its admission reviews or its
//! reconciliation, and cannot make it use more memory than the chart grants. The tests run a real operator with 1,024 file
//! descriptors, a real API server that sends reviews, and many attackers from the same address as the API server.

#![allow(clippy::needless_pass_by_value, reason = "a crowd is given where to go, in one way for all")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a panic fails the test")]

mod attacks;
mod cage;
mod client;
mod frames;
#[path = "../operator_account/mod.rs"]
mod operator_account;
mod requests;
#[path = "../webhook/stage.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod stage;
mod storms;
mod under_attack;
