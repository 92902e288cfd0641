//! A minimal HTTP client for health and metrics of a server on loopback.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The response to [`http_get`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code, such as 200.
    pub status: u16,
    /// The body, which must be UTF-8.
    pub body: String,
}

/// Gets `path` from the server at `address` over plain HTTP.
///
/// # Errors
///
/// If no server listens there, or its response is not HTTP.
pub async fn http_get(address: SocketAddr, path: &str) -> Result<HttpResponse> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
    // With HTTP/1.0, the body is not chunked: it ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    parse(&String::from_utf8_lossy(&bytes))
        .with_context(|| format!("http://{address}{path} answered something else than HTTP"))
}

fn parse(response: &str) -> Option<HttpResponse> {
    let (head, body) = response.split_once("\r\n\r\n")?;
    let mut status_line = head.lines().next()?.split(' ');
    let status =
        status_line.next().filter(|version| version.starts_with("HTTP/")).and(status_line.next())?.parse().ok()?;
    Some(HttpResponse { status, body: body.to_owned() })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a panic fails the test")]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_parsed_into_status_and_body() {
        let response = parse("HTTP/1.0 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno\n").unwrap();
        assert_eq!((response.status, response.body.as_str()), (503, "no\n"));
        assert_eq!(parse("SSH-2.0-OpenSSH\r\n\r\n"), None);
    }
}
