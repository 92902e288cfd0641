//! Metrics and health probes.

pub(crate) mod health;
pub(crate) mod metrics;

pub use health::{Check, Health};
pub use metrics::Metrics;
