//! What callers write, and every secret of the server, is in no log, no trace, no metric, no error and no panic: unique
//! strings are planted wherever callers and operators can put one, a real server at its most talkative is taken down
//! every path, and everything that it let out is searched, in each form that a text takes in passing.

#[path = "support/program.rs"]
mod program;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/server.rs"]
mod server;
mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use program::{Heard, Program, errors};
use raw::RawClient;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::proto::resolve_record_request::Resolution;
use server::{attempt_id, seconds};
use support::semel;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

/// Every string that was planted, and where.
#[derive(Clone, Default)]
struct Planted(Arc<Mutex<Vec<(String, String)>>>);

impl Planted {
    /// A new string for `place`: 24 characters, so that its base64 does not depend on what comes after.
    fn plant(&self, place: &str) -> String {
        let text = format!("cnry{:020}", rand::random_range(0..10_u64.pow(18)));
        self.0.lock().unwrap().push((place.to_owned(), text.clone()));
        text
    }

    fn count(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    /// What is found of them in `output`, in any form. It is never printed itself: it has been found, after all.
    fn found_in(&self, name: &str, output: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(output).to_lowercase();
        let mut all = Vec::new();
        for (form, written) in FORMS {
            // All of them begin alike, and the first three characters do so in every form.
            let alike = written(b"cnr").to_lowercase();
            if !text.contains(&alike) {
                continue;
            }
            for (place, planted) in self.0.lock().unwrap().iter() {
                if let Some(at) = text.find(&written(planted.as_bytes()).to_lowercase()) {
                    let line = text[..at].rfind('\n').map_or(0, |start| start + 1);
                    let head: String = text[line..at].chars().take(300).collect();
                    all.push(format!("{name} has what was planted in {place}, {form}, after «{head}»"));
                }
            }
        }
        all
    }
}

type Form = (&'static str, fn(&[u8]) -> String);

/// How a text may come to be written.
const FORMS: [Form; 5] = [
    ("as it is", |bytes| String::from_utf8_lossy(bytes).into_owned()),
    ("in base64", |bytes| STANDARD_NO_PAD.encode(bytes)),
    ("in base64 for URLs", |bytes| URL_SAFE_NO_PAD.encode(bytes)),
    ("in hexadecimal", |bytes| bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))),
    ("as a list of bytes", |bytes| format!("{bytes:?}").trim_matches(['[', ']']).to_owned()),
];

/// Whoever is sent telemetry: takes all of it, and keeps the bytes.
struct Collector {
    address: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keeper = heard.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let keeper = keeper.clone();
                std::thread::spawn(move || take_http(socket, &keeper));
            }
        });
        Self { address, heard }
    }
}

/// Answers each request of a connection with 200.
fn take_http(mut socket: TcpStream, keeper: &Mutex<Vec<u8>>) {
    let mut pending = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        keeper.lock().unwrap().extend_from_slice(&buffer[..length]);
        pending.extend_from_slice(&buffer[..length]);
        while let Some(head) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&pending[..head]).to_lowercase();
            let body = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .map_or(0, |length| length.trim().parse::<usize>().unwrap());
            if pending.len() < head + 4 + body {
                break;
            }
            pending.drain(..head + 4 + body);
            if socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").is_err() {
                return;
            }
        }
    }
}

/// A caller who puts something unique into every field.
struct Caller {
    planted: Planted,
    client: IdempotencyServiceClient<Channel>,
    operator: OperatorServiceClient<Channel>,
    /// Everything that errors said.
    errors: String,
    paths: u64,
}

