//! An `sshd` on loopback.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use keypair_test_harness::Sshd;
use tempfile::TempDir;

use crate::{Key, path, run};

pub struct Server {
    pub directory: TempDir,
    pub user: String,
    pub host_key: Key,
    known_hosts: PathBuf,
    sshd: Sshd,
}

/// What a login did.
#[derive(Debug)]
pub struct Login {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Login {
    /// Whether `sshd` accepted the key.
    pub fn is_accepted(&self) -> bool {
        assert!(self.code != Some(255) || self.err.contains("Permission denied"), "{self:?}");
        self.code != Some(255)
    }

    /// The options of the key as `sshd` reports them.
    pub fn options(&self) -> Vec<&str> {
        let line = self.err.lines().find_map(|line| line.split_once(": key options: ")).expect("-v should show them").1;
        line.trim().split(' ').collect()
    }
}

impl Server {
    /// With these further settings.
    pub async fn start(config: &str) -> Self {
        Self::start_with(|_| config.to_owned()).await
    }

    /// With further settings that depend on its directory, in which `host.pub` is its key.
    pub async fn start_with(config: impl FnOnce(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let host_key = Key::new();
        let file = host_key.write(directory.path(), "host");
        let config = config(directory.path());
        let authorized = directory.path().join("authorized_keys");
        let config = format!(
            "HostKey {file}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nAuthenticationMethods publickey\n\
             PermitRootLogin yes\nMaxStartups 100\n{config}\n",
            path(&authorized)
        );
        let sshd = Sshd::start(directory.path(), &config).await.unwrap();
        let known_hosts = directory.path().join("known_hosts");
        fs::write(&known_hosts, sshd.known_host(&host_key.line)).unwrap();
        let user = run("id", &["-un"]).unwrap().trim().to_owned();
        Self { directory, user, host_key, known_hosts, sshd }
    }

    pub fn port(&self) -> u16 {
        self.sshd.port()
    }

    /// Makes this the text of `authorized_keys`.
    pub fn authorize(&self, text: &str) {
        fs::write(self.directory.path().join("authorized_keys"), text).unwrap();
    }

    /// Makes this the text of `known_hosts`.
    pub fn know(&self, text: &str) {
        fs::write(&self.known_hosts, text).unwrap();
    }

    /// Runs `ssh` with this private key only.
    pub fn ssh(&self, key: &Key, args: &[&str], command: &[&str]) -> Login {
        static LOGINS: AtomicUsize = AtomicUsize::new(0);
        let identity = format!("identity-{}", LOGINS.fetch_add(1, Ordering::Relaxed));
        let identity = key.write(self.directory.path(), &identity);
        self.ssh_with(&["-i", &identity], args, command)
    }

    pub fn ssh_with(&self, identity: &[&str], args: &[&str], command: &[&str]) -> Login {
        self.ssh_in(&[], identity, args, command)
    }

    /// Runs `ssh` with these environment variables.
    pub fn ssh_in(&self, environment: &[(&str, &str)], identity: &[&str], args: &[&str], command: &[&str]) -> Login {
        let known_hosts = format!("UserKnownHostsFile={}", path(&self.known_hosts));
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-p", &self.port().to_string(), "-l", &self.user]).args(identity);
        // Of repeated options, the first one applies.
        ssh.args(args);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=yes",
            "GlobalKnownHostsFile=/dev/null",
            "ConnectTimeout=30",
            &known_hosts,
        ] {
            ssh.args(["-o", option]);
        }
        ssh.env("LC_ALL", "C").envs(environment.iter().copied()).stdin(Stdio::null());
        let Output { status, stdout, stderr } = ssh.arg("127.0.0.1").args(command).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace('\r', "");
        Login { code: status.code(), out: text(stdout), err: text(stderr) }
    }
}
