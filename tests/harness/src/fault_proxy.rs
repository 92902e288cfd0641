//! A proxy between the operator and the API server that injects the faults of networks and overloaded servers.
//!
//! It speaks plain HTTP/1.1 on loopback and forwards with its own client. It streams bodies, so that watches work. A seed
//! determines which request meets which fault, in the order of the requests.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, BodyStream, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use tempfile::{NamedTempFile, TempPath};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::Dice;

/// An injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The request is forwarded late.
    Delay,
    /// 429 with `Retry-After: 1`, not forwarded.
    TooManyRequests,
    /// 500, not forwarded.
    ServerError,
    /// 503, not forwarded.
    Unavailable,
    /// 409 to a write, not forwarded.
    Conflict,
    /// 403, not forwarded.
    Forbidden,
    /// The connection is closed, and nothing is forwarded.
    DropRequest,
    /// The request is forwarded, and the connection is closed before the response.
    DropReply,
    /// A watch ends in the middle.
    CutWatch,
    /// A watch reports that its resource version is too old.
    ExpireWatch,
    /// The response takes longer than the operator waits.
    Stall,
}

/// A write that the operator's guarantees depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// The status of an object is replaced.
    Status,
    /// A Secret is created.
    Secret,
}

type Answer = Response<UnsyncBoxBody<Bytes, anyhow::Error>>;

#[derive(Debug)]
struct State {
    quiet: AtomicBool,
    cut_off: AtomicBool,
    holds_secrets_back: AtomicBool,
    /// How many of 1000 requests fail, in addition to the drawn faults.
    failing: AtomicU64,
    /// The delay of each request and each response, in milliseconds.
    latency: AtomicU64,
    /// Notified whenever a Lease is about to be replaced.
    renewal: Notify,
    /// The faults of the next writes, in place of drawn ones.
    next: Mutex<VecDeque<(Write, Fault)>>,
    dice: Mutex<Dice>,
    counts: Mutex<BTreeMap<Fault, u64>>,
}

/// A running proxy, which stops when this is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    state: Arc<State>,
    port: u16,
    task: AbortHandle,
}

impl FaultProxy {
    /// Starts a proxy in front of the API server of `client`, with faults drawn from `seed`.
    ///
    /// # Errors
    ///
    /// If it cannot listen on loopback.
    pub async fn start(client: Client, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            quiet: AtomicBool::new(false),
            cut_off: AtomicBool::new(false),
            holds_secrets_back: AtomicBool::new(false),
            failing: AtomicU64::new(0),
            latency: AtomicU64::new(0),
            renewal: Notify::new(),
            next: Mutex::default(),
            dice: Mutex::new(Dice::new(seed)),
            counts: Mutex::new(BTreeMap::new()),
        });
        let task = tokio::spawn(serve(listener, client, Arc::clone(&state))).abort_handle();
        Ok(Self { state, port, task })
    }

    /// Starts a proxy that only forwards, until it is told to inject a fault.
    ///
    /// # Errors
    ///
    /// Like [`FaultProxy::start`].
    pub async fn forwarding(client: Client) -> Result<Self> {
        let proxy = Self::start(client, 0).await?;
        proxy.quiet();
        Ok(proxy)
    }

    /// A kubeconfig for the proxy. The requests get the permissions of the client that the proxy forwards with.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn kubeconfig(&self) -> Result<TempPath> {
        let content = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "proxy", "cluster": { "server": format!("http://127.0.0.1:{}", self.port) } }],
            "users": [{ "name": "proxy", "user": {} }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
            "current-context": "proxy",
        });
        let mut file = NamedTempFile::new()?;
        serde_json::to_writer(&mut file, &content).context("write a kubeconfig")?;
        Ok(file.into_temp_path())
    }

    /// Stops drawing faults: from now on, the proxy only forwards.
    pub fn quiet(&self) {
        self.state.quiet.store(true, Ordering::Relaxed);
    }

    /// Injects this fault into the next such write, even after [`FaultProxy::quiet`]. A further call applies to the write
    /// after it.
    pub fn fail_next(&self, write: Write, fault: Fault) {
        self.state.next.lock().unwrap_or_else(PoisonError::into_inner).push_back((write, fault));
    }

    /// Makes this many of 1000 requests fail, equally often in each way: before or after they are forwarded, with or without
    /// a response.
    pub fn fail(&self, per_mille: u64) {
        self.state.failing.store(per_mille, Ordering::Relaxed);
    }

    /// Delays each request and each response.
    pub fn delay(&self, latency: Duration) {
        self.state.latency.store(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until a client is about to replace a Lease.
    pub async fn renewal(&self) {
        self.state.renewal.notified().await;
    }

    /// Delivers no events of Secret watches while `hold` is set.
    pub fn hold_secrets_back(&self, hold: bool) {
        self.state.holds_secrets_back.store(hold, Ordering::Relaxed);
    }

    /// Blocks everything until [`FaultProxy::restore`]: requests and responses are lost, and watches end.
    pub fn cut_off(&self) {
        self.state.cut_off.store(true, Ordering::Relaxed);
    }

    /// Ends [`FaultProxy::cut_off`].
    pub fn restore(&self) {
        self.state.cut_off.store(false, Ordering::Relaxed);
    }

    /// How often each fault happened.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        self.state.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, client: Client, state: Arc<State>) {
    // Dropped with this task, which closes the connections.
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let (client, state) = (client.clone(), Arc::clone(&state));
        connections.spawn(async move {
            let service = service_fn(|request| answer(&client, &state, request));
            // An error is a closed connection, often due to a fault.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await.ok();
        });
    }
}

