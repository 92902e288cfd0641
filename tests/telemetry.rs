//! Tests what the operator exports to an OpenTelemetry collector.

#![allow(missing_docs, clippy::unwrap_used, reason = "a panic fails the test")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use keypair_test_harness::{ControlPlane, Operator, Options, eventually, free_port};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span},
};
use prost::Message as _;

const BINARY: &str = env!("CARGO_BIN_EXE_keypair-operator");
const CRD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
const TIMEOUT: Duration = Duration::from_secs(60);
const GENERATED: &str = r#"{"apiVersion": "keypairs.dev/v1alpha1", "kind": "KeyPair", "metadata": {"name": "traced"},
    "spec": {"profile": "OpenSSH", "generate": {"algorithm": "Ed25519"}}}"#;

/// A fake collector that records what it receives.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    async fn serve(&self) -> SocketAddr {
        let take = |State(collector): State<Self>, body: Bytes| async move {
            collector.0.lock().unwrap().push(body);
            StatusCode::OK
        };
        let router = Router::new().route("/behind/a/path/v1/traces", post(take)).with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn received(&self) -> Vec<ResourceSpans> {
        let bodies = self.0.lock().unwrap();
        bodies.iter().flat_map(|body| ExportTraceServiceRequest::decode(&**body).unwrap().resource_spans).collect()
    }

    fn spans(&self) -> Vec<Span> {
        self.received().into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value?;
    Some(match value {
        Value::StringValue(text) => text,
        other => format!("{other:?}"),
    })
}

fn plane() -> ControlPlane {
    ControlPlane::start(&Options { crds: vec![CRD.into()], ..Options::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconciliation_trace_contains_no_key() {
    let plane = plane();
    let collector = Collector::default();
    let url = format!("http://{}/behind/a/path/", collector.serve().await);
    let env = [("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=pod-1"), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let args = ["run", "--otlp-endpoint", &url];
    let mut operator = Operator::spawn(Path::new(BINARY), plane.kubeconfig(), args, env).unwrap();
    plane.kubectl_with_input(&["apply", "-f", "-"], GENERATED).unwrap().ok().unwrap();

    let find = |spans: &[Span]| {
        spans
            .iter()
            .find(|span| {
                span.name == "reconcile" && attribute(&span.attributes, "keypair.outcome").as_deref() == Some("Ready")
            })
            .cloned()
    };
    let whole = eventually(TIMEOUT, "the span of a reconciliation", async || Ok(find(&collector.spans())))
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", operator.log().unwrap()));
    assert_eq!(attribute(&whole.attributes, "keypair.name").as_deref(), Some("traced"));
    assert_eq!(attribute(&whole.attributes, "k8s.namespace.name").as_deref(), Some("default"));
    assert!(whole.parent_span_id.is_empty());
    let within: Vec<Span> = collector.spans().into_iter().filter(|span| span.parent_span_id == whole.span_id).collect();
    assert!(within.iter().any(|span| span.name == "generate key"), "{within:?}");
    let requests: Vec<String> = within.iter().filter_map(|span| attribute(&span.attributes, "http.method")).collect();
    // The requests that create the Secret and update the status.
    assert!(
        requests.iter().any(|method| method == "POST") && requests.iter().any(|method| method == "PUT"),
        "{within:?}"
    );
    // No spans for leases, watches or the exports themselves.
    assert!(collector.spans().iter().all(|span| span.trace_id != whole.trace_id || span.end_time_unix_nano > 0));
    let roots = collector.spans().into_iter().filter(|span| span.parent_span_id.is_empty());
    assert!(roots.map(|span| span.name).all(|name| name == "reconcile"));
    let resource = collector.received().first().and_then(|spans| spans.resource.clone()).unwrap().attributes;
    assert_eq!(attribute(&resource, "service.name").as_deref(), Some("keypair-operator"));
    assert_eq!(attribute(&resource, "service.version").as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(attribute(&resource, "k8s.pod.name").as_deref(), Some("pod-1"));

    // On shutdown, the operator exports the pending spans.
    let sent = collector.spans().len();
    plane.kubectl_with_input(&["apply", "-f", "-"], &GENERATED.replace("traced", "last")).unwrap().ok().unwrap();
    plane.kubectl(&["wait", "--for=condition=Ready", "keypair/last", "--timeout=30s"]).unwrap().ok().unwrap();
    assert!(operator.stop().await.unwrap().success());
    assert!(collector.spans().len() > sent);

    let key = plane.kubectl(&["get", "secret", "traced", "-o=jsonpath={.data.ssh-privatekey}"]).unwrap().ok().unwrap();
    let pem = plane
        .kubectl(&["get", "secret", "traced", "-o=go-template={{index .data \"ssh-privatekey\" | base64decode}}"])
        .unwrap()
        .ok()
        .unwrap();
    let secret = pem.lines().find(|line| !line.starts_with("-----")).unwrap();
    for body in collector.0.lock().unwrap().iter() {
        let text = String::from_utf8_lossy(body);
        assert!(!text.contains(secret) && !text.contains(&key));
    }
}

/// Traces are optional: a missing collector causes no delay.
#[tokio::test(flavor = "multi_thread")]
async fn an_unavailable_collector_does_not_block_reconciliation() {
    let plane = plane();
    let url = format!("http://127.0.0.1:{}", free_port().unwrap());
    let args = ["run", "--otlp-endpoint", &url];
    let env = [("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let mut operator = Operator::spawn(Path::new(BINARY), plane.kubeconfig(), args, env).unwrap();
    plane.kubectl_with_input(&["apply", "-f", "-"], GENERATED).unwrap().ok().unwrap();
    plane.kubectl(&["wait", "--for=condition=Ready", "keypair/traced", "--timeout=60s"]).unwrap().ok().unwrap();
    operator.wait_for_line("BatchSpanProcessor", TIMEOUT).await.unwrap();
    assert!(operator.stop().await.unwrap().success());
}
