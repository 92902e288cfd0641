//! Malformed and oversized requests, and many valid ones at once.

use std::{future::Future, pin::Pin, time::Duration};

use futures::future::join_all;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    client::{PATIENT, SILENT, Target, answer, crowd, flood},
    under_attack::{Attack, UnderAttack},
};

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// Requests that no server may answer with 200: they are not HTTP, or two parsers could disagree on where the request ends.
fn senseless() -> Vec<(&'static str, Vec<u8>)> {
    let text = |name, text: &str| (name, text.replace('\n', "\r\n").into_bytes());
    vec![
        text("HTTP/0.9", "GET /livez\n"),
        text("another version", "GET /livez HTTP/3.7\nHost: x\n\n"),
        text("no version", "GET /livez\nHost: x\n\n"),
        text("no method", "/livez HTTP/1.1\nHost: x\n\n"),
        text("a method in lower case", "get /livez HTTP/1.1\nHost: x\n\n"),
        text("an unknown method", "BREW /livez HTTP/1.1\nHost: x\n\n"),
        text("CONNECT", "CONNECT x:443 HTTP/1.1\nHost: x\n\n"),
        text("TRACE", "TRACE /livez HTTP/1.1\nHost: x\n\n"),
        text("PUT", "PUT /livez HTTP/1.1\nHost: x\nContent-Length: 0\n\n"),
        text("DELETE", "DELETE /metrics HTTP/1.1\nHost: x\n\n"),
        text("another path", "GET /livez/../../etc/passwd HTTP/1.1\nHost: x\n\n"),
        text("a header without a name", "GET /livez HTTP/1.1\n: x\n\n"),
        text("white space before the colon", "GET /livez HTTP/1.1\nHost : x\n\n"),
        text("a folded header", "GET /livez HTTP/1.1\nHost: x\nX-A: a\n b\n\n"),
        ("NUL in a header", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n".to_vec()),
        ("a bare CR", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\rX-B: b\r\n\r\n".to_vec()),
        ("a long path", [b"GET /".to_vec(), vec![b'a'; 70_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat()),
        ("many headers", [b"GET /livez HTTP/1.1\r\n".to_vec(), b"X-A: a\r\n".repeat(200), b"\r\n".to_vec()].concat()),
        text("two lengths", "POST / HTTP/1.1\nHost: x\nContent-Length: 2\nContent-Length: 40\n\n{}"),
        text("a negative length", "POST / HTTP/1.1\nHost: x\nContent-Length: -1\n\n{}"),
        text("a length with a sign", "POST / HTTP/1.1\nHost: x\nContent-Length: +2\n\n{}"),
        text("a length beyond numbers", "POST / HTTP/1.1\nHost: x\nContent-Length: 99999999999999999999\n\n{}"),
        text("a length of all there is", "POST / HTTP/1.1\nHost: x\nContent-Length: 18446744073709551615\n\n{}"),
        text("a chunk beyond numbers", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nFFFFFFFFFFFFFFFFF\n{}"),
        text("a chunk of all there is", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nFFFFFFFFFFFFFFFF\n{}"),
        text("a chunk without a length", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\nzz\n{}\n0\n\n"),
        text("an unknown encoding", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: gzip\n\n{}"),
        text("chunked, but not at the end", "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked, gzip\n\n0\n\n"),
        text(
            "length and chunks",
            "POST / HTTP/1.1\nHost: x\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\nGET /livez HTTP/1.1\nHost: x\n\n",
        ),
        text("an upgrade to HTTP/2", "PRI * HTTP/2.0\n\nSM\n\n"),
        ("a handshake without TLS, or noise", [&[22, 3, 1, 0, 200, 1][..], &[0x80; 200]].concat()),
        ("noise", (0..=255).cycle().skip(128).take(5000).collect()),
    ]
}

fn first_line(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned()
}

/// The operator accepts none of these as a request, and answers none of them with a 5xx error.
async fn senseless_requests(target: &Target) {
    let cases = senseless();
    let asked = cases.iter().map(async |(name, request)| {
        let plain = answer(TcpStream::connect(target.metrics).await.unwrap(), request, SILENT).await;
        let tls = answer(target.tls("http/1.1").await.unwrap(), request, SILENT).await;
        (*name, [plain, tls])
    });
    for (name, answers) in join_all(asked).await {
        for answer in answers {
            let line = first_line(&answer);
            assert!(line.is_empty() || line.starts_with("HTTP/1.1 4"), "{name}: {line}");
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.contains(" 200 OK"), "{name}: the server found a second request in it: {text}");
        }
    }
    // The server answers pipelined requests one by one, in order.
    let two = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    let answers = answer(TcpStream::connect(target.metrics).await.unwrap(), two, SILENT).await;
    let answers = String::from_utf8_lossy(&answers).into_owned();
    let lines: Vec<&str> = answers.lines().filter(|line| line.starts_with("HTTP/1.1 ")).collect();
    assert_eq!(lines, ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"], "{answers}");
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn review(object: &str) -> Vec<u8> {
    let text = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"u","operation":"CREATE","namespace":"default","kind":{{"group":"keypairs.dev","version":"v1alpha1","kind":"KeyPair"}},"resource":{{"group":"keypairs.dev","version":"v1alpha1","resource":"keypairs"}},"name":"x","userInfo":{{}},"object":{object}}}}}"#
    );
    text.into_bytes()
}

/// Repeats `part` up to the maximum size of a review, between `begin` and `end`.
fn filled(begin: &str, part: &str, end: &str) -> Vec<u8> {
    let parts = (7 * 1024 * 1024 - 2000) / part.len();
    let parts = part.repeat(parts);
    review(&format!("{begin}{}{end}", parts.trim_end_matches(',')))
}

/// Bodies that are not reviews, or reviews that take much more memory than their size.
fn heavy() -> Vec<(&'static str, Vec<u8>)> {
    let head = r#"{"apiVersion":"keypairs.dev/v1alpha1","kind":"KeyPair","metadata":{"name":"x""#;
    vec![
        ("deep arrays", "[".repeat(7_000_000).into_bytes()),
        ("deep objects", r#"{"a":"#.repeat(1_000_000).into_bytes()),
        ("a deep object in a review", review(&r#"{"a":"#.repeat(1_000_000))),
        ("a number without end", review(&format!(r#"{{"metadata":{{"generation":{}}}}}"#, "9".repeat(1_000_000)))),
        ("an exponent without end", review(&format!(r#"{{"a":1e{}}}"#, "9".repeat(1_000_000)))),
        ("no UTF-8", [b"{\"a\":\"".to_vec(), vec![0xff; 1_000_000], b"\"}".to_vec()].concat()),
        ("half a surrogate", review(r#"{"metadata":{"name":"\ud800"}}"#)),
        ("nothing", Vec::new()),
        ("white space", vec![b' '; 7_000_000]),
        ("managed fields", filled(&format!(r#"{head},"managedFields":["#), "{},", r#"]},"spec":{}}"#)),
        (
            "as many managed fields as are read",
            review(&format!(r#"{head},"managedFields":[{}{{}}]}},"spec":{{}}}}"#, "{},".repeat(49_900))),
        ),
        ("owners", filled(&format!(r#"{head},"ownerReferences":["#), "{},", r#"]},"spec":{}}"#)),
        ("finalizers", filled(&format!(r#"{head},"finalizers":["#), r#""","#, r#"]},"spec":{}}"#)),
        ("tags", filled(&format!(r#"{head}}},"spec":{{"tags":["#), r#"{"key":"","value":""},"#, "]}}")),
        ("conditions", filled(&format!(r#"{head}}},"spec":{{}},"status":{{"conditions":["#), "{},", "]}}")),
        ("unknown fields", filled(&format!(r#"{head}}},"spec":{{"unknown":["#), "0,", "]}}")),
        (
            "a field of arrays",
            filled(&format!(r#"{head},"managedFields":[{{"fieldsV1":{{"a":["#), "[],", r#"]}}]},"spec":{}}"#),
        ),
        ("a long text", filled(&format!(r#"{head}}},"spec":{{"publicKey":""#), "aaaaaaaaaaaaaaaa", r#""}}"#)),
    ]
}

/// Sends all heavy requests from several clients in a loop.
fn heavy_requests(target: Target) -> Boxed {
    Box::pin(async move {
        let requests: Vec<Vec<u8>> = heavy().into_iter().map(|(_, body)| post(&body)).collect();
        crowd(12, async |number| {
            for request in requests.iter().cycle().skip(number).take(requests.len()) {
                if let Ok(stream) = target.tls("http/1.1").await {
                    flood(stream, request, b"", true).await;
                }
            }
        })
        .await;
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_requests_do_not_stop_the_operator() {
    let mut under = UnderAttack::begin("requests").await;
    senseless_requests(&under.target).await;
    for (name, body) in heavy() {
        let stream = under.target.tls("http/1.1").await.unwrap();
        let line = first_line(&answer(stream, &post(&body), PATIENT).await);
        let known = ["HTTP/1.1 200 ", "HTTP/1.1 400 ", "HTTP/1.1 413 "].iter().any(|known| line.starts_with(known));
        assert!(known, "{name}: {line}");
        println!("{name}: {line}; {} MiB at most", under.memory("VmHWM") / 1024);
    }
    let attack: Attack = heavy_requests;
    under.bears("heavy requests", attack).await;
    many_creates_at_once(&under).await;
    under.end().await;
}

/// Sends more creates at once than the API server opens webhook connections for, before any connection exists.
async fn many_creates_at_once(under: &UnderAttack) {
    let spec = json!({ "keyPairName": "" });
    for round in 0..2 {
        let creates = (0..200).map(async |number| {
            let begun = tokio::time::Instant::now();
            let answer = under.stage.create("default", &format!("at-once-{number}"), &spec, true).await;
            assert_eq!(answer.text("reason"), "MissingParameter", "{number}: {}", answer.body);
            begun.elapsed()
        });
        let slowest = join_all(creates).await.into_iter().max().unwrap();
        println!("200 creates at once, round {round}: {} ms at most", slowest.as_millis());
        assert!(slowest < Duration::from_secs(30));
    }
}
