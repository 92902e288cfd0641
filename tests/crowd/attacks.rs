//! Many clients hold connections and request bodies open, over TCP, TLS and HTTP/1.

use std::{future::Future, pin::Pin, time::Duration};

use futures::future::join;
use tokio::net::TcpStream;

use crate::{
    client::{PATIENT, Target, answer, crowd, dribble, flood},
    under_attack::{Attack, UnderAttack},
};

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// One byte below the maximum size of a review.
pub const ALMOST: usize = 7 * 1024 * 1024 - 1;
const SLOW: Duration = Duration::from_millis(100);

/// Connections that never send a byte.
pub fn silence(target: Target) -> Boxed {
    Box::pin(async move {
        crowd(1100, async |number| {
            let address = if number.is_multiple_of(2) { target.webhook } else { target.metrics };
            if let Ok(stream) = TcpStream::connect(address).await {
                flood(stream, b"", b"", true).await;
            }
        })
        .await;
    })
}

/// TLS handshakes that stop in the middle of a message of the maximum size.
fn half_handshakes(target: Target) -> Boxed {
    Box::pin(async move {
        let hello = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff, 3, 3][..], &[7; 0x3ff0]].concat();
        crowd(1100, async |_| {
            if let Ok(stream) = TcpStream::connect(target.webhook).await {
                flood(stream, &hello, b"", true).await;
            }
        })
        .await;
    })
}

/// Connections that close as soon as they are open.
fn churn(target: Target) -> Boxed {
    Box::pin(async move {
        let each = async |number: usize| {
            let address = if number.is_multiple_of(2) { target.webhook } else { target.metrics };
            for _ in 0..100 {
                TcpStream::connect(address).await.ok();
            }
        };
        crowd(20, each).await;
    })
}

/// Complete TLS handshakes without any request.
fn handshakes(target: Target) -> Boxed {
    Box::pin(async move {
        crowd(1100, async |number| {
            if let Ok(stream) = target.tls(if number.is_multiple_of(2) { "h2" } else { "http/1.1" }).await {
                flood(stream, b"", b"", true).await;
            }
        })
        .await;
    })
}

/// Request heads that arrive byte by byte.
fn slow_heads(target: Target) -> Boxed {
    Box::pin(async move {
        let first = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ";
        let plain = crowd(984, async |_| {
            if let Ok(stream) = TcpStream::connect(target.metrics).await {
                dribble(stream, first, SLOW).await;
            }
        });
        let tls = crowd(100, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                dribble(stream, first, SLOW).await;
            }
        });
        join(plain, tls).await;
    })
}

/// Endless request heads, sent as fast as possible.
fn endless_heads(target: Target) -> Boxed {
    Box::pin(async move {
        let first = b"GET /metrics HTTP/1.1\r\nHost: x\r\n";
        let piece = b"X-Header: something that takes room\r\n".repeat(100);
        let plain = crowd(32, async |_| {
            if let Ok(stream) = TcpStream::connect(target.metrics).await {
                flood(stream, first, &piece, true).await;
            }
        });
        let tls = crowd(32, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                flood(stream, first, &piece, true).await;
            }
        });
        join(plain, tls).await;
    })
}

fn post(length: usize) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n").into()
}

/// Request bodies that arrive byte by byte.
fn slow_bodies(target: Target) -> Boxed {
    Box::pin(async move {
        crowd(200, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                dribble(stream, &post(ALMOST), SLOW).await;
            }
        })
        .await;
    })
}

/// Request bodies without their last byte.
fn bodies_without_their_end(target: Target) -> Boxed {
    Box::pin(async move {
        let request = [post(ALMOST + 1), vec![b' '; ALMOST]].concat();
        crowd(36, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                flood(stream, &request, b"", true).await;
            }
        })
        .await;
    })
}

/// Endless chunked request bodies.
fn endless_chunks(target: Target) -> Boxed {
    Box::pin(async move {
        let first = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let piece = [b"8000\r\n".to_vec(), vec![b' '; 0x8000], b"\r\n".to_vec()].concat();
        crowd(36, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                flood(stream, first, &piece, true).await;
            }
        })
        .await;
    })
}

/// Request bodies with one byte per chunk, which cost much more than their size.
fn tiny_chunks(target: Target) -> Boxed {
    Box::pin(async move {
        let first = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let piece = b"1;an-extension=that-takes-room\r\n \r\n".repeat(200);
        crowd(36, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                flood(stream, first, &piece, true).await;
            }
        })
        .await;
    })
}

/// Requests from clients that never read the responses.
fn unread_answers(target: Target) -> Boxed {
    Box::pin(async move {
        let metrics = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
        let review = [post(2), b"{}".to_vec()].concat().repeat(100);
        let plain = crowd(100, async |_| {
            if let Ok(stream) = TcpStream::connect(target.metrics).await {
                flood(stream, b"", &metrics, false).await;
            }
        });
        let tls = crowd(100, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                flood(stream, b"", &review, false).await;
            }
        });
        join(plain, tls).await;
    })
}

/// Valid requests, so that the attackers rank as high as an API server.
fn regulars(target: Target) -> Boxed {
    Box::pin(async move {
        let review = br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"x"}}"#;
        let request = [post(review.len()), review.to_vec()].concat();
        let tls = crowd(150, async |_| {
            if let Ok(stream) = target.tls("http/1.1").await {
                flood(stream, &request, b"", true).await;
            }
        });
        let plain = crowd(300, async |_| {
            if let Ok(stream) = TcpStream::connect(target.metrics).await {
                flood(stream, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"", true).await;
            }
        });
        join(plain, tls).await;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn held_connections_and_bodies_do_not_stop_the_operator() {
    let mut under = UnderAttack::begin("held").await;
    let attacks: [(&str, Attack); 12] = [
        ("silence", silence),
        ("half handshakes", half_handshakes),
        ("churn", churn),
        ("handshakes", handshakes),
        ("slow heads", slow_heads),
        ("endless heads", endless_heads),
        ("slow bodies", slow_bodies),
        ("bodies without their end", bodies_without_their_end),
        ("endless chunks", endless_chunks),
        ("tiny chunks", tiny_chunks),
        ("unread answers", unread_answers),
        ("regulars", regulars),
    ];
    for (name, attack) in attacks {
        under.bears(name, attack).await;
    }
    // The operator refuses a body that is too large before the body arrives.
    let stream = under.target.tls("http/1.1").await.unwrap();
    let answered = answer(stream, &post(ALMOST + 2), PATIENT).await;
    assert!(answered.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answered));
    under.end().await;
}
