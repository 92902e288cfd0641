//! Follows the documentation: applies its manifests to a real API server, uses the keys of the tutorials with real `sshd`, `sftp`
//! and `git`, and restores a backup.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a panic fails the test")]

mod markdown;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::{ByteString, api::core::v1::Secret};
use keypair_operator::app::crd_yaml;
use keypair_test_harness::{ControlPlane, Operator, Options, Sshd};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(120);

/// A manifest on a page, as text and parsed.
struct Manifest {
    text: String,
    object: Value,
}

impl Manifest {
    fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.object["metadata"]["namespace"].as_str().unwrap_or("default")
    }

    /// Whether the API server knows the kind: it belongs to Kubernetes or to this operator.
    fn is_known(&self) -> bool {
        let version = self.object["apiVersion"].as_str().unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        !version.is_empty() && (!group.contains('.') || group.ends_with(".k8s.io") || group == "keypairs.dev")
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifests(page: &Path) -> Vec<Manifest> {
    let (_, blocks) = markdown::split(&fs::read_to_string(page).unwrap());
    let yaml = blocks.iter().filter(|(kind, _)| kind == "yaml");
    yaml.flat_map(|(_, block)| block.split("---\n"))
        .map(|text| Manifest { text: text.to_owned(), object: serde_saphyr::from_str(text).unwrap() })
        .collect()
}

/// The shell blocks on a page that contain `word`.
fn scripts(page: &str, word: &str) -> Vec<String> {
    let (_, blocks) = markdown::split(&fs::read_to_string(root().join(page)).unwrap());
    blocks.into_iter().filter(|(kind, code)| kind == "sh" && code.contains(word)).map(|(_, code)| code).collect()
}

fn tutorial(name: &str) -> Vec<Manifest> {
    manifests(&root().join("docs/tutorials").join(name))
}

fn find<'a>(manifests: &'a [Manifest], kind: &str, name: &str) -> &'a Manifest {
    let mut found = manifests.iter().filter(|manifest| manifest.kind() == kind && manifest.name() == name);
    found.next().unwrap_or_else(|| panic!("found no {kind} {name}"))
}

/// A cluster with the CRDs.
struct Stage {
    plane: ControlPlane,
    _operator: Option<Operator>,
}

/// A cluster with an operator, shared by the tests that follow a tutorial.
static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let Stage { plane, .. } = Stage::without_operator("tutorials");
    let binary = Path::new(env!("CARGO_BIN_EXE_keypair-operator"));
    let operator = Operator::spawn(binary, plane.kubeconfig(), ["run"], [("RUST_LOG", "info")]).unwrap();
    Stage { plane, _operator: Some(operator) }
});

impl Stage {
    fn without_operator(name: &str) -> Self {
        let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.crd.yaml"));
        fs::write(&crd, crd_yaml().unwrap()).unwrap();
        let plane = ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap();
        Self { plane, _operator: None }
    }

    fn kubectl(&self, args: &[&str], input: &str) -> String {
        let output = self.plane.kubectl_with_input(args, input).unwrap();
        output.ok().unwrap_or_else(|error| panic!("{args:?}: {error} of\n{input}"))
    }

    /// Creates the namespace of these manifests, from their own Namespace manifest if they have one.
    fn namespace(&self, manifests: &[Manifest], name: &str) {
        let said = manifests.iter().find(|manifest| manifest.kind() == "Namespace" && manifest.name() == name);
        let plain = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n");
        self.kubectl(&["apply", "--server-side", "-f", "-"], said.map_or(&plain, |manifest| &manifest.text));
    }

