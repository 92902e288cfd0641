//! The control plane, as tests use it.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig, NamedAuthInfo};
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use crate::watchdog::control_plane_program;
use crate::{Audit, Kubectl, Output};

/// The users of a started control plane besides its administrator. They have no permissions until RBAC grants them. Each has
/// a context of this name in the kubeconfig, and no groups.
pub const USERS: [&str; 2] = ["alice", "bob"];

/// The command that makes `control-plane` kill the API server and start it again.
pub const RESTART_APISERVER: &str = "restart kube-apiserver";
/// With `=<name>`, the command that makes `control-plane` save a copy of etcd's data under that name.
pub const SAVE: &str = "save etcd";
/// With `=<name>`, the command that makes it restore etcd from that copy.
pub const PUT_BACK: &str = "put etcd back";
/// The reply, once the API server is ready again.
pub const RESTARTED: &str = "restarted";

/// How long `control-plane` may take to stop its servers and remove its directory.
const GRACE: Duration = Duration::from_secs(20);

/// How to start a control plane.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Log every request, for [`ControlPlane::audit`].
    pub audit: bool,
    /// The directory of etcd, kube-apiserver, kube-controller-manager and kubectl. The default is the directory in
    /// `KUBEBUILDER_ASSETS`, or else the one that `hack/controlplane.sh` builds.
    pub assets: Option<PathBuf>,
    /// CustomResourceDefinitions to install before the controllers start. The garbage collector and the quota controller
    /// discover new resources only twice a minute, but they know those that exist when they start. (On an external cluster
    /// they have already started, so there it does take that long.)
    pub crds: Vec<PathBuf>,
    /// Feature gates of the API server, as in its own flag (`WatchList=false`), for example to disable what older versions
    /// lack.
    pub feature_gates: Option<String>,
}

/// The line of JSON that the program `control-plane` prints when everything is ready.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The kubeconfig; its current context is that of an administrator.
    pub kubeconfig: PathBuf,
    /// The URL of the API server.
    pub url: String,
    /// The directory of all files, including logs, which is removed at the end.
    pub dir: PathBuf,
    /// The audit log, if it was requested.
    pub audit: Option<PathBuf>,
    /// The kubectl of the same version.
    pub kubectl: PathBuf,
    /// Whether a controller manager runs. Without one, nothing deletes owned objects, empties namespaces, creates service
    /// accounts or enforces quotas.
    pub controller_manager: bool,
    /// The process IDs of the servers, by name.
    pub pids: BTreeMap<String, u32>,
}

/// A control plane to test against.
#[derive(Debug)]
pub struct ControlPlane {
    kubeconfig: PathBuf,
    kubectl: Kubectl,
    /// `None` for an external cluster.
    own: Option<Own>,
}

/// The process that runs the control plane. It exits when its input ends, which this struct keeps open.
#[derive(Debug)]
struct Own {
    process: Child,
    ready: Ready,
    dialogue: Mutex<Option<Dialogue>>,
}

/// Commands to `control-plane`, and its replies.
#[derive(Debug)]
struct Dialogue {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready, which takes some seconds, or many minutes if it must be built
    /// first. If `KEYPAIR_TEST_KUBECONFIG` is set, starts nothing and uses that cluster.
    ///
    /// # Errors
    ///
    /// If a server does not start; the error and the messages on standard error say why.
    pub fn start(options: &Options) -> Result<Self> {
        match env::var_os("KEYPAIR_TEST_KUBECONFIG") {
            Some(kubeconfig) => Self::adopt(kubeconfig.into(), options),
            None => Self::spawn(options),
        }
    }

    fn adopt(kubeconfig: PathBuf, options: &Options) -> Result<Self> {
        let program = env::var_os("KUBEBUILDER_ASSETS")
            .map(|assets| Path::new(&assets).join("kubectl"))
            .filter(|path| path.is_file())
            .unwrap_or_else(|| "kubectl".into());
        let kubectl = Kubectl::new(&program, &kubeconfig, None);
        kubectl.apply_crds(&options.crds)?;
        Ok(Self { kubeconfig, kubectl, own: None })
    }

