//! Helm, releases of the chart, and the operator run as a release's pod would run it.

#![allow(dead_code, reason = "no suite uses all of it")]

use std::{path::Path, process::Command, sync::LazyLock};

use keypair_test_harness::{ControlPlane, Operator, free_port};
use serde_json::Value;

pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/keypair-operator");

/// The path of helm.
pub static HELM: LazyLock<String> = LazyLock::new(|| {
    std::env::var("HELM").unwrap_or_else(|_| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("hack/helm.sh");
        let output = Command::new(script).output().expect("hack/helm.sh");
        assert!(output.status.success(), "hack/helm.sh: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
});

/// The chart has no default for its image. No kubelet is here to pull this one.
const IMAGE: &str = "image.repository=registry.example.com/keypair-operator";

/// Runs helm, which must succeed, and returns what it printed.
pub fn helm(kubeconfig: Option<&Path>, args: &[&str]) -> String {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("helm");
    let mut command = Command::new(&*HELM);
    let (name, rest) = args.split_first().expect("a command of helm");
    command.arg(name);
    if ["install", "upgrade", "template", "lint"].contains(name) {
        // A flag among the rest takes precedence.
        command.args(["--set", IMAGE]);
    }
    command.args(rest).env_remove("HTTPS_PROXY").env_remove("https_proxy");
    // The user's own repositories and plugins are none of our business.
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(variable, home.join(variable));
    }
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let output = command.output().unwrap_or_else(|error| panic!("{}: {error}", *HELM));
    assert!(output.status.success(), "helm {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// An installed chart.
pub struct Release<'a> {
    pub plane: &'a ControlPlane,
    pub name: &'a str,
    pub namespace: String,
    /// Where its webhook listens when it [runs](Release::run).
    pub webhook_port: u16,
}

impl<'a> Release<'a> {
    /// Installs the chart into a namespace of its own. No kubelet is there to run its pod.
    pub fn install(plane: &'a ControlPlane, name: &'a str, flags: &[&str]) -> Self {
        let release = Self { plane, name, namespace: format!("{name}-system"), webhook_port: free_port().unwrap() };
        release.helm(&[&["install", name, CHART, "--create-namespace"], flags].concat());
        release
    }

    /// What somebody else installs, or has installed.
    pub fn installed(plane: &'a ControlPlane, name: &'a str, namespace: &str) -> Self {
        Self { plane, name, namespace: namespace.to_owned(), webhook_port: free_port().unwrap() }
    }

    pub fn helm(&self, args: &[&str]) -> String {
        helm(Some(self.plane.kubeconfig()), &[args, &["--namespace", &self.namespace]].concat())
    }

    pub fn kubectl(&self, args: &[&str]) -> String {
        self.plane.kubectl(&[args, &["--namespace", &self.namespace]].concat()).unwrap().ok().unwrap()
    }

    /// The pod of the Deployment.
    pub fn pod(&self) -> Value {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", "deployments", "-o=json"])).unwrap();
        let deployments = list["items"].as_array().unwrap();
        assert_eq!(deployments.len(), 1, "{list}");
        deployments[0]["spec"]["template"]["spec"].clone()
    }

    /// The arguments of the container.
    pub fn args(&self) -> Vec<String> {
        let pod = self.pod();
        let args = pod["containers"][0]["args"].as_array().unwrap();
        args.iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The user that the API server takes the pod for.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.service_account())
    }

    fn service_account(&self) -> String {
        self.pod()["serviceAccountName"].as_str().unwrap().to_owned()
    }

    /// A kubeconfig with the rights of the pod, which goes with what is returned.
    pub fn kubeconfig(&self) -> impl AsRef<Path> + Send + Sync + use<> {
        self.plane.service_account_kubeconfig(&self.namespace, &self.service_account()).unwrap()
    }

    /// Runs the operator with the pod's arguments, environment and rights. Only the port differs, since all pods of this
    /// cluster share one machine; it is returned, too, as is the kubeconfig.
    pub fn run(&self) -> (Operator, u16, impl AsRef<Path> + Send + Sync + use<>) {
        let kubeconfig = self.kubeconfig();
        let (operator, port) = self.run_with(kubeconfig.as_ref(), &[]);
        (operator, port, kubeconfig)
    }

    /// The same with this kubeconfig, and with more variables.
    pub fn run_with(&self, kubeconfig: &Path, more: &[(&str, &str)]) -> (Operator, u16) {
        let port = free_port().unwrap();
        let address = format!("127.0.0.1:{port}");
        let args: Vec<String> = self.args().iter().map(|arg| arg.replace("0.0.0.0:8080", &address)).collect();
        assert!(args.iter().any(|arg| arg.ends_with(&address)), "{args:?}");
        let args = args.iter().map(|arg| arg.replace("0.0.0.0:9443", &format!("127.0.0.1:{}", self.webhook_port)));
        let pod = self.pod();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let variables = pod["containers"][0]["env"].as_array().into_iter().flatten();
        let mut env: Vec<(String, String)> =
            variables.map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect();
        env.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let binary = Path::new(env!("CARGO_BIN_EXE_keypair-operator"));
        (Operator::spawn(binary, kubeconfig, args, env).unwrap(), port)
    }
}
