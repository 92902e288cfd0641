//! The checks that must succeed during an attack.

use std::{
    fs,
    future::Future,
    path::Path,
    pin::Pin,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use http::Method;
use keypair_test_harness::{Operator, eventually, http_get, namespace};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    runtime,
    sync::{Mutex, MutexGuard},
    time::timeout,
};

use crate::{
    cage::{Cage, GRANTED},
    client::Target,
    stage::{BINARY, Replica, Stage, local},
};

/// How long each attack lasts.
pub const LASTS: Duration = Duration::from_millis(1200);
/// How long a probe may take: the kubelet's default timeout.
const PROBE: Duration = Duration::from_secs(1);
/// The maximum of the operator's peak resident memory, in KiB: half of what the chart grants.
const MOST_RESIDENT: u64 = GRANTED / 1024 / 2;
/// The file descriptor limit of the operator, which must leave some descriptors unused.
const FILES: usize = 1024;
const MOST_FILES: usize = 700;

/// No environment variables: the operator logs at its default level.
const NO_VARIABLES: [(&str, &str); 0] = [];
/// How many bytes the operator may log during one attack.
const MOST_LOGGED: usize = 64 * 1024;

/// Two attacks at once would affect each other's measurements.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub struct UnderAttack {
    _alone: MutexGuard<'static, ()>,
    pub stage: Stage,
    pub replica: Replica,
    pub target: Target,
    space: String,
    cage: Option<Cage>,
}

/// The behaviour of the attackers, until the test stops it.
pub type Attack = fn(Target) -> Pin<Box<dyn Future<Output = ()>>>;

impl UnderAttack {
    pub async fn begin(topic: &str) -> Self {
        let alone = ONE_AT_A_TIME.lock().await;
        let stage = Stage::new(&format!("crowd-{topic}")).await;
        let space = namespace(&stage.client, topic).await.unwrap();
        let (metrics, webhook) = (local(), local());
        let limited = format!("ulimit -n {FILES} && exec \"$0\" \"$@\"");
        let args = [
            "-c".to_owned(),
            limited,
            BINARY.to_owned(),
            "run".to_owned(),
            format!("--metrics-addr={metrics}"),
            format!("--webhook-addr={webhook}"),
            format!("--webhook-url=https://{webhook}/"),
        ];
        let kubeconfig = stage.plane.kubeconfig();
        let operator = Operator::spawn(Path::new("/bin/sh"), kubeconfig, args, NO_VARIABLES).unwrap();
        let cage = Cage::around(operator.id());
        let replica = Replica { operator, metrics, webhook };
        replica.ready().await;
        stage.registered().await;
        let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/keypair-operator";
        let configuration = stage.send(Method::GET, path, "application/json", &Value::Null).await.admitted();
        let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap();
        let bundle: k8s_openapi::ByteString = serde_json::from_value(json!(bundle)).unwrap();
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(&bundle.0) {
            roots.add(authority.unwrap()).unwrap();
        }
        let target = Target::new(metrics, webhook, roots);
        Self { _alone: alone, stage, replica, target, space, cage }
    }

    /// Runs an attack, and checks that the operator keeps working meanwhile.
    pub async fn bears(&mut self, name: &str, attack: Attack) {
        self.bears_for(LASTS, name, attack).await;
    }