impl Caller {
    async fn connect(url: &str, planted: Planted) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        Self {
            planted,
            client: IdempotencyServiceClient::new(channel.clone()),
            operator: OperatorServiceClient::new(channel),
            errors: String::new(),
            paths: 0,
        }
    }

    fn key(&self, endpoint: &str) -> proto::Key {
        let idempotency_key = self.planted.plant("an idempotency key");
        proto::Key { tenant: "shop".into(), endpoint: endpoint.into(), idempotency_key }
    }

    fn begin_of(&self, key: &proto::Key, attempt: u32) -> proto::BeginRequest {
        proto::BeginRequest {
            key: Some(key.clone()),
            attempt_id: attempt_id(attempt),
            fingerprint: b"the same fingerprint for all".to_vec().into(),
            labels: HashMap::from([(self.planted.plant("a label's name"), self.planted.plant("a label"))]),
            ..proto::BeginRequest::default()
        }
    }

    fn result(&self) -> proto::Result {
        let header = proto::Header {
            name: self.planted.plant("a header's name"),
            value: self.planted.plant("a header").into(),
        };
        proto::Result {
            outcome: proto::result::Outcome::Success.into(),
            code: 200,
            content_type: self.planted.plant("a content type"),
            headers: vec![header],
            payload: self.planted.plant("a payload").into(),
            payload_omitted: false,
        }
    }

    fn complete_of(&self, key: &proto::Key, attempt: u32, fence: i64) -> proto::CompleteRequest {
        proto::CompleteRequest {
            key: Some(key.clone()),
            fence,
            attempt_id: attempt_id(attempt),
            result: Some(self.result()),
            retention: None,
        }
    }

    fn abort_of(&self, key: &proto::Key, attempt: u32, fence: i64, how: Disposition) -> proto::AbortRequest {
        proto::AbortRequest {
            key: Some(key.clone()),
            fence,
            attempt_id: attempt_id(attempt),
            disposition: how.into(),
            detail: self.planted.plant("a detail"),
            retry_after: None,
        }
    }

    fn point_of(
        &self,
        key: &proto::Key,
        attempt: u32,
        fence: i64,
        name: &str,
    ) -> proto::SaveCheckpointRequest {
        proto::SaveCheckpointRequest {
            key: Some(key.clone()),
            fence,
            attempt_id: attempt_id(attempt),
            name: name.into(),
            value: self.planted.plant("a checkpoint").into(),
        }
    }

    fn renew_of(key: &proto::Key, attempt: u32, fence: i64) -> proto::RenewRequest {
        let (key, attempt_id) = (Some(key.clone()), attempt_id(attempt));
        proto::RenewRequest { key, fence, attempt_id, lease: None }
    }

    fn resolve_of(
        &self,
        key: &proto::Key,
        fence: i64,
        resolution: Option<Resolution>,
    ) -> proto::ResolveRecordRequest {
        let note = self.planted.plant("a note");
        proto::ResolveRecordRequest { key: Some(key.clone()), fence, resolution, note, force: true }
    }

    /// A request with a header that holds a secret, such as a credential meant for something else.
    fn with_header<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let secret = self.planted.plant("a request header").parse().unwrap();
        request.metadata_mut().insert("x-api-key", secret);
        request
    }

    /// One path that ends well.
    fn goes<T>(&mut self, answer: Result<tonic::Response<T>, Status>) -> T {
        self.paths += 1;
        answer.unwrap_or_else(|status| panic!("{status:?}")).into_inner()
    }

    /// One path that ends in an error for this reason.
    fn fails<T: std::fmt::Debug>(&mut self, reason: &str, answer: Result<tonic::Response<T>, Status>) {
        self.paths += 1;
        let status = answer.expect_err(reason);
        let details = status.get_error_details();
        assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some(reason), "{status:?}");
        let raw = String::from_utf8_lossy(status.details());
        let _ = writeln!(self.errors, "{status:?} {details:?} {raw} {:?}", status.metadata());
    }

    async fn started(&mut self, request: proto::BeginRequest) -> i64 {
        let request = self.with_header(request);
        let answer = self.client.begin(request).await;
        match self.goes(answer).decision {
            Some(proto::begin_response::Decision::Started(started)) => started.fence,
            other => panic!("not started: {}", kind(other.as_ref())),
        }
    }

    async fn begins(&mut self, request: proto::BeginRequest, decision: &str) {
        let answer = self.client.begin(request).await;
        assert_eq!(kind(self.goes(answer).decision.as_ref()), decision);
    }

    /// A text that is too long for wherever it goes, and has something unique in it.
    fn too_long(&self, place: &str) -> String {
        self.planted.plant(place).repeat(100)
    }

    /// The paths of those who begin, and of whoever meets them.
    async fn begin_paths(&mut self) {
        let key = self.key("rerun/any");
        let fence = self.started(self.begin_of(&key, 1)).await;
        self.begins(self.begin_of(&key, 1), "started").await;
        self.begins(self.begin_of(&key, 2), "in_progress").await;
        self.begins(proto::BeginRequest { retry: true, ..self.begin_of(&key, 2) }, "in_progress").await;
        let other = proto::BeginRequest {
            fingerprint: self.planted.plant("a fingerprint").into(),
            ..self.begin_of(&key, 2)
        };
        let answer = self.client.begin(other).await;
        self.fails("FINGERPRINT_MISMATCH", answer);
        let answer = self.client.complete(self.complete_of(&key, 1, fence)).await;
        self.goes(answer);
        self.begins(self.begin_of(&key, 2), "replayed").await;

        let key = self.key("rerun/any");
        let first = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.save_checkpoint(self.point_of(&key, 1, first, "p")).await;
        self.goes(answer);
        let abort = self.abort_of(&key, 1, first, Disposition::OutcomeUnknown);
        let answer = self.client.abort(proto::AbortRequest { retry_after: seconds(60), ..abort }).await;
        self.goes(answer);
        self.begins(self.begin_of(&key, 2), "in_progress").await;
        let answer = self.client.begin(self.begin_of(&key, 1)).await;
        self.fails("ATTEMPT_ENDED", answer);

        let key = self.key("rerun/any");
        let first = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.abort(self.abort_of(&key, 1, first, Disposition::OutcomeUnknown)).await;
        self.goes(answer);
        let second = self.started(self.begin_of(&key, 2)).await;
        let answer = self.client.complete(self.complete_of(&key, 1, first)).await;
        self.fails("FENCE_LOST", answer);
        let waiting = proto::BeginRequest {
            wait: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
            ..self.begin_of(&key, 3)
        };
        self.begins(waiting, "in_progress").await;
        let answer = self.client.complete(self.complete_of(&key, 2, second)).await;
        self.goes(answer);

        let key = self.key("unknown/any");
        let fence = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.abort(self.abort_of(&key, 1, fence, Disposition::OutcomeUnknown)).await;
        self.goes(answer);
        self.begins(self.begin_of(&key, 2), "unresolved").await;

        let long_ago = Some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        let answer = self
            .client
            .begin(proto::BeginRequest { first_sent: long_ago, ..self.begin_of(&self.key("rerun/any"), 1) })
            .await;
        self.fails("KEY_EXPIRED", answer);
        let none =
            proto::BeginRequest { fingerprint: Vec::new().into(), ..self.begin_of(&self.key("strict"), 1) };
        let answer = self.client.begin(none).await;
        self.fails("FINGERPRINT_REQUIRED", answer);
        self.started(self.begin_of(&self.key("narrow"), 1)).await;
        for endpoint in ["narrow", "slow"] {
            if endpoint == "slow" {
                self.started(self.begin_of(&self.key(endpoint), 1)).await;
            }
            let answer = self.client.begin(self.begin_of(&self.key(endpoint), 1)).await;
            self.fails("QUOTA_EXCEEDED", answer);
        }
    }

    /// Arguments that are wrong, each with something unique in it.
    async fn argument_paths(&mut self) {
        let key = self.key("rerun/any");
        let long = proto::Key { idempotency_key: self.too_long("a key that is too long"), ..key.clone() };
        let nameless =
            proto::Header { name: String::new(), value: self.planted.plant("a nameless header").into() };
        let wrong = [
            ("INVALID_KEY", proto::BeginRequest { key: Some(long), ..self.begin_of(&key, 1) }),
            (
                "INVALID_ATTEMPT_ID",
                proto::BeginRequest {
                    attempt_id: self.planted.plant("an attempt id"),
                    ..self.begin_of(&key, 1)
                },
            ),
            (
                "INVALID_FINGERPRINT",
                proto::BeginRequest {
                    fingerprint: self.too_long("a long fingerprint").into(),
                    ..self.begin_of(&key, 1)
                },
            ),
            ("INVALID_DURATION", proto::BeginRequest { lease: seconds(-1), ..self.begin_of(&key, 1) }),
            (
                "INVALID_LABELS",
                proto::BeginRequest {
                    labels: HashMap::from([(
                        self.planted.plant("a long label's name"),
                        self.too_long("a long label"),
                    )]),
                    ..self.begin_of(&key, 1)
                },
            ),
        ];
        for (reason, request) in wrong {
            let answer = self.client.begin(request).await;
            self.fails(reason, answer);
        }
        let result = Some(proto::Result { headers: vec![nameless], ..self.result() });
        let answer =
            self.client.complete(proto::CompleteRequest { result, ..self.complete_of(&key, 1, 1) }).await;
        self.fails("INVALID_RESULT", answer);
        let small = proto::Key { endpoint: "strict".into(), ..key.clone() };
        let answer = self.client.complete(self.complete_of(&small, 1, 1)).await;
        self.fails("RESULT_TOO_LARGE", answer);
        let answer = self.client.complete(self.complete_of(&key, 1, 0)).await;
        self.fails("INVALID_FENCE", answer);
        let answer = self.client.abort(self.abort_of(&key, 1, 1, Disposition::Unspecified)).await;
        self.fails("INVALID_DISPOSITION", answer);
        let detail = self.too_long("a long detail");
        let abort = proto::AbortRequest { detail, ..self.abort_of(&key, 1, 1, Disposition::Release) };
        let answer = self.client.abort(abort).await;
        self.fails("INVALID_DETAIL", answer);
        let name = self.too_long("a long checkpoint's name");
        let answer = self.client.save_checkpoint(self.point_of(&key, 1, 1, &name)).await;
        self.fails("INVALID_CHECKPOINT", answer);
        let note = self.too_long("a long note");
        let resolve = self.resolve_of(&key, 1, Some(Resolution::Release(true)));
        let answer = self.operator.resolve_record(proto::ResolveRecordRequest { note, ..resolve }).await;
        self.fails("INVALID_RESOLUTION", answer);
        let page_token = self.planted.plant("a page token");
        let page = proto::ListRecordsRequest {
            tenant: "shop".into(),
            page_token,
            ..proto::ListRecordsRequest::default()
        };
        let answer = self.operator.list_records(page).await;
        self.fails("INVALID_PAGE", answer);
        let requests = vec![self.begin_of(&key, 1); 1001];
        let answer = self.client.batch_begin(proto::BatchBeginRequest { requests }).await;
        self.fails("BATCH_TOO_LARGE", answer);
        let answer = self.operator.get_policy(proto::GetPolicyRequest::default()).await;
        self.fails("INVALID_KEY", answer);
    }

    /// The paths of owners.
    async fn owner_paths(&mut self) {
        let key = self.key("rerun/any");
        let fence = self.started(self.begin_of(&key, 1)).await;
        let answer = self.client.renew(Self::renew_of(&key, 1, fence)).await;
        self.goes(answer);
        let answer = self.client.renew(Self::renew_of(&key, 2, fence)).await;
        self.fails("FENCE_LOST", answer);
        let name = self.planted.plant("a checkpoint's name");
        let point = self.point_of(&key, 1, fence, &name);
        for _ in 0..2 {
            let answer = self.client.save_checkpoint(point.clone()).await;
            self.goes(answer);
        }
        let answer = self.client.save_checkpoint(self.point_of(&key, 1, fence, &name)).await;
        self.fails("CHECKPOINT_CONFLICT", answer);
        let large = proto::SaveCheckpointRequest {
            value: self.planted.plant("a large checkpoint").repeat(3000).into(),
            ..self.point_of(&key, 1, fence, "large")
        };
        let answer = self.client.save_checkpoint(large).await;
        self.fails("CHECKPOINT_LIMIT", answer);
        let complete = self.complete_of(&key, 1, fence);
        for _ in 0..2 {
            let request = self.with_header(complete.clone());
            let answer = self.client.complete(request).await;
            self.goes(answer);
        }
        let answer = self.client.complete(self.complete_of(&key, 1, fence)).await;
        self.fails("RESULT_CONFLICT", answer);
        let answer = self.client.renew(Self::renew_of(&key, 1, fence)).await;
        self.fails("ALREADY_COMPLETED", answer);
        let answer = self.client.abort(self.abort_of(&key, 1, fence, Disposition::Release)).await;
        self.fails("ALREADY_COMPLETED", answer);
        let answer = self.client.lookup(proto::LookupRequest { key: Some(key.clone()) }).await;
        self.goes(answer);
        let unknown = self.key("rerun/any");
        let answer = self.client.lookup(proto::LookupRequest { key: Some(unknown.clone()) }).await;
        self.fails("KEY_NOT_FOUND", answer);
        let answer = self.client.complete(self.complete_of(&unknown, 1, 1)).await;
        self.fails("KEY_NOT_FOUND", answer);
        let released = self.key("rerun/any");
        let fence = self.started(self.begin_of(&released, 1)).await;
        let answer = self.client.abort(self.abort_of(&released, 1, fence, Disposition::Release)).await;
        self.goes(answer);
        let answer = self.client.complete(self.complete_of(&released, 1, fence)).await;
        self.fails("FENCE_LOST", answer);

        let (good, bad) = (self.key("rerun/any"), self.key("strict"));
        let nothing = Vec::new().into();
        let requests = vec![
            self.begin_of(&good, 1),
            proto::BeginRequest { fingerprint: nothing, ..self.begin_of(&bad, 1) },
        ];
        let answer = self.client.batch_begin(proto::BatchBeginRequest { requests }).await;
        let items = self.goes(answer).items;
        let _ = writeln!(self.errors, "{:?}", items[1]);
        let requests = vec![self.complete_of(&good, 9, 1), self.complete_of(&self.key("rerun/any"), 1, 1)];
        let answer = self.client.batch_complete(proto::BatchCompleteRequest { requests }).await;
        let items = self.goes(answer).items;
        let _ = writeln!(self.errors, "{items:?}");
    }

    /// The paths of operators.
    async fn operator_paths(&mut self) {
        let (one, two, running) = (self.key("unknown/any"), self.key("unknown/any"), self.key("unknown/any"));
        let mut fences = Vec::new();
        for key in [&one, &two, &running] {
            fences.push(self.started(self.begin_of(key, 1)).await);
        }
        for (key, fence) in [(&one, fences[0]), (&two, fences[1])] {
            let answer = self.client.abort(self.abort_of(key, 1, fence, Disposition::OutcomeUnknown)).await;
            self.goes(answer);
        }
        let all = proto::ListRecordsRequest {
            tenant: "shop".into(),
            page_size: 3,
            ..proto::ListRecordsRequest::default()
        };
        let answer = self.operator.list_records(self.with_header(all)).await;
        self.goes(answer);
        let happened = Some(Resolution::Result(self.result()));
        let answer =
            self.operator.resolve_record(self.resolve_of(&one, fences[0] + 1, happened.clone())).await;
        self.fails("FENCE_LOST", answer);
        let answer = self.operator.resolve_record(self.resolve_of(&one, fences[0], happened.clone())).await;
        self.goes(answer);
        let answer = self.operator.resolve_record(self.resolve_of(&one, fences[0], happened)).await;
        self.fails("STATE_CONFLICT", answer);
        let release = Some(Resolution::Release(true));
        let answer = self.operator.resolve_record(self.resolve_of(&two, fences[1], release.clone())).await;
        self.goes(answer);
        let answer =
            self.operator.resolve_record(self.resolve_of(&self.key("unknown/any"), 1, release)).await;
        self.fails("KEY_NOT_FOUND", answer);
        let forget = |key: &proto::Key, fence, force| proto::ForgetRecordRequest {
            key: Some(key.clone()),
            fence,
            force,
        };
        let answer = self.operator.forget_record(forget(&running, fences[2], false)).await;
        self.fails("STATE_CONFLICT", answer);
        let answer = self.operator.forget_record(forget(&one, fences[0], false)).await;
        self.goes(answer);
        let policy = proto::GetPolicyRequest { tenant: "shop".into(), endpoint: "strict".into() };
        let answer = self.operator.get_policy(policy).await;
        self.goes(answer);
    }

    /// What is no request, with something unique in it.
    async fn transport_paths(&mut self, address: &str) {
        const BEGIN: &str = "/semel.v1.IdempotencyService/Begin";
        let mut raw = RawClient::connect(address).await;
        let garbage = self.planted.plant("what is no message");
        let header = self.planted.plant("a header of what is no message");
        let answers = [
            raw.call(BEGIN, &[("x-secret", &header)], garbage.as_bytes()).await,
            raw.send(BEGIN, &[], garbage.clone().into_bytes().into()).await,
            raw.call("/semel.v1.IdempotencyService/Nothing", &[], garbage.as_bytes()).await,
            raw.call(BEGIN, &[("grpc-timeout", &self.planted.plant("a timeout"))], garbage.as_bytes()).await,
            raw.call(BEGIN, &[("traceparent", &self.planted.plant("a traceparent"))], garbage.as_bytes())
                .await,
            raw.call(BEGIN, &[], garbage.repeat(300_000).as_bytes()).await,
        ];
        for answer in answers {
            self.paths += 1;
            let _ = writeln!(self.errors, "{:?}", answer.expect_err("it is no request"));
        }
    }
}

