//! Servers that bear a crowd: HTTP, and HTTPS with HTTP/2, for whoever can connect, with a bound for everything that a peer
//! can make them hold, and with the means to lose those who hold it without being of use.
//!
//! | what | bound |
//! |---|---|
//! | connections | 224 that have not been answered yet, 64 that have, 32 that are told to leave; for one more, the one that was of use the longest ago goes |
//! | time | handshake 3 s, head of a request 5 s, first answer 10 s, without a request 2 min, an answer that nobody reads 5 s |
//! | requests under way | 1,024 over all connections, 100 streams on one |
//! | heads | 16 KiB and 64 headers over HTTP/1, 8 KiB over HTTP/2 |
//! | bodies | 40 MiB together: of each connection 32 KiB, or 128 KiB when it has been answered, and a pool of 24 MiB |
//! | what is neither body nor answered | 16 KiB, with a request under way 112 KiB, then 4 KiB in a tenth of a second |
//!
//! Timers and most of the limits are hyper's. What is added here: the table of connections ([`connections`]), turns for
//! connections that send without end and an end for those that do not read ([`stream`]), and the room for bodies ([`pool`]).

mod body;
mod connection;
mod connections;
mod pool;
mod stream;

pub use body::{Bodies, Received, Refused};

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
    // An API server that has many requests and no connection opens one for each.
    newcomers: 224,
    regulars: 64,
    leaving: 32,
    requests: 1024,
    first_answer: Duration::from_secs(10),
    idle: Duration::from_secs(120),
};
/// The room for bodies that are too large for the share of their connection, in bytes.
const POOL: usize = 24 * 1024 * 1024;
/// How many connections the kernel keeps for us: those that come at once, while we are at others.
const BACKLOG: u32 = 1024;
/// How much the kernel keeps of what comes and goes over a connection; by itself it would take megabytes of it, which count as well.
const SOCKET_BUFFER: u32 = 64 * 1024;
/// How long to wait after no connection could be taken, for want of file descriptors or memory.
const RETRY: Duration = Duration::from_millis(100);
/// How often that is told.
const TOLD: Duration = Duration::from_secs(60);

/// How a server speaks to its peers.
#[derive(Debug, Clone)]
pub enum Protocol {
    /// HTTP/1 without TLS.
    Http,
    /// HTTP/2 or HTTP/1, with the newest of these certificates.
    Https(watch::Receiver<Arc<ServerConfig>>),
}

/// Listens at an address. To be called on the runtime that serves.
///
/// # Errors
///
/// If it cannot be used.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As the standard library does: the address may have been in use a moment ago.
    socket.set_reuseaddr(true)?;
    // Connections have from it what it has.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` is true, and then gives what is under way `grace` to end.
pub async fn serve(
    listener: TcpListener,
    protocol: Protocol,
    router: Router,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let connections = Arc::new(Connections::new(LIMITS));
    let common = Common { protocol, router, pool: Arc::new(Pool::new(POOL)), stop: stop.clone() };
    let mut tasks = JoinSet::new();
    let mut told: Option<Instant> = None;
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
                connections.serves(id, tasks.spawn(connection::serve(stream, connection, common.clone())));
            }
            Err(error) if is_of_one(&error) => {}
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() > TOLD) {
                    tracing::warn!(%error, "cannot take a connection; closing another for it");
                    told = Some(Instant::now());
                }
                connections.close_one();
                sleep(RETRY).await;
            }
        }
        // Each connection has its turn before there is another one that it could be closed for.
        yield_now().await;
    }
    drop(listener);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(grace, ended).await.is_err() {
        tasks.shutdown().await;
    }
}

/// Whether it was this connection that failed, and not the server.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
