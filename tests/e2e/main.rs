//! The operator, as a process, against a real control plane, checked with `kubectl`, `ssh-keygen`, `openssl`, `ssh` and `sshd`.
//!
//! Every operator has the rights that the chart grants, and no others. One control plane and one operator, with the arguments
//! and the environment of the chart's Deployment, serve all tests that need nothing special ([`support::STRICT`]); each test has a
//! namespace of its own. Two more control planes are there for those that do ([`support::STRIPPED`], [`support::QUIET`]).
//! What is expected is written out by hand, from the four cloud documents, and not taken from the crate, but for the names of
//! the profiles: a mistake in its tables must fail a test.

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
mod regions;
#[path = "../release/mod.rs"]
mod release;
mod requests;
mod rotation;
mod secrets;
mod support;
mod tokens;
mod tools;
mod words;