/// The fault for a request, and a number for its details.
fn draw(state: &State, request: &Request<Incoming>) -> (Option<Fault>, u64) {
    let watch = is_watch(request);
    let write = request.method() != Method::GET;
    let path = request.uri().path();
    let delicate = match *request.method() {
        Method::PUT if path.ends_with("/status") => Some(Write::Status),
        Method::POST if path.ends_with("/secrets") => Some(Write::Secret),
        _ => None,
    };
    let per_mille: &[(Fault, u64)] = &[
        (
            Fault::DropReply,
            if watch {
                0
            } else if delicate.is_some() {
                60
            } else {
                10
            },
        ),
        (Fault::CutWatch, if watch { 500 } else { 0 }),
        (Fault::ExpireWatch, if watch { 100 } else { 0 }),
        (Fault::Conflict, if write { 15 } else { 0 }),
        (Fault::Forbidden, if delicate == Some(Write::Secret) { 40 } else { 0 }),
        (Fault::TooManyRequests, 10),
        (Fault::ServerError, 15),
        (Fault::Unavailable, 15),
        (Fault::DropRequest, 15),
        (Fault::Delay, 100),
        (Fault::Stall, u64::from(!watch)),
    ];
    let mut dice = state.dice.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut number, detail) = (dice.below(1000), dice.draw());
    let mut next = state.next.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&(write, fault)) = next.front()
        && delicate == Some(write)
    {
        next.pop_front();
        return (Some(fault), detail);
    }
    if number < state.failing.load(Ordering::Relaxed) {
        let fault = match number % 4 {
            0 => Fault::DropRequest,
            1 if !watch => Fault::DropReply,
            2 if !watch => Fault::Stall,
            _ => Fault::ServerError,
        };
        *state.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
        return (Some(fault), detail);
    }
    if state.quiet.load(Ordering::Relaxed) {
        return (None, detail);
    }
    for &(fault, share) in per_mille {
        if number < share {
            *state.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
            return (Some(fault), detail);
        }
        number -= share;
    }
    (None, detail)
}

fn is_watch(request: &Request<Incoming>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("watch=true"))
}

