//! Applies each file in `examples/` as a reader would, with the operator running.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "a panic fails the test")]

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keypair_operator::{api::KeyPair, app::crd_yaml, domain::key::PublicKey};
use keypair_test_harness::{ControlPlane, Operator, Options, namespace};
use kube::{Api, Client, ResourceExt as _, api::ListParams};

/// An operator and a cluster shared by all examples.
struct Stage {
    plane: ControlPlane,
    client: Client,
    operator: Operator,
}

impl Stage {
    async fn new() -> Self {
        let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples.crd.yaml");
        fs::write(&crd, crd_yaml().unwrap()).unwrap();
        let plane = ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_keypair-operator"));
        let operator = Operator::spawn(binary, plane.kubeconfig(), ["run"], [("NO_COLOR", "1")]).unwrap();
        Self { client: plane.client().await.unwrap(), plane, operator }
    }

    /// Applies an example in a new namespace, waits until each object is Ready, and returns the name of the namespace.
    async fn apply(&self, path: &Path) -> String {
        let namespace = namespace(&self.client, "example").await.unwrap();
        let file = path.to_str().unwrap();
        let run = |args: &[&str]| self.plane.kubectl(&[args, &["-n", &namespace]].concat()).unwrap();
        run(&["apply", "--validate=strict", "--warnings-as-errors", "-f", file]).ok().unwrap();
        let waited = run(&["wait", "--for=condition=Ready", "--timeout=90s", "-f", file]);
        let status = run(&["get", "kp,ak,kh", "-o=yaml"]).stdout;
        assert!(waited.status.success(), "{file}: {}\n{status}\n{}", waited.stderr, self.operator.log().unwrap());
        namespace
    }

    /// The published text in a ConfigMap.
    async fn text(&self, namespace: &str, name: &str, key: &str) -> String {
        let map = Api::<ConfigMap>::namespaced(self.client.clone(), namespace).get(name).await.unwrap();
        assert_eq!(map.labels()["app.kubernetes.io/managed-by"], "keypair-operator", "{name}");
        map.data.unwrap().remove(key).unwrap()
    }

    async fn secret(&self, namespace: &str, name: &str) -> (Secret, BTreeMap<String, String>) {
        let secret = Api::<Secret>::namespaced(self.client.clone(), namespace).get(name).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let data =
            secret.data.clone().unwrap_or_default().into_iter().map(|(key, value)| (key, text(value.0))).collect();
        (secret, data)
    }
}

fn examples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    // `tests/example_policies.rs` tries the policies.
    examples.retain(|path| path.is_file());
    examples.sort();
    assert!(examples.len() >= 7, "{examples:?}");
    examples
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// Asserts that ssh-keygen derives `public` from the private key. Does nothing if ssh-keygen is not installed.
fn assert_ssh_keygen_reads(name: &str, private: &str, public: &str) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("examples.{name}"));
    fs::remove_file(&path).ok();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    std::io::Write::write_all(&mut file, private.as_bytes()).unwrap();
    let output = Command::new("ssh-keygen").args(["-y", "-P", "", "-f"]).arg(&path).output();
    fs::remove_file(&path).unwrap();
    let output = match output {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => return eprintln!("SKIPPED: ssh-keygen is not installed"),
        Err(error) => panic!("ssh-keygen: {error}"),
    };
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let derived = PublicKey::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(derived.fingerprints(), PublicKey::parse(public).unwrap().fingerprints(), "{name}");
}

#[tokio::test]
async fn every_example_works_as_described() {
    let mut stage = Stage::new().await;
    for path in examples() {
        let namespace = stage.apply(&path).await;
        let key_pairs: Api<KeyPair> = Api::namespaced(stage.client.clone(), &namespace);
        let key_pairs = key_pairs.list(&ListParams::default()).await.unwrap();
        assert!(!key_pairs.items.is_empty(), "{}", path.display());
        for key_pair in key_pairs {
            let name = key_pair.name_any();
            let status = key_pair.status.unwrap();
            assert_eq!(status.error, None, "{name}");
            assert!(status.key_pair_id.unwrap().starts_with("kp-"), "{name}");
            assert_eq!(status.secret_name.is_none(), key_pair.spec.public_key.is_some(), "{name}");
            if let Some(secret) = status.secret_name {
                let (secret, data) = stage.secret(&namespace, &secret).await;
                let public = status.public_key.unwrap();
                assert!(data.values().any(|value| value.trim() == public), "{name}: {data:?}");
                assert!(data.values().any(|value| value.contains("PRIVATE KEY-----")), "{name}");
                assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "keypair-operator", "{name}");
            }
        }
    }
    flux(&stage).await;
    argo_cd(&stage).await;
    retained(&stage).await;
    published(&stage).await;
    assert_eq!(stage.operator.stop().await.unwrap().code(), Some(0));
}

