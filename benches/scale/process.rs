//! What the system says of a process.

use std::{
    fs, iter,
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// A process is idle when it has used no more than this in `QUIET`.
const IDLE: Duration = Duration::from_millis(20);
const QUIET: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(25);

/// The processor time of a process so far.
pub fn processor_time(id: u32) -> Duration {
    let (_, fields) = stat(id).unwrap();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The process of this name that this one has started, itself or by another.
pub fn descendant(name: &str) -> Option<u32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut named = ids.filter(|id| stat(*id).is_some_and(|(its_name, _)| its_name == name));
    named.find(|id| {
        let mut ancestors = iter::successors(Some(*id), |id| stat(*id)?.1[1].parse().ok());
        ancestors.any(|ancestor| ancestor == std::process::id())
    })
}

/// The name of a process, and the fields that follow in `/proc/ID/stat`.
fn stat(id: u32) -> Option<(String, Vec<String>)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (name, fields) = stat.rsplit_once(") ")?;
    Some((name.split_once('(')?.1.to_owned(), fields.split(' ').map(str::to_owned).collect()))
}

/// A line of `/proc/ID/status` in KiB, such as `VmRSS`.
fn kib(id: u32, what: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Resident memory in KiB.
pub fn resident(id: u32) -> f64 {
    kib(id, "VmRSS")
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
