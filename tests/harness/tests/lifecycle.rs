//! How control planes and operators start and stop.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::io::{BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use keypair_test_harness::{ControlPlane, Operator, Options, Ready, Signal, eventually, is_running, signal};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const SECONDS: Duration = Duration::from_secs(15);
/// Long enough for a busy machine to start a control plane, short compared with a timeout.
const START: Duration = Duration::from_secs(60);

/// A `control-plane` with its files in a separate directory, which shows what it leaves behind.
struct Started {
    process: Child,
    stdout: BufReader<std::process::ChildStdout>,
    files: TempDir,
}

impl Started {
    fn with(args: &[&str], assets: Option<&Path>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
        command.args(args);
        if let Some(assets) = assets {
            command.arg("--assets").arg(assets);
        }
        let mut process = command
            .env("TMPDIR", files.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        Self { process, stdout, files }
    }

    fn ready(&mut self) -> Ready {
        serde_json::from_str(&first_line(&mut self.stdout)).unwrap()
    }

    /// Waits for it to fail, and returns its messages. Does not use the standard library's `wait`, which closes the input
    /// first.
    async fn failure(&mut self) -> String {
        let status = eventually(START, "control-plane to fail", async || Ok(self.process.try_wait()?)).await.unwrap();
        assert!(!status.success());
        self.stderr()
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.process.stderr.take().unwrap();
        stderr.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

/// The first line of JSON; a test program prints other lines first.
fn first_line(output: impl std::io::BufRead) -> String {
    output.lines().map_while(Result::ok).find(|line| line.starts_with('{')).expect("a line of JSON")
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

async fn all_gone(pids: impl IntoIterator<Item = u32>) {
    for pid in pids {
        eventually(SECONDS, &format!("the end of process {pid}"), async || Ok((!is_running(pid)).then_some(())))
            .await
            .unwrap();
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A directory with these programs, as in [`Options::assets`], to add others to, and the directory that has all of them.
fn assets(programs: &[&str]) -> (TempDir, PathBuf) {
    let built = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hack/controlplane.sh"))
        .output()
        .unwrap();
    let original = PathBuf::from(String::from_utf8(built.stdout).unwrap().trim_end());
    let dir = tempfile::tempdir().unwrap();
    for program in programs {
        symlink(original.join(program), dir.path().join(program)).unwrap();
    }
    (dir, original)
}

#[tokio::test]
async fn the_control_plane_ends_with_its_input() {
    let mut plane = Started::with(&[], None);
    let ready = plane.ready();
    assert_eq!(ready.pids.len(), 3);
    assert!(ready.dir.starts_with(plane.files.path()));
    drop(plane.process.stdin.take());
    assert!(plane.process.wait().unwrap().success());
    assert!(is_empty(plane.files.path()));
    all_gone(ready.pids.into_values()).await;
}

#[tokio::test]
async fn the_control_plane_ends_on_a_signal() {
    let mut plane = Started::with(&["--until-signal"], None);
    drop(plane.process.stdin.take());
    let ready = plane.ready();
    assert!(plane.process.try_wait().unwrap().is_none());
    signal(plane.process.id(), Signal::INT).unwrap();
    assert!(plane.process.wait().unwrap().success());
    assert!(is_empty(plane.files.path()));
    all_gone(ready.pids.into_values()).await;
}

#[test]
fn the_control_plane_can_be_stopped_while_it_starts() {
    let mut plane = Started::with(&[], None);
    drop(plane.process.stdin.take());
    let begin = Instant::now();
    plane.process.wait().unwrap();
    assert!(begin.elapsed() < SECONDS);
    assert!(is_empty(plane.files.path()));
}

#[tokio::test]
async fn servers_end_when_the_control_plane_is_killed() {
    let mut plane = Started::with(&[], None);
    let ready = plane.ready();
    plane.process.kill().unwrap();
    plane.process.wait().unwrap();
    all_gone(ready.pids.into_values()).await;
}

#[tokio::test]
async fn the_end_of_one_server_ends_all() {
    let mut plane = Started::with(&[], None);
    let ready = plane.ready();
    signal(ready.pids["etcd"], Signal::KILL).unwrap();
    let said = plane.failure().await;
    assert!(said.contains("etcd ended unexpectedly"), "{said}");
    assert!(is_empty(plane.files.path()));
    all_gone(ready.pids.into_values()).await;
}

#[tokio::test]
async fn a_failing_server_is_reported_quickly() {
    let (dir, _) = assets(&["etcd", "kubectl"]);
    script(&dir.path().join("kube-apiserver"), "echo out of order; exit 3");
    let begin = Instant::now();
    let mut plane = Started::with(&[], Some(dir.path()));
    let said = plane.failure().await;
    assert!(begin.elapsed() < SECONDS);
    assert!(said.contains("kube-apiserver ended unexpectedly"), "{said}");
    assert!(said.contains("out of order"), "{said}");
    assert!(is_empty(plane.files.path()));
}

/// Uses the programs of envtest, and a port that another process takes before it is used.
#[test]
fn the_control_plane_starts_without_controllers_on_other_ports() {
    let (dir, original) = assets(&["kube-apiserver", "kubectl"]);
    let tried = dir.path().join("tried").display().to_string();
    let etcd = original.join("etcd").display().to_string();
    script(
        &dir.path().join("etcd"),
        &format!("if mkdir '{tried}' 2>/dev/null; then echo address already in use; exit 1; fi\nexec '{etcd}' \"$@\""),
    );
    let mut plane = Started::with(&[], Some(dir.path()));
    let ready = plane.ready();
    assert!(!ready.controller_manager);
    assert_eq!(ready.pids.keys().collect::<Vec<_>>(), ["etcd", "kube-apiserver"]);
    drop(plane.process.stdin.take());
    let said = plane.stderr();
    assert!(said.contains("trying others"), "{said}");
    assert!(said.contains("has no kube-controller-manager"), "{said}");
}

/// What was started by the test that [`killed_tests_leave_no_processes`] kills.
#[derive(Serialize, Deserialize)]
struct Victim {
    pids: Vec<u32>,
}

/// Set in the test process that is to be killed.
const VICTIM: &str = "HARNESS_TEST_VICTIM";

#[test]
#[ignore = "run by killed_tests_leave_no_processes, to be killed"]
fn victim() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let plane = ControlPlane::start(&Options::default()).unwrap();
    let operator = sleeper(plane.kubeconfig());
    let ready = plane.ready().unwrap();
    let pids = ready.pids.values().copied().chain([operator.id()]);
    let victim = Victim { pids: pids.collect() };
    println!("\n{}", serde_json::to_string(&victim).unwrap());
    std::thread::sleep(START);
}

#[tokio::test]
async fn killed_tests_leave_no_processes() {
    let files = tempfile::tempdir().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact", "--ignored", "--nocapture"])
        .env(VICTIM, "yes")
        .env("TMPDIR", files.path())
        .env_remove("KEYPAIR_TEST_KUBECONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let line = first_line(BufReader::new(test.stdout.take().unwrap()));
    let victim: Victim = serde_json::from_str(&line).unwrap();
    assert_eq!(victim.pids.len(), 4);
    assert!(victim.pids.iter().all(|pid| is_running(*pid)));
    assert!(!is_empty(files.path()));

    test.kill().unwrap();
    test.wait().unwrap();
    all_gone(victim.pids).await;
    eventually(SECONDS, "all files to be removed", async || Ok(is_empty(files.path()).then_some(()))).await.unwrap();
}

/// A process that runs until it is killed.
fn sleeper(kubeconfig: &Path) -> Operator {
    shell(kubeconfig, "exec sleep 1000")
}

/// A shell in place of an operator.
fn shell(kubeconfig: &Path, text: &str) -> Operator {
    let env = [("TOLD", "so")];
    Operator::spawn(Path::new("/bin/sh"), kubeconfig, ["-c", text], env).unwrap()
}

const NOWHERE: &str = "/nowhere/kubeconfig";

#[tokio::test]
async fn an_operators_log_is_read_until_it_stops() -> Result<()> {
    let mut operator = shell(
        Path::new(NOWHERE),
        r#"trap 'echo bye >&2; exit 7' TERM; echo "$KUBECONFIG $TOLD"; while :; do sleep 0.1; done"#,
    );
    let line = operator.wait_for_line("nowhere", SECONDS).await?;
    assert_eq!(line, format!("{NOWHERE} so"));
    assert!(operator.ended()?.is_none());
    assert_eq!(operator.stop().await?.code(), Some(7));
    assert!(operator.log()?.ends_with("bye\n"));
    Ok(())
}

#[tokio::test]
async fn waiting_for_a_line_fails_when_the_operator_ends() {
    let mut operator = shell(Path::new(NOWHERE), "echo wrong; exit 1");
    let begin = Instant::now();
    let waited = operator.wait_for_line("right", START).await;
    assert!(begin.elapsed() < SECONDS);
    let error = waited.unwrap_err().to_string();
    assert!(error.contains("exit status: 1"), "{error}");
    assert!(error.contains("wrong"), "{error}");
}

#[tokio::test]
async fn an_operator_is_killed_when_dropped() -> Result<()> {
    let operator = sleeper(Path::new(NOWHERE));
    let pid = operator.id();
    drop(operator);
    assert!(!is_running(pid));

    let mut operator = sleeper(Path::new(NOWHERE));
    operator.kill()?;
    let status = operator.ended()?.context("it still runs")?;
    assert!(!status.success());
    Ok(())
}
