//! A Kubernetes operator for SSH key pairs.
//!
//! The arrows go one way only: [`domain`] (pure) ← [`api`] (the custom resource) ← [`controller`] (observe, decide, apply)
//! ← [`webhook`] (answer at admission) ← [`app`] (command line and wiring). [`keygen`] draws the randomness that the domain may not,
//! and [`server`] is what the webhook, metrics and probes are served with.

pub mod api;
pub mod app;
pub mod controller;
pub mod domain;
pub mod keygen;
pub mod server;
pub mod webhook;