    /// Runs a script in a shell in this directory, and returns its output.
    fn shell(&self, files: &Files, script: &str) -> String {
        // The kubectl of the control plane comes first in the path.
        let ours = self.plane.ready().map(|ready| format!("{}:", ready.kubectl.parent().unwrap().display()));
        let path = ours.unwrap_or_default() + &std::env::var("PATH").unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", script]).current_dir(files.0.path()).env("PATH", path);
        let output = shell.env("KUBECONFIG", self.plane.kubeconfig()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies a KeyPair, waits until it is Ready, and returns its status and the entries of its Secret.
    fn key_pair(&self, manifest: &Manifest, text: &str) -> (Value, BTreeMap<String, String>) {
        let (namespace, name) = (manifest.namespace(), manifest.name());
        self.kubectl(&["apply", "-f", "-"], text);
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", "keypair", name, "-n", namespace], "");
        self.secret(manifest)
    }

    /// Applies an AuthorizedKeys or KnownHosts, waits until it is Ready, and returns the data of its target.
    fn published(&self, manifest: &Manifest, text: &str) -> BTreeMap<String, String> {
        self.kubectl(&["apply", "-f", "-"], text);
        self.published_again(manifest)
    }

    /// The data of a target, when every key is in it.
    fn published_again(&self, manifest: &Manifest) -> BTreeMap<String, String> {
        let (kind, namespace, name) = (manifest.kind(), manifest.namespace(), manifest.name());
        self.kubectl(&["wait", "--for=condition=Ready", "--timeout=120s", kind, name, "-n", namespace], "");
        let get = |kind: &str, name: &str| -> Value {
            serde_json::from_str(&self.kubectl(&["get", kind, name, "-n", namespace, "-o=json"], "")).unwrap()
        };
        let target = get(kind, name)["status"]["target"].clone();
        let object = get(target["kind"].as_str().unwrap(), target["name"].as_str().unwrap());
        if target["kind"] == "Secret" {
            let secret: Secret = serde_json::from_value(object).unwrap();
            let text = |value: ByteString| String::from_utf8(value.0).unwrap();
            return secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, text(value))).collect();
        }
        serde_json::from_value(object["data"].clone()).unwrap()
    }

    /// Waits until the text of a publication satisfies the condition.
    fn published_until(&self, manifest: &Manifest, is_so: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text: String = self.published_again(manifest).into_values().collect();
            if is_so(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{}: {text}", manifest.name());
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn patch(&self, manifest: &Manifest, patch: &Value) {
        let args = ["patch", "keypair", manifest.name(), "-n", manifest.namespace(), "--type=merge", "-p"];
        self.kubectl(&[&args[..], &[&patch.to_string()]].concat(), "");
    }

    /// Rotates the key of a KeyPair to revision 2.
    fn rotate(&self, manifest: &Manifest) {
        self.patch(
            manifest,
            &json!({
                "metadata": { "annotations": { "keypairs.dev/rotate": "1" } },
                "spec": { "rotation": { "publishBefore": "0s", "keepAfter": "1h" } },
            }),
        );
        let (name, namespace) = (manifest.name(), manifest.namespace());
        let done = "--for=jsonpath={.status.revision}=2";
        self.kubectl(&["wait", done, "--timeout=120s", "keypair", name, "-n", namespace], "");
    }

    /// The status of a KeyPair, and the entries of its Secret.
    fn secret(&self, manifest: &Manifest) -> (Value, BTreeMap<String, String>) {
        let get = |kind: &str, name: &str| -> Value {
            let args = ["get", kind, name, "-n", manifest.namespace(), "-o=json"];
            serde_json::from_str(&self.kubectl(&args, "")).unwrap()
        };
        let status = get("keypair", manifest.name())["status"].clone();
        let secret: Secret = serde_json::from_value(get("secret", status["secretName"].as_str().unwrap())).unwrap();
        let text = |value: ByteString| String::from_utf8(value.0).unwrap();
        (status, secret.data.unwrap().into_iter().map(|(key, value)| (key, text(value))).collect())
    }
}

/// A directory whose files only the current user can read, as ssh requires.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("keypair-tutorial-").tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
        file.write_all(content.as_bytes()).unwrap();
        path
    }
}

