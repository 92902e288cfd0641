//! A Kubernetes API server that runs in the test process, and histories of the operator against it.
//!
//! The operator's `kube::Client` talks to [`Server`] as it does to a real API server, through a tower service. There are no sockets and no
//! threads, the only clock is tokio's, which tests pause, and all randomness comes from the seed. So a seed reproduces a whole history,
//! request for request. `tests/conformance` compares the responses of the server with those of a real API server.

pub mod history;
pub mod keys;
pub mod network;
pub mod oracle;
pub mod replica;
pub mod run;
pub mod server;
pub mod trace;

pub use server::Server;
