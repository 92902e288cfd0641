//! One connection, from the handshake to its end.

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
    body::Bodies,
    connections::Connection,
    pool::Pool,
    stream::{FairStream, Overhead},
};

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long the head of a request over HTTP/1 may take, and how long a connection is kept for the next one.
const HEAD: Duration = Duration::from_secs(5);
/// How much of HTTP/1 is buffered, so the greatest head as well.
const HTTP1_BUFFER: usize = 16 * 1024;
const HTTP1_HEADERS: usize = 64;
/// As many as clients written in Go, such as the API server, begin with before they have been told how many they may.
const STREAMS: u32 = 100;
/// How much of the bodies on a stream, and on a connection, may be on its way before it is read.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;
/// The greatest head of a request over HTTP/2.
const HEADER_LIST: u32 = 8 * 1024;
/// How many streams may be reset before they have been looked at.
const RESETS: usize = 20;
/// How much of an answer is buffered for each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a peer is asked whether it is there, and how long it has to say so.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that is told to end has for it.
const LINGER: Duration = Duration::from_secs(3);

/// What all connections of a server have in common.
#[derive(Clone)]
pub struct Common {
    pub protocol: Protocol,
    pub router: Router,
    pub pool: Arc<Pool>,
    pub stop: watch::Receiver<bool>,
}

/// Serves a connection until it ends, or is to end.
pub async fn serve(stream: TcpStream, connection: Connection, common: Common) {
    // What is small is answered at once.
    let _ = stream.set_nodelay(true);
    let connection = Arc::new(connection);
    let config = match &common.protocol {
        Protocol::Http => None,
        Protocol::Https(config) => Some(Arc::clone(&config.borrow())),
    };
    let Some(config) = config else {
        return exchange(stream, builder().http1_only(), connection, common).await;
    };
    if let Ok(Ok(stream)) = timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream)).await {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let builder = if is_http2 { builder().http2_only() } else { builder().http1_only() };
        // On the heap: it is much larger than the handshake, and most of a crowd does not get here.
        Box::pin(exchange(stream, builder, connection, common)).await;
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HTTP1_BUFFER)
        .max_headers(HTTP1_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Answers the requests that come over a stream.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    builder: Builder<TokioExecutor>,
    connection: Arc<Connection>,
    common: Common,
) {
    let overhead = Arc::<Overhead>::default();
    let stream = FairStream::new(stream, Arc::clone(&overhead));
    let Common { router, pool, mut stop, .. } = common;
    let bodies = Bodies::new(Arc::clone(&connection), Arc::clone(&overhead), pool);
    let asked = Arc::clone(&connection);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let underway = (asked.begin(), overhead.asked());
        let (connection, overhead) = (Arc::clone(&asked), Arc::clone(&overhead));
        request.extensions_mut().insert(bodies.clone());
        let router = router.clone();
        async move {
            let _underway = underway;
            let response = router.oneshot(request.map(Body::new)).await?;
            if !response.status().is_client_error() {
                overhead.was_request();
                connection.answered();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut exchange = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut ends: Option<Instant> = None;
    loop {
        let due = ends.unwrap_or_else(|| connection.due());
        tokio::select! {
            // Who breaks off is nobody's business.
            _ = exchange.as_mut() => return,
            () = sleep_until(due) => {
                if ends.is_some() || (!connection.is_known() && connection.due() <= Instant::now()) {
                    return;
                }
                if connection.due() > Instant::now() {
                    continue;
                }
            }
            () = stopped(&mut stop), if ends.is_none() => {}
            () = connection.is_to_leave(), if ends.is_none() => {}
        }
        exchange.as_mut().graceful_shutdown();
        ends = Some(Instant::now() + LINGER);
    }
}

/// Resolves when the server is told to stop.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nobody is left who could tell it to.
        pending::<()>().await;
    }
}
