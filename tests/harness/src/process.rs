//! Process IDs, ports and logs.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// Sends `signal` to the process with the ID `id`.
///
/// # Errors
///
/// If the process does not exist, or belongs to another user.
pub fn signal(id: u32, signal: Signal) -> Result<()> {
    let pid = pid(id).with_context(|| format!("{id} is not a process id"))?;
    kill_process(pid, signal).with_context(|| format!("signal to process {id}"))
}

/// Whether a process with the ID `id` exists, even as a zombie.
#[must_use]
pub fn is_running(id: u32) -> bool {
    pid(id).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// A loopback port that was free a moment ago. Another process may take it first, so callers should retry with another port
/// if they can.
///
/// # Errors
///
/// If the machine has no loopback interface or no free port.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("look for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The last `lines` lines of the file at `path`, or a note that it cannot be read.
#[must_use]
pub fn tail(path: &Path, lines: usize) -> String {
    match fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let skipped = text.lines().count().saturating_sub(lines);
            text.lines().skip(skipped).collect::<Vec<_>>().join("\n")
        }
        Err(error) => format!("({}: {error})", path.display()),
    }
}
