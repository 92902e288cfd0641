//! The control plane: its directory, its servers and their order.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use keypair_test_harness::{Kubectl, Ready, free_port};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use crate::assets::Assets;
use crate::credentials::Credentials;
use crate::server::Server;
use crate::servers;

const INTERVAL: Duration = Duration::from_millis(50);
/// The timeout of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the servers may take to become ready. Some seconds are typical; a busy machine needs more.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How often to try other ports if another process takes one.
const MAX_ATTEMPTS: usize = 5;

pub(crate) struct Plane {
    dir: TempDir,
    assets: Assets,
    credentials: Credentials,
    audit: bool,
    feature_gates: Option<String>,
    servers: Vec<Server>,
    /// The data directory of etcd.
    data: PathBuf,
}

impl Plane {
    pub(crate) fn new(assets: Assets, audit: bool, feature_gates: Option<String>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("keypair-control-plane-").tempdir().context("create a directory")?;
        let credentials = Credentials::generate(dir.path())?;
        let data = dir.path().join("etcd");
        Ok(Self { dir, assets, credentials, audit, feature_gates, servers: Vec::new(), data })
    }

    /// Starts all servers and waits until they are ready. Installs `crds` before the controllers start, because controllers take up to
    /// 30 seconds to discover later ones.
    pub(crate) async fn start(&mut self, crds: &[PathBuf]) -> Result<Ready> {
        let (url, audit) = self.start_apiserver().await?;
        let kubeconfig = self.write("kubeconfig", &self.credentials.kubeconfig(&url))?;
        let kubectl = Kubectl::new(&self.assets.kubectl, &kubeconfig, Some(&self.dir.path().join("kubectl-cache")));
        let crds = crds.to_owned();
        tokio::task::spawn_blocking(move || kubectl.apply_crds(&crds)).await??;
        if let Some(program) = self.assets.controller_manager.clone() {
            self.start_controller_manager(&program, &url).await?;
        }
        Ok(Ready {
            kubeconfig,
            url,
            dir: self.dir.path().to_owned(),
            audit,
            kubectl: self.assets.kubectl.clone(),
            controller_manager: self.assets.controller_manager.is_some(),
            pids: self.pids(),
        })
    }

    /// Starts etcd and the API server, and returns the URL and audit log of the API server. If another process takes one of the chosen
    /// ports before they bind it, tries other ports.
    async fn start_apiserver(&mut self) -> Result<(String, Option<PathBuf>)> {
        for attempt in 1.. {
            match self.try_start_apiserver(attempt).await {
                Err(_) if attempt < MAX_ATTEMPTS && self.servers.iter().any(Server::has_port_conflict) => {
                    eprintln!("control-plane: a port is in use, trying others");
                    self.end_servers().await?;
                }
                outcome => return outcome,
            }
        }
        unreachable!("the last attempt returns")
    }

    async fn try_start_apiserver(&mut self, attempt: usize) -> Result<(String, Option<PathBuf>)> {
        let (etcd_port, port) = (free_port()?, free_port()?);
        self.data = self.dir.path().join(format!("etcd-{attempt}"));
        let etcd = self.assets.etcd.clone();
        self.run("etcd", &etcd, servers::etcd(etcd_port, &self.data))?;

        let audit = if self.audit {
            let policy = self.write("audit-policy", &servers::audit_policy())?;
            Some((policy, self.dir.path().join("audit.log")))
        } else {
            None
        };
        let paths = audit.as_ref().map(|(policy, log)| (policy.as_path(), log.as_path()));
        let mut args = servers::apiserver(port, etcd_port, &self.credentials, paths);
        args.extend(self.feature_gates.iter().map(|gates| format!("--feature-gates={gates}")));
        let apiserver = self.assets.apiserver.clone();
        self.run("kube-apiserver", &apiserver, args)?;

        let url = servers::apiserver_url(port);
        self.wait_for_apiserver(&url).await?;
        Ok((url, audit.map(|(_, log)| log)))
    }

    /// Kills the API server, as in a crash, and starts it again.
    pub(crate) async fn restart_apiserver(&mut self, url: &str) -> Result<()> {
        let server = self.servers.iter_mut().find(|server| server.name == "kube-apiserver").context("no API server")?;
        server.restart(self.dir.path()).await?;
        self.wait_for_apiserver(url).await
    }

    /// Stops the servers, copies the data of etcd, and starts the servers again.
    pub(crate) async fn save(&mut self, name: &str, url: &str) -> Result<()> {
        self.stop_servers().await?;
        copy_directory(&self.data, &self.snapshot_path(name))?;
        self.restart_servers(url).await
    }

