//! Requests to the API server: the kubeconfig, time limits, descriptions of failures, back-off, and the sources of randomness and time.

pub(crate) mod answer;
pub(crate) mod backoff;
pub(crate) mod kubeconfig;
pub(crate) mod randomness;
pub(crate) mod requests;
pub(crate) mod wall_clock;

pub use answer::summarize;
pub use backoff::Backoff;
pub use randomness::Randomness;
pub use requests::{RequestLimits, finish};
pub use wall_clock::WallClock;
