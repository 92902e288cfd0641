//! A control plane and operators with a webhook.

use std::{
    fs,
    io::Error,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use http::{Method, Request, header};
use http_body_util::BodyExt as _;
use keypair_operator::app;
use keypair_test_harness::{ControlPlane, Operator, Options, eventually, free_port};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tempfile::TempPath;

use crate::operator_account;

pub const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A control plane with the CRD.
pub struct Stage {
    pub plane: ControlPlane,
    /// The kubeconfig of the operator.
    pub kubeconfig: TempPath,
    pub client: Client,
}

/// The complete response of the API server.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

impl Answer {
    /// The text at `field` of the `Status`.
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_default()
    }

    /// The message of the webhook, without the prefix of the API server.
    pub fn said(&self) -> &str {
        let said = ["answer", "validate"].iter().find_map(|webhook| {
            let denied = format!("admission webhook \"{webhook}.keypairs.dev\" denied the request: ");
            self.text("message").strip_prefix(&denied)
        });
        said.unwrap_or_else(|| panic!("not a response of the webhook: {}", self.body))
    }

    #[track_caller]
    pub fn admitted(self) -> Value {
        assert!((200..300).contains(&self.status), "refused: {}", self.body);
        self.body
    }
}

impl Stage {
    pub async fn new(topic: &str) -> Self {
        let crd = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("webhook-{topic}.crd.yaml"));
        fs::write(&crd, app::crd_yaml().unwrap()).unwrap();
        Self::with_crd(crd).await
    }

    pub async fn with_crd(crd: PathBuf) -> Self {
        let plane = ControlPlane::start(&Options { crds: vec![crd], ..Options::default() }).unwrap();
        let client = plane.client().await.unwrap();
        let kubeconfig = operator_account::kubeconfig(&plane, true);
        Self { plane, kubeconfig, client }
    }

    /// Starts an operator that answers admission reviews.
    pub async fn operator(&self, args: &[&str]) -> Replica {
        let replica = Replica::spawn(&self.kubeconfig, args);
        replica.ready().await;
        self.registered().await;
        replica
    }

    /// Waits until the API server calls the webhook.
    pub async fn registered(&self) {
        eventually(PATIENCE, "the API server to ask the webhook", async || {
            let answer = self.create("default", "probe", &json!({ "keyPairName": "" }), true).await;
            Ok((answer.text("reason") == "MissingParameter").then_some(()))
        })
        .await
        .unwrap();
    }

    /// Sends a request unchanged.
    pub async fn send(&self, method: Method, path: &str, content: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, content)
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap();
        let response = self.client.send(request).await.unwrap();
        let status = response.status().as_u16();
        let warnings = response.headers().get_all(header::WARNING).iter();
        let warnings = warnings.map(|value| unquoted(&String::from_utf8_lossy(value.as_bytes()))).collect();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, body: serde_json::from_slice(&body).unwrap_or_default(), warnings }
    }

    pub async fn create(&self, namespace: &str, name: &str, spec: &Value, dry_run: bool) -> Answer {
        let object = json!({
            "apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": { "name": name }, "spec": spec,
        });
        let dry_run = if dry_run { "?dryRun=All" } else { "" };
        self.send(Method::POST, &format!("{}{dry_run}", path(namespace, "")), "application/json", &object).await
    }

    pub async fn patch(&self, namespace: &str, name: &str, patch: &Value) -> Answer {
        self.send(Method::PATCH, &path(namespace, name), "application/merge-patch+json", patch).await
    }

    pub async fn get(&self, namespace: &str, name: &str) -> Value {
        self.send(Method::GET, &path(namespace, name), "application/json", &Value::Null).await.body
    }

    pub async fn delete(&self, namespace: &str, name: &str) -> Answer {
        self.send(Method::DELETE, &path(namespace, name), "application/json", &json!({})).await
    }

    /// Waits until the Ready condition has this reason for the current spec, and returns the object.
    pub async fn settled(&self, namespace: &str, name: &str, reason: &str) -> Value {
        eventually(PATIENCE, &format!("{namespace}/{name} to be {reason}"), async || {
            let object = self.get(namespace, name).await;
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let found = ready(&object)["reason"].clone();
            if current && found == reason {
                return Ok(Some(object));
            }
            Err(Error::other(format!("found {found}: {}", object["status"])).into())
        })
        .await
        .unwrap()
    }
}

/// An operator with a webhook.
pub struct Replica {
    pub operator: Operator,
    pub metrics: SocketAddr,
    pub webhook: SocketAddr,
}

impl Replica {
    /// Starts an operator with a webhook, and registers its URL unless the arguments contain another one.
    pub fn spawn(kubeconfig: &Path, args: &[&str]) -> Self {
        let (metrics, webhook) = (local(), local());
        let mut all = vec!["run".to_owned(), format!("--metrics-addr={metrics}"), format!("--webhook-addr={webhook}")];
        if !args.iter().any(|arg| arg.starts_with("--webhook-url")) {
            all.push(format!("--webhook-url=https://{webhook}/"));
        }
        all.extend(args.iter().map(|&arg| arg.to_owned()));
        let operator = Operator::spawn(Path::new(BINARY), kubeconfig, all, [("RUST_LOG", "info")]).unwrap();
        Self { operator, metrics, webhook }
    }

    pub async fn leads(&self) -> bool {
        let metrics = keypair_test_harness::http_get(self.metrics, "/metrics").await;
        metrics.is_ok_and(|answer| answer.body.lines().any(|line| line == "keypair_operator_leader 1"))
    }

    pub async fn ready(&self) {
        eventually(PATIENCE, "the operator to be ready", async || {
            let answer = keypair_test_harness::http_get(self.metrics, "/readyz").await?;
            if answer.status == 200 { Ok(Some(())) } else { Err(Error::other(answer.body).into()) }
        })
        .await
        .unwrap();
    }
}

/// A loopback address that was free a moment ago.
pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()))
}

/// The Ready condition, or null.
pub fn ready(object: &Value) -> Value {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default()
}

fn path(namespace: &str, name: &str) -> String {
    format!("/apis/keypairs.dev/v1alpha1/namespaces/{namespace}/keypairs/{name}").trim_end_matches('/').to_owned()
}

/// The text of a Warning header: `299 - "…"`.
fn unquoted(header: &str) -> String {
    let text = header.split_once('"').map_or(header, |(_, text)| text);
    text.trim_end_matches('"').replace("\\\"", "\"")
}
