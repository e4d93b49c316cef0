//! Clients that take their time, and thousands of those that only hold a connection.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::attacked::{Attack, Door, Target, Toll, soon};
use crate::figures::{
    CALL, FIXED, GREETED, HANDSHAKE, MIB, MOST_STREAMS, NOT_GREETED, STREAM, UNDER_WAY, WINDOW,
};
use crate::report::size;
use crate::support::authority::Authority;
use crate::support::raw::{Frames, RawClient, framed, request};
use crate::support::server::{begin, complete, started};
use crate::wire::{BEGIN, Hostile, data, greeted, headers};

fn connections() -> u64 {
    size("SEMEL_HOSTILE_CONNECTIONS", 2_000)
}

/// A server that finds out soon who is gone or silent.
const IMPATIENT: [&str; 6] = [
    "--limits-greeting-time",
    "3s",
    "--limits-keep-alive-interval",
    "2s",
    "--limits-keep-alive-timeout",
    "8s",
];

/// How many bytes a server sends until it closes.
async fn closes(mut socket: TcpStream) -> usize {
    let mut heard = Vec::new();
    let _ = soon("a silent client is closed", socket.read_to_end(&mut heard)).await;
    heard.len()
}

/// Waits until the server has closed every one of these.
async fn all_closed(sockets: Vec<TcpStream>, toll: &mut Toll) -> Vec<usize> {
    toll.add("connections", sockets.len() as u64);
    toll.add("cut_off", sockets.len() as u64);
    let mut closing = JoinSet::new();
    for socket in sockets {
        closing.spawn(closes(socket));
    }
    closing.join_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_greet() {
    Attack::new("never_greet", FIXED + connections() * NOT_GREETED)
        .with(&IMPATIENT)
        .run(async |target, toll| {
            let mut sockets = Vec::new();
            for number in 0..usize::try_from(connections()).unwrap() {
                let mut socket = TcpStream::connect(&target.grpc).await.unwrap();
                let parts: [&[u8]; 3] = [b"", b"PRI * HT", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"];
                socket.write_all(parts[number % parts.len()]).await.unwrap();
                sockets.push(socket);
            }
            let heard = all_closed(sockets, toll).await;
            assert!(heard.iter().all(|bytes| *bytes == 0), "nobody is answered who does not greet");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_clients_that_answer_no_ping() {
    Attack::new("idle", FIXED + connections() * GREETED)
        .with(&IMPATIENT)
        .run(async |target, toll| {
            let mut sockets = Vec::new();
            for _ in 0..connections() {
                sockets.push(greeted(&target.grpc).await);
            }
            all_closed(sockets, toll).await;
        })
        .await;
}

/// A server takes so many connections, and who has one keeps it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_are_taken() {
    const MOST: u64 = 500;
    Attack::new("too_many_connections", FIXED + MOST * GREETED)
        // Nobody's place is free again while others come, however long that takes.
        .with(&["--limits-max-connections", "500", "--limits-keep-alive-interval", "1h"])
        .on_one_connection()
        .run(async |target, toll| {
            let mut sockets = Vec::new();
            for _ in 0..connections() {
                let Ok(mut socket) = TcpStream::connect(&target.grpc).await else { continue };
                // It may be closed already.
                let greeting = [crate::wire::GREETING, &Frames::frame(4, 0, 0, &[])].concat();
                let _ = socket.write_all(&greeting).await;
                sockets.push(socket);
            }
            let mut taken = 0;
            for socket in &mut sockets {
                taken += u64::from(is_taken(socket).await);
            }
            assert!(taken <= MOST, "{taken} of {} were taken", sockets.len());
            let refused = sockets.len() as u64 - taken;
            for (name, many) in
                [("connections", sockets.len() as u64), ("refused", refused), ("cut_off", refused)]
            {
                toll.add(name, many);
            }
        })
        .await;
}

/// Whether the server greets, or closes.
async fn is_taken(socket: &mut TcpStream) -> bool {
    let first = soon("a connection is taken or closed", socket.read(&mut [0])).await;
    first.is_ok_and(|bytes| bytes > 0)
}

/// A request whose headers come a byte at a time, in one frame or in many, and never end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_come_slowly() {
    const CONNECTIONS: u64 = 200;
    Attack::new("slow_headers", FIXED + CONNECTIONS * (GREETED + CALL))
        .with(&IMPATIENT)
        .run(async |target, toll| {
            let mut dripping = JoinSet::new();
            for number in 0..CONNECTIONS {
                let mut socket = greeted(&target.grpc).await;
                dripping.spawn(async move {
                    let whole = headers(0, 1, BEGIN, &[Bytes::from(vec![0; 15_000])]);
                    let drops: Vec<Bytes> = if number % 2 == 0 {
                        whole.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect()
                    } else {
                        let begun = headers(0, 1, BEGIN, &[]);
                        std::iter::once(begun)
                            .chain((0..4).map(|_| Frames::continuation(1, &[0])))
                            .chain((0..15_000).map(|_| Bytes::from_static(&[0])))
                            .collect()
                    };
                    let mut sent = 0;
                    for drop in drops {
                        if socket.write_all(&drop).await.is_err() {
                            break;
                        }
                        sent += 1;
                        // As slow as may be: the server has to be the one who ends it.
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    closes(socket).await;
                    sent
                });
            }
            toll.add("connections", CONNECTIONS);
            toll.add("cut_off", CONNECTIONS);
            toll.add("frames", dripping.join_all().await.into_iter().sum());
        })
        .await;
}

/// Messages that say they are large and come a byte at a time: each call ends when its time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_come_slowly() {
    const CONNECTIONS: u64 = 4;
    const STREAMS: u32 = 200;
    Attack::new("slow_bodies", FIXED + CONNECTIONS * (WINDOW + u64::from(STREAMS) * CALL))
        .with(&["--limits-request-timeout", "10s"])
        .run(async |target, toll| {
            let mut dripping = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let mut hostile = Hostile::connect(&target.grpc).await;
                dripping.spawn(async move {
                    let streams = || (0..STREAMS).map(|number| 1 + 2 * number);
                    let claim = [0, 0, 0x3f, 0xff, 0xff, 0x9a, 0x06];
                    hostile
                        .send(streams().flat_map(|stream| {
                            [headers(Frames::END_HEADERS, stream, BEGIN, &[]), data(0, stream, &claim)]
                        }))
                        .await;
                    // A stream that was answered takes no more; what comes all the same may end the connection.
                    let all = |heard: &crate::wire::Heard| heard.answers >= u64::from(STREAMS);
                    let mut sweeps = 0;
                    while !hostile.heard(all) && sweeps < 20 {
                        hostile.send(streams().map(|stream| data(0, stream, b"x"))).await;
                        sweeps += 1;
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    let answered = hostile.hears(all).await;
                    (hostile.frames, hostile.ended().await, answered)
                });
            }
            for (frames, heard, answered) in dripping.join_all().await {
                assert!(answered, "a call without end is answered: {heard:?}");
                toll.add("connections", 1);
                toll.add("frames", frames);
                toll.add("timed_out", heard.answers);
            }
        })
        .await;
}

/// What messages under way may take in the two attacks on it.
const ROOM: &str = "32MiB";
const ROOM_BYTES: u64 = 32 * MIB;
/// Large bodies that never end: the oldest give way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_without_an_end() {
    const CONNECTIONS: u64 = 4;
    const STREAMS: u64 = 64;
    const BODY: usize = 1 << 20;
    Attack::new(
        "large_bodies",
        FIXED + UNDER_WAY * ROOM_BYTES + CONNECTIONS * (GREETED + 2 * WINDOW + STREAMS * CALL),
    )
    .with(&["--limits-max-bytes-under-way", ROOM])
    .run(async |target, toll| {
        let body = {
            let mut body = vec![0, 0, 0x3f, 0xff, 0xff];
            body.resize(BODY, 1);
            Bytes::from(body)
        };
        let mut calls = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let client = RawClient::connect(&target.grpc).await;
            for _ in 0..STREAMS {
                let (mut requests, body) = (client.requests.clone(), body.clone());
                calls.spawn(async move {
                    requests = requests.ready().await.unwrap();
                    let (answer, mut sending) = requests.send_request(request(BEGIN, &[]), false).unwrap();
                    sending.send_data(body, false).unwrap();
                    let told = answer.await;
                    drop(sending);
                    told.is_err_and(|error| error.is_reset())
                });
            }
        }
        toll.add("connections", CONNECTIONS);
        gave_way(calls, CONNECTIONS * STREAMS - ROOM_BYTES / BODY as u64, toll).await;
    })
    .await;
}

/// Waits until so many calls gave way, and goes away with the others.
async fn gave_way(mut calls: JoinSet<bool>, times: u64, toll: &mut Toll) {
    for _ in 0..times {
        let reset = soon("old messages give way", calls.join_next()).await.unwrap().unwrap();
        assert!(reset, "a call without end ended otherwise");
    }
    toll.add("gave_way", times);
}

/// Answers that are asked for and not taken, by clients whose window is closed, or open for one byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes() {
    const CONNECTIONS: u64 = 4;
    const STREAMS: u64 = 250;
    const RESULT: usize = 250_000;
    Attack::new("slow_reads", FIXED + UNDER_WAY * ROOM_BYTES + CONNECTIONS * (GREETED + STREAMS * CALL))
        .with(&["--limits-max-bytes-under-way", ROOM])
        .run(async |target, toll| {
            let key = large_result(target, RESULT).await;
            for window in [0, 1] {
                let mut calls = JoinSet::new();
                for _ in 0..CONNECTIONS {
                    let client = RawClient::connect_taking(&target.grpc, window).await;
                    for _ in 0..STREAMS {
                        let mut requests = client.requests.clone();
                        let message = framed(&begin(&key, 2).encode_to_vec());
                        calls.spawn(async move {
                            requests = requests.ready().await.unwrap();
                            let (answer, mut sending) =
                                requests.send_request(request(BEGIN, &[]), false).unwrap();
                            sending.send_data(message, true).unwrap();
                            let mut body = match answer.await {
                                Ok(answer) => answer.into_body(),
                                Err(error) => return error.is_reset(),
                            };
                            loop {
                                match body.data().await {
                                    Some(Ok(_)) => {}
                                    Some(Err(error)) => return error.is_reset(),
                                    None => return false,
                                }
                            }
                        });
                    }
                }
                toll.add("connections", CONNECTIONS);
                gave_way(calls, CONNECTIONS * STREAMS - ROOM_BYTES / RESULT as u64 - 1, toll).await;
            }
        })
        .await;
}

