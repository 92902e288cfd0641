//! The control plane that all histories share, and requests to it.

use std::{
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, header};
use http_body_util::BodyExt as _;
use keypair_simulation::history::UserRequest;
use keypair_test_harness::{ControlPlane, Options};
use kube::{Client, client::Body};
use serde_json::Value;
use tokio::time::timeout;

use crate::recorder::Recorder;

/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let crd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).expect("the control plane starts")
});

/// Each history has a number, which is part of the names of its namespaces.
static NUMBER: AtomicU64 = AtomicU64::new(0);

pub struct Stage {
    pub client: Client,
    pub recorder: Recorder,
}

impl Stage {
    pub async fn start() -> Self {
        let client = PLANE.client().await.expect("the client can be built");
        let recorder = Recorder::start(&client).await;
        Self { client, recorder }
    }

    pub fn next_number() -> u64 {
        NUMBER.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a user's request.
    pub async fn send(&self, request: &UserRequest) -> (u16, Value) {
        self.ask(request.method, &request.path, request.content_type, request.body.as_ref()).await
    }

    /// The items of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let (status, body) = self.ask("GET", path, "", None).await;
        assert_eq!(status, 200, "{path}: {body}");
        body["items"].as_array().cloned().unwrap_or_default()
    }

    pub async fn ask(&self, method: &str, path: &str, content_type: &str, body: Option<&Value>) -> (u16, Value) {
        let bytes = body.map(|body| body.to_string().into_bytes());
        let request = Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        let request = if bytes.is_some() { request.header(header::CONTENT_TYPE, content_type) } else { request };
        let request = request.body(bytes.map_or_else(Body::empty, Body::from)).expect("the request is valid");
        let answered = async {
            let response = self.client.send(request).await?;
            let status = response.status().as_u16();
            Ok::<_, kube::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        let answered = timeout(PATIENCE, answered).await.unwrap_or_else(|_| panic!("no answer to {method} {path}"));
        let (status, bytes) = answered.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}
