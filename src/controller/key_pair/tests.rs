//! Which requests a reconciliation sends.

use std::{
    future::poll_fn,
    sync::{Mutex, OnceLock},
    task::Poll,
};

use futures::FutureExt;
use http::{Method, Request, Response};
use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::{
    Client,
    client::{Body, ClientBuilder},
    runtime::watcher::Event,
};
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use super::{secrets::RequestError, *};
use crate::{
    cache::{ScopeCache, Watch},
    client::RequestLimits,
    controller::deadline::Unanswered,
    domain::{publication::PublicationKind, region::Region},
};

const LINE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICV0MGX/W9IvLA4FXpIuUcdDcbj5KX4syHgsTy7soVgf me";
const PUT_STATUS: &str = "PUT /apis/keypairs.dev/v1alpha1/namespaces/shop/keypairs/web/status?";

/// An API server that accepts every object and records the requests. The version of each object that it returns is 2.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Vec<String>>>);

impl Server {
    /// A client of this server. `on_request` is called before each response.
    fn client(&self, on_request: impl Fn() + Clone + Send + 'static) -> Client {
        let log = Arc::clone(&self.0);
        let service = service_fn(move |request: Request<Body>| {
            log.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            on_request();
            respond(request)
        });
        ClientBuilder::new(service, "default").build()
    }

    /// The requests since the last call, without those that write Events.
    fn take_requests(&self) -> Vec<String> {
        let requests = std::mem::take(&mut *self.0.lock().unwrap());
        requests.into_iter().filter(|request| !request.contains("/events")).collect()
    }
}

/// Returns the object in the request.
async fn respond(request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let status = if request.method() == Method::POST { 201 } else { 200 };
    let mut object: Value = serde_json::from_slice(&request.into_body().collect_bytes().await?)?;
    object["metadata"]["resourceVersion"] = json!("2");
    Ok(Response::builder().status(status).body(Body::from(object.to_string().into_bytes()))?)
}

/// The first version of a `KeyPair` with this spec and status.
fn key_pair(spec: &Value, status: &Value) -> Arc<KeyPair> {
    let metadata = json!({
        "name": "web",
        "namespace": "shop",
        "uid": "uid-web",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": Timestamp::UNIX_EPOCH,
    });
    serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap()
}

/// A context whose watches have shown this `KeyPair`, in a namespace with a quota of one.
fn context(client: Client, key_pair: &KeyPair) -> Arc<Context> {
    let (context, _) = crate::controller::context::tests::context(client);
    let cache = &context.cache;
    cache.index.set_region("shop", Region::with_quota(1), |_| None);
    // No publications exist.
    for kind in PublicationKind::ALL {
        cache.publications.watches().set_absent(kind);
    }
    apply(cache, &Event::Apply(key_pair.clone()));
    Arc::new(context)
}

/// What the watch does with an event.
fn apply(cache: &ScopeCache, event: &Event<KeyPair>) {
    cache.index.apply(event);
    cache.key_pairs.apply(event);
}

/// A watch event that is older than the write may still trigger a reconciliation.
#[tokio::test]
async fn a_version_that_the_operator_has_replaced_is_not_reconciled() {
    let (server, imported) = (Server::default(), key_pair(&json!({ "publicKey": LINE }), &Value::Null));
    let context = context(server.client(|| ()), &imported);
    reconcile(Arc::clone(&imported), Arc::clone(&context)).await.unwrap();
    assert_eq!(server.take_requests(), [PUT_STATUS]);
    reconcile(Arc::clone(&imported), Arc::clone(&context)).await.unwrap();
    assert_eq!(server.take_requests(), [""; 0], "it decides on a version that it has replaced");

    let mut edited = KeyPair::clone(&imported);
    (edited.metadata.generation, edited.metadata.resource_version) = (Some(2), Some("3".to_owned()));
    apply(&context.cache, &Event::Apply(edited.clone()));
    reconcile(Arc::new(edited), context).await.unwrap();
    assert_eq!(server.take_requests(), [PUT_STATUS]);
}

/// The API server has refused the Secret, so a dry run precedes the key. The `KeyPair` may change meanwhile.
#[tokio::test]
async fn no_key_is_generated_for_an_edited_or_deleted_key_pair() {
    let refused =
        json!({ "error": { "code": "InvalidSecret", "reason": "InvalidSecret", "message": "", "httpStatus": 400 } });
    let generated = key_pair(&json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } }), &refused);
    let mut edited = KeyPair::clone(&generated);
    (edited.metadata.generation, edited.metadata.resource_version) = (Some(2), Some("2".to_owned()));
    let [post, dry_run] = ["", "&dryRun=All"].map(|query| format!("POST /api/v1/namespaces/shop/secrets?{query}"));
    let deleted = Event::Delete(KeyPair::clone(&generated));
    for (event, requests) in [
        (None, vec![dry_run.clone(), post, PUT_STATUS.to_owned()]),
        (Some(Event::Apply(edited)), vec![dry_run.clone()]),
        (Some(deleted), vec![dry_run]),
    ] {
        let server = Server::default();
        let shown = Arc::new(OnceLock::<Arc<Context>>::new());
        let cache = Arc::clone(&shown);
        let pending = Arc::new(Mutex::new(event));
        let client = server.client(move || {
            if let (Some(context), Some(event)) = (cache.get(), pending.lock().unwrap().take()) {
                apply(&context.cache, &event);
            }
        });
        let context = context(client, &generated);
        shown.set(Arc::clone(&context)).ok();
        reconcile(Arc::clone(&generated), context).await.unwrap();
        assert_eq!(server.take_requests(), requests);
    }
}

