//! Processes by their id, their ports and their logs.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// Sends `signal` to the process with the id `id`.
///
/// # Errors
///
/// If there is no such process, or it belongs to somebody else.
pub fn signal(id: u32, signal: Signal) -> Result<()> {
    let pid = pid(id).with_context(|| format!("{id} is not a process id"))?;
    kill_process(pid, signal).with_context(|| format!("signal to process {id}"))
}

/// Whether there is a process with the id `id`, be it one that has ended and is not yet waited for.
#[must_use]
pub fn is_running(id: u32) -> bool {
    pid(id).is_some_and(|pid| test_kill_process(pid).is_ok())
}

/// A loopback port that nothing listened on a moment ago. Another process may take it first, so a caller that can
/// start over with another port should.
///
/// # Errors
///
/// If the machine has no loopback interface or no port to spare.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("look for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// The last `lines` lines of the file at `path`, or a remark that it cannot be read.
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