/// The stdout and stderr of a command.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Type and base64 of the current public key.
fn public_key(status: &Value) -> String {
    status["publicKey"].as_str().unwrap().split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn user() -> String {
    said(&Command::new("id").arg("-un").output().unwrap()).trim().to_owned()
}

/// Makes ssh use this key and these known hosts, and ignore the configuration of the current user.
fn ssh_options(key: &Path, known_hosts: &Path) -> Vec<String> {
    let known_hosts = format!("UserKnownHostsFile={}", known_hosts.display());
    let options =
        ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes", &known_hosts];
    let mut args = vec!["-F".to_owned(), "/dev/null".to_owned(), "-i".to_owned(), key.display().to_string()];
    args.extend(options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]));
    args
}

/// With strict validation, without warnings, and under the Pod Security Standard of the namespace, if any.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_accepts_every_manifest() {
    // In a cluster of its own: the other tests create some of these objects with keys of their own, which cannot be edited.
    let stage = Stage::without_operator("tutorials.manifests");
    let mut checked = BTreeMap::new();
    for folder in ["", "docs", "docs/tutorials"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let page = entry.unwrap().path();
            if page.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let manifests = manifests(&page);
            for manifest in manifests.iter().filter(|manifest| manifest.is_known()) {
                stage.namespace(&manifests, manifest.namespace());
                let args = ["apply", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-"];
                stage.kubectl(&args, &manifest.text);
                *checked.entry(manifest.kind().to_owned()).or_insert(0) += 1;
            }
        }
    }
    for kind in [
        "KeyPair",
        "AuthorizedKeys",
        "KnownHosts",
        "Namespace",
        "ConfigMap",
        "Deployment",
        "StatefulSet",
        "Job",
        "Service",
    ] {
        assert!(checked.contains_key(kind), "{checked:?}");
    }
}

