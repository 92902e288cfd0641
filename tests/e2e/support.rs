//! The control planes and operators that the tests share, and helpers to use them.

use std::{
    fs,
    io::{Error, Write as _},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::Secret;
use keypair_test_harness::{ControlPlane, Operator, Options, Output, eventually, free_port, http_get, namespace};
use kube::{
    api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use serde_json::{Value, json};

use crate::release::Release;

const RELEASE: &str = "keypair-operator";
/// The path of the operator's executable.
pub const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");
/// The prefix of the operator's user agent in the audit log.
pub const AGENT: &str = "keypair-operator/";
/// How long to wait for an expected event: a generous limit for a busy machine, not a performance target.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Creates one test per profile that calls this function, so that all profiles run in parallel.
macro_rules! for_each_profile {
    ($check:path) => {
        $crate::support::for_each_profile! {
            $check; alibaba Alibaba ucloud UCloud volcengine Volcengine openssh OpenSSH
        }
    };
    ($check:path; $($test:ident $profile:ident)*) => {
        // Fails to compile if a profile is missing.
        const _: fn(keypair_operator::domain::profile::Profile) = |profile| match profile {
            $(keypair_operator::domain::profile::Profile::$profile)|* => (),
        };

        $(
            #[tokio::test]
            async fn $test() {
                $check(keypair_operator::domain::profile::Profile::$profile.as_str()).await;
            }
        )*
    };
}
pub(crate) use for_each_profile;

/// The released CRD, and the chart's operator for all namespaces with the default log level.
pub static STRICT: LazyLock<Stage> = LazyLock::new(|| {
    let mut stage = Stage::new(&crd());
    let (operator, port) = stage.release().run_with(stage.kubeconfig(), &[("RUST_LOG", "info")]);
    stage.operator = Some((Mutex::new(operator), SocketAddr::from(([127, 0, 0, 1], port))));
    stage
});
/// A CRD without rules and limits, as if its objects were older than these, and an operator with debug logs.
pub static STRIPPED: LazyLock<Stage> = LazyLock::new(|| {
    let mut stage = Stage::new(&stripped_crd());
    // The port was free a moment ago; if another process takes it, all tests fail at once.
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let operator = stage.spawn(&["--log-format", "json", "--metrics-addr", &address.to_string()], "debug");
    stage.operator = Some((Mutex::new(operator), address));
    stage
});
/// The released CRD without an operator: each test starts its own for its own namespace.
pub static QUIET: LazyLock<Stage> = LazyLock::new(|| Stage::new(&crd()));

/// A control plane, with or without an operator for all namespaces.
pub struct Stage {
    pub plane: ControlPlane,
    /// Has the rights of a chart release.
    kubeconfig: Box<dyn AsRef<Path> + Send + Sync>,
    operator: Option<(Mutex<Operator>, SocketAddr)>,
}

impl Stage {
    pub fn new(crd: &Value) -> Self {
        let dir = Directory::new("crd");
        let file = dir.write("crd.json", crd.to_string().as_bytes());
        let options = Options { audit: true, crds: vec![file], ..Options::default() };
        let plane = ControlPlane::start(&options).unwrap();
        let release = Release::install(&plane, RELEASE, &["--set", "crds.install=false"]);
        // Installed with the release, so that all tests run with the rights that it grants and under its policies.
        let policies = plane.kubectl(&["get", "validatingadmissionpolicies", "-o=name"]).unwrap().ok().unwrap();
        for policy in [
            "secret-settings",
            "publication-targets",
            "fence-secrets",
            "fence-configmaps",
            "fence-leases",
            "fence-webhooks",
            "fence-events",
        ] {
            assert!(policies.contains(&format!("/{RELEASE}-{policy}")), "{policy} not found in {policies}");
        }
        let kubeconfig = Box::new(release.kubeconfig());
        Self { plane, kubeconfig, operator: None }
    }

    fn release(&self) -> Release<'_> {
        Release::installed(&self.plane, RELEASE, &format!("{RELEASE}-system"))
    }

    fn kubeconfig(&self) -> &Path {
        (*self.kubeconfig).as_ref()
    }

    pub fn spawn(&self, args: &[&str], log: &str) -> Operator {
        let args = [&["run"], args].concat();
        Operator::spawn(Path::new(BINARY), self.kubeconfig(), args, [("RUST_LOG", log)]).unwrap()
    }

    /// The log of the shared operator; empty if there is none.
    pub fn log(&self) -> String {
        let Some((operator, _)) = &self.operator else { return String::new() };
        operator.lock().unwrap_or_else(PoisonError::into_inner).log().unwrap()
    }

    /// `/metrics` of the shared operator.
    pub async fn metrics(&self) -> String {
        let (_, address) = self.operator.as_ref().expect("the stage should have an operator");
        http_get(*address, "/metrics").await.unwrap().body
    }

    /// Creates a namespace on this control plane for one test.
    pub async fn scene(&'static self, topic: &str) -> Scene {
        let client = self.plane.client().await.unwrap();
        let namespace = namespace(&client, topic).await.unwrap();
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("keypairs.dev", "v1alpha1", "KeyPair"));
        Scene {
            stage: self,
            key_pairs: Api::namespaced_with(client.clone(), &namespace, &kind),
            secrets: Api::namespaced(client, &namespace),
            namespace,
        }
    }
}

/// A namespace for one test. If the test fails, it prints what the shared operator logged about the namespace.
pub struct Scene {
    pub stage: &'static Stage,
    pub namespace: String,
    pub key_pairs: Api<DynamicObject>,
    pub secrets: Api<Secret>,
}

