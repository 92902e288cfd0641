//! Runs the operator as a process against a real control plane, and checks it with `kubectl`, `ssh-keygen`, `openssl`, `ssh` and
//! `sshd`.
//!
//! Every operator has exactly the rights that the chart grants. Most tests share one control plane and one operator with the
//! arguments and the environment of the chart's Deployment ([`support::STRICT`]); each test has its own namespace. Tests with
//! special needs use one of two other control planes ([`support::STRIPPED`], [`support::QUIET`]). The expected values are
//! written by hand from the four cloud documents, not taken from the crate, so that an error in the crate's tables fails a test.
//! Only the names of the profiles come from the crate.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

mod admission;
mod adoption;
mod bounds;
mod conflicts;
mod errors;
mod expected;
mod forged;
mod generate;
mod immutability;
mod import;
mod leaks;
mod life;
mod login;
mod loss;
mod mistakes;
mod needles;
mod publications;
mod published_login;
mod regions;
#[path = "../release/mod.rs"]
mod release;
mod requests;
mod rotated_secrets;
mod rotation;
mod secrets;
mod support;
mod tokens;
mod tools;
mod words;
