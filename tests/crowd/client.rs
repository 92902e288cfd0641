//! Clients that send exactly the bytes that a test chooses.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink, split},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The addresses of the operator under attack.
#[derive(Clone)]
pub struct Target {
    pub metrics: SocketAddr,
    pub webhook: SocketAddr,
    roots: Arc<RootCertStore>,
}

impl Target {
    pub fn new(metrics: SocketAddr, webhook: SocketAddr, roots: RootCertStore) -> Self {
        Self { metrics, webhook, roots: Arc::new(roots) }
    }

    /// Connects to the webhook with TLS and the ALPN protocol `alpn`.
    pub async fn tls(&self, alpn: &str) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(Arc::clone(&self.roots)).with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.webhook).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.webhook.ip().into());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Sends `first`, then `piece` in a loop until the peer closes the connection. Reads the responses only if `reads` is set.
pub async fn flood(stream: impl Stream, first: &[u8], piece: &[u8], reads: bool) {
    let (mut reader, mut writer) = split(stream);
    let mut unread = sink();
    let write = async {
        writer.write_all(first).await?;
        while !piece.is_empty() {
            writer.write_all(piece).await?;
            writer.flush().await?;
        }
        writer.flush().await?;
        std::future::pending::<io::Result<()>>().await
    };
    if reads {
        // Stop as soon as the peer closes the connection.
        tokio::select! {
            _ = write => {}
            _ = copy(&mut reader, &mut unread) => {}
        }
    } else {
        write.await.ok();
    }
}

/// Sends `first`, then single bytes with a `pause` between them.
pub async fn dribble(mut stream: impl Stream, first: &[u8], pause: Duration) {
    if stream.write_all(first).await.is_err() {
        return;
    }
    for _ in 0..1000 {
        if stream.write_all(b"a").await.is_err() || stream.flush().await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// After this time without data, a test assumes that the peer waits for more input.
pub const SILENT: Duration = Duration::from_millis(700);
/// Maximum time that a response may take.
pub const PATIENT: Duration = Duration::from_secs(9);

/// Sends a request, and reads the response until the peer closes the connection or sends nothing for `silent`.
pub async fn answer(mut stream: impl Stream, request: &[u8], silent: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchange = async {
        // A peer may respond and close the connection before it has read the whole request.
        stream.write_all(request).await.ok();
        stream.flush().await.ok();
        let mut piece = [0; 4096];
        while let Ok(Ok(read @ 1..)) = timeout(silent, stream.read(&mut piece)).await {
            answer.extend_from_slice(&piece[..read]);
        }
    };
    timeout(Duration::from_secs(10), exchange).await.expect("the response should end in time");
    answer
}

/// Runs `each` in `count` concurrent clients. A client that gets disconnected starts again, at most a thousand times.
pub async fn crowd<F: Future<Output = ()>>(count: usize, each: impl Fn(usize) -> F) {
    let each = &each;
    join_all((0..count).map(|number| async move {
        for _ in 0..1000 {
            each(number).await;
            // A client that is refused at once must not use up the CPU.
            sleep(Duration::from_millis(1)).await;
        }
    }))
    .await;
}
