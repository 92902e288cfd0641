//! kubectl, as users run it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};

/// A kubectl, and the cluster that it uses.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: Option<PathBuf>,
}

/// The result of running kubectl.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output, if kubectl succeeded.
    ///
    /// # Errors
    ///
    /// If it failed; the error quotes the standard error.
    pub fn ok(self) -> Result<String> {
        if !self.status.success() {
            bail!("kubectl failed ({}): {}", self.status, self.stderr.trim());
        }
        Ok(self.stdout)
    }
}

impl Kubectl {
    /// The kubectl at `program`, or of that name in the PATH, for the cluster of `kubeconfig`. Its cache is in the directory
    /// `cache` instead of the user's home.
    #[must_use]
    pub fn new(program: &Path, kubeconfig: &Path, cache: Option<&Path>) -> Self {
        Self { program: program.to_owned(), kubeconfig: kubeconfig.to_owned(), cache: cache.map(Path::to_owned) }
    }

    /// A command to add arguments to.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig);
        // A user's own aliases and defaults must not change what a test does.
        command.env("KUBERC", "off");
        if let Some(cache) = &self.cache {
            command.env("KUBECACHEDIR", cache);
        }
        command
    }

    /// Runs kubectl with `args`, and `input` as its standard input.
    ///
    /// # Errors
    ///
    /// If kubectl cannot be run. A failure of kubectl is not an error here, but part of the [`Output`].
    pub fn run(&self, args: &[impl AsRef<OsStr>], input: &str) -> Result<Output> {
        let mut child = self
            .command()
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("kubectl has no input")?;
        let output = std::thread::scope(|scope| {
            // If kubectl exits before it has read everything, the write fails; its output says why.
            scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
            child.wait_with_output()
        })?;
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Applies the CustomResourceDefinitions in the files or directories `paths`, and waits until the API server serves
    /// them.
    ///
    /// # Errors
    ///
    /// If a file is invalid, or the API server refuses it.
    pub fn apply_crds(&self, paths: &[PathBuf]) -> Result<()> {
        for path in paths {
            let file = path.as_os_str();
            self.run(&["apply".as_ref(), "-f".as_ref(), file], "")?
                .ok()
                .with_context(|| format!("apply {}", path.display()))?;
            let established: [&OsStr; 5] = [
                "wait".as_ref(),
                "--for=condition=Established".as_ref(),
                "--timeout=30s".as_ref(),
                "-f".as_ref(),
                file,
            ];
            self.run(&established, "")?.ok()?;
        }
        Ok(())
    }
}
