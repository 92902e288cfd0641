//! A real Kubernetes control plane for tests, and the tools to use it.
//!
//! A test starts one with [`ControlPlane::start`] and accesses it with a [client](ControlPlane::client) or with
//! [`kubectl`](ControlPlane::kubectl). It runs the operator as a process of its own ([`Operator`]), waits for results with
//! [`eventually`], and counts requests in the [`Audit`] log.
//!
//! The program `control-plane` of this package runs the control plane itself. The tests start it and hold a pipe to it: when
//! the test process ends, for whatever reason, the pipe closes, and `control-plane` stops its servers and removes their
//! directory. So a killed test leaves neither processes nor files behind, and a control plane can be a `static`, which Rust
//! never drops.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//! use keypair_test_harness::{ControlPlane, Operator, Options, eventually, namespace};
//!
//! # async fn test() -> anyhow::Result<()> {
//! let plane = ControlPlane::start(&Options::default())?;
//! let namespace = namespace(&plane.client().await?, "demo").await?;
//! let mut operator = Operator::spawn(Path::new("operator"), plane.kubeconfig(), ["run"], [("RUST_LOG", "debug")])?;
//! operator.wait_for_line("ready", Duration::from_secs(10)).await?;
//! eventually(Duration::from_secs(10), "the first Secret", async || {
//!     let names = plane.kubectl(&["get", "secrets", "-o=name", "-n", &namespace])?.ok()?;
//!     Ok(names.lines().next().map(str::to_owned))
//! })
//! .await?;
//! operator.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! With `KEYPAIR_TEST_KUBECONFIG` set, the tests run against that cluster instead.

mod audit;
mod control_plane;
mod crd;
mod dice;
mod fault_proxy;
mod http;
mod kubectl;
mod namespace;
mod operator;
mod process;
mod sshd;
mod wait;
mod watchdog;

pub use audit::{Audit, Mark, Request, Requests};
pub use control_plane::{ControlPlane, Options, PUT_BACK, RESTART_APISERVER, RESTARTED, Ready, SAVE, USERS};
pub use crd::without_rules;
pub use dice::Dice;
pub use fault_proxy::{Fault, FaultProxy, Write};
pub use http::{HttpResponse, http_get};
pub use kubectl::{Kubectl, Output};
pub use namespace::{MANAGED_BY, namespace};
pub use operator::Operator;
pub use process::{free_port, is_running, signal, tail};
pub use rustix::process::Signal;
pub use sshd::Sshd;
pub use wait::eventually;
pub use watchdog::released;