/// A key that is completed with so large a result.
async fn large_result(target: &Target, bytes: usize) -> String {
    let mut client = IdempotencyServiceClient::new(target.channel().await.unwrap());
    let key = uuid::Uuid::new_v4().to_string();
    let owner = started(client.begin(begin(&key, 1)).await.unwrap());
    client.complete(complete(&key, 1, owner.fence, &"x".repeat(bytes))).await.unwrap();
    key
}

/// Floods whose clients never read what they are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_clients_that_never_read() {
    const CONNECTIONS: u64 = 8;
    Attack::new("unread", FIXED + CONNECTIONS * (GREETED + MOST_STREAMS * STREAM))
        .run(async |target, toll| {
            let mut flooding = JoinSet::new();
            for number in 0..CONNECTIONS {
                let mut socket = greeted(&target.grpc).await;
                flooding.spawn(async move {
                    let mut frames = 0;
                    for burst in 0..1_000_u32 {
                        let flood: Vec<u8> = (0..100)
                            .flat_map(|place| match number % 2 {
                                0 => Frames::frame(6, 0, 0, &[1; 8]),
                                _ => headers(5, 1 + 2 * (burst * 100 + place), "/nobody/Knows", &[]),
                            })
                            .collect();
                        // The server may refuse, or take no more until it is read; either ends it.
                        let taken = tokio::time::timeout(Duration::from_secs(2), socket.write_all(&flood));
                        if !matches!(taken.await, Ok(Ok(()))) {
                            break;
                        }
                        frames += 100;
                    }
                    frames
                });
            }
            toll.add("connections", CONNECTIONS);
            toll.add("frames", flooding.join_all().await.into_iter().sum());
        })
        .await;
}

