//! Bounds on what a client may do to a connection, and to the server through it.

mod support {
    pub(crate) mod raw;
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use std::time::Duration;

use prost::Message;
use semel::coordinator::Settings;
use semel::domain::{Policy, PolicyRules};
use semel::proto;
use semel::server::Limits;
use support::raw::{Frames, RawClient, framed, request};
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

const BEGIN: &str = "/semel.v1.IdempotencyService/Begin";

const YEAR: Duration = Duration::from_hours(365 * 24);

/// Turns what would hang for good into a failure; no verdict is nearer to it than this.
async fn soon<A>(what: impl Future<Output = A>) -> A {
    tokio::time::timeout(Duration::from_mins(1), what).await.expect("it never ends")
}

const ENHANCE_YOUR_CALM: u32 = 0xb;

/// What a server of `limits` says to a client that sends `abuse` and no more; other clients are served before and
/// after.
async fn goodbye_to(limits: Limits, abuse: Vec<bytes::Bytes>) -> Option<u32> {
    // Not keep-alive either is to be what closes the connection.
    let limits = Limits { keep_alive_interval: YEAR, ..limits };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut client = server.client().await;
    started(client.begin(begin("before", 1)).await.unwrap());
    let mut frames = Frames::connect(&server.grpc).await;
    // The server may close before it has read everything. If it does not mind, it reads the end, and says no error.
    let _ = frames.send(abuse).await;
    let _ = frames.0.shutdown().await;
    let said = soon(frames.goodbye()).await;
    started(client.begin(begin("after", 1)).await.unwrap());
    said
}

fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 1 + 2 * number)
}

/// HTTP/2 rapid reset: streams opened and reset at once.
#[tokio::test]
async fn a_client_that_resets_streams_rapidly_is_cut_off() {
    let limits = Limits { max_pending_reset_streams: 10, ..Limits::default() };
    let abuse = streams(100)
        .flat_map(|stream| [Frames::headers(Frames::END_HEADERS, stream, BEGIN), Frames::reset(stream)]);
    assert_eq!(goodbye_to(limits, abuse.collect()).await, Some(ENHANCE_YOUR_CALM));
}

/// `MadeYouReset`: streams that the server itself has to reset, for an error of the client's.
#[tokio::test]
async fn a_client_that_makes_the_server_reset_streams_is_cut_off() {
    let limits = Limits { max_error_reset_streams: 10, ..Limits::default() };
    let abuse = streams(100).flat_map(|stream| {
        [Frames::headers(Frames::END_HEADERS, stream, BEGIN), Frames::window_update(stream, i32::MAX as u32)]
    });
    assert_eq!(goodbye_to(limits, abuse.collect()).await, Some(ENHANCE_YOUR_CALM));
}

/// CONTINUATION flood: a header block that never ends.
#[tokio::test]
async fn a_client_whose_headers_never_end_is_cut_off() {
    // A literal header that is not indexed: name "x", value of 100 bytes.
    let mut header = vec![0x00, 1, b'x', 100];
    header.extend([b'y'; 100]);
    let abuse = std::iter::once(Frames::headers(0, 1, BEGIN))
        .chain((0..10_000).map(|_| Frames::continuation(1, &header)));
    assert_eq!(goodbye_to(Limits::default(), abuse.collect()).await, Some(ENHANCE_YOUR_CALM));
    // Empty ones cost the client least.
    let abuse = std::iter::once(Frames::headers(0, 1, BEGIN))
        .chain((0..10_000).map(|_| Frames::continuation(1, &[])));
    assert_eq!(goodbye_to(Limits::default(), abuse.collect()).await, Some(ENHANCE_YOUR_CALM));
}

