//! A real Kubernetes control plane for tests, and what tests need around it.
//!
//! A test starts one with [`ControlPlane::start`] and talks to it with a [client](ControlPlane::client) or with
//! [`kubectl`](ControlPlane::kubectl), runs the operator against it as a process of its own ([`Operator`]), waits for
//! what should happen with [`eventually`] and counts the requests that were sent in the [`Audit`] log.
//!
//! The control plane itself is run by the program `control-plane` of this package, which the tests start and hold by a
//! pipe: when the test process ends, however it ends, the pipe closes, and `control-plane` ends its servers and removes
//! their directory. So a test that is killed leaves neither processes nor files behind, and a control plane may live in
//! a `static`, which Rust never drops.
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