    /// Like `bears`, for attacks that need more time to send their data.
    pub async fn bears_for(&mut self, lasts: Duration, name: &str, attack: Attack) {
        // `KEYPAIR_CROWD` selects the attacks whose name contains its value.
        if std::env::var("KEYPAIR_CROWD").is_ok_and(|only| !name.contains(&only)) {
            return;
        }
        let crowd = Crowd::start(self.target.clone(), attack);
        let begun = Instant::now();
        let (mut probes, mut slowest_probe, mut reviews, mut slowest_review) = (0, Duration::ZERO, 0, Duration::ZERO);
        let mut most_resident = 0;
        while begun.elapsed() < lasts {
            tokio::time::sleep(Duration::from_millis(50)).await;
            for path in ["/livez", "/readyz"] {
                slowest_probe = slowest_probe.max(self.probe(name, path).await);
                probes += 1;
            }
            slowest_review = slowest_review.max(self.review(name).await);
            reviews += 1;
            most_resident = most_resident.max(self.memory("VmRSS"));
        }
        assert!(timeout(PROBE, http_get(self.target.metrics, "/metrics")).await.is_ok(), "{name}: no metrics");
        self.reconciles(name).await;
        let logged = self.replica.operator.log().unwrap().len();
        assert!(logged < MOST_LOGGED, "{name}: the operator logged {logged} bytes");
        let files = fs::read_dir(format!("/proc/{}/fd", self.replica.operator.id())).unwrap().count();
        crowd.end();
        assert_eq!(self.replica.operator.ended().unwrap(), None, "{name}: the operator exited");
        let peak = self.memory("VmHWM");
        println!(
            "{name}: {probes} probes, {} ms at most; {reviews} reviews, {} ms at most; {} MiB, at most {} since the start; {files} files",
            slowest_probe.as_millis(),
            slowest_review.as_millis(),
            most_resident / 1024,
            peak / 1024,
        );
        assert!(peak < MOST_RESIDENT, "{name}: {} MiB resident", peak / 1024);
        assert!(files < MOST_FILES, "{name}: the operator has {files} open files");
    }

    /// The kubelet allows a probe one second and several attempts; this test allows no failed attempt.
    async fn probe(&self, name: &str, path: &str) -> Duration {
        let begun = Instant::now();
        let answer = timeout(PROBE, http_get(self.target.metrics, path)).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name}: no response from {path} in time"));
        assert_eq!(answer.unwrap_or_else(|error| panic!("{name}: {path}: {error:#}")).status, 200, "{name}: {path}");
        begun.elapsed()
    }

    /// Only the webhook refuses with this reason; if it does not respond in time, the API server admits the object.
    async fn review(&self, name: &str) -> Duration {
        let begun = Instant::now();
        let answer = self.stage.create(&self.space, "refused", &json!({ "keyPairName": "" }), true).await;
        assert_eq!(answer.text("reason"), "MissingParameter", "{name}: not the webhook's answer: {}", answer.body);
        begun.elapsed()
    }

    /// A KeyPair that kubectl creates during the attack becomes ready during the attack.
    async fn reconciles(&self, name: &str) {
        let object = format!("{}-reconciled", name.replace(' ', "-"));
        let manifest = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair",
            "metadata": { "name": object, "namespace": self.space },
            "spec": { "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } },
        });
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{object}.json", self.space));
        fs::write(&file, manifest.to_string()).unwrap();
        self.stage.plane.kubectl(&["create", "-f", file.to_str().unwrap()]).unwrap().ok().unwrap();
        eventually(Duration::from_secs(10), &format!("{name}: {object} to be ready"), async || {
            let found = self.stage.get(&self.space, &object).await;
            Ok((crate::stage::ready(&found)["status"] == "True").then_some(()))
        })
        .await
        .unwrap();
    }

    /// A value in KiB from the `status` file of the process, for example `VmRSS`.
    pub fn memory(&self, what: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.replica.operator.id()));
        let status = status.expect("the operator should be running");
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':'));
        line.expect("the operator should be running").split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Stops the operator; clients that are still connected must not delay it.
    pub async fn end(mut self) {
        let crowd = Crowd::start(self.target.clone(), crate::attacks::silence);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        assert!(self.replica.operator.stop().await.unwrap().success());
        assert!(begun.elapsed() < Duration::from_secs(6), "stopped after {:?}", begun.elapsed());
        crowd.end();
        drop(self.cage.take());
    }
}

/// The attackers, on a separate thread so that they do not slow down the checks.
struct Crowd {
    stop: Arc<tokio::sync::Notify>,
    thread: thread::JoinHandle<()>,
}

impl Crowd {
    fn start(target: Target, attack: Attack) -> Self {
        let stop = Arc::new(tokio::sync::Notify::new());
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = attack(target) => {}
                    () = stopped.notified() => {}
                    () = tokio::time::sleep(Duration::from_secs(60)) => {}
                }
            });
        });
        Self { stop, thread }
    }

    fn end(self) {
        self.stop.notify_one();
        self.thread.join().unwrap();
    }
}
