//! The admission policies on a real API server: what a tenant, or the holder of the operator's token, can do through the
//! operator.
//!
//! Each attack is tried twice: on a cluster where the release of the chart has its policies disabled, where it must succeed,
//! and on one with the chart's defaults, where the policy against it must refuse it. The everyday work of people and tools
//! must succeed on both. The operator runs on both, with the permissions of the release.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a panic fails the test")]

mod fence;
mod markings;
mod moves;
mod publications;
#[path = "../release/mod.rs"]
mod release;
mod rights;
mod stage;
mod webhooks;
