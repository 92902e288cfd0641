//! The watchdog's end of `keypair_test_harness::Operator`.

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
    /// The process to kill
    #[arg(long)]
    pid: u32,
    /// The directory to remove then
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
            // It writes into the directory until it is gone.
            sleep(Duration::from_millis(200));
        }
        fs::remove_dir_all(&self.remove).with_context(|| format!("remove {}", self.remove.display()))
    }
}
