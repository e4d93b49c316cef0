//! What holds for every call: health, reflection, draining, panics, and errors that are not semel's own.

mod support {
    pub(crate) mod log;
    pub(crate) mod raw;
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message;
use semel::proto;
use semel::server::Limits;
use support::log;
use support::raw::RawClient;
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;
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

/// They have no `ErrorInfo`, and a row in the documentation that says what to do.
#[tokio::test]
async fn errors_that_are_not_semels_are_documented() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SEMANTICS.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Errors that are not semel's\n"));
    let section = section.expect("a section about them");

    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let impatient = Start { limits, ..Start::default() }.serve().await;
    let server = Start::default().serve().await;
    let begin = "/semel.v1.IdempotencyService/Begin";
    let too_large = bytes::Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff, 1]);
    let compressed = bytes::Bytes::from_static(&[1, 0, 0, 0, 0]);
    let half = support::raw::framed(b"0123456789").slice(..10);
    let mut raw = RawClient::connect(&server.grpc).await;
    let mut errors = vec![
        ("INTERNAL", raw.call(begin, &[], &[0xff]).await.unwrap_err()),
        ("INTERNAL", raw.send(begin, &[], bytes::Bytes::new()).await.unwrap_err()),
        ("INTERNAL", raw.send(begin, &[], half.clone()).await.unwrap_err()),
        ("INTERNAL", raw.send(begin, &[], compressed).await.unwrap_err()),
        ("UNIMPLEMENTED", raw.call("/semel.v1.IdempotencyService/Steal", &[], &[]).await.unwrap_err()),
        ("UNIMPLEMENTED", raw.call(begin, &[("grpc-encoding", "gzip")], &[]).await.unwrap_err()),
        ("OUT_OF_RANGE", raw.send(begin, &[], too_large).await.unwrap_err()),
    ];
    let mut ready = RawClient::connect(&impatient.grpc).await.requests.ready().await.unwrap();
    let (answer, mut sending) = ready.send_request(support::raw::request(begin, &[]), false).unwrap();
    sending.send_data(half, false).unwrap();
    let late = tonic::Status::from_header_map(answer.await.unwrap().headers()).unwrap();
    errors.push(("DEADLINE_EXCEEDED", late));
    for (code, error) in errors {
        assert_eq!(format!("{:?}", error.code()).to_uppercase(), code.replace('_', ""), "{error:?}");
        assert!(tonic_types::StatusExt::get_error_details(&error).error_info().is_none(), "{error:?}");
        assert!(section.contains(&format!("| `{code}`")), "{code} is not there");
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

/// A client that keeps its stream open, to ask more.
#[tokio::test]
async fn a_drain_ends_open_reflection() {
    use tonic_reflection::pb::v1;

    // Long after any test was given up.
    let limits = Limits { drain_time: Duration::from_hours(1), ..Limits::default() };
    let mut server = Start { limits, ..Start::default() }.serve().await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(server.channel().await);
    let (ask, asked) = tokio::sync::mpsc::channel(1);
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    ask.send(v1::ServerReflectionRequest { message_request: Some(list), ..Default::default() })
        .await
        .unwrap();
    let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
    let mut answers = client.server_reflection_info(asked).await.unwrap().into_inner();
    answers.next().await.unwrap().unwrap();
    server.stop();
    let ended = tokio::time::timeout(Duration::from_mins(1), server.ended());
    ended.await.expect("the drain waits for a stream that nobody ends").unwrap();
    assert!(answers.next().await.is_none(), "the stream was ended, not broken");
    drop(ask);
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

/// A call that panics is a bug of ours: its caller learns an id, the log has the same one.
#[tokio::test]
async fn a_panic_is_answered_logged_and_survived() {
    let log = log::Log::default();
    let _guard = log.capture();

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
    let logged = log.text();
    assert!(logged.lines().any(|line| line.contains(&id) && line.contains("ERROR")), "{logged}");
    store.play(Script::Work);
    started(client.begin(begin("k", 1)).await.unwrap());
}
