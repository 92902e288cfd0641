//! A server of the control plane as a child process.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow};
use keypair_test_harness::{Signal, signal, tail};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// How much of its log is printed when a server ends unexpectedly.
const QUOTED_LINES: usize = 30;
/// How long a server may take to exit after SIGTERM. Short, because its data is not kept.
const GRACE_PERIOD: Duration = Duration::from_secs(3);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    child: Child,
    log: PathBuf,
    program: PathBuf,
    args: Vec<String>,
    /// A server from hack/controlplane.sh exits when this pipe closes, which happens even if this process is killed.
    _lifeline: Option<ChildStdin>,
}

impl Server {
    /// Starts `program` with `args`, logging to `<name>.log` in the directory `dir`.
    pub(crate) fn start(name: &'static str, program: &Path, args: Vec<String>, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let mut child = Command::new(program)
            .args(&args)
            .env("CONTROLPLANE_END_WITH_STDIN", "1")
            .current_dir(dir)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            // An interrupt from the terminal must not reach the server: this process stops it.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("run {}", program.display()))?;
        Ok(Self { name, _lifeline: child.stdin.take(), child, log, program: program.to_owned(), args })
    }

    /// Kills the server and starts it again, with the same arguments and a new log.
    pub(crate) async fn restart(&mut self, dir: &Path) -> Result<()> {
        self.child.kill().await?;
        self.start_again(dir)
    }

    /// Sends SIGTERM, and kills the server after the grace period. It can be [started again](Self::start_again).
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if let Some(id) = self.id() {
            // Fails only if the server has just exited.
            signal(id, Signal::TERM).ok();
        }
        if timeout(GRACE_PERIOD, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }

    /// Starts the stopped server, with the same arguments and a new log.
    pub(crate) fn start_again(&mut self, dir: &Path) -> Result<()> {
        *self = Self::start(self.name, &self.program, self.args.clone(), dir)?;
        Ok(())
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails if the server has exited.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> Error {
        anyhow!("{} ended unexpectedly ({status}); the end of its log:\n{}", self.name, tail(&self.log, QUOTED_LINES))
    }

    /// Whether the server failed because its port is in use.
    pub(crate) fn has_port_conflict(&self) -> bool {
        tail(&self.log, QUOTED_LINES).contains("address already in use")
    }

    /// Stops the server and drops it.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.stop().await
    }
}
