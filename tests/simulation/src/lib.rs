//! A Kubernetes API server in the test's own process, and histories of the operator against it.
//!
//! The operator's `kube::Client` talks to [`Server`] as it does to a real API server, through a tower service: no socket, no thread,
//! no clock but tokio's, which a test pauses, and no randomness but the seed's. So a seed repeats a whole history, request for
//! request. `tests/conformance` compares the answers of the server with those of a real API server.

pub mod history;
pub mod keys;
pub mod network;
pub mod oracle;
pub mod replica;
pub mod run;
pub mod server;
pub mod trace;

pub use server::Server;
