//! A control plane with the chart and its operator, and users of namespaces.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
    time::Duration,
};

use keypair_test_harness::{ControlPlane, Operator, Options, eventually, namespace};
use serde_json::{Value, json};

use crate::release::Release;

/// How long to wait for an expected event: a generous limit for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
const RELEASE: &str = "keypair-operator";

pub static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

pub struct Stage {
    pub plane: ControlPlane,
    /// A directory for the PATH, with the names of the program.
    pub programs: PathBuf,
    _operator: Operator,
    _kubeconfig: Box<dyn AsRef<Path> + Send + Sync>,
}

impl Stage {
    fn new() -> Self {
        let plane = ControlPlane::start(&Options::default()).unwrap();
        let release = Release::install(&plane, RELEASE, &[]);
        let (operator, _, kubeconfig) = release.run();
        let programs = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kubectl-{}", std::process::id()));
        fs::create_dir_all(&programs).unwrap();
        for name in ["kubectl-keypair", "kubectl_complete-keypair"] {
            let link = programs.join(name);
            if !link.exists() {
                symlink(env!("CARGO_BIN_EXE_keypair-operator"), link).unwrap();
            }
        }
        if let Some(ready) = plane.ready() {
            let link = programs.join("kubectl");
            if !link.exists() {
                symlink(&ready.kubectl, link).unwrap();
            }
        }
        Self { plane, programs, _operator: operator, _kubeconfig: Box::new(kubeconfig) }
    }
}

/// A namespace with a user who may only edit it.
pub struct Scene {
    pub namespace: String,
    pub kubeconfig: Box<dyn AsRef<Path> + Send + Sync>,
    /// For the temporary files of commands.
    pub temporary: tempfile::TempDir,
}

impl Scene {
    pub async fn new(topic: &str) -> Self {
        Self::with_role(topic, "edit").await
    }

    /// A user with this ClusterRole in a new namespace.
    pub async fn with_role(topic: &str, role: &str) -> Self {
        let client = STAGE.plane.client().await.unwrap();
        let namespace = namespace(&client, topic).await.unwrap();
        let kubectl = |args: &[&str]| STAGE.plane.kubectl(&[args, &["-n", &namespace]].concat()).unwrap().ok().unwrap();
        kubectl(&["create", "serviceaccount", "user"]);
        let (role, account) = (format!("--clusterrole={role}"), format!("--serviceaccount={namespace}:user"));
        kubectl(&["create", "rolebinding", "user", &role, &account]);
        let kubeconfig = Box::new(STAGE.plane.service_account_kubeconfig(&namespace, "user").unwrap());
        let scene = Self { namespace, kubeconfig, temporary: tempfile::tempdir().unwrap() };
        // The rights of the chart are added to the role in the background.
        eventually(PATIENCE, "the rights of the user", async || {
            Ok(scene.run("kubectl", &["auth", "can-i", "get", "keypairs"], "").status.success().then_some(()))
        })
        .await
        .unwrap();
        scene
    }

    /// A program with the kubeconfig of the user, which is in the PATH together with kubectl and its plugin.
    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let path = format!("{}:{}", STAGE.programs.display(), std::env::var("PATH").unwrap());
        let own = STAGE.programs.join(program);
        let mut command = if own.exists() { Command::new(own) } else { Command::new(program) };
        command
            .args(args)
            .env("PATH", path)
            .env("KUBECONFIG", (*self.kubeconfig).as_ref())
            .env("KUBECACHEDIR", self.temporary.path().join("cache"))
            .env("KUBERC", "off")
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .env_remove("SSH_AUTH_SOCK")
            .env("TMPDIR", self.scratch())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The directory of temporary files.
    pub fn scratch(&self) -> PathBuf {
        let path = self.temporary.path().join("tmp");
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn run(&self, program: &str, args: &[&str], input: &str) -> Output {
        let mut child = self.command(program, args).spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        child.wait_with_output().unwrap()
    }

    /// Runs `kubectl keypair`, as kubectl would call it.
    pub fn keypair(&self, args: &[&str]) -> Said {
        Said::from(self.run("kubectl-keypair", args, ""))
    }

    /// The same, which must succeed; returns its standard output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.keypair(args).ok()
    }

    /// Applies an object as the administrator.
    pub fn apply(&self, object: &Value) {
        let args = ["apply", "-n", &self.namespace, "-f", "-"];
        STAGE.plane.kubectl_with_input(&args, &object.to_string()).unwrap().ok().unwrap();
    }

    /// Runs kubectl as the administrator in this namespace.
    pub fn admin(&self, args: &[&str]) -> String {
        STAGE.plane.kubectl(&[args, &["-n", &self.namespace]].concat()).unwrap().ok().unwrap()
    }

    /// An object as the administrator sees it.
    pub fn get(&self, kind: &str, name: &str) -> Value {
        serde_json::from_str(&self.admin(&["get", kind, name, "-o=json"])).unwrap()
    }

    pub fn apply_pair(&self, name: &str, spec: &Value) {
        self.apply(&json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name }, "spec": spec,
        }));
    }

    /// Waits until a KeyPair is Ready.
    pub fn wait_ready(&self, name: &str) {
        self.admin(&["wait", "--for=condition=Ready", &format!("keypair/{name}"), "--timeout=120s"]);
    }
}

/// What a command has said.
#[derive(Debug, Clone)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// Asserts that the command failed with this code and said these words, and nothing on standard output.
    #[track_caller]
    pub fn failed(&self, code: i32, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing: {self:?}");
        }
    }
}
