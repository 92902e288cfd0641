//! The simulated API server behaves like a real one.
//!
//! Both servers get the same scripts of requests. Every response and every watch event is compared field by field, after UIDs,
//! versions and times are normalized. The real server is right: a difference is fixed in the simulation, or listed in `ALLOWED`
//! in `compare`, with the reason.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    reason = "a panic fails the test"
)]

mod admission;
mod compare;
mod drawn;
mod key_pairs;
mod objects;
mod play;
mod publications;
mod reading;
mod removing;
mod script;
mod watching;
mod writing;

use std::{path::Path, sync::LazyLock};

use keypair_simulation::Server;
use keypair_test_harness::{ControlPlane, Options};
use kube::{
    Client,
    config::{Config, KubeConfigOptions, Kubeconfig},
};

use script::Script;

static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| plane(None));
/// A control plane to restart: concurrent scripts would notice a restart of the shared one.
static RESTARTED: LazyLock<ControlPlane> = LazyLock::new(|| plane(None));
/// A control plane whose watches cannot start with the current objects, like those of Kubernetes 1.31 and 1.33.
static WITHOUT_STREAMS: LazyLock<ControlPlane> = LazyLock::new(|| plane(Some("WatchList=false")));

fn plane(feature_gates: Option<&str>) -> ControlPlane {
    let crd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let feature_gates = feature_gates.map(str::to_owned);
    ControlPlane::start(&Options { crds: vec![crd], feature_gates, ..Options::default() })
        .expect("the control plane starts")
}

/// The clients of a user with all permissions and of one with none.
pub struct Clients {
    pub admin: Client,
    pub alice: Client,
    /// Restarts the API server.
    pub restart: Box<dyn Fn()>,
    /// The simulated server, if it is not a real one.
    pub simulated: Option<Server>,
}

/// Plays a script against both servers and compares the answers.
fn conforms(name: &str, script: &Script) {
    conforms_on(&PLANE, name, script);
}

/// The same, with a separate control plane.
fn conforms_on(plane: &'static ControlPlane, name: &str, script: &Script) {
    let simulated = simulated(name, script);
    let expected = simulated.events();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let real = runtime.block_on(async {
        let restart = Box::new(|| plane.restart_apiserver().unwrap());
        let clients = Clients {
            admin: client(plane, None).await,
            alice: client(plane, Some("alice")).await,
            restart,
            simulated: None,
        };
        play::play(&clients, &space(name), script, Some(&expected)).await
    });
    compare::compare(name, script, &real, &simulated);
}

/// A client that does not retry, because every answer is compared.
async fn client(plane: &ControlPlane, context: Option<&str>) -> Client {
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    config.default_retry = false;
    if plane.ready().is_some() {
        // This API server is on loopback.
        config.proxy_url = None;
    }
    Client::try_from(config).unwrap()
}

/// Each script has its own namespace, because scripts run concurrently.
fn space(name: &str) -> String {
    format!("conformance-{name}")
}

fn simulated(name: &str, script: &Script) -> play::Record {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let server = Server::new(1);
        server.deny("alice", "*", "*");
        let background = tokio::spawn({
            let server = server.clone();
            async move { server.run().await }
        });
        let client = |user: &str| Client::new(server.service(user), "default");
        let restart = Box::new({
            let server = server.clone();
            move || server.restart()
        });
        let clients =
            Clients { admin: client("admin"), alice: client("alice"), restart, simulated: Some(server.clone()) };
        let record = play::play(&clients, &space(name), script, None).await;
        background.abort();
        record
    })
}
