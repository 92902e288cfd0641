//! The programs of the control plane.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use keypair_test_harness::{Signal, signal};
use tokio::process::{Child, Command};

/// The paths of the programs.
pub(crate) struct Assets {
    pub(crate) etcd: PathBuf,
    pub(crate) apiserver: PathBuf,
    pub(crate) kubectl: PathBuf,
    /// `None` in the releases of envtest, which have the same layout but not this program.
    pub(crate) controller_manager: Option<PathBuf>,
}

impl Assets {
    /// Finds the programs in the directory `dir`. Without `dir`, builds them with the script of the repository.
    pub(crate) async fn find(dir: Option<&Path>) -> Result<Self> {
        // An empty environment variable counts as unset.
        let dir = match dir.filter(|dir| !dir.as_os_str().is_empty()) {
            Some(dir) => std::path::absolute(dir)?,
            None => build().await?,
        };
        let program = |name| {
            let path = dir.join(name);
            ensure!(path.is_file(), "{} has no {name}", dir.display());
            Ok(path)
        };
        let controller_manager = program("kube-controller-manager").ok();
        if controller_manager.is_none() {
            eprintln!(
                "control-plane: {} has no kube-controller-manager: no garbage collection, namespace deletion, service \
                 accounts or quotas",
                dir.display()
            );
        }
        Ok(Self {
            etcd: program("etcd")?,
            apiserver: program("kube-apiserver")?,
            kubectl: program("kubectl")?,
            controller_manager,
        })
    }
}

/// Runs the script that builds the programs if they do not exist, and returns the directory that it prints.
async fn build() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hack/controlplane.sh");
    let child = Command::new("bash")
        .arg(&script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // This process forwards an interrupt from the terminal to the script.
        .process_group(0)
        .spawn()
        .with_context(|| format!("run {}", script.display()))?;
    let mut build = Build(child);
    let mut stdout = build.0.stdout.take().context("no output")?;
    let mut printed = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut printed).await?;
    let status = build.0.wait().await?;
    ensure!(status.success(), "{} failed ({status}): see its messages above", script.display());
    Ok(printed.trim_end().into())
}

/// The running script. On SIGTERM it stops the compiler and cleans up, so it must not be killed.
struct Build(Child);

impl Drop for Build {
    fn drop(&mut self) {
        if let Some(id) = self.0.id() {
            signal(id, Signal::TERM).ok();
        }
    }
}
