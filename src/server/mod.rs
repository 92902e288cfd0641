//! HTTP and HTTPS servers (with HTTP/2) that stay available under load and attack. Every resource that a peer can occupy is limited,
//! and idle peers lose theirs to active ones.
//!
//! | resource | limit |
//! |---|---|
//! | connections | 224 new, 64 established (with an answer), 32 draining; for one more, the one with the oldest activity is evicted |
//! | time | handshake 3 s, head of a request 5 s, first answer 10 s, idle connection 2 min, unread response 5 s |
//! | requests in progress | 1,024 over all connections, 100 streams on one |
//! | heads | 16 KiB and 64 headers over HTTP/1, 8 KiB over HTTP/2 |
//! | bodies | 40 MiB together: 32 KiB on a new connection, 128 KiB on an established one, and a pool of 24 MiB |
//! | overhead (neither body nor answered request) | 16 KiB, with a request in progress 112 KiB, then 4 KiB in a tenth of a second |
//!
//! hyper provides the timers and most of the limits. This module adds the table of connections ([`connections`]), fair scheduling of
//! connections that send endlessly and a timeout for those that do not read ([`stream`]), and the memory for bodies ([`pool`]).

mod body;
mod connection;
mod connections;
mod pool;
mod stream;

pub use body::{BodyError, BodyReader, Received};

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{JoinSet, yield_now},
    time::{Instant, sleep, timeout},
};

use self::{
    connection::{Common, stopped},
    connections::{Connections, Limits},
    pool::Pool,
};

const LIMITS: Limits = Limits {
    // An API server with many requests and no connection opens one for each request.
    new: 224,
    established: 64,
    draining: 32,
    requests: 1024,
    first_answer: Duration::from_secs(10),
    idle: Duration::from_secs(120),
};
/// The memory for bodies that exceed the share of their connection.
const POOL_BYTES: usize = 24 * 1024 * 1024;
/// How many connections the kernel queues until they are accepted.
const BACKLOG: u32 = 1024;
/// The size of the socket buffers of a connection. By default, the kernel grows them to megabytes, which count as memory of the pod.
const SOCKET_BUFFER: u32 = 64 * 1024;
/// How long to wait after a connection could not be accepted for lack of file descriptors or memory.
const RETRY: Duration = Duration::from_millis(100);
/// How often to log that.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The protocol of a server.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// HTTP/1 without TLS.
    Http,
    /// HTTP/2 or HTTP/1 with TLS, with the latest configuration of the channel.
    Https(watch::Receiver<Arc<ServerConfig>>),
}

/// Listens on an address. Call this within the runtime that serves.
///
/// # Errors
///
/// If the address cannot be bound.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the standard library does, so that a restart can bind the address again at once.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit the sizes.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` is true, then waits at most `grace` for the requests in progress.
pub async fn serve(
    listener: TcpListener,
    protocol: Protocol,
    router: Router,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let connections = Arc::new(Connections::new(LIMITS));
    let common = Common { protocol, router, pool: Arc::new(Pool::new(POOL_BYTES)), stop: stop.clone() };
    let mut tasks = JoinSet::new();
    let mut logged: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let connection = connections.admit(peer.ip());
                let id = connection.id();
                connections.set_task(id, tasks.spawn(connection::serve(stream, connection, common.clone())));
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                if logged.is_none_or(|logged| logged.elapsed() > LOG_INTERVAL) {
                    tracing::warn!(%error, "cannot accept a connection; closing another one");
                    logged = Some(Instant::now());
                }
                connections.evict_one();
                sleep(RETRY).await;
            }
        }
        // Lets each connection run before the next one can evict it.
        yield_now().await;
    }
    drop(listener);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(grace, ended).await.is_err() {
        tasks.shutdown().await;
    }
}

/// Whether the connection failed, and not the server.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
