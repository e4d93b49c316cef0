//! The shared vectors of what is reported and what callers get, by calls through a service that answers as it is told.

mod support;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use prost::Message;
use semel_client::proto::{
    self, abort_request::Disposition, idempotency_service_server::IdempotencyServiceServer,
};
use semel_client::testing::{Fake, Scripted};
use semel_client::{
    Cancelled, Client, ClientOptions, Error, ErrorKind, Failure, Meaning, OnceOptions, Request, WorkError,
};
use serde_json::Value;
use support::{cases, text};
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use tower::Service;

type Seen = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// What is answered to a method instead of what the fake says.
#[derive(Clone)]
enum Instead {
    Status(Status),
    /// To what has a payload; what has none is taken.
    StatusToPayloads(Status),
    /// An answer with nothing in it.
    Nothing,
}

impl Instead {
    fn response(&self, sent: &[u8]) -> Option<http::Response<Body>> {
        match self {
            Self::Status(status) => Some(status.clone().into_http()),
            Self::StatusToPayloads(status) => {
                let request = proto::CompleteRequest::decode(sent).expect("a Complete");
                let omitted = request.result.is_some_and(|result| result.payload_omitted);
                (!omitted).then(|| status.clone().into_http())
            }
            Self::Nothing => {
                let response = http::Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "0")
                    .body(Body::new(Full::new(bytes::Bytes::from_static(&[0; 5]))));
                Some(response.expect("a response"))
            }
        }
    }
}

/// A client of `fake` that gets something else to a method, and notes what was sent.
fn client(fake: &Fake, instead: Option<(String, Instead)>) -> (Client, Seen) {
    let seen = Seen::default();
    let server = IdempotencyServiceServer::new(fake.clone());
    let noted = Arc::clone(&seen);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (mut server, noted, instead) = (server.clone(), Arc::clone(&noted), instead.clone());
        async move {
            let (parts, body) = request.into_parts();
            let sent = body.collect().await.expect("a request in the process").to_bytes();
            let method = parts.uri.path().rsplit('/').next().expect("a method").to_owned();
            noted.lock().expect("no panic").push((method.clone(), sent[5..].to_vec()));
            let instead = instead.filter(|(refused, _)| *refused == method);
            match instead.and_then(|(_, instead)| instead.response(&sent[5..])) {
                Some(response) => Ok::<_, Infallible>(response),
                None => server.call(http::Request::from_parts(parts, Body::new(Full::new(sent)))).await,
            }
        }
    });
    (Client::through(service, ClientOptions::new()).expect("a client"), seen)
}

fn code(name: &str) -> Code {
    let found = (0..=16).map(Code::from_i32).find(|code| {
        let plain: String = format!("{code:?}").to_ascii_uppercase();
        plain == name.replace('_', "")
    });
    found.unwrap_or_else(|| panic!("no code is called {name}"))
}

fn status(case: &Value) -> Status {
    let mut details = ErrorDetails::new();
    if let Some(reason) = case["reason"].as_str() {
        details.set_error_info(reason, "semel.v1", std::collections::HashMap::new());
    }
    if let Some(pause) = case["retry_info_ms"].as_u64() {
        details.set_retry_info(Some(Duration::from_millis(pause)));
    }
    Status::with_error_details(code(text(case, "code")), "a case", details)
}

async fn plainly(client: &Client, call: &str) -> Result<(), Error> {
    let key = Some(proto::Key { tenant: "t".into(), endpoint: "e".into(), idempotency_key: "k".into() });
    match call {
        "Begin" => client.begin(proto::BeginRequest { key, ..Default::default() }).await.map(drop),
        "Complete" => client.complete(proto::CompleteRequest { key, ..Default::default() }).await.map(drop),
        "Abort" => client.abort(proto::AbortRequest { key, ..Default::default() }).await.map(drop),
        "Lookup" => client.lookup(proto::LookupRequest { key }).await.map(drop),
        "Renew" => client.renew(proto::RenewRequest { key, ..Default::default() }).await.map(drop),
        "SaveCheckpoint" => {
            client.save_checkpoint(proto::SaveCheckpointRequest { key, ..Default::default() }).await.map(drop)
        }
        "BatchBegin" => client.batch_begin(proto::BatchBeginRequest::default()).await.map(drop),
        "ListRecords" => client.list_records(proto::ListRecordsRequest::default()).await.map(drop),
        "ResolveRecord" => {
            client.resolve_record(proto::ResolveRecordRequest { key, ..Default::default() }).await.map(drop)
        }
        "ForgetRecord" => {
            client.forget_record(proto::ForgetRecordRequest { key, ..Default::default() }).await.map(drop)
        }
        "GetPolicy" => client.get_policy(proto::GetPolicyRequest::default()).await.map(drop),
        other => panic!("no method is called {other}"),
    }
}