    fn spawn(options: &Options) -> Result<Self> {
        let program = control_plane_program()?;
        let mut command = Command::new(&program);
        if options.audit {
            command.arg("--audit");
        }
        if let Some(assets) = &options.assets {
            command.arg("--assets").arg(assets);
        }
        for path in &options.crds {
            command.arg("--crds").arg(path);
        }
        if let Some(gates) = &options.feature_gates {
            command.arg("--feature-gates").arg(gates);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", program.display()))?;
        let mut line = String::new();
        let input = process.stdin.take().context("no input")?;
        let stdout = process.stdout.take().context("no output")?;
        let mut output = BufReader::new(stdout);
        output.read_line(&mut line)?;
        if line.is_empty() {
            let status = process.wait()?;
            bail!("the control plane did not start ({status}); its messages above tell why");
        }
        let ready: Ready =
            serde_json::from_str(&line).with_context(|| format!("{} printed {line:?}", program.display()))?;
        Ok(Self {
            kubeconfig: ready.kubeconfig.clone(),
            kubectl: Kubectl::new(&ready.kubectl, &ready.kubeconfig, Some(&ready.dir.join("kubectl-cache"))),
            own: Some(Own { dialogue: Mutex::new(Some(Dialogue { input, output })), process, ready }),
        })
    }

    /// The kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What `control-plane` reported when it was ready; `None` for an external cluster.
    #[must_use]
    pub fn ready(&self) -> Option<&Ready> {
        self.own.as_ref().map(|own| &own.ready)
    }

    /// Kills the API server, starts it again with the same port and the same etcd, and waits until it is ready. Blocks for
    /// some seconds.
    ///
    /// # Errors
    ///
    /// If the cluster is external, or the server does not start again.
    pub fn restart_apiserver(&self) -> Result<()> {
        self.ask(RESTART_APISERVER)
    }

    /// Stops all servers, saves a copy of etcd's data under `name`, and starts them again. Blocks for some seconds.
    ///
    /// # Errors
    ///
    /// If the cluster is external, or a server does not start again.
    pub fn save_etcd(&self, name: &str) -> Result<()> {
        self.ask(&format!("{SAVE}={name}"))
    }

    /// Stops all servers, restores etcd from the copy `name`, and starts them again: later changes are undone, and the same
    /// resource versions are assigned once more. Blocks for some seconds.
    ///
    /// # Errors
    ///
    /// If the cluster is external, the copy does not exist, or a server does not start again.
    pub fn put_etcd_back(&self, name: &str) -> Result<()> {
        self.ask(&format!("{PUT_BACK}={name}"))
    }

    /// Sends a command to `control-plane` and waits until the API server is ready again.
    fn ask(&self, command: &str) -> Result<()> {
        let own = self.own.as_ref().context("somebody else's servers are not restarted")?;
        let mut dialogue = own.dialogue.lock().unwrap_or_else(PoisonError::into_inner);
        let Dialogue { input, output } = dialogue.as_mut().context("the control plane is being ended")?;
        writeln!(input, "{command}").context("ask for a restart")?;
        let mut line = String::new();
        output.read_line(&mut line)?;
        if line.trim_end() != RESTARTED {
            bail!("the servers were not restarted; the messages above tell why");
        }
        Ok(())
    }

    /// Whether the controllers of Kubernetes run, which is assumed for an external cluster.
    #[must_use]
    pub fn has_controllers(&self) -> bool {
        self.ready().is_none_or(|ready| ready.controller_manager)
    }

    /// Whether [`ControlPlane::audit`] returns a log. A test that needs a log and has none must say which checks it skips.
    #[must_use]
    pub fn has_audit(&self) -> bool {
        self.audit().is_some()
    }

    /// The audit log, if any.
    #[must_use]
    pub fn audit(&self) -> Option<Audit> {
        self.ready()?.audit.as_deref().map(Audit::new)
    }

    /// A client with all permissions. It belongs to the current runtime, so each test creates its own.
    ///
    /// # Errors
    ///
    /// If the kubeconfig cannot be used.
    pub async fn client(&self) -> Result<Client> {
        self.client_with(&KubeConfigOptions::default()).await
    }

    /// A client for the context `context` of the kubeconfig, such as one of [`USERS`].
    ///
    /// # Errors
    ///
    /// If the context does not exist.
    pub async fn client_as(&self, context: &str) -> Result<Client> {
        let options = KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
        self.client_with(&options).await
    }

    async fn client_with(&self, options: &KubeConfigOptions) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, options).await?;
        if self.own.is_some() {
            // kube would use a proxy even for loopback, despite NO_PROXY.
            config.proxy_url = None;
        }
        Ok(Client::try_from(config)?)
    }

    /// A kubeconfig for the service account `name` in `namespace`, such as for an operator with no more permissions than its
    /// chart grants. The file is removed when the result is dropped; its token is valid for an hour.
    ///
    /// # Errors
    ///
    /// If the service account does not exist.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<TempPath> {
        let token = self.kubectl(&["create", "token", name, "-n", namespace])?.ok()?;
        let mut kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let context = kubeconfig
            .contexts
            .iter_mut()
            .find(|context| Some(&context.name) == kubeconfig.current_context.as_ref())
            .and_then(|context| context.context.as_mut())
            .context("the kubeconfig has no current context")?;
        context.user = Some(name.to_owned());
        // As for a pod, whose default namespace is its own.
        context.namespace = Some(namespace.to_owned());
        kubeconfig.auth_infos = vec![NamedAuthInfo {
            name: name.to_owned(),
            auth_info: Some(AuthInfo { token: Some(token.trim_end().to_owned().into()), ..AuthInfo::default() }),
            ..NamedAuthInfo::default()
        }];
        // In the directory of the control plane, so that not even a killed test leaves a file behind.
        let mut file = match self.ready() {
            Some(ready) => NamedTempFile::new_in(&ready.dir)?,
            None => NamedTempFile::new()?,
        };
        serde_json::to_writer(&mut file, &kubeconfig).context("write a kubeconfig")?;
        Ok(file.into_temp_path())
    }

    /// Runs kubectl with `args` and waits until it exits.
    ///
    /// # Errors
    ///
    /// If kubectl cannot be run. A failure of kubectl is not an error here, but part of the [`Output`].
    pub fn kubectl(&self, args: &[&str]) -> Result<Output> {
        self.kubectl.run(args, "")
    }

    /// Runs kubectl with `args` and `input` as its standard input, for `-f -`.
    ///
    /// # Errors
    ///
    /// If kubectl cannot be run.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Result<Output> {
        self.kubectl.run(args, input)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.dialogue.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let deadline = Instant::now() + GRACE;
        while matches!(self.process.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                eprintln!("control-plane does not end; killing it");
                self.process.kill().ok();
                self.process.wait().ok();
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
