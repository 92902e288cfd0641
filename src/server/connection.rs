//! Serves one connection, from the handshake to its end.

use std::{convert::Infallible, future::pending, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{
    Protocol,
    body::BodyReader,
    connections::Connection,
    pool::Pool,
    stream::{FairStream, Overhead},
};

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the head of an HTTP/1 request may take, and how long an idle HTTP/1 connection stays open.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The size of the HTTP/1 buffer, and so of the largest head.
const HTTP1_BUFFER: usize = 16 * 1024;
const HTTP1_HEADERS: usize = 64;
/// Clients in Go, such as the API server, start with this many streams before they receive the limit.
const MAX_STREAMS: u32 = 100;
/// The HTTP/2 flow-control windows, in bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;
/// The maximum size of the head of an HTTP/2 request.
const MAX_HEADER_LIST: u32 = 8 * 1024;
/// The maximum number of streams that a peer resets before they are accepted.
const MAX_PENDING_RESETS: usize = 20;
/// The size of the buffer for the response of each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// How often an HTTP/2 peer is pinged, and how long it has to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a graceful shutdown of a connection may take.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The state that all connections of a server share.
#[derive(Clone)]
pub struct Common {
    pub protocol: Protocol,
    pub router: Router,
    pub pool: Arc<Pool>,
    pub stop: watch::Receiver<bool>,
}

/// Serves a connection until it ends or must close.
pub async fn serve(stream: TcpStream, connection: Connection, common: Common) {
    // Sends small responses without delay.
    let _ = stream.set_nodelay(true);
    let connection = Arc::new(connection);
    let config = match &common.protocol {
        Protocol::Http => None,
        Protocol::Https(config) => Some(Arc::clone(&config.borrow())),
    };
    let Some(config) = config else {
        return serve_http(stream, builder().http1_only(), connection, common).await;
    };
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let builder = if is_http2 { builder().http2_only() } else { builder().http1_only() };
        // On the heap, because this future is much larger than that of the handshake, which many hostile connections never finish.
        Box::pin(serve_http(stream, builder, connection, common)).await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HTTP1_BUFFER)
        .max_headers(HTTP1_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Answers the requests on a stream.
async fn serve_http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    builder: Builder<TokioExecutor>,
    connection: Arc<Connection>,
    common: Common,
) {
    let overhead = Arc::<Overhead>::default();
    let stream = FairStream::new(stream, Arc::clone(&overhead));
    let Common { router, pool, mut stop, .. } = common;
    let bodies = BodyReader::new(Arc::clone(&connection), Arc::clone(&overhead), pool);
    let served = Arc::clone(&connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let guards = (served.begin_request(), overhead.begin_request());
        let (connection, overhead) = (Arc::clone(&served), Arc::clone(&overhead));
        request.extensions_mut().insert(bodies.clone());
        let router = router.clone();
        async move {
            let _guards = guards;
            let response = router.oneshot(request.map(Body::new)).await?;
            if !response.status().is_client_error() {
                overhead.answered_request();
                connection.answered();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut shutdown_deadline: Option<Instant> = None;
    loop {
        let deadline = shutdown_deadline.unwrap_or_else(|| connection.deadline());
        tokio::select! {
            // An error of the connection needs no report.
            _ = http.as_mut() => return,
            () = sleep_until(deadline) => {
                if shutdown_deadline.is_some()
                    || (!connection.is_established() && connection.deadline() <= Instant::now())
                {
                    return;
                }
                if connection.deadline() > Instant::now() {
                    continue;
                }
            }
            () = stopped(&mut stop), if shutdown_deadline.is_none() => {}
            () = connection.drain_requested(), if shutdown_deadline.is_none() => {}
        }
        http.as_mut().graceful_shutdown();
        shutdown_deadline = Some(Instant::now() + SHUTDOWN_TIMEOUT);
    }
}

/// Resolves when the server must stop.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The sender is gone, so the server never stops.
        pending::<()>().await;
    }
}