async fn answer(client: &Client, state: &Arc<State>, request: Request<Incoming>) -> Result<Answer> {
    let dropped = || anyhow!("connection closed by the proxy");
    let (fault, detail) = draw(state, &request);
    let watch = is_watch(&request);
    let of_secrets = request.uri().path().ends_with("/secrets");
    if state.cut_off.load(Ordering::Relaxed) {
        return Err(dropped());
    }
    match fault {
        Some(Fault::Delay) => sleep(Duration::from_millis(detail % 300)).await,
        Some(Fault::Stall) => sleep(Duration::from_secs(35)).await,
        Some(Fault::TooManyRequests) => return refusal(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
        Some(Fault::ServerError) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        Some(Fault::Unavailable) => return refusal(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        Some(Fault::Forbidden) => return refusal(StatusCode::FORBIDDEN, "Forbidden"),
        Some(Fault::Conflict) => return refusal(StatusCode::CONFLICT, "Conflict"),
        Some(Fault::DropRequest) => return Err(dropped()),
        Some(Fault::ExpireWatch) => {
            let event = json!({ "type": "ERROR", "object": status(StatusCode::GONE, "Expired") });
            return json_answer(StatusCode::OK, format!("{event}\n"));
        }
        _ => {}
    }
    if *request.method() == Method::PUT && request.uri().path().contains("/leases/") {
        state.renewal.notify_waiters();
    }
    let latency = Duration::from_millis(state.latency.load(Ordering::Relaxed));
    sleep(latency).await;
    let reply = forward(client, request).await?;
    sleep(latency).await;
    if fault == Some(Fault::DropReply) || state.cut_off.load(Ordering::Relaxed) {
        return Err(dropped());
    }
    if !watch {
        return Ok(reply.map(|body| body.map_err(anyhow::Error::from).boxed_unsync()));
    }
    let limit = (fault == Some(Fault::CutWatch)).then(|| Duration::from_millis(200 + detail % 5000));
    let (state, holding) = (Arc::clone(state), Arc::clone(state));
    let end = async move {
        let until_cut_off = until(&state.cut_off, true);
        match limit {
            Some(limit) => tokio::time::timeout(limit, until_cut_off).await.unwrap_or(()),
            None => until_cut_off.await,
        }
    };
    Ok(reply.map(|body| {
        let frames = BodyStream::new(body).then(move |frame| {
            let state = Arc::clone(&holding);
            async move {
                if of_secrets {
                    until(&state.holds_secrets_back, false).await;
                }
                frame.map_err(anyhow::Error::from)
            }
        });
        let frames = frames.take_until(Box::pin(end));
        let cut = stream::once(async { Err::<Frame<Bytes>, _>(anyhow!("watch cut by the proxy")) });
        StreamBody::new(frames.chain(cut)).boxed_unsync()
    }))
}

/// Waits until the switch has this value.
async fn until(switch: &AtomicBool, on: bool) {
    while switch.load(Ordering::Relaxed) != on {
        sleep(Duration::from_millis(50)).await;
    }
}

async fn forward(client: &Client, request: Request<Incoming>) -> Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    // These headers belong to the connection to the proxy. All others are forwarded, in particular the user agent.
    for name in [header::HOST, header::CONNECTION, header::AUTHORIZATION, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    parts.version = http::Version::default();
    let mut reply = client.send(Request::from_parts(parts, Body::from(body.to_vec()))).await?;
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        reply.headers_mut().remove(name);
    }
    *reply.version_mut() = http::Version::HTTP_11;
    Ok(reply)
}

fn status(code: StatusCode, reason: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
        "code": code.as_u16(), "reason": reason, "message": "injected by the fault proxy",
    })
}

fn refusal(code: StatusCode, reason: &str) -> Result<Answer> {
    json_answer(code, status(code, reason).to_string())
}

fn json_answer(code: StatusCode, text: String) -> Result<Answer> {
    let mut builder = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if code == StatusCode::TOO_MANY_REQUESTS {
        builder = builder.header(header::RETRY_AFTER, "1");
    }
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync();
    Ok(builder.body(body)?)
}
