//! `ssh` logs in to a real `sshd` with the private key of the Secret, and `sshd` authorizes the public key of the status.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
};

use keypair_test_harness::Sshd;
use serde_json::{Value, json};

use crate::{
    support::{Directory, PATIENCE, STRICT, Scene, data, text},
    tools::{path, run},
};

/// An `sshd` on loopback that accepts the authorized keys.
pub struct Server {
    dir: Directory,
    authorized: PathBuf,
    known_hosts: PathBuf,
    user: String,
    sshd: Sshd,
}

impl Server {
    pub async fn start(authorized: &str) -> Self {
        let dir = Directory::new("sshd");
        let host_key = dir.0.join("host");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "host", "-f", path(&host_key)], b"");
        let authorized = dir.write("authorized_keys", format!("{authorized}\n").as_bytes());
        let config = format!(
            "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nAuthenticationMethods publickey\n\
             PermitRootLogin yes\nPermitUserEnvironment no\nMaxStartups 100\n",
            path(&host_key),
            path(&authorized)
        );
        let sshd = Sshd::start(&dir.0, &config).await.unwrap();
        let host_line = std::fs::read_to_string(host_key.with_extension("pub")).unwrap();
        let known_hosts = dir.write("known_hosts", sshd.known_host(&host_line).as_bytes());
        let user = String::from_utf8(run("id", &["-un"], b"")).unwrap().trim().to_owned();
        Self { dir, authorized, known_hosts, user, sshd }
    }

    /// Authorizes these keys, and no others.
    pub fn authorize(&self, lines: &str) {
        let new = self.dir.write("authorized_keys.new", lines.as_bytes());
        std::fs::rename(new, &self.authorized).unwrap();
    }

    /// Runs `command` over ssh with this private key only.
    pub fn ssh(&self, private_key: &str, command: &str) -> Output {
        static LOGINS: AtomicUsize = AtomicUsize::new(0);
        let identity = format!("identity-{}", LOGINS.fetch_add(1, Ordering::Relaxed));
        let identity = self.dir.write(&identity, private_key.as_bytes());
        let options = [
            "BatchMode=yes".to_owned(),
            "IdentitiesOnly=yes".to_owned(),
            "IdentityAgent=none".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            format!("UserKnownHostsFile={}", path(&self.known_hosts)),
            format!("ConnectTimeout={}", PATIENCE.as_secs()),
            // The fastest, so that a test can log in many times a second.
            "KexAlgorithms=curve25519-sha256".to_owned(),
        ];
        let mut ssh = Command::new("ssh");
        // Ignore the ssh configuration of the current user.
        ssh.args(["-F", "/dev/null", "-i", path(&identity), "-p", &self.sshd.port().to_string(), "-l", &self.user]);
        for option in &options {
            ssh.args(["-o", option]);
        }
        let output = ssh.args(["127.0.0.1", command]).output().unwrap();
        std::fs::remove_file(identity).unwrap();
        output
    }
}

async fn logs_in(name: &str, spec: Value) {
    let scene = STRICT.scene("login").await;
    let (public, private) = pair(&scene, name, &spec).await;
    let (_, other) = pair(&scene, "other", &spec).await;
    let server = Server::start(&public).await;

    let output = server.ssh(&private, "echo \"it is $((6 * 7))\"");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), out.as_ref()), (Some(0), "it is 42\n"), "{name}: {err}");

    let output = server.ssh(&other, "echo in");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // ssh exits with 255 if the connection itself fails.
    assert_eq!((output.status.code(), out.as_ref()), (Some(255), ""), "{name}: {err}");
    assert!(err.contains("Permission denied (publickey)"), "{name}: {err}");
}

/// The public key in the status and the private key in the Secret.
async fn pair(scene: &Scene, name: &str, spec: &Value) -> (String, String) {
    scene.create(name, spec).await;
    let object = scene.settled(name, "True/Generated").await;
    let secret = scene.secrets.get(text(&object["status"]["secretName"])).await.unwrap();
    (text(&object["status"]["publicKey"]).to_owned(), data(&secret, "ssh-privatekey"))
}

#[tokio::test]
async fn an_rsa_key_in_pkcs8_logs_in() {
    logs_in("rsa", json!({})).await;
}

#[tokio::test]
async fn an_ecdsa_key_in_pkcs8_logs_in() {
    logs_in("ecdsa", json!({ "profile": "Volcengine", "generate": { "algorithm": "ECDSA" } })).await;
}

#[tokio::test]
async fn an_ed25519_key_in_openssh_format_logs_in() {
    let generate = json!({ "algorithm": "Ed25519" });
    logs_in("ed25519", json!({ "profile": "OpenSSH", "generate": generate, "secret": { "encoding": "OpenSSH" } }))
        .await;
}