/// Runs the SFTP server with a local directory in place of the volume that the kubelet would project into its pod.
#[tokio::test(flavor = "multi_thread")]
async fn the_sftp_tutorial_transfers_files() {
    let manifests = tutorial("sftp-pod.md");
    STAGE.namespace(&manifests, "sftp");
    let key_pair = |name: &str| {
        let manifest = find(&manifests, "KeyPair", name);
        STAGE.key_pair(manifest, &manifest.text)
    };
    let (client, server) = (key_pair("sftp-client"), key_pair("sftp-host"));
    let users = find(&manifests, "AuthorizedKeys", "sftp-users");
    let authorized = STAGE.published(users, &users.text);

    let files = Files::new();
    let pod = &find(&manifests, "Deployment", "sftp").object["spec"]["template"]["spec"];
    let mut projected = Vec::new();
    for source in pod["volumes"][0]["projected"]["sources"].as_array().unwrap() {
        let (entries, items) = if source["secret"]["name"] == "sftp-host" {
            (&server.1, &source["secret"]["items"])
        } else if source["configMap"]["name"] == users.name() {
            (&authorized, &source["configMap"]["items"])
        } else {
            assert_eq!(source["configMap"]["name"], "sftp", "{source}");
            continue;
        };
        for item in items.as_array().unwrap() {
            let name = item["path"].as_str().unwrap();
            files.write(name, &entries[item["key"].as_str().unwrap()]);
            projected.push(name);
        }
    }
    assert_eq!(projected, ["ssh_host_ed25519_key", "authorized_keys"]);
    let line = fs::read_to_string(files.path("authorized_keys")).unwrap();
    let public = public_key(&client.0);
    assert_eq!(line, format!("restrict {public} sftp/sftp-client\n"));
    fs::create_dir(files.path("data")).unwrap();
    let mount = pod["containers"][0]["volumeMounts"][0]["mountPath"].as_str().unwrap();
    let config = find(&manifests, "ConfigMap", "sftp").object["data"]["sshd_config"].as_str().unwrap();
    let config = config.replace(mount, &files.0.path().display().to_string());
    let config = config.replace(" -d /data", &format!(" -d {}", files.path("data").display()));
    let sshd = Sshd::start(files.0.path(), &config).await.unwrap();

    // The forwarded port.
    let hosts = find(&manifests, "KnownHosts", "sftp-hosts");
    let address = format!("[127.0.0.1]:{}", sshd.port());
    let published = STAGE.published(hosts, &hosts.text.replace("[127.0.0.1]:2222", &address));
    assert_eq!(
        published["known_hosts"],
        format!("sftp,sftp.sftp,sftp.sftp.svc,{address} {} sftp/sftp-host\n", public_key(&server.0))
    );
    let known_hosts = files.write("known_hosts", &published["known_hosts"]);
    let key = files.write("sftp.key", &client.1["ssh-privatekey"]);
    let target = format!("{}@127.0.0.1", user());
    let sftp = |key: &Path, known_hosts: &Path, batch: &str| {
        let mut command = Command::new("sftp");
        command.args(["-b", "-", "-P", &sshd.port().to_string()]).args(ssh_options(key, known_hosts)).arg(&target);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A client that the server refuses may exit before it has read its input.
        process.stdin.take().unwrap().write_all(batch.as_bytes()).ok();
        process.wait_with_output().unwrap()
    };
    let (sent, back) = (files.write("sent", "over the wire\n"), files.path("back"));
    let output = sftp(&key, &known_hosts, &format!("put {} file\nget file {}\n", sent.display(), back.display()));
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::read_to_string(files.path("data/file")).unwrap(), "over the wire\n");
    assert_eq!(fs::read_to_string(&back).unwrap(), "over the wire\n");

    // The server allows SFTP only.
    let mut ssh = Command::new("ssh");
    ssh.args(["-p", &sshd.port().to_string()]).args(ssh_options(&key, &known_hosts)).args([&target, "id"]);
    let output = ssh.output().unwrap();
    assert!(!output.status.success() && said(&output).contains("allows sftp connections only"), "{}", said(&output));
    // The server refuses other keys, and the client refuses other servers.
    let other = files.write("other.key", &server.1["ssh-privatekey"]);
    let output = sftp(&other, &known_hosts, "ls\n");
    assert!(!output.status.success() && said(&output).contains("Permission denied (publickey)"), "{}", said(&output));
    let elsewhere = files.write("elsewhere", &sshd.known_host(client.0["publicKey"].as_str().unwrap()));
    let output = sftp(&key, &elsewhere, "ls\n");
    assert!(!output.status.success() && said(&output).contains("Host key verification failed"), "{}", said(&output));

    // Another user's key is authorized by its label alone, here one whose private key the test has.
    let partner = find(&manifests, "KeyPair", "sftp-partner");
    let mut object = partner.object.clone();
    object["spec"] = find(&manifests, "KeyPair", "sftp-client").object["spec"].clone();
    let (_, entries) = STAGE.key_pair(partner, &object.to_string());
    let partners_key = files.write("partner.key", &entries["ssh-privatekey"]);
    files.write("authorized_keys", &STAGE.published_until(users, |text| text.contains("sftp/sftp-partner")));
    let output = sftp(&partners_key, &known_hosts, "ls\n");
    assert!(output.status.success(), "{}", said(&output));
    // Rotated, and locked out.
    STAGE.rotate(find(&manifests, "KeyPair", "sftp-client"));
    STAGE.kubectl(&["delete", "keypair", "sftp-partner", "-n", "sftp"], "");
    let text = STAGE.published_until(users, |text| text.contains("#2") && !text.contains("sftp-partner"));
    files.write("authorized_keys", &text);
    let output = sftp(&partners_key, &known_hosts, "ls\n");
    assert!(!output.status.success() && said(&output).contains("Permission denied (publickey)"), "{}", said(&output));
    let (_, entries) = STAGE.secret(find(&manifests, "KeyPair", "sftp-client"));
    for entry in ["ssh-privatekey", "ssh-privatekey.previous"] {
        let output = sftp(&files.write("rotated.key", &entries[entry]), &known_hosts, "ls\n");
        assert!(output.status.success(), "{entry}: {}", said(&output));
    }
}