// The clock is paused: what is sent again takes no time.
#[tokio::test(start_paused = true)]
async fn errors() {
    for case in cases("errors") {
        let fake = Fake::new();
        let call = text(&case, "call").to_owned();
        let instead = match case["decision"].as_str() {
            Some("none") => Some(Instead::Nothing),
            Some(decision) => {
                fake.script("e", "k", [decided(decision, &case)]);
                None
            }
            None if case["error"] == "ResultNotStored" => Some(Instead::StatusToPayloads(status(&case))),
            None => Some(Instead::Status(status(&case))),
        };
        let (client, _) = client(&fake, instead.map(|instead| (call.clone(), instead)));
        if text(&case, "in") == "plain" {
            let error = plainly(&client, &call).await.expect_err("it is refused");
            assert_eq!(error.name(), text(&case, "error"), "{}", case["name"]);
            assert_eq!(error.code_name(), text(&case, "code"), "{}", case["name"]);
            assert_eq!(error.reason(), text(&case, "reason"), "{}", case["name"]);
            continue;
        }
        let work = async |_| Ok("done".to_owned());
        let error = client.once("e", "k", Request::none(), work).await.expect_err("there is an error");
        assert_eq!(error.name(), text(&case, "error"), "{}", case["name"]);
        if let Some(carries) = case["carries_value"].as_bool() {
            let value = match error.into_kind() {
                ErrorKind::LeaseLost { value }
                | ErrorKind::CompletionUnknown { value, .. }
                | ErrorKind::ResultNotStored { value, .. }
                | ErrorKind::ResultConflict { value } => value,
                _ => None,
            };
            assert_eq!(value, carries.then(|| "done".to_owned()), "{}", case["name"]);
        }
    }
}

fn decided(name: &str, case: &Value) -> Scripted {
    match name {
        "in_progress" => Scripted::InProgress { retry_after: Duration::from_secs(1), attempt: 1 },
        "unresolved" => Scripted::Unresolved {
            reason: proto::unresolved::Reason::from_str_name(text(case, "unresolved_reason"))
                .expect("a reason"),
            detail: String::new(),
        },
        other => panic!("no decision is called {other}"),
    }
}

/// How a work ends in the vectors.
enum Returned {
    Json(Value),
    Unencodable,
}

impl serde::Serialize for Returned {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Json(value) => serde::Serialize::serialize(value, serializer),
            Self::Unencodable => Err(serde::ser::Error::custom("not to be encoded")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Returned {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Value as serde::Deserialize>::deserialize(deserializer).map(Self::Json)
    }
}

async fn end(ended: &Value) -> Result<Returned, WorkError> {
    let (how, value) = ended.as_object().and_then(|members| members.iter().next()).expect("one way");
    let message = text(value, "message").to_owned();
    Err(match how.as_str() {
        "returns" => return Ok(Returned::Json(value.clone())),
        "returns_unencodable" => return Ok(Returned::Unencodable),
        "final" => serde_json::from_value::<Failure>(value.clone()).expect("a failure").into(),
        "retryable" => WorkError::retryable_after(
            message,
            Duration::from_millis(value["retry_after_ms"].as_u64().unwrap_or(0)),
        ),
        "unknown" => WorkError::unknown(message),
        "timeout" => tokio::time::timeout(Duration::from_millis(1), std::future::pending::<()>())
            .await
            .unwrap_err()
            .into(),
        "cancelled" => Cancelled.into(),
        "unexpected" => std::io::Error::other(value.as_str().expect("a text")).into(),
        other => panic!("no end is called {other}"),
    })
}

#[tokio::test(start_paused = true)]
async fn failures() {
    for case in cases("failures") {
        let (client, seen) = client(&Fake::new(), None);
        let meaning = match text(&case, "on_unexpected") {
            "unknown" => Meaning::Unknown,
            "release" => Meaning::Release,
            _ => Meaning::Final,
        };
        let options = OnceOptions::new().on_unexpected(meaning);
        let work = async |_| end(&case["ended"]).await;
        let ended = client.once_with(options, "e", "k", Request::none(), work).await;
        let error = ended.err().map(|error| match error.kind() {
            ErrorKind::Work(_) => "own",
            _ => error.name(),
        });
        assert_eq!(error, case["error"].as_str(), "{}", case["name"]);
        let seen = seen.lock().expect("no panic");
        let (method, sent) = seen.last().expect("a report");
        let wanted = &case["report"];
        assert_eq!(method, text(wanted, "method"), "{}", case["name"]);
        if method == "Abort" {
            let abort = proto::AbortRequest::decode(&sent[..]).expect("an Abort");
            let disposition = Disposition::from_str_name(text(wanted, "disposition")).expect("a disposition");
            assert_eq!(abort.disposition(), disposition, "{}", case["name"]);
            let after =
                abort.retry_after.map(|after| after.seconds * 1000 + i64::from(after.nanos) / 1_000_000);
            assert_eq!(after, wanted["retry_after_ms"].as_i64(), "{}", case["name"]);
            continue;
        }
        let result = proto::CompleteRequest::decode(&sent[..]).expect("a Complete").result.expect("a result");
        assert_eq!(result.outcome().as_str_name(), text(wanted, "outcome"), "{}", case["name"]);
        assert_eq!(result.payload_omitted, wanted["payload_omitted"] == true, "{}", case["name"]);
        assert_eq!(i64::from(result.code), wanted["code"].as_i64().unwrap_or(0), "{}", case["name"]);
        if let Some(content_type) = wanted["content_type"].as_str() {
            assert_eq!(result.content_type, content_type, "{}", case["name"]);
        }
        if let Some(failure) = wanted.get("failure") {
            let stored: Value = serde_json::from_slice(&result.payload).expect("JSON");
            assert_eq!(&stored, failure, "{}", case["name"]);
        }
    }
}