fn kind(decision: Option<&proto::begin_response::Decision>) -> &'static str {
    use proto::begin_response::Decision;
    match decision {
        Some(Decision::Started(_)) => "started",
        Some(Decision::Replayed(_)) => "replayed",
        Some(Decision::InProgress(_)) => "in_progress",
        Some(Decision::Unresolved(_)) => "unresolved",
        None => "none",
    }
}

const POLICY: &str = r#"
[[rule]]
endpoint = "unknown/*"
on_lost_lease = "mark_unknown"

[[rule]]
endpoint = "strict"
fingerprint_required = true
max_result_bytes = "10B"

[[rule]]
endpoint = "narrow"
max_open_keys = 1

[[rule]]
endpoint = "slow"
requests_per_second = 0.001
"#;

fn get(operations: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(operations).unwrap();
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A server at its most talkative, whose every file holds something unique that is secret.
fn serve(directory: &Path, planted: &Planted, format: &str, collector: &Collector) -> Program {
    let key = |planted: &Planted| {
        // 32 bytes, of which 24 are planted.
        let bytes = planted.plant("an encryption key") + "12345678";
        STANDARD_NO_PAD.encode(bytes) + "="
    };
    let keys = format!("current = \"k\"\n[keys]\nk = \"{}\"\nold = \"{}\"\n", key(planted), key(planted));
    std::fs::write(directory.join("keys.toml"), keys).unwrap();
    std::fs::write(directory.join("hash"), planted.plant("the secret of key hashes")).unwrap();
    std::fs::write(directory.join("policy.toml"), POLICY).unwrap();
    let mut command = semel();
    command
        .current_dir(directory)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .env("SEMEL_SCYLLA_PASSWORD", planted.plant("a password"))
        .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--log-level", "trace"])
        .args(["--log-format", format, "--data-dir", "data", "--policy", "policy.toml"])
        .args(["--key-hash-secret-file", "hash", "--encryption-key-file", "keys.toml"]);
    Program::run(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_secret_is_let_out_nowhere() {
    let planted = Planted::default();
    let mut paths = 0;
    for format in ["human", "json"] {
        let directory = tempfile::tempdir().unwrap();
        let collector = Collector::start();
        let server = serve(directory.path(), &planted, format, &collector);
        let text = server.stdout.text();
        let operations = text.lines().find_map(|line| line.strip_prefix("operations")).unwrap().trim();
        let operations = operations.trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let grpc = server.url.trim_start_matches("http://").to_owned();
        let mut caller = Caller::connect(&server.url, planted.clone()).await;
        caller.begin_paths().await;
        caller.argument_paths().await;
        caller.owner_paths().await;
        caller.operator_paths().await;
        caller.transport_paths(&grpc).await;
        // Files that are refused, with what must not be shown of them.
        let bad = format!(
            "current = \"{}\"\n[keys]\nk = \"{}\"\n{}",
            planted.plant("a bad id"),
            planted.plant("a bad key"),
            planted.plant("bad TOML")
        );
        std::fs::write(directory.path().join("keys.toml"), bad).unwrap();
        server.signal(nix::sys::signal::Signal::SIGHUP);
        server.log.wait_for("is refused", 1);
        caller.paths += 1;
        let check = semel()
            .current_dir(directory.path())
            .args(["config", "check", "--encryption-key-file", "keys.toml"])
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(3));
        let shown: String =
            ["/metrics", "/debug", "/livez", "/readyz"].map(|path| get(&operations, path)).concat();
        assert!(shown.contains("semel_decisions_total"), "there are metrics");
        let (log, stdout) = (server.log.clone(), server.stdout.clone());
        assert!(server.stop().success());
        let (log, stdout) = (Heard::text(&log), Heard::text(&stdout));
        for level in ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"] {
            assert!(log.contains(level), "nothing was logged at {level}");
        }
        let sent = collector.heard.lock().unwrap().clone();
        let mut found = Vec::new();
        for (name, output) in [
            ("the log", log.as_bytes()),
            ("standard output", stdout.as_bytes()),
            ("the operations port", shown.as_bytes()),
            ("an error", caller.errors.as_bytes()),
            ("`semel config check`", errors(&check).as_bytes()),
            ("what a collector was sent", &sent),
        ] {
            found.extend(planted.found_in(name, output));
        }
        assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
        paths += caller.paths;
    }
    support::count("canaries", planted.count());
    support::count("canary_paths", paths);
    // Had nothing been searched, nothing would have been found.
    let control = planted.0.lock().unwrap()[0].1.clone();
    assert_eq!(planted.found_in("a control", format!("{:?}", control.as_bytes()).as_bytes()).len(), 1);
}
