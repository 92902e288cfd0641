//! Enforces the memory limit of the chart with a cgroup, if the machine allows it.

use std::{fs, path::PathBuf};

/// The memory limit of the chart, in bytes.
pub const GRANTED: u64 = 256 * 1024 * 1024;

/// A memory cgroup with the limit of the chart. The kernel kills a process that exceeds it.
pub struct Cage(PathBuf);

impl Cage {
    /// Moves a process into a new cgroup. `None` if the machine does not allow it: then the test checks only the resident memory.
    pub fn around(id: u32) -> Option<Self> {
        let name = format!("keypair-test-{id}");
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let cage = Self(PathBuf::from(root).join(&name));
            let made = PathBuf::from(root).is_dir() && fs::create_dir(&cage.0).is_ok();
            if made
                && fs::write(cage.0.join(limit), GRANTED.to_string()).is_ok()
                && fs::write(cage.0.join("cgroup.procs"), id.to_string()).is_ok()
            {
                return Some(cage);
            }
        }
        None
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // Only an empty cgroup can be removed, and the kernel may still be ending the process.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
