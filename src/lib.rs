//! A Kubernetes operator for SSH key pairs.
//!
//! Dependencies point one way: [`domain`] (pure logic) ← [`api`] (the custom resource) ← [`cache`] (the state from watches) ←
//! [`controller`] (observe, decide, apply) and [`webhook`] (admission) ← [`app`] (command line and wiring). [`keygen`] generates keys,
//! because the domain must not use randomness. [`server`] serves the webhook, metrics and probes, and [`leader`] elects the leader.
//! [`plugin`] is `kubectl keypair`, which needs only the custom resource and a client.

pub mod api;
pub mod app;
pub mod cache;
pub mod client;
pub mod controller;
pub mod domain;
pub mod keygen;
pub mod leader;
pub mod observe;
pub mod plugin;
pub mod server;
pub mod webhook;
