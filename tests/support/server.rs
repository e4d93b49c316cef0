//! A real server on its own ports, with a clock that stands still unless told, and a client for it.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use semel::audit::Audit;
use semel::coordinator::{Coordinator, Settings};
use semel::domain::{Clock, PolicyRules, Timestamp};
use semel::policies::Policies;
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::quotas::Quotas;
use semel::server::{Limits, Listeners, Security, ServeError, Server};
use semel::storage::Store;
use semel::storage::memory::MemoryStore;
use semel::telemetry::{KeyHash, Telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

/// When the clocks of these tests begin: some moment of 2027, in microseconds.
pub(crate) const START: u64 = 1_800_000_000_000_000;

/// A clock that only a test moves.
#[derive(Debug)]
pub(crate) struct TestClock(AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(START)))
    }

    pub(crate) fn advance(&self, length: Duration) {
        self.0.fetch_add(u64::try_from(length.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// What to start a server with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) rules: PolicyRules,
    pub(crate) settings: Settings,
    pub(crate) limits: Limits,
    /// What the server's write ids are drawn from.
    pub(crate) seed: u64,
    /// Where operators' calls are written down; in the log where absent.
    pub(crate) audit: Option<Audit>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) security: Security,
    pub(crate) clock: Arc<TestClock>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            rules: PolicyRules::default(),
            settings: Settings::default(),
            limits: Limits::default(),
            seed: 7,
            audit: None,
            telemetry: Arc::new(Telemetry::off()),
            security: Security::default(),
            clock: TestClock::new(),
        }
    }
}

impl Start {
    pub(crate) fn on(store: Arc<dyn Store>) -> Self {
        Self { store, ..Self::default() }
    }

    pub(crate) async fn serve(self) -> RunningServer {
        let clock = self.clock;
        let policies = Arc::new(Policies::new(self.rules));
        let quotas = {
            let clock = clock.clone();
            let elapsed = move || Duration::from_micros(clock.now().as_micros() - START);
            Arc::new(Quotas::timed_by(policies.clone(), elapsed))
        };
        let settings = Settings { observer: Some(quotas.clone()), ..self.settings };
        let coordinator = Arc::new(Coordinator::new(self.store, clock.clone(), self.seed, settings));
        let listeners = Listeners {
            grpc: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            operations: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        };
        let grpc = listeners.grpc.local_addr().unwrap().to_string();
        let operations = listeners.operations.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Server {
            coordinator: coordinator.clone(),
            policies: policies.clone(),
            quotas: quotas.clone(),
            limits: self.limits,
            audit: Arc::new(
                self.audit.unwrap_or_else(|| Audit::to_log(clock.clone(), KeyHash::new(b"test"))),
            ),
            telemetry: self.telemetry.clone(),
            configuration: "# a test's server\n".into(),
            security: self.security,
        };
        let running = tokio::spawn(server.run(listeners, async {
            let _ = stopped.await;
        }));
        let telemetry = self.telemetry;
        RunningServer {
            clock,
            coordinator,
            policies,
            quotas,
            telemetry,
            grpc,
            operations,
            stop: Some(stop),
            running,
        }
    }
}

/// A server under test. It ends with its runtime, or when it is told to stop.
#[derive(Debug)]
pub(crate) struct RunningServer {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) grpc: String,
    pub(crate) operations: String,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Result<(), ServeError>>,
}

impl RunningServer {
    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> IdempotencyServiceClient<Channel> {
        IdempotencyServiceClient::new(self.channel().await).max_decoding_message_size(64 << 20)
    }

    pub(crate) async fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel().await).max_decoding_message_size(64 << 20)
    }

    /// Tells the server to stop, as a signal would.
    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().expect("told once").send(());
    }

    /// What `run` returned.
    pub(crate) async fn ended(self) -> Result<(), ServeError> {
        self.running.await.expect("the server does not panic")
    }

    /// Status and body of a GET on the operations port.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(&self.operations).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

/// A `google.protobuf.Duration`.
#[allow(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
pub(crate) fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

pub(crate) fn key(idempotency_key: &str) -> proto::Key {
    proto::Key {
        tenant: "shop".into(),
        endpoint: "POST /charges".into(),
        idempotency_key: idempotency_key.into(),
    }
}

/// An attempt's UUID, by its number.
pub(crate) fn attempt_id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

pub(crate) fn begin(idempotency_key: &str, attempt: u32) -> proto::BeginRequest {
    proto::BeginRequest {
        key: Some(key(idempotency_key)),
        attempt_id: attempt_id(attempt),
        ..proto::BeginRequest::default()
    }
}

pub(crate) fn complete(
    idempotency_key: &str,
    attempt: u32,
    fence: i64,
    payload: &str,
) -> proto::CompleteRequest {
    proto::CompleteRequest {
        key: Some(key(idempotency_key)),
        fence,
        attempt_id: attempt_id(attempt),
        result: Some(success(payload)),
        retention: None,
    }
}

pub(crate) fn success(payload: &str) -> proto::Result {
    proto::Result {
        outcome: proto::result::Outcome::Success.into(),
        payload: payload.to_owned().into(),
        ..proto::Result::default()
    }
}

pub(crate) fn abort(
    idempotency_key: &str,
    attempt: u32,
    fence: i64,
    disposition: proto::abort_request::Disposition,
) -> proto::AbortRequest {
    proto::AbortRequest {
        key: Some(key(idempotency_key)),
        fence,
        attempt_id: attempt_id(attempt),
        disposition: disposition.into(),
        ..proto::AbortRequest::default()
    }
}

/// The decision that a Begin came to.
pub(crate) fn decision(response: tonic::Response<proto::BeginResponse>) -> proto::begin_response::Decision {
    response.into_inner().decision.expect("an answer has a decision")
}

pub(crate) fn started(response: tonic::Response<proto::BeginResponse>) -> proto::Started {
    match decision(response) {
        proto::begin_response::Decision::Started(started) => started,
        other => panic!("not started: {other:?}"),
    }
}

pub(crate) fn replayed(response: tonic::Response<proto::BeginResponse>) -> proto::Replayed {
    match decision(response) {
        proto::begin_response::Decision::Replayed(replayed) => replayed,
        other => panic!("not replayed: {other:?}"),
    }
}

pub(crate) fn in_progress(response: tonic::Response<proto::BeginResponse>) -> proto::InProgress {
    match decision(response) {
        proto::begin_response::Decision::InProgress(running) => running,
        other => panic!("not in progress: {other:?}"),
    }
}

/// What a status says to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) reason: String,
    pub(crate) domain: String,
    /// Paths of the fields that were refused, in order.
    pub(crate) fields: Vec<String>,
    pub(crate) retry_after: Option<Duration>,
    /// Everything in it that is text, to be searched.
    pub(crate) text: String,
}

pub(crate) fn details(status: &Status) -> Details {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    let fields = details.bad_request().map_or_else(Vec::new, |bad| bad.field_violations.clone());
    Details {
        reason: info.reason.clone(),
        domain: info.domain.clone(),
        fields: fields.iter().map(|field| field.field.clone()).collect(),
        retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        text: format!("{} {info:?} {fields:?} {:?}", status.message(), status.metadata()),
    }
}

pub(crate) fn reason(status: &Status) -> String {
    details(status).reason
}
