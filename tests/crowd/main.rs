//! Whoever reaches the ports of the operator, without credentials, ends neither its probes nor its answers at admission nor its
//! work, and does not make it take more memory than the chart grants: a real operator with 1,024 file descriptors, a real API
//! server that asks it, and crowds at the same address as the API server's.

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
