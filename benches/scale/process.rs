//! What the system says of a process.

use std::{
    fs, iter,
    time::{Duration, Instant},
};

use tokio::time::sleep;

#[path = "../support/process.rs"]
mod system;

use system::{kib, stat};
pub use system::{processor_time, resident};

/// A process is idle when it has used no more than this in `QUIET`.
const IDLE: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(25);

/// The process of this name that this one has started, itself or by another.
pub fn descendant(name: &str) -> Option<u32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut named = ids.filter(|id| stat(*id).is_some_and(|(its_name, _)| its_name == name));
    named.find(|id| {
        let mut ancestors = iter::successors(Some(*id), |id| stat(*id)?.1[1].parse().ok());
        ancestors.any(|ancestor| ancestor == std::process::id())
    })
}

/// The most that was ever resident, in KiB.
pub fn peak(id: u32) -> f64 {
    kib(id, "VmHWM")
}

/// Waits until a process does nothing for a second, and says when it began to do nothing.
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