/// TLS handshakes that are not begun, or not ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_never_end() {
    const CONNECTIONS: u64 = 1_000;
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = authority.server();
    let (certificate, key) = (directory.path().join("server.pem"), directory.path().join("server-key.pem"));
    std::fs::write(&certificate, pair.certificate).unwrap();
    std::fs::write(&key, pair.key).unwrap();
    Attack::new("handshakes", FIXED + CONNECTIONS * HANDSHAKE)
        .with(&IMPATIENT)
        .with(&["--tls-certificate-file", certificate.to_str().unwrap()])
        .with(&["--tls-key-file", key.to_str().unwrap()])
        .through(Door { authority: Some(authority.pem.clone()), token: None })
        .run(async |target, toll| {
            let mut sockets = Vec::new();
            for number in 0..usize::try_from(CONNECTIONS).unwrap() {
                let mut socket = TcpStream::connect(&target.grpc).await.unwrap();
                // A record that says it holds 16 KiB of a ClientHello, and the beginning of it.
                let mut hello = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
                hello.resize(8_000, 0);
                let part = [0, 5, 9, 8_000][number % 4];
                socket.write_all(&hello[..part]).await.unwrap();
                sockets.push(socket);
            }
            all_closed(sockets, toll).await;
        })
        .await;
}
