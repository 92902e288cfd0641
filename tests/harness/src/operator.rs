//! The operator, or any other program, as a process that a test runs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::watchdog::Watchdog;
use crate::{http_get, signal, tail};

/// How long [`Operator::stop`] waits for the program to exit.
const GRACE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(20);
/// How much of the log an error quotes.
const QUOTED_LINES: usize = 40;

/// A running operator. It is killed when this is dropped, and also when the test process is killed.
#[derive(Debug)]
pub struct Operator {
    process: Child,
    _watchdog: Watchdog,
    log: PathBuf,
    _dir: TempDir,
}

impl Operator {
    /// Runs `binary` with `args` against the cluster of `kubeconfig`, with the variables `env` in addition to those of the
    /// test. Its standard output and standard error go to one [log](Operator::log).
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn spawn<A, K, V>(
        binary: &Path,
        kubeconfig: &Path,
        args: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self>
    where
        A: AsRef<OsStr>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let dir = tempfile::Builder::new().prefix("keypair-test-operator-").tempdir().context("make a directory")?;
        let log = dir.path().join("log");
        let output = File::create(&log).context("make a log")?;
        let mut process = Command::new(binary)
            .args(args)
            // kube would use a proxy even for loopback, despite NO_PROXY.
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .env("KUBECONFIG", kubeconfig)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("run {}", binary.display()))?;
        match Watchdog::start(process.id(), dir.path()) {
            Ok(watchdog) => Ok(Self { process, _watchdog: watchdog, log, _dir: dir }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(error)
            }
        }
    }

    /// The process ID.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The log so far.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(&self.log).context("read the operator's log")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The exit status, if the process has exited.
    ///
    /// # Errors
    ///
    /// If the status cannot be determined.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.process.try_wait()?)
    }

    /// Waits for a log line that contains `text`, and returns that line.
    ///
    /// # Errors
    ///
    /// If the process exits or `timeout` passes first; the error quotes the end of the log.
    pub async fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String> {
        self.wait_for(&format!("a line with {text:?}"), timeout, async |this| {
            let log = this.log().ok()?;
            log.lines().find(|line| line.contains(text)).map(str::to_owned)
        })
        .await
    }

    /// Waits until its HTTP server at `address` answers 200 for `path`.
    ///
    /// # Errors
    ///
    /// If the process exits or `timeout` passes first; the error quotes the end of the log.
    pub async fn wait_for_http(&mut self, address: SocketAddr, path: &str, timeout: Duration) -> Result<()> {
        self.wait_for(&format!("http://{address}{path}"), timeout, async |_| match http_get(address, path).await {
            Ok(response) if response.status == 200 => Some(()),
            _ => None,
        })
        .await
    }

    /// Waits until the process exits by itself.
    ///
    /// # Errors
    ///
    /// If `timeout` passes first; the error quotes the end of the log.
    pub async fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("the operator still runs after {timeout:?}{}", self.quote());
            }
            sleep(INTERVAL).await;
        }
    }

    /// Sends SIGTERM, as Kubernetes does, and waits until the process exits.
    ///
    /// # Errors
    ///
    /// If it has not exited after 30 seconds, the grace period of Kubernetes; then it is killed.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        signal(self.id(), Signal::TERM)?;
        match self.wait(GRACE).await {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill()?;
                Err(error.context("it does not end on SIGTERM"))
            }
        }
    }

    /// Kills the process, which cannot react to that, and waits until it has exited.
    ///
    /// # Errors
    ///
    /// If the process cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    async fn wait_for<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        probe: impl AsyncFn(&Self) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            // In this order, because the last line may be written just before the exit.
            let ended = self.ended()?;
            if let Some(found) = probe(self).await {
                return Ok(found);
            }
            if let Some(status) = ended {
                bail!("the operator ended ({status}) before {what} came{}", self.quote());
            }
            if Instant::now() >= deadline {
                bail!("waited {timeout:?} in vain for {what}{}", self.quote());
            }
            sleep(INTERVAL).await;
        }
    }

    fn quote(&self) -> String {
        format!("; the end of its log:\n{}", tail(&self.log, QUOTED_LINES))
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // An error has no remedy here, and usually means that the process has already exited.
        self.kill().ok();
        if std::thread::panicking() {
            eprintln!("the end of the operator's log:\n{}", tail(&self.log, QUOTED_LINES));
        }
    }
}
