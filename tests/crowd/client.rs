//! Clients that say exactly what a test wants them to say.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use futures::future::join_all;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, sink, split},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Where a crowd goes.
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

    /// Connects to the webhook with TLS, for the protocol `alpn`.
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

/// Any stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Sends `first`, then `piece` again and again, until the peer ends it. What is answered is read, or not.
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
        // A peer that ends it is not to be waited for.
        tokio::select! {
            _ = write => {}
            _ = copy(&mut reader, &mut unread) => {}
        }
    } else {
        write.await.ok();
    }
}

/// Sends `first`, and then a byte of `rest` at a time.
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

/// How long nothing comes before a peer is taken to wait for more.
pub const SILENT: Duration = Duration::from_millis(700);
/// How long an answer may take.
pub const PATIENT: Duration = Duration::from_secs(9);

/// Sends a request, and reads what is answered until the peer ends it, or is `silent` for so long.
pub async fn answer(mut stream: impl Stream, request: &[u8], silent: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    let exchange = async {
        // A peer may have answered, and closed, before it has read everything.
        stream.write_all(request).await.ok();
        stream.flush().await.ok();
        let mut piece = [0; 4096];
        while let Ok(Ok(read @ 1..)) = timeout(silent, stream.read(&mut piece)).await {
            answer.extend_from_slice(&piece[..read]);
        }
    };
    timeout(Duration::from_secs(10), exchange).await.expect("an answer that ends");
    answer
}

/// So many do the same, and begin anew when they are thrown out, at most a thousand times each.
pub async fn crowd<F: Future<Output = ()>>(count: usize, each: impl Fn(usize) -> F) {
    let each = &each;
    join_all((0..count).map(|number| async move {
        for _ in 0..1000 {
            each(number).await;
            // One that is refused does not take all of the processor.
            sleep(Duration::from_millis(1)).await;
        }
    }))
    .await;
}
