//! Data about processes from the operating system, for several benchmarks.

use std::{fs, time::Duration};

/// The CPU time that a process has used so far.
pub fn processor_time(id: u32) -> Duration {
    let (_, fields) = stat(id).unwrap();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// The name of a process, and the fields after it in `/proc/ID/stat`.
pub fn stat(id: u32) -> Option<(String, Vec<String>)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (name, fields) = stat.rsplit_once(") ")?;
    Some((name.split_once('(')?.1.to_owned(), fields.split(' ').map(str::to_owned).collect()))
}

/// A value of `/proc/ID/status` in KiB, such as `VmRSS`.
pub fn kib(id: u32, what: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Resident memory in KiB.
pub fn resident(id: u32) -> f64 {
    kib(id, "VmRSS")
}