    /// Restores the data of etcd from the copy `name`. Also restarts the controller manager, as the documentation of Kubernetes
    /// requires, because its watches would miss the change.
    pub(crate) async fn restore(&mut self, name: &str, url: &str) -> Result<()> {
        self.stop_servers().await?;
        fs::remove_dir_all(&self.data).context("remove etcd's data")?;
        copy_directory(&self.snapshot_path(name), &self.data)?;
        self.restart_servers(url).await
    }

    fn snapshot_path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("saved-{name}"))
    }

    async fn stop_servers(&mut self) -> Result<()> {
        for server in self.servers.iter_mut().rev() {
            server.stop().await?;
        }
        Ok(())
    }

    /// Starts the stopped servers. The controller manager exits without an API server, so it starts only when that is ready.
    async fn restart_servers(&mut self, url: &str) -> Result<()> {
        let mut stopped = std::mem::take(&mut self.servers).into_iter();
        for mut server in stopped.by_ref().take(2) {
            server.start_again(self.dir.path())?;
            self.servers.push(server);
        }
        self.wait_for_apiserver(url).await?;
        for mut server in stopped {
            server.start_again(self.dir.path())?;
            self.servers.push(server);
        }
        Ok(())
    }

    async fn wait_for_apiserver(&mut self, url: &str) -> Result<()> {
        let client = self.client(url).await?;
        self.wait_for("the API server to be ready", async || {
            let request = http::Request::get("/readyz").body(Vec::new());
            Ok(client.request_text(request?).await? == "ok")
        })
        .await
    }

    /// Starts the controller manager and waits until it has created the objects of a new cluster that tests need.
    async fn start_controller_manager(&mut self, program: &Path, url: &str) -> Result<()> {
        let kubeconfig =
            self.write("controller-manager-kubeconfig", &self.credentials.controller_manager_kubeconfig(url))?;
        let args = servers::controller_manager(&kubeconfig, &self.credentials);
        self.run("kube-controller-manager", program, args)?;
        let client = self.client(url).await?;
        let accounts = Api::<ServiceAccount>::default_namespaced(client.clone());
        let config_maps = Api::<ConfigMap>::default_namespaced(client);
        self.wait_for("the controllers to work", async || {
            let account = accounts.get_opt("default").await?;
            let ca = config_maps.get_opt("kube-root-ca.crt").await?;
            Ok(account.is_some() && ca.is_some())
        })
        .await
    }

    /// Waits until a server ends unexpectedly, and returns the error.
    pub(crate) async fn failure(&mut self) -> Error {
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            sleep(INTERVAL).await;
        }
    }

    /// Stops all servers and removes their directory.
    pub(crate) async fn shut_down(mut self) -> Result<()> {
        self.end_servers().await?;
        let path = self.dir.path().to_owned();
        self.dir.close().with_context(|| format!("remove {}", path.display()))
    }

    /// Ends the servers in reverse order, because an API server without etcd takes long to exit.
    async fn end_servers(&mut self) -> Result<()> {
        for server in self.servers.drain(..).rev() {
            server.end().await?;
        }
        Ok(())
    }

    fn run(&mut self, name: &'static str, program: &Path, args: Vec<String>) -> Result<()> {
        let server = Server::start(name, program, args, self.dir.path())?;
        self.servers.push(server);
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        self.servers.iter_mut().try_for_each(Server::check)
    }

    /// Waits until `probe` returns true. Errors count as "not yet", as long as no server ends.
    async fn wait_for(&mut self, what: &str, probe: impl AsyncFn() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.check()?;
            let problem = match timeout(PROBE_TIMEOUT, probe()).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => String::new(),
                Ok(Err(error)) => format!(": {error:#}"),
                Err(_) => ": no answer".into(),
            };
            if Instant::now() >= deadline {
                bail!("timed out after {START_TIMEOUT:?} waiting for {what}{problem}");
            }
            sleep(INTERVAL).await;
        }
    }

    async fn client(&self, url: &str) -> Result<Client> {
        let kubeconfig: Kubeconfig = serde_json::from_value(self.credentials.kubeconfig(url))?;
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        // kube would use a proxy even for loopback, despite NO_PROXY.
        config.proxy_url = None;
        Ok(Client::try_from(config)?)
    }

    fn pids(&self) -> BTreeMap<String, u32> {
        self.servers.iter().filter_map(|server| Some((server.name.to_owned(), server.id()?))).collect()
    }

    /// Writes a YAML file (as JSON, which is valid YAML).
    fn write(&self, name: &str, content: &Value) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.yaml"));
        fs::write(&path, format!("{content:#}\n")).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> std::io::Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy_directory(&entry.path(), &target).map_err(std::io::Error::other)?;
            } else {
                fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    };
    copy().with_context(|| format!("copy {} to {}", from.display(), to.display()))
}