/// Flux's source-controller reads `identity` and requires `known_hosts`.
async fn flux(stage: &Stage) {
    let namespace = stage.apply(&example("flux-git-repository.yaml")).await;
    let (secret, data) = stage.secret(&namespace, "flux-deploy-key").await;
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(data.keys().collect::<Vec<_>>(), ["identity", "identity.pub", "known_hosts"]);
    assert!(data["identity"].starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_ssh_keygen_reads("flux", &data["identity"], &data["identity.pub"]);
    let hosts: Vec<&str> = data["known_hosts"].lines().collect();
    assert!(!hosts.is_empty());
    for host in hosts {
        let (name, key) = host.split_once(' ').unwrap();
        assert_eq!(name, "github.com");
        PublicKey::parse(key).unwrap();
    }
}

/// Argo CD finds a repository by its label, and needs type, url and sshPrivateKey.
async fn argo_cd(stage: &Stage) {
    let namespace = stage.apply(&example("argocd-repository.yaml")).await;
    let (secret, data) = stage.secret(&namespace, "argocd-fleet").await;
    assert_eq!(secret.labels()["argocd.argoproj.io/secret-type"], "repository");
    assert_eq!(data["type"], "git");
    assert_eq!(data["url"], "git@github.com:example-org/fleet.git");
    assert!(data["sshPrivateKey"].starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    assert_ssh_keygen_reads("argocd", &data["sshPrivateKey"], &data["ssh-publickey"]);
}

/// The only example whose Secret outlives its KeyPair.
async fn retained(stage: &Stage) {
    let namespace = stage.apply(&example("alibaba.yaml")).await;
    let (secret, data) = stage.secret(&namespace, "web-frontend-ssh").await;
    assert_eq!(secret.owner_references(), []);
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/ssh-auth"));
    assert_ssh_keygen_reads("alibaba", &data["ssh-privatekey"], &data["ssh-publickey"]);
}

/// `ssh-keygen` reads the texts as sshd and ssh do.
async fn published(stage: &Stage) {
    let ssh_keygen = |args: &[&str], name: &str, text: &str| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("examples.{name}"));
        fs::write(&path, text).unwrap();
        match Command::new("ssh-keygen").args(args).arg(&path).output() {
            Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => panic!("ssh-keygen: {error}"),
        }
    };
    let namespace = stage.apply(&example("authorized-keys.yaml")).await;
    let text = stage.text(&namespace, "admins", "authorized_keys").await;
    let lines: Vec<&str> = text.lines().collect();
    let options = "restrict,from=\"10.0.0.0/8,!10.9.0.0/16\",command=\"/usr/local/bin/backup --all\" ssh-ed25519 ";
    assert!(lines[0].starts_with(options) && lines[0].ends_with(&format!(" {namespace}/backup-job")), "{text}");
    assert!(lines[1].starts_with("ssh-ed25519 ") && lines[1].ends_with(&format!(" {namespace}/admin-ann")), "{text}");
    if let Some(fingerprints) = ssh_keygen(&["-l", "-f"], "authorized_keys", &text) {
        assert_eq!(fingerprints.lines().count(), 2, "{fingerprints}");
    }

    let namespace = stage.apply(&example("known-hosts.yaml")).await;
    let text = stage.text(&namespace, "hosts", "known_hosts").await;
    assert_eq!(text.lines().count(), 3, "{text}");
    for (host, keys) in [("git.git.svc", 1), ("[git.example.com]:2222", 1), ("github.com", 2), ("git.example.com", 0)] {
        if let Some(found) = ssh_keygen(&["-F", host, "-f"], "known_hosts", &text) {
            assert_eq!(found.lines().filter(|line| !line.starts_with('#')).count(), keys, "{host}: {found}");
        }
    }
}
