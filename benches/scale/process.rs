//! Data about processes from the operating system.

use std::{
    fs, iter,
    time::{Duration, Instant},
};

use tokio::time::sleep;

#[path = "../support/process.rs"]
mod system;

use system::{kib, stat};
pub use system::{processor_time, resident};

/// A process counts as idle if it uses at most this much CPU time in `QUIET`.
const IDLE: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(25);

/// The process with this name that this process has started, directly or indirectly.
pub fn descendant(name: &str) -> Option<u32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut named = ids.filter(|id| stat(*id).is_some_and(|(its_name, _)| its_name == name));
    named.find(|id| {
        let mut ancestors = iter::successors(Some(*id), |id| stat(*id)?.1[1].parse().ok());
        ancestors.any(|ancestor| ancestor == std::process::id())
    })
}

/// The peak resident memory in KiB.
pub fn peak(id: u32) -> f64 {
    kib(id, "VmHWM")
}

/// Waits until a process is idle for a second, and returns when it became idle.
pub async fn idle(id: u32, patience: Duration) -> Instant {
    let deadline = Instant::now() + patience;
    let mut since = (Instant::now(), processor_time(id));
    loop {
        sleep(LOOK).await;
        let used = processor_time(id);
        if used > since.1 + IDLE {
            since = (Instant::now(), used);
        } else if since.0.elapsed() >= QUIET {
            return since.0;
        }
        assert!(Instant::now() < deadline, "process {id} is not idle after {patience:?}");
    }
}
