//! The operators of a run, which are killed and restarted.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use keypair_test_harness::Operator;

/// The program under test.
fn binary() -> PathBuf {
    env::var_os("KEYPAIR_OPERATOR_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_keypair-operator").into(), PathBuf::from)
}

/// Whether the operator supports leader election, so that two can run at once.
fn elects_leaders() -> bool {
    let help = Command::new(binary()).args(["run", "--help"]).output().unwrap();
    String::from_utf8_lossy(&help.stdout).contains("--leader-elect")
}

pub struct Operators {
    kubeconfig: PathBuf,
    args: Vec<String>,
    running: Vec<Operator>,
    pub kills: usize,
}

impl Operators {
    /// Starts one operator for these namespaces, or two if they elect a leader.
    pub fn start(kubeconfig: &Path, namespaces: &[String], quota: usize) -> Self {
        let mut args = vec!["run".to_owned(), format!("--quota={quota}")];
        args.extend(namespaces.iter().map(|namespace| format!("--namespace={namespace}")));
        let mut number = 1;
        if elects_leaders() {
            // Short, so that another replica leads soon after the leader was killed.
            args.extend(["--leader-elect", "--lease-duration=3"].map(str::to_owned));
            number = 2;
        }
        let mut operators = Self { kubeconfig: kubeconfig.to_owned(), args, running: Vec::new(), kills: 0 };
        for _ in 0..number {
            operators.running.push(operators.spawn());
        }
        operators
    }

    fn spawn(&self) -> Operator {
        Operator::spawn(&binary(), &self.kubeconfig, &self.args, [("RUST_LOG", "info")]).unwrap()
    }

    /// Kills one of them with SIGKILL, and starts it again.
    pub fn kill_one(&mut self, number: usize) {
        let at = number % self.running.len();
        self.running[at].kill().unwrap();
        self.running[at] = self.spawn();
        self.kills += 1;
    }

    /// Restarts those that have exited by themselves.
    pub fn revive(&mut self) {
        for at in 0..self.running.len() {
            if self.running[at].ended().unwrap().is_some() {
                self.running[at] = self.spawn();
            }
        }
    }

    /// The last lines of their logs.
    pub fn logs(&self) -> String {
        let tail = |log: String| {
            let lines: Vec<_> = log.lines().rev().take(40).map(str::to_owned).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.running.iter().map(|operator| tail(operator.log().unwrap_or_default())).collect::<Vec<_>>().join("\n---\n")
    }
}