/// Lets a launcher log in to nodes with the published texts, before and after a rotation of both keys.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_parallel_job_trust_each_other() {
    let manifests = tutorial("mpi-slurm.md");
    STAGE.namespace(&manifests, "hpc");
    let pairs = ["mpi", "node-host"].map(|name| find(&manifests, "KeyPair", name));
    let [mut user_key, mut host_key] = pairs.map(|manifest| STAGE.key_pair(manifest, &manifest.text).1);
    let (users, nodes) = (find(&manifests, "AuthorizedKeys", "node-users"), find(&manifests, "KnownHosts", "nodes"));
    let mut texts = [users, nodes].map(|manifest| STAGE.published(manifest, &manifest.text).into_values().collect());
    let files = Files::new();
    let config = &find(&manifests, "ConfigMap", "ssh").object["data"];
    let local = |name: &str| config[name].as_str().unwrap().replace("/etc/mpi", &files.0.path().display().to_string());
    for step in ["before", "after"] {
        let [authorized, known]: &[String; 2] = &texts;
        for (name, text) in [
            ("authorized_keys", authorized),
            ("known_hosts", known),
            ("id_ed25519", &user_key["ssh-privatekey"]),
            ("ssh_host_ed25519_key", &host_key["ssh-privatekey"]),
        ] {
            files.write(name, text);
        }
        let sshd = Sshd::start(files.0.path(), &format!("UsePAM no\n{}", local("sshd_config"))).await.unwrap();
        let here = format!("User {}", user());
        let config =
            local("ssh_config").replace("User mpi", &here).replace("Port 2222", &format!("Port {}", sshd.port()));
        let config = files.write("ssh_config", &config);
        let ssh = |host: &str, args: &[&str]| {
            let alias = format!("HostKeyAlias={host}");
            let mut ssh = Command::new("ssh");
            ssh.arg("-F").arg(&config).args(["-o", "HostName=127.0.0.1", "-o", &alias, "-o", "IdentityAgent=none"]);
            ssh.args(args).output().unwrap()
        };
        for host in ["node-0", "node-3.nodes", "node-12.nodes.hpc.svc", "node-1.nodes.hpc.svc.cluster.local"] {
            let output = ssh(host, &[host, "echo", "rank"]);
            assert_eq!(said(&output).trim(), "rank", "{step} {host}");
        }
        let output = ssh("other.nodes", &["node-0", "true"]);
        assert!(
            !output.status.success() && said(&output).contains("host key is known for other.nodes"),
            "{}",
            said(&output)
        );
        let output = ssh("node-0", &["-W", "127.0.0.1:1", "node-0"]);
        assert!(!output.status.success() && said(&output).contains("prohibited"), "{}", said(&output));
        if step == "before" {
            for manifest in pairs {
                STAGE.rotate(manifest);
            }
            texts = [users, nodes].map(|manifest| STAGE.published_until(manifest, |text| text.contains("#2")));
            assert!(texts.iter().all(|text| text.lines().count() == 2), "{texts:?}");
            // A node that is not restarted is still trusted, with both keys of the user.
            files.write("authorized_keys", &texts[0]);
            files.write("known_hosts", &texts[1]);
            let (old, new) = (user_key, STAGE.secret(pairs[0]).1);
            for entries in [&old, &new] {
                files.write("id_ed25519", &entries["ssh-privatekey"]);
                let output = ssh("node-0", &["node-0", "true"]);
                assert!(output.status.success(), "{}", said(&output));
            }
            assert_ne!(old["ssh-privatekey"], new["ssh-privatekey"]);
            (user_key, host_key) = (new, STAGE.secret(pairs[1]).1);
        }
    }
    let ann = find(&manifests, "AuthorizedKeys", "user-ann");
    STAGE.kubectl(&["apply", "-f", "-"], &ann.text);
    let import = json!({
        "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
        "metadata": { "name": "ann-laptop", "namespace": "hpc", "labels": { "user": "ann" } },
        "spec": { "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } },
    });
    STAGE.kubectl(&["apply", "-f", "-"], &import.to_string());
    assert_eq!(STAGE.published_again(ann).into_keys().collect::<Vec<_>>(), ["ann"]);
}