#[tokio::test]
async fn a_client_that_does_not_greet_is_closed() {
    let limits = Limits { greeting_time: Duration::from_secs(2), ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut sockets = Vec::new();
    for greeting in ["", "PRI * HT"] {
        let mut socket = TcpStream::connect(&server.grpc).await.unwrap();
        socket.write_all(greeting.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    for mut socket in sockets {
        assert_eq!(soon(socket.read(&mut [0; 16])).await.unwrap(), 0, "closed without a word");
    }
    // Another protocol.
    let mut socket = TcpStream::connect(&server.grpc).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let _ = soon(socket.read_to_end(&mut Vec::new())).await;
    started(server.client().await.begin(begin("k", 1)).await.unwrap());
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_server_serves_on() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let huge = "x".repeat((4 << 20) + 1);
    let refused = client.complete(complete("k", 1, 5, &huge)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    // A frame that only says that it is large.
    let mut raw = RawClient::connect(&server.grpc).await;
    let lie = bytes::Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1]);
    let refused = raw.send(BEGIN, &[], lie).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    started(client.begin(begin("k", 1)).await.unwrap());
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused_and_the_server_serves_on() {
    let server = Start::default().serve().await;
    let mut raw = RawClient::connect(&server.grpc).await;
    let long = "x".repeat(20_000);
    let message = begin("k", 1).encode_to_vec();
    raw.call(BEGIN, &[("x-long", &long)], &message).await.unwrap_err();
    let mut raw = RawClient::connect(&server.grpc).await;
    raw.call(BEGIN, &[("x-short", "x")], &message).await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed() {
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut first = server.client().await;
    let second = RawClient::connect(&server.grpc).await;
    started(first.begin(begin("k", 1)).await.unwrap());
    let mut third = TcpStream::connect(&server.grpc).await.unwrap();
    assert_eq!(third.read(&mut [0; 16]).await.unwrap_or(0), 0, "closed without a word");
    // A place that becomes free is given away.
    second.connection.abort();
    drop(second);
    loop {
        let mut next = RawClient::connect(&server.grpc).await;
        if next.call(BEGIN, &[], &begin("k", 1).encode_to_vec()).await.is_ok() {
            break;
        }
    }
}

#[tokio::test]
async fn an_aged_connection_is_asked_to_go_and_its_calls_end() {
    let store = ScriptedStore::new();
    let limits = Limits { max_connection_age: Duration::from_secs(2), ..Limits::default() };
    let server = Start { limits, ..Start::on(store.clone()) }.serve().await;
    let mut raw = RawClient::connect(&server.grpc).await;
    store.play(Script::Hang);
    let before = store.calls();
    let mut requests = raw.requests.clone();
    let call =
        tokio::spawn(async move { raw.call(BEGIN, &[], &begin("k", 1).encode_to_vec()).await.map(|_| raw) });
    store.called_after(before).await;
    // Until the client knows that it should go: then it opens no more streams.
    while std::future::poll_fn(|context| requests.poll_ready(context)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    store.play(Script::Work);
    let raw = call.await.unwrap().expect("the call that was under way is answered");
    drop(requests);
    let RawClient { requests, connection } = raw;
    drop(requests);
    connection.await.unwrap().expect("a graceful end");
}

/// What a client still sends when the server has said its last does not break the connection.
#[tokio::test]
async fn a_client_that_has_not_heard_the_end_yet_is_not_reset() {
    const PING: u8 = 6;
    let limits = Limits {
        max_connection_age: Duration::from_millis(50),
        keep_alive_timeout: YEAR,
        keep_alive_interval: YEAR,
        ..Limits::default()
    };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut frames = Frames::connect(&server.grpc).await;
    while let Some((kind, _, payload)) = soon(frames.next()).await {
        if kind == PING {
            frames.send([Frames::frame(PING, 1, 0, &payload)]).await.unwrap();
        }
    }
    // The first that meets a closed socket is lost, those that follow the answer to it fail.
    for _ in 0..100 {
        frames.send([Frames::window_update(0, 1)]).await.expect("the server still reads");
        tokio::task::yield_now().await;
    }
}

/// The server answers pings neither for a client nor instead of it: who is gone without a word is found out.
#[tokio::test]
async fn a_dead_peer_is_found_out_and_a_live_one_kept() {
    let limits = Limits {
        keep_alive_interval: Duration::from_millis(200),
        keep_alive_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut alive = RawClient::connect(&server.grpc).await;
    let mut dead = Frames::connect(&server.grpc).await;
    soon(dead.goodbye()).await;
    alive.call(BEGIN, &[], &begin("k", 1).encode_to_vec()).await.unwrap();
}

/// A client that knows the bound and opens more streams all the same.
#[tokio::test]
async fn a_stream_too_many_is_refused() {
    const REFUSED_STREAM: u32 = 7;
    let limits = Limits { max_concurrent_streams: 2, ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut frames = Frames::connect(&server.grpc).await;
    // The first frame says the bound; before that it is not held against a client.
    let (kind, _, settings) = soon(frames.next()).await.unwrap();
    assert_eq!(kind, 4);
    assert!(settings.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 2]), "{settings:?}");
    frames.send([Frames::frame(4, 1, 0, &[])]).await.unwrap();
    frames.send(streams(3).map(|stream| Frames::headers(Frames::END_HEADERS, stream, BEGIN))).await.unwrap();
    assert_eq!(soon(frames.refused()).await, Some((5, REFUSED_STREAM)));
}

/// A caller that goes away gives back the place that its held Begin took.
#[tokio::test]
async fn a_reset_stream_gives_its_waiters_place_back() {
    let store = ScriptedStore::new();
    let policy = Policy { max_wait: Duration::from_hours(1), ..Policy::default() };
    let server = Start {
        rules: PolicyRules::new(policy, Vec::new()),
        settings: Settings { max_waiters: 1, ..Settings::default() },
        limits: Limits { request_timeout: Duration::from_hours(2), ..Limits::default() },
        ..Start::on(store.clone())
    }
    .serve()
    .await;
    let mut client = server.client().await;
    started(client.begin(begin("k", 1)).await.unwrap());
    let raw = RawClient::connect(&server.grpc).await;
    let mut ready = raw.requests.clone().ready().await.unwrap();
    let (held, mut sending) = ready.send_request(request(BEGIN, &[]), false).unwrap();
    let waiting = proto::BeginRequest { wait: seconds(3600), ..begin("k", 2) };
    let before = store.calls();
    sending.send_data(framed(&waiting.encode_to_vec()), true).unwrap();
    // It is decided on what this read finds, and holds the key's turn until it waits.
    store.called_after(before).await;

    let mut next = async || client.begin(proto::BeginRequest { wait: seconds(2), ..begin("k", 3) }).await;
    assert_eq!(reason(&next().await.unwrap_err()), "TOO_MANY_WAITERS");
    sending.send_reset(h2::Reason::CANCEL);
    drop((sending, held));
    let answer = soon(async {
        loop {
            match next().await {
                Err(full) => assert_eq!(reason(&full), "TOO_MANY_WAITERS"),
                Ok(answer) => break answer,
            }
        }
    });
    in_progress(answer.await);
}

/// A client that asks for an answer and does not take it, or takes one byte of it.
#[tokio::test]
async fn an_answer_that_is_not_taken_is_given_up() {
    let limits = Limits { request_timeout: Duration::from_secs(2), ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut client = server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    client.complete(complete("k", 1, owner.fence, &"x".repeat(200_000))).await.unwrap();
    for window in [0, 1] {
        let raw = RawClient::connect_taking(&server.grpc, window).await;
        let mut ready = raw.requests.clone().ready().await.unwrap();
        let (answer, mut sending) = ready.send_request(request(BEGIN, &[]), false).unwrap();
        sending.send_data(framed(&begin("k", 2).encode_to_vec()), true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        for _ in 0..window {
            assert_eq!(body.data().await.unwrap().unwrap().len(), 1);
        }
        let given_up = soon(body.data()).await.expect("not the end of the answer").unwrap_err();
        assert!(given_up.is_reset(), "{given_up}");
    }
    // Whoever takes it has all of it.
    replayed(client.begin(begin("k", 2)).await.unwrap());
}

/// The operations port: a connection has a bounded time for its request.
#[tokio::test]
async fn half_a_request_on_the_operations_port_is_closed() {
    let limits = Limits { greeting_time: Duration::from_secs(2), ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut sockets = Vec::new();
    let halves = [
        "",
        "GET /livez HTTP/1.1\r\nhost: t",
        "POST /livez HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n1",
    ];
    for half in halves {
        let mut socket = TcpStream::connect(&server.operations).await.unwrap();
        socket.write_all(half.as_bytes()).await.unwrap();
        sockets.push(socket);
    }
    assert_eq!(server.get("/livez").await, (200, "ok\n".into()));
    for mut socket in sockets {
        let _ = soon(socket.read_to_end(&mut Vec::new())).await;
    }
}

/// There are so many connections to it at a time.
#[tokio::test]
async fn an_operations_connection_too_many_takes_the_place_of_the_oldest() {
    const MOST: usize = 256;
    let limits = Limits { greeting_time: YEAR, ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut sockets = Vec::with_capacity(MOST);
    for _ in 0..MOST {
        sockets.push(TcpStream::connect(&server.operations).await.unwrap());
    }
    assert_eq!(server.get("/livez").await.0, 200, "a probe is answered all the same");
    assert_eq!(soon(sockets[0].read(&mut [0; 16])).await.unwrap_or(0), 0, "closed without a word");
    // The others keep their places.
    let last = sockets.last_mut().unwrap();
    last.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    soon(last.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}
