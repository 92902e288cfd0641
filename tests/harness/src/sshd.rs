//! `sshd`, to test keys with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Operator, free_port};

const TRIES: usize = 5;
const START: Duration = Duration::from_secs(30);
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// The system's `sshd` on a loopback port. It is killed, by its process ID, when this is dropped.
#[derive(Debug)]
pub struct Sshd {
    port: u16,
    _process: Operator,
}

impl Sshd {
    /// The absolute path of `sshd`, by which it must be called.
    ///
    /// # Errors
    ///
    /// If it is not installed.
    pub fn program() -> Result<PathBuf> {
        let sshd = PLACES.into_iter().map(PathBuf::from).find(|path| path.is_file());
        // As root, sshd requires this directory, which the system's service would create.
        fs::create_dir_all("/run/sshd").ok();
        sshd.context("there is no sshd: run hack/test-tools.sh")
    }

    /// Runs `sshd` with this configuration, on a free port whatever the configuration says. A file in `directory` contains
    /// it.
    ///
    /// # Errors
    ///
    /// If `sshd` is not installed, or does not listen; the error quotes its messages.
    pub async fn start(directory: &Path, config: &str) -> Result<Self> {
        let sshd = Self::program()?;
        let file = directory.join("sshd_config.here");
        let mut last = None;
        for _ in 0..TRIES {
            let port = free_port()?;
            // Of repeated settings, the first one applies.
            fs::write(&file, format!("ListenAddress 127.0.0.1:{port}\nPidFile none\n{config}\n"))?;
            let args = ["-D".as_ref(), "-e".as_ref(), "-f".as_ref(), file.as_os_str()];
            // sshd does not use the kubeconfig.
            let mut process = Operator::spawn(&sshd, Path::new("/dev/null"), args, [("LC_ALL", "C")])?;
            // Another process may have taken the port in the meantime; then the next one is tried.
            match process.wait_for_line("Server listening", START).await {
                Ok(_) => return Ok(Self { port, _process: process }),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) => Err(error.context(format!("no sshd after {TRIES} tries"))),
            None => bail!("sshd was not tried"),
        }
    }

    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The `known_hosts` line for this server with the host key `public_key`.
    #[must_use]
    pub fn known_host(&self, public_key: &str) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, public_key.trim())
    }
}