/// Follows the first steps of the tutorial: both keys of the rotation can log in.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_authorized_before_it_is_used() {
    const PAGE: &str = "docs/tutorials/rotation.md";
    let manifests = tutorial("rotation.md");
    let pair = find(&manifests, "KeyPair", "deploy");
    STAGE.key_pair(pair, &pair.text);
    let files = Files::new();
    STAGE.shell(&files, &scripts(PAGE, "kubectl annotate keypair deploy keypairs.dev/rotate")[0]);
    let authorized = find(&manifests, "AuthorizedKeys", "deploy");
    STAGE.kubectl(&["apply", "-f", "-"], &authorized.text);
    STAGE.published_until(authorized, |text| text.contains("#2"));
    let text = STAGE.shell(&files, &scripts(PAGE, "get configmap deploy")[0]);
    // The output of `kubectl wait` comes first.
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("restrict ssh-ed25519 ")).collect();
    assert!(
        lines.len() == 2 && lines[0].ends_with(" default/deploy#1") && lines[1].ends_with(" default/deploy#2"),
        "{text}"
    );
    files.write("authorized_keys", &lines.join("\n"));
    let host = files.path("host");
    let keygen = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&host).output();
    assert!(keygen.unwrap().status.success());
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nAuthenticationMethods publickey\nStrictModes no\nUsePAM no\n",
        host.display(),
        files.path("authorized_keys").display()
    );
    let sshd = Sshd::start(files.0.path(), &config).await.unwrap();
    let host_key = fs::read_to_string(files.path("host.pub")).unwrap();
    let known_hosts = files.write("known_hosts", &sshd.known_host(&host_key));
    let (_, entries) = STAGE.secret(pair);
    for entry in ["ssh-privatekey", "ssh-privatekey.next"] {
        let key = files.write("key", &entries[entry]);
        let mut ssh = Command::new("ssh");
        ssh.args(["-p", &sshd.port().to_string()]).args(ssh_options(&key, &known_hosts));
        let output = ssh.args([&format!("{}@127.0.0.1", user()), "true"]).output().unwrap();
        assert!(output.status.success(), "{entry}: {}", said(&output));
    }
}

/// A git server on loopback with one repository, which accepts the keys in `authorized_keys`. Its host key is a KeyPair.
struct GitServer {
    files: Files,
    host_key: String,
    sshd: Sshd,
}

/// The name under which the tutorials know the git server.
const GIT_HOST: &str = "git.git.svc";

impl GitServer {
    async fn start() -> Self {
        let files = Files::new();
        STAGE.namespace(&[], "git");
        let object = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
            "metadata": { "name": "git-host", "namespace": "git" },
            "spec": {
                "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" }, "secret": { "encoding": "OpenSSH" },
                "shareWith": ["flux-system", "argocd"],
            },
        });
        let manifest = Manifest { text: object.to_string(), object };
        let (status, entries) = STAGE.key_pair(&manifest, &manifest.text);
        let host = files.write("host", &entries["ssh-privatekey"]);
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nAuthenticationMethods publickey\nStrictModes no\nUsePAM no\n",
            host.display(),
            files.path("authorized_keys").display()
        );
        let sshd = Sshd::start(files.0.path(), &config).await.unwrap();
        let host_key = public_key(&status);
        let server = Self { files, host_key, sshd };
        let repository = server.files.path("fleet.git").display().to_string();
        server.git(&["init", "--quiet", &repository], &[]);
        let author = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
        let commit = ["-C", &repository, "commit", "--quiet", "--allow-empty", "--message=First"];
        server.git(&[&author[..], &commit].concat(), &[]);
        server
    }

    fn git(&self, args: &[&str], env: &[(&str, &str)]) -> Output {
        let mut git = Command::new("git");
        git.args(args).envs(env.iter().copied()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.env("HOME", self.files.0.path()).output().unwrap()
    }

    fn known_hosts(&self) -> String {
        self.sshd.known_host(&self.host_key)
    }

    /// Clones the repository with a private key, after checking that the server refuses the key before it is authorized.
    /// `known_hosts` names the server by its address or, as in the cluster, by its name.
    fn clones(&self, name: &str, authorized_keys: &str, private_key: &str, known_hosts: &str) {
        let key = self.files.write("identity", private_key);
        let known_hosts = self.files.write("known_hosts", known_hosts);
        let mut ssh = format!("ssh {}", ssh_options(&key, &known_hosts).join(" "));
        if fs::read_to_string(&known_hosts).unwrap().contains(GIT_HOST) {
            ssh = format!("{ssh} -o HostKeyAlias={GIT_HOST}");
        }
        let url = format!("ssh://{}@127.0.0.1:{}{}", user(), self.sshd.port(), self.files.path("fleet.git").display());
        let target = self.files.path(name);
        let clone =
            || self.git(&["clone", "--quiet", &url, &target.display().to_string()], &[("GIT_SSH_COMMAND", &ssh)]);
        self.files.write("authorized_keys", "");
        let output = clone();
        assert!(
            !output.status.success() && said(&output).contains("Permission denied (publickey)"),
            "{}",
            said(&output)
        );
        self.files.write("authorized_keys", &format!("{}\n", authorized_keys.trim_end()));
        let output = clone();
        assert!(output.status.success(), "{name}: {}", said(&output));
        let log = self.git(&["-C", &target.display().to_string(), "log", "--format=%s"], &[]);
        assert_eq!(said(&log), "First\n");
    }
}

