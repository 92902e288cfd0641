//! The memory that the chart grants, as a limit of the system where this machine lets us set one.

use std::{fs, path::PathBuf};

/// What the chart grants, in bytes.
pub const GRANTED: u64 = 256 * 1024 * 1024;

/// A memory cgroup with the limit of the chart. The kernel ends whoever takes more.
pub struct Cage(PathBuf);

impl Cage {
    /// Puts a process into one; `None`: the machine does not let us, and its resident memory alone is looked at.
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
        // Only an empty one can be removed, and the process has only just ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