impl Scene {
    /// A `KeyPair` in this namespace as JSON.
    pub fn manifest(&self, name: &str, spec: &Value) -> Value {
        json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
            "metadata": { "name": name, "namespace": self.namespace }, "spec": spec,
        })
    }

    /// Creates a `KeyPair`, or returns the API server's error.
    pub async fn try_create(&self, name: &str, spec: &Value) -> kube::Result<DynamicObject> {
        let object = serde_json::from_value(self.manifest(name, spec)).unwrap();
        self.key_pairs.create(&PostParams::default(), &object).await
    }

    /// Creates a `KeyPair` that the API server must accept.
    pub async fn create(&self, name: &str, spec: &Value) -> Value {
        let created = self.try_create(name, spec).await;
        to_json(&created.unwrap_or_else(|error| panic!("the API server refused {name} with {spec}: {error}")))
    }

    /// Merges `patch` into a `KeyPair`, or returns the API server's error.
    pub async fn try_patch(&self, name: &str, patch: &Value) -> kube::Result<DynamicObject> {
        self.key_pairs.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await
    }

    /// Merges `patch` into a `KeyPair`; the API server must accept it.
    pub async fn patch(&self, name: &str, patch: &Value) -> Value {
        let patched = self.try_patch(name, patch).await;
        to_json(&patched.unwrap_or_else(|error| panic!("the API server refused {patch} of {name}: {error}")))
    }

    pub async fn delete(&self, name: &str) {
        self.key_pairs.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the status of a `KeyPair` reflects its current spec and the Ready condition matches `wanted`, for example
    /// `True/Imported`, and returns the object.
    pub async fn settled(&self, name: &str, wanted: &str) -> Value {
        let what = format!("{}/{name} to be Ready={wanted}", self.namespace);
        eventually(PATIENCE, &what, async || {
            let object = to_json(&self.key_pairs.get(name).await?);
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let ready = condition(&object, "Ready");
            let found = format!("{}/{}", text(&ready["status"]), text(&ready["reason"]));
            if current && found == wanted {
                return Ok(Some(object));
            }
            Err(Error::other(format!("found Ready={found} and the status {}", object["status"])).into())
        })
        .await
        .unwrap()
    }

    /// Runs kubectl in this namespace; the command must succeed.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args, "").ok().unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
    }

    /// Runs kubectl in this namespace with `input` on standard input.
    pub fn try_kubectl(&self, args: &[&str], input: &str) -> Output {
        let args = [args, &["-n", &self.namespace]].concat();
        self.stage.plane.kubectl_with_input(&args, input).unwrap()
    }

    /// All objects of this kind in this namespace, as JSON.
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", kind, "-o", "json"])).unwrap();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Type and reason of each Event about a `KeyPair`, for example `Warning/InvalidTag`.
    pub fn events(&self, name: &str) -> Vec<String> {
        let about = |event: &&Value| event["regarding"]["name"] == name && event["regarding"]["kind"] == "KeyPair";
        self.list("events.events.k8s.io")
            .iter()
            .filter(about)
            .map(|event| format!("{}/{}", text(&event["type"]), text(&event["reason"])))
            .collect()
    }

    /// Waits for exactly these Events about a `KeyPair`, in any order.
    pub async fn wait_for_events(&self, name: &str, wanted: &[&str]) {
        let what = format!("the Events {wanted:?} about {}/{name}", self.namespace);
        eventually(PATIENCE, &what, async || {
            let mut found = self.events(name);
            found.sort();
            if found == wanted { Ok(Some(())) } else { Err(Error::other(format!("found {found:?}")).into()) }
        })
        .await
        .unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        const LINES: usize = 40;
        if std::thread::panicking() {
            let log = self.stage.log();
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(&self.namespace)).collect();
            let tail = &lines[lines.len().saturating_sub(LINES)..];
            eprintln!("what the shared operator logged of {}:\n{}", self.namespace, tail.join("\n"));
        }
    }
}

/// The condition of this type, or null.
pub fn condition(object: &Value, type_: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == type_).cloned().unwrap_or_default()
}

/// The string in `value`; empty if it is not a string.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub fn to_json(object: &impl serde::Serialize) -> Value {
    serde_json::to_value(object).unwrap()
}

/// The content of the entry `key` in a Secret.
pub fn data(secret: &Secret, key: &str) -> String {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    let value = value.unwrap_or_else(|| panic!("the Secret has no entry {key}, only {:?}", keys(secret)));
    String::from_utf8(value.0.clone()).unwrap()
}

/// The names of the entries in a Secret.
pub fn keys(secret: &Secret) -> Vec<&str> {
    secret.data.iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// The content of a test vector, by its path below `tests/vectors`.
pub fn vector(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The CRDs as the operator's `crd` command prints them, as a list.
fn crd() -> Value {
    let output = Command::new(BINARY).arg("crd").output().unwrap();
    let crds: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    json!({ "apiVersion": "v1", "kind": "List", "items": crds })
}

/// The CRDs without rules and limits, as a list; that of KeyPairs is the first.
pub fn stripped_crd() -> Value {
    let mut crd = crd();
    strip(&mut crd);
    crd
}

fn strip(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            for rule in [
                "x-kubernetes-validations",
                "maxLength",
                "maxItems",
                "maxProperties",
                "minLength",
                "minItems",
                "pattern",
            ] {
                map.remove(rule);
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// A directory that only the current user can read, removed on drop.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(topic: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("keypair-operator-e2e-{}-{number}-{topic}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    /// Writes a file with the permissions that ssh requires for private keys.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
        file.write_all(content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