/// Clones a repository with the entries of the Secrets, as Flux and Argo CD use them.
#[tokio::test(flavor = "multi_thread")]
async fn deploy_keys_give_access_to_a_repository() {
    let server = GitServer::start().await;

    let manifests = tutorial("flux-deploy-key.md");
    STAGE.namespace(&manifests, "flux-system");
    let manifest = find(&manifests, "KeyPair", "fleet-deploy-key");
    // Replace the known hosts, like users who run their own git server.
    let mut object = manifest.object.clone();
    object["spec"]["secret"]["template"]["stringData"]["known_hosts"] = Value::from(server.known_hosts());
    let (status, secret) = STAGE.key_pair(manifest, &object.to_string());
    assert_eq!(secret.keys().collect::<Vec<_>>(), ["identity", "identity.pub", "known_hosts"]);
    server.clones("flux", status["publicKey"].as_str().unwrap(), &secret["identity"], &secret["known_hosts"]);
    let repository = &find(&manifests, "GitRepository", "fleet").object;
    assert_eq!(repository["spec"]["secretRef"]["name"], status["secretName"]);
    assert_eq!(repository["metadata"]["namespace"], status["region"]);
    // The server is in the cluster.
    STAGE.patch(manifest, &json!({ "spec": { "shareWith": ["git"] } }));
    let users = find(&manifests, "AuthorizedKeys", "git-users");
    let authorized = STAGE.published(users, &users.text).into_values().collect::<String>();
    let hosts = find(&manifests, "KnownHosts", "git-hosts");
    let known = STAGE.published(hosts, &hosts.text).into_values().collect::<String>();
    assert_eq!(known, format!("{GIT_HOST} {} git/git-host\n", server.host_key));
    let taken_over = scripts("docs/tutorials/flux-deploy-key.md", "get configmap git-hosts");
    STAGE.shell(&Files::new(), &taken_over[0]);
    let deadline = Instant::now() + PATIENCE;
    let entries = loop {
        let (_, entries) = STAGE.secret(manifest);
        if entries["known_hosts"] == known {
            break entries;
        }
        assert!(Instant::now() < deadline, "{}", entries["known_hosts"]);
        thread::sleep(Duration::from_millis(100));
    };
    server.clones("inside", &authorized, &entries["identity"], &entries["known_hosts"]);

    let manifests = tutorial("argocd-repository.md");
    STAGE.namespace(&manifests, "argocd");
    let manifest = find(&manifests, "KeyPair", "repo-fleet");
    let (status, secret) = STAGE.key_pair(manifest, &manifest.text);
    server.clones("argocd", status["publicKey"].as_str().unwrap(), &secret["sshPrivateKey"], &server.known_hosts());
    let hosts = find(&manifests, "KnownHosts", "argocd-hosts");
    let known = &STAGE.published(hosts, &hosts.text)["ssh_known_hosts"];
    server.clones("published", status["publicKey"].as_str().unwrap(), &secret["sshPrivateKey"], known);
    // The file that Argo CD mounts.
    let patch = scripts("docs/tutorials/argocd-repository.md", "patch deployment argocd-repo-server");
    assert!(patch[0].contains("\"argocd-hosts\""), "{patch:?}");
    let application = &find(&manifests, "Application", "shop").object;
    assert_eq!(application["spec"]["source"]["repoURL"].as_str(), Some(secret["url"].as_str()));
}

