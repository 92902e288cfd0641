//! Kills a process and removes its directory if the test that started it is killed.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A process of the program `control-plane` that waits until its input ends. If the input ends with [`Watchdog::RELEASE`],
/// it does nothing. Otherwise the test is dead, and the watchdog cleans up in its place.
#[derive(Debug)]
pub(crate) struct Watchdog {
    process: Child,
    input: Option<ChildStdin>,
}

impl Watchdog {
    /// Tells the watchdog that there is nothing to do.
    const RELEASE: &str = "released\n";

    /// Starts a watchdog for the process `id`, which uses the directory `dir`.
    pub(crate) fn start(id: u32, dir: &Path) -> Result<Self> {
        let mut process = Command::new(control_plane_program()?)
            .arg("watch")
            .arg("--pid")
            .arg(id.to_string())
            .arg("--remove")
            .arg(dir)
            .stdin(Stdio::piped())
            // Programs that read the test's output wait until it is closed, which must not depend on the watchdog.
            .stdout(Stdio::null())
            // It must survive the interrupt that a terminal sends to the test.
            .process_group(0)
            .spawn()
            .context("start a watchdog")?;
        let input = process.stdin.take();
        Ok(Self { process, input })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(mut input) = self.input.take() {
            // Fails only if the watchdog has already exited.
            input.write_all(Self::RELEASE.as_bytes()).ok();
        }
        self.process.wait().ok();
    }
}

/// Whether a watchdog that read `input` until its end was released.
#[must_use]
pub fn released(input: &str) -> bool {
    input.ends_with(Watchdog::RELEASE)
}

/// The program `control-plane`, which Cargo puts into the parent of the directory with the test programs.
pub(crate) fn control_plane_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KEYPAIR_CONTROL_PLANE") {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("find this program's own file")?;
    let name = format!("control-plane{}", std::env::consts::EXE_SUFFIX);
    let found = this.ancestors().skip(1).take(2).map(|dir| dir.join(&name)).find(|path| path.is_file());
    match found {
        Some(path) => Ok(path),
        None => bail!(
            "there is no {name} beside {} or above it: build it with `cargo build -p {}`, in the same profile as the \
             tests, or let KEYPAIR_CONTROL_PLANE name it",
            this.display(),
            env!("CARGO_PKG_NAME"),
        ),
    }
}
