//! What holds for every call: health, reflection, draining, and bounds on what a client may do to a connection.

mod support {
    pub(crate) mod raw;
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use semel::proto;
use semel::server::Limits;
use support::raw::{Frames, RawClient, framed, request};
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const NAMES: [&str; 3] = ["", "semel.v1.IdempotencyService", "semel.v1.OperatorService"];

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

async fn told(watched: &mut tonic::Streaming<HealthCheckResponse>, wanted: ServingStatus) {
    let told = watched.next().await.expect("the stream goes on").unwrap();
    assert_eq!(told.status(), wanted);
}

#[tokio::test]
async fn health_follows_the_store() {
    let store = ScriptedStore::new();
    let server = Start::on(store.clone()).serve().await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watched = health.watch(named("")).await.unwrap().into_inner();
    told(&mut watched, ServingStatus::Serving).await;
    for name in NAMES {
        assert_eq!(health.check(named(name)).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
    assert_eq!(server.get("/livez").await, (200, "ok\n".into()));
    assert_eq!(server.get("/readyz").await, (200, "ok\n".into()));
    assert_eq!(server.get("/elsewhere").await.0, 404);

    store.blame("canary: disk on fire");
    store.play(Script::Refuse);
    told(&mut watched, ServingStatus::NotServing).await;
    for name in NAMES {
        assert_eq!(health.check(named(name)).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    }
    let (status, why) = server.get("/readyz").await;
    assert!(status == 503 && why.contains("store") && !why.contains("canary"), "{status} {why}");
    assert_eq!(server.get("/livez").await.0, 200);

    store.play(Script::Work);
    told(&mut watched, ServingStatus::Serving).await;
    assert_eq!(server.get("/readyz").await.0, 200);

    // A store that hangs, or panics, is as bad as one that refuses.
    for script in [Script::Hang, Script::Panic] {
        store.play(script);
        told(&mut watched, ServingStatus::NotServing).await;
        store.play(Script::Work);
        told(&mut watched, ServingStatus::Serving).await;
    }

    assert_eq!(health.check(named("nobody")).await.unwrap_err().code(), Code::NotFound);
    let mut unknown = health.watch(named("nobody")).await.unwrap().into_inner();
    told(&mut unknown, ServingStatus::ServiceUnknown).await;
}

#[tokio::test]
async fn a_server_whose_store_does_not_answer_starts_not_ready() {
    let store = ScriptedStore::new();
    store.play(Script::Refuse);
    let server = Start::on(store.clone()).serve().await;
    let mut health = HealthClient::new(server.channel().await);
    let status = health.check(named("")).await.unwrap().into_inner().status();
    assert_eq!(status, ServingStatus::NotServing);
}

#[tokio::test]
async fn reflection_tells_the_whole_contract() {
    use tonic_reflection::pb::{v1, v1alpha};

    let server = Start::default().serve().await;
    let services: BTreeSet<String> = {
        let ask = v1::ServerReflectionRequest {
            message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
            ..v1::ServerReflectionRequest::default()
        };
        let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
        let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
        let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
        let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
            panic!("{answer:?}")
        };
        list.service.into_iter().map(|service| service.name).collect()
    };
    for name in ["semel.v1.IdempotencyService", "semel.v1.OperatorService", "grpc.health.v1.Health"] {
        assert!(services.contains(name), "{services:?}");
    }

    // The older form, which older tools speak: the file of a method, with everything it imports.
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let mut files = BTreeSet::new();
    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "semel.v1.IdempotencyService.Begin".into(),
    );
    let imports = ["google/protobuf/duration.proto", "google/protobuf/timestamp.proto"]
        .map(|name| v1alpha::server_reflection_request::MessageRequest::FileByFilename(name.into()));
    let asked: Vec<_> = std::iter::once(symbol)
        .chain(imports)
        .map(|ask| v1alpha::ServerReflectionRequest {
            message_request: Some(ask),
            ..v1alpha::ServerReflectionRequest::default()
        })
        .collect();
    let mut answers = client.server_reflection_info(tokio_stream::iter(asked)).await.unwrap().into_inner();
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap().message_response.unwrap();
        let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(found) = answer
        else {
            panic!("{answer:?}")
        };
        for file in found.file_descriptor_proto {
            files.insert(prost_types::FileDescriptorProto::decode(&*file).unwrap().name().to_owned());
        }
    }
    for name in ["semel/v1/semel.proto", "google/protobuf/duration.proto", "google/protobuf/timestamp.proto"]
    {
        assert!(files.contains(name), "{files:?}");
    }
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented() {
    let server = Start::default().serve().await;
    let mut raw = RawClient::connect(&server.grpc).await;
    for path in ["/semel.v1.IdempotencyService/Steal", "/semel.v2.IdempotencyService/Begin", "/", "/x"] {
        assert_eq!(raw.call(path, &[], &[]).await.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_drain_answers_held_begins_and_finishes_calls() {
    let store = ScriptedStore::new();
    let mut server = Start::on(store.clone()).serve().await;
    let mut client = server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    let mut health = HealthClient::new(server.channel().await);
    let mut watched = health.watch(named("")).await.unwrap().into_inner();
    told(&mut watched, ServingStatus::Serving).await;

    // One Begin is held; one Complete is in the store, which takes its time.
    let before = store.calls();
    let mut waiting = server.client().await;
    let held = tokio::spawn(async move {
        waiting.begin(proto::BeginRequest { wait: seconds(30), ..begin("k", 2) }).await
    });
    store.called_after(before).await;
    store.play(Script::Hang);
    let before = store.calls();
    let mut slow = server.client().await;
    let started_elsewhere = tokio::spawn(async move { slow.begin(begin("elsewhere", 3)).await });
    store.called_after(before).await;

    server.stop();
    assert_eq!(in_progress(held.await.unwrap().unwrap()).attempt, 1);
    told(&mut watched, ServingStatus::NotServing).await;
    assert!(watched.next().await.is_none(), "the stream ends, so that its connection can");
    let (status, why) = server.get("/readyz").await;
    assert!(status == 503 && why.contains("drain"), "{status} {why}");
    assert_eq!(server.get("/livez").await.0, 200);
    // The socket is closed before held Begins are answered.
    assert!(TcpStream::connect(&server.grpc).await.is_err(), "no new connection is taken");
    assert!(client.complete(complete("k", 1, owner.fence, "late")).await.is_err(), "clients were told to go");

    store.play(Script::Work);
    started(started_elsewhere.await.unwrap().unwrap());
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_drain_is_bounded() {
    let store = ScriptedStore::new();
    let limits = Limits { drain_time: Duration::from_millis(50), ..Limits::default() };
    let mut server = Start { limits, ..Start::on(store.clone()) }.serve().await;
    let mut client = server.client().await;
    store.play(Script::Hang);
    let before = store.calls();
    let stuck = tokio::spawn(async move { client.begin(begin("k", 1)).await });
    store.called_after(before).await;
    server.stop();
    server.ended().await.unwrap();
    assert!(stuck.await.unwrap().is_err());
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let mut server = Start::default().serve().await;
    let _idle = server.client().await;
    // Not even a greeting was sent on this one.
    let _silent = TcpStream::connect(&server.grpc).await.unwrap();
    server.stop();
    server.ended().await.unwrap();
}

const ENHANCE_YOUR_CALM: u32 = 0xb;

/// What a server of `limits` says to a client that sends `abuse` and then nothing; other clients are served before
/// and after.
async fn goodbye_to(limits: Limits, abuse: Vec<bytes::Bytes>) -> Option<u32> {
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut client = server.client().await;
    started(client.begin(begin("before", 1)).await.unwrap());
    let mut frames = Frames::connect(&server.grpc).await;
    // The server may close before it has read everything.
    let _ = frames.send(abuse).await;
    let said = frames.goodbye().await;
    started(client.begin(begin("after", 1)).await.unwrap());
    said
}

const BEGIN: &str = "/semel.v1.IdempotencyService/Begin";

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
    let said = goodbye_to(Limits::default(), abuse.collect()).await;
    assert!(said.is_none_or(|code| code != 0), "{said:?}");
    // Empty ones cost the client least.
    let abuse = std::iter::once(Frames::headers(0, 1, BEGIN))
        .chain((0..10_000).map(|_| Frames::continuation(1, &[])));
    let said = goodbye_to(Limits::default(), abuse.collect()).await;
    assert!(said.is_none_or(|code| code != 0), "{said:?}");
}

#[tokio::test]
async fn a_client_that_does_not_greet_is_closed() {
    let limits = Limits { greeting_time: Duration::from_millis(50), ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    for greeting in ["", "PRI * HT"] {
        let mut socket = TcpStream::connect(&server.grpc).await.unwrap();
        socket.write_all(greeting.as_bytes()).await.unwrap();
        assert_eq!(socket.read(&mut [0; 16]).await.unwrap(), 0, "closed without a word");
    }
    // Another protocol.
    let mut socket = TcpStream::connect(&server.grpc).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    let _ = socket.read_to_end(&mut Vec::new()).await;
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
    let refused = raw.send("/semel.v1.IdempotencyService/Begin", &[], lie).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    started(client.begin(begin("k", 1)).await.unwrap());
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused_and_the_server_serves_on() {
    let server = Start::default().serve().await;
    let mut raw = RawClient::connect(&server.grpc).await;
    let long = "x".repeat(20_000);
    let message = begin("k", 1).encode_to_vec();
    let path = "/semel.v1.IdempotencyService/Begin";
    raw.call(path, &[("x-long", &long)], &message).await.unwrap_err();
    let mut raw = RawClient::connect(&server.grpc).await;
    raw.call(path, &[("x-short", "x")], &message).await.unwrap();
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
        if next.call("/semel.v1.IdempotencyService/Begin", &[], &begin("k", 1).encode_to_vec()).await.is_ok()
        {
            break;
        }
    }
}

#[tokio::test]
async fn an_aged_connection_is_asked_to_go_and_its_calls_end() {
    let store = ScriptedStore::new();
    let limits = Limits { max_connection_age: Duration::from_millis(100), ..Limits::default() };
    let server = Start { limits, ..Start::on(store.clone()) }.serve().await;
    let mut raw = RawClient::connect(&server.grpc).await;
    store.play(Script::Hang);
    let before = store.calls();
    let mut requests = raw.requests.clone();
    let call = tokio::spawn(async move {
        raw.call("/semel.v1.IdempotencyService/Begin", &[], &begin("k", 1).encode_to_vec()).await.map(|_| raw)
    });
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

/// A call that panics is a bug of ours: its caller learns an id, the log has the same one.
#[tokio::test]
async fn a_panic_is_answered_logged_and_survived() {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let writer = {
        let log = log.clone();
        move || LogWriter(log.clone())
    };
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let store = ScriptedStore::new();
    let server = Start::on(store.clone()).serve().await;
    let mut client = server.client().await;
    store.play(Script::Panic);
    store.blame("the scripted panic");
    let error = client.begin(begin("k", 1)).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::Internal, "INTERNAL"));
    assert!(!details(&error).text.contains("scripted"), "{error}");
    let id = tonic_types::StatusExt::get_error_details(&error)
        .error_info()
        .and_then(|info| info.metadata.get("id").cloned())
        .expect("an id");
    assert!(error.message().contains(&id));
    let logged = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(logged.lines().any(|line| line.contains(&id) && line.contains("ERROR")), "{logged}");
    store.play(Script::Work);
    started(client.begin(begin("k", 1)).await.unwrap());
}

struct LogWriter(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The server's own bound on a call, when the store hangs: what may have been written is said to be unknown.
#[tokio::test]
async fn a_store_that_hangs_is_not_waited_for_without_end() {
    let store = ScriptedStore::new();
    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Start { limits, ..Start::on(store.clone()) }.serve().await;
    let mut client = server.client().await;
    store.play(Script::Hang);
    let error = client.begin(begin("k", 1)).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::Unavailable, "STORE_OUTCOME_UNKNOWN"));
    let error = client.lookup(proto::LookupRequest { key: Some(key("k")) }).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    // A body that never comes.
    let mut raw = RawClient::connect(&server.grpc).await;
    let mut ready = raw.requests.clone().ready().await.unwrap();
    let (answer, mut sending) =
        ready.send_request(request("/semel.v1.IdempotencyService/Begin", &[]), false).unwrap();
    sending.send_data(framed(&begin("k", 1).encode_to_vec()).slice(..10), false).unwrap();
    let status = tonic::Status::from_header_map(answer.await.unwrap().headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    store.play(Script::Work);
    raw.call("/semel.v1.IdempotencyService/Begin", &[], &begin("k", 1).encode_to_vec()).await.unwrap();
}