/// Runs the backup and restore commands of the operations page.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_restores_the_keys() {
    let scripts = scripts("docs/operations.md", "secrets.json");
    assert_eq!(scripts.len(), 2, "expected one script for the backup and one for the restore");
    let files = Files::new();
    let manifest = |name: &str, policy: &str| {
        let spec =
            format!("{{profile: OpenSSH, generate: {{algorithm: Ed25519}}, secret: {{deletionPolicy: {policy}}}}}");
        let text = format!(
            "{{apiVersion: keypairs.dev/v1alpha1, kind: KeyPair, metadata: {{name: {name}, namespace: shop}}, spec: {spec}}}"
        );
        Manifest { object: serde_saphyr::from_str(&text).unwrap(), text }
    };
    let manifests = [manifest("goes", "Delete"), manifest("stays", "Retain")];
    STAGE.namespace(&[], "shop");
    let made = manifests.each_ref().map(|manifest| STAGE.key_pair(manifest, &manifest.text));

    STAGE.shell(&files, &scripts[0]);
    STAGE.kubectl(&["delete", "namespace", "shop", "--timeout=120s"], "");
    STAGE.namespace(&[], "shop");
    STAGE.shell(&files, &scripts[1]);
    for (manifest, (status, entries)) in manifests.iter().zip(&made) {
        let waited = ["wait", "--for=condition=Ready", "--timeout=120s", "keypair", manifest.name(), "-n", "shop"];
        STAGE.kubectl(&waited, "");
        let (again, secret) = STAGE.secret(manifest);
        assert_eq!(again["fingerprints"], status["fingerprints"]);
        assert_ne!(again["keyPairID"], status["keyPairID"]);
        assert_eq!(&secret, entries);
    }
}

/// KubeVirt treats every entry of the Secret as a public key, so the Secret must contain nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_machine_gets_only_the_public_key() {
    let manifests = tutorial("kubevirt-vm.md");
    let manifest = find(&manifests, "KeyPair", "bastion");
    let (status, private) = STAGE.key_pair(manifest, &manifest.text);
    let files = Files::new();
    let scripts = scripts("docs/tutorials/kubevirt-vm.md", "kubectl");
    let authorized = find(&manifests, "AuthorizedKeys", "bastion");
    let entries = STAGE.published(authorized, &authorized.text);
    let line = format!("{} default/bastion\n", public_key(&status));
    assert_eq!(entries, [("default.bastion".to_owned(), line.clone())].into());
    let show = scripts.iter().find(|script| script.contains("go-template")).unwrap();
    // The output of `kubectl wait` comes first.
    assert!(STAGE.shell(&files, show).ends_with(&format!("default.bastion: {line}")));
    let machine = &find(&manifests, "VirtualMachine", "bastion").object["spec"]["template"]["spec"];
    let given = &machine["accessCredentials"][0]["sshPublicKey"]["source"]["secret"]["secretName"];
    assert_eq!(*given, authorized.object["spec"]["target"]["secret"]["name"]);
    assert_ne!(*given, status["secretName"]);
    // The last step fetches the whole private key.
    let fetch = scripts.iter().find(|script| script.contains("bastion.key") && script.contains("base64")).unwrap();
    STAGE.shell(&files, fetch.split("virtctl").next().unwrap());
    assert_eq!(fs::read_to_string(files.path("bastion.key")).unwrap(), private["ssh-privatekey"]);
}