/// The status may record a key whose Secret was deleted, although the watch does not show that yet.
#[tokio::test]
async fn no_key_is_generated_while_an_unanswered_acceptance_may_be_stored() {
    let generated = key_pair(&json!({ "profile": "OpenSSH", "generate": { "algorithm": "Ed25519" } }), &Value::Null);
    let post = "POST /api/v1/namespaces/shop/secrets?";
    let list = "GET /apis/keypairs.dev/v1alpha1/namespaces/shop/keypairs?&fieldSelector=metadata.name%3Dweb&limit=1";
    let stored = |version: &str| {
        let mut stored = json!(*generated);
        stored["metadata"]["resourceVersion"] = json!(version);
        stored
    };
    for (items, requests) in
        [(vec![stored("1")], vec![list, post, PUT_STATUS]), (vec![stored("2")], vec![list]), (vec![], vec![list])]
    {
        let log = Server::default();
        let requested = Arc::clone(&log.0);
        let service = service_fn(move |request: Request<Body>| {
            requested.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            let answer = json!({ "metadata": {}, "items": items }).to_string().into_bytes();
            async move {
                if request.method() == Method::GET {
                    Ok(Response::new(Body::from(answer)))
                } else {
                    respond(request).await
                }
            }
        });
        let context = context(ClientBuilder::new(service, "default").build(), &generated);
        assert!(context.cache.index.begin_acceptance("shop", "uid-web", "1"));
        reconcile(Arc::clone(&generated), context).await.unwrap();
        assert_eq!(log.take_requests(), requests);
    }
}

/// The client limits each request to the same time, with an error that does not say that the response is missing.
#[tokio::test(start_paused = true)]
async fn a_request_without_a_response_can_be_reported() {
    let service = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, BoxError>>());
    let client = ClientBuilder::new(service, "default").with_layer(&RequestLimits::default()).build();
    let secrets: Api<Secret> = Api::default_namespaced(client);
    let started = Instant::now();
    let read = async { secrets.get("a").await.map_err(RequestError::Kube) };
    let outcome = with_deadline(&Leadership::always(), read).await;
    assert_eq!(started.elapsed().as_secs(), 30);
    let error = outcome.and_then(|read| read.map_err(Error::ReadSecret)).unwrap_err();
    assert_eq!(error.about_secret().as_deref(), Some("the API server did not answer within 30s"));
    assert_eq!(error.step(), "Timeout");
}

/// A process that was suspended would otherwise send what it decided before another replica took over.
#[tokio::test(start_paused = true)]
async fn no_request_is_sent_after_the_end_of_the_term() {
    let (leadership, terms) = Leadership::for_terms();
    let mut sent = false;
    let outcome = with_deadline(&leadership, async { sent = true }).await;
    assert!(!sent && matches!(outcome, Err(Error::Unanswered(Unanswered::NotLeading))));

    terms.extend_until(Instant::now() + Duration::from_secs(1));
    let mut polls = 0;
    let mut request = Box::pin(with_deadline(
        &leadership,
        poll_fn(|_| {
            polls += 1;
            Poll::<()>::Pending
        }),
    ));
    assert!(request.as_mut().now_or_never().is_none());
    terms.end();
    assert!(matches!(request.as_mut().now_or_never(), Some(Err(Error::Unanswered(Unanswered::NotLeading)))));
    drop(request);
    assert_eq!(polls, 1, "it is not polled after the end of the term");
}

/// After the API server was restored to an older state, it would accept what was decided on a newer one.
#[tokio::test(start_paused = true)]
async fn nothing_is_decided_while_the_watch_is_interrupted() {
    let (server, imported) = (Server::default(), key_pair(&json!({ "publicKey": LINE }), &Value::Null));
    let context = context(server.client(|| ()), &imported);
    context.cache.set_watch_current(Watch::KeyPairs, false);
    tokio::time::advance(Duration::from_secs(60)).await;
    let reference = ObjectRef::from_obj(&*imported);
    assert!(Box::pin(reconcile_while_current(reference.clone(), &context)).await.is_some(), "it is requeued");
    assert_eq!(server.take_requests(), [""; 0]);
    context.cache.set_watch_current(Watch::KeyPairs, true);
    assert_eq!(Box::pin(reconcile_while_current(reference, &context)).await, None);
    assert_eq!(server.take_requests(), [PUT_STATUS]);
}
