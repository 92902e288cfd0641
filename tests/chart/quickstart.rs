//! Runs the three commands of the README literally, against a real API server and a real sshd.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use keypair_test_harness::{ControlPlane, Options, Sshd};
use regex::Regex;

use crate::support::{HELM, Release, TIMEOUT};

/// The commands in the README's section, each with the output shown below it.
fn commands() -> Vec<(String, String)> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("<!-- tried: login -->").nth(1).unwrap().split("<!-- end -->").next().unwrap();
    let blocks = section.split("```console\n$ ").skip(1).map(|block| block.split("```").next().unwrap());
    blocks
        .map(|block| {
            // A command continues after a line that ends in && or a backslash.
            let mut lines = block.lines();
            let mut command = lines.next().unwrap().to_owned();
            while command.ends_with("&&") || command.ends_with('\\') {
                command = format!("{command}\n{}", lines.next().unwrap());
            }
            (command, lines.collect::<Vec<_>>().join("\n"))
        })
        .collect()
}

/// Removes what differs between runs.
fn without_times(text: &str) -> String {
    let text = Regex::new("LAST DEPLOYED: .*").unwrap().replace_all(text, "LAST DEPLOYED: now").replace('\r', "");
    // A fast operator is not waited for.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("Waiting for ")).collect();
    lines.join("\n").trim_end().to_owned()
}

/// A shell with a separate home directory and the commands that a user has.
struct Shell<'a> {
    home: &'a Path,
    plane: &'a ControlPlane,
}

impl Shell<'_> {
    fn run(&self, command: &str) -> String {
        let bin = self.home.join("bin");
        let output = Command::new("bash")
            .args(["-c", &format!("{{ {command}\n}} 2>&1")])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("HOME", self.home)
            .env("KUBECONFIG", self.plane.kubeconfig())
            .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy")
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}\n{printed}");
        printed
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_commands_lead_to_a_login() {
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    for directory in ["bin", ".ssh"] {
        fs::create_dir(home.join(directory)).unwrap();
        fs::set_permissions(home.join(directory), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let keys = home.join(".ssh/authorized_keys");
    Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(home.join("host")).status().unwrap();
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nPasswordAuthentication no\nUsePAM no\nStrictModes no",
        home.join("host").display(),
        keys.display()
    );
    let sshd = Sshd::start(home, &config).await.unwrap();
    let client = home.join("ssh_config");
    let known = home.join(".ssh/known_hosts");
    fs::write(
        &client,
        format!(
            "Host localhost\nHostName 127.0.0.1\nHostKeyAlias localhost\nPort {}\nUserKnownHostsFile {}\nIdentitiesOnly yes\n",
            sshd.port(),
            known.display()
        ),
    )
    .unwrap();
    let put = |name: &str, script: &str| {
        let path = home.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    put("helm", &format!("exec {} \"$@\"", *HELM));
    if let Some(ready) = plane.ready() {
        put("kubectl", &format!("exec {} \"$@\"", ready.kubectl.display()));
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_keypair-operator"), home.join("bin/kubectl-keypair")).unwrap();
    put("ssh", &format!("exec {} -F {} \"$@\"", which("ssh"), client.display()));
    let shell = Shell { home, plane: &plane };

    let commands = commands();
    assert_eq!(commands.len(), 3);
    let release = Release::installed(&plane, "keypair-operator", "keypair-operator");
    let mut operator = None;
    for (command, shown) in &commands {
        // The test cluster has no kubelet to run the pod, so helm does not wait for it; the operator runs outside the cluster with the
        // pod's settings.
        let command = if command.starts_with("helm") { command.replace(" --wait", "") } else { command.clone() };
        assert_eq!(without_times(&shell.run(&command)), without_times(shown), "{command}");
        if operator.is_none() {
            let (mut running, port, kubeconfig) = release.run();
            running.wait_for_http(([127, 0, 0, 1], port).into(), "/readyz", TIMEOUT).await.unwrap();
            operator = Some((running, kubeconfig));
        }
    }
    let (mut operator, _kubeconfig) = operator.unwrap();
    assert_eq!(operator.stop().await.unwrap().code(), Some(0));
}

fn which(program: &str) -> String {
    let output = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
