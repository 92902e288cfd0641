//! The operators of the walks: processes that are killed, stopped, suspended and partitioned.

use std::{path::PathBuf, time::Duration};

use keypair_simulation::history::{Action, NetworkFaults, Step};
use keypair_test_harness::{FaultProxy, Operator, Signal, signal};
use tempfile::TempPath;
use tokio::time::{Instant, sleep_until};

use crate::{script::QUOTA, stage::Stage};

/// Limits for the latency in milliseconds, and for failing requests out of a thousand: the timeouts here are short.
const SLOWEST: u64 = 300;
const MOST_FAILING: u64 = 200;
/// How long a replica may take to stop.
const LAST_OF_A_REPLICA: Duration = Duration::from_secs(30);

/// The program under test. Cargo puts it into the parent directory of the test binaries.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("KEYPAIR_OPERATOR_BINARY") {
        return path.into();
    }
    let this = std::env::current_exe().expect("the path of this program is known");
    let name = format!("keypair-operator{}", std::env::consts::EXE_SUFFIX);
    let found = this.ancestors().skip(1).take(2).map(|directory| directory.join(&name)).find(|path| path.is_file());
    found.expect("build the workspace first: keypair-operator does not exist")
}

pub struct Operators {
    replicas: Vec<Replica>,
    /// The number of faults so far.
    pub suffered: usize,
}

struct Replica {
    proxy: FaultProxy,
    kubeconfig: TempPath,
    elects: bool,
    /// Whether it was asked to stop.
    is_stopping: bool,
    running: Option<Operator>,
}

impl Operators {
    pub async fn start(stage: &Stage, count: usize) -> Self {
        let mut replicas = Vec::new();
        for _ in 0..count {
            let proxy = FaultProxy::forwarding(stage.client.clone()).await.expect("the proxy starts");
            let kubeconfig = proxy.kubeconfig().expect("the kubeconfig can be written");
            let mut replica = Replica { proxy, kubeconfig, elects: count > 1, is_stopping: false, running: None };
            replica.start();
            replicas.push(replica);
        }
        Self { replicas, suffered: 0 }
    }

    /// Applies the faults to the replicas, each at its time.
    pub async fn suffer(&mut self, faults: &[Step], start: Instant) {
        for step in faults {
            sleep_until(start + step.at).await;
            let (Action::Crash { replica, .. }
            | Action::Start(replica)
            | Action::Stop(replica)
            | Action::Suspend(replica)
            | Action::Resume(replica)
            | Action::Network(replica, _)) = step.action
            else {
                continue;
            };
            self.suffered += 1;
            let number = replica % self.replicas.len();
            self.replicas[number].suffer(&step.action);
        }
    }

    /// Ends all faults.
    pub async fn calm(&mut self) {
        for replica in &mut self.replicas {
            replica.resume();
            replica.set_network_faults(NetworkFaults::default());
            if let Some(running) = replica.running.as_mut().filter(|_| replica.is_stopping) {
                running.wait(LAST_OF_A_REPLICA).await.expect("the replica exits in time");
            }
            replica.start();
        }
    }

    /// Whether a replica has exited on its own.
    pub fn have_ended(&mut self) -> bool {
        self.replicas.iter_mut().any(Replica::has_ended)
    }

    pub fn logs(&self) -> String {
        let logs = self.replicas.iter().filter_map(|replica| replica.running.as_ref()?.log().ok());
        let tails = logs.map(|log| {
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        });
        tails.collect::<Vec<_>>().join("\n---\n")
    }
}

impl Replica {
    fn has_ended(&mut self) -> bool {
        self.running.as_mut().is_none_or(|running| running.ended().expect("the process state can be read").is_some())
    }

    fn start(&mut self) {
        if !self.has_ended() {
            return;
        }
        let mut args = vec!["run".to_owned(), format!("--quota={QUOTA}"), "--concurrency=16".to_owned()];
        if self.elects {
            args.extend(["--leader-elect", "--lease-duration=3"].map(str::to_owned));
        }
        let running = Operator::spawn(&binary(), &self.kubeconfig, args, [("RUST_LOG", "info")]);
        self.is_stopping = false;
        self.running = Some(running.expect("the operator starts"));
    }

    fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Does nothing if the replica is not running.
    fn signal(&self, which: Signal) {
        if let Some(running) = &self.running {
            signal(running.id(), which).ok();
        }
    }

    fn suffer(&mut self, action: &Action) {
        match action {
            Action::Crash { .. } => {
                if let Some(running) = &mut self.running {
                    running.kill().expect("the replica can be killed");
                }
            }
            Action::Start(_) => self.start(),
            Action::Stop(_) => {
                self.resume();
                self.signal(Signal::TERM);
                self.is_stopping = true;
            }
            Action::Suspend(_) => self.signal(Signal::STOP),
            Action::Resume(_) => self.resume(),
            Action::Network(_, faults) => self.set_network_faults(*faults),
            _ => {}
        }
    }

    fn set_network_faults(&self, faults: NetworkFaults) {
        let NetworkFaults { latency, lost_requests, lost_responses, delayed, errors, partitioned, .. } = faults;
        if partitioned {
            self.proxy.cut_off();
        } else {
            self.proxy.restore();
        }
        self.proxy.delay(Duration::from_millis(latency.min(SLOWEST) / 2));
        let failing = [lost_requests, lost_responses, delayed, errors].into_iter().max().unwrap_or_default();
        self.proxy.fail(failing.min(MOST_FAILING));
    }
}
