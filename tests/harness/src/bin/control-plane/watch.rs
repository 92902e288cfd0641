//! The watchdog of `keypair_test_harness::Operator`: cleans up if the test process dies.

use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use keypair_test_harness::{Signal, is_running, released, signal};

#[derive(Args)]
pub(crate) struct Watch {
    /// Process to kill
    #[arg(long)]
    pid: u32,
    /// Directory to remove
    #[arg(long)]
    remove: PathBuf,
}

impl Watch {
    pub(crate) fn run(&self) -> Result<()> {
        let mut input = String::new();
        io::stdin().read_to_string(&mut input)?;
        if released(&input) {
            return Ok(());
        }
        if is_running(self.pid) {
            signal(self.pid, Signal::KILL)?;
            // The process writes into the directory until it has exited.
            sleep(Duration::from_millis(200));
        }
        fs::remove_dir_all(&self.remove).with_context(|| format!("remove {}", self.remove.display()))
    }
}
