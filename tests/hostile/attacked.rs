//! A server under attack: a process of its own, whose memory and descriptors are watched, with an honest caller beside
//! the hostile ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::figures::{MIB, RECORD};
use crate::report::{count, size};
use crate::support::process::ServerProcess;
use crate::support::samples::Samples;
use crate::support::server::{attempt_id, key, success};

/// Turns what would hang for good into a failure; no verdict is nearer to it than this.
pub(crate) async fn soon<A>(what: &str, ends: impl Future<Output = A>) -> A {
    tokio::time::timeout(Duration::from_mins(3), ends)
        .await
        .unwrap_or_else(|_| panic!("this does not come about: {what}"))
}

/// What an attack did, by name; the names are those of tools/minimum-counts.txt.
#[derive(Debug, Default)]
pub(crate) struct Toll(BTreeMap<String, u64>);

impl Toll {
    pub(crate) fn add(&mut self, name: &str, value: u64) {
        *self.0.entry(format!("hostile_{name}")).or_insert(0) += value;
    }
}

/// One attack, and what the server may need while it goes on.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// How far its memory may grow, in bytes: docs/SECURITY.md says what that follows from.
    pub(crate) growth: u64,
    /// For `semel serve`, beside those that every server here has.
    pub(crate) arguments: Vec<String>,
    pub(crate) door: Door,
    /// After how many lifecycles an honest caller connects anew.
    per_connection: u64,
}

/// How an honest caller gets in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door {
    pub(crate) authority: Option<String>,
    pub(crate) token: Option<String>,
}

/// The server, for those who attack it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) grpc: String,
    pub(crate) operations: String,
    door: Door,
    per_connection: u64,
}

impl Attack {
    pub(crate) fn new(name: &'static str, growth: u64) -> Self {
        Self { name, growth, arguments: Vec::new(), door: Door::default(), per_connection: 5 }
    }

    /// The honest caller stays on the connection that it has: new ones are what is attacked.
    pub(crate) fn on_one_connection(mut self) -> Self {
        self.per_connection = u64::MAX;
        self
    }

    pub(crate) fn through(mut self, door: Door) -> Self {
        self.door = door;
        self
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Starts a server and attacks it, again and again, as often as the form asks for and until an honest caller was
    /// served as often as it asks for. Fails where one of its calls fails, where memory grows beyond the bound, or
    /// where something is left open.
    pub(crate) async fn run(self, mut round: impl AsyncFnMut(&Target, &mut Toll)) {
        if let Some(done) = self.done_before() {
            done.lines().for_each(report);
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let usual = ["--store", "memory"];
        let arguments: Vec<&str> =
            usual.into_iter().chain(self.arguments.iter().map(String::as_str)).collect();
        allow_descriptors();
        let server = ServerProcess::start(&directory.path().join("data"), &arguments);
        let target = Target {
            grpc: server.grpc.clone(),
            operations: server.operations.clone(),
            door: self.door.clone(),
            per_connection: self.per_connection,
        };

        let at_first = server.descriptors();
        let warm = Honest::begin(&target);
        warm.served(WARM).await;
        warm.end().await;
        wait_for("the descriptors of callers that have gone", async || server.descriptors() <= at_first)
            .await;
        let tasks_at_first = tasks(&target).await;
        let before = server.resident_bytes();
        server.forget_peak();

        let honest = Honest::begin(&target);
        // It has its connection before the others come.
        honest.served(1).await;
        let (least_rounds, least_served) =
            (size("SEMEL_HOSTILE_ROUNDS", 1), size("SEMEL_HOSTILE_LIFECYCLES", 20));
        let (mut toll, mut rounds) = (Toll::default(), 0);
        while rounds < least_rounds || honest.so_far() < least_served {
            round(&target, &mut toll).await;
            rounds += 1;
        }
        let served = honest.end().await;
        let growth = server.peak_resident_bytes().saturating_sub(before);
        let may_grow = self.growth + served * RECORD;
        assert!(
            growth <= may_grow,
            "{}: memory grew by {} MiB, and may by {} MiB",
            self.name,
            growth / MIB,
            may_grow / MIB
        );
        wait_for("the descriptors of who has gone are closed", async || server.descriptors() <= at_first)
            .await;
        wait_for("the tasks of who has gone end", async || tasks(&target).await <= tasks_at_first).await;
        let exit = server.terminate();
        assert!(exit.success(), "{}: the server ended with {exit}", self.name);

        println!(
            "{}: {rounds} rounds, {served} lifecycles served beside them, memory grew by {} of {} MiB",
            self.name,
            growth.div_ceil(MIB),
            may_grow / MIB
        );
        toll.add("attacks", 1);
        toll.add("lifecycles", served);
        let lines: Vec<String> = toll.0.iter().map(|(name, value)| format!("{name} {value}")).collect();
        for line in &lines {
            report(line);
        }
        if let Some(progress) = self.progress() {
            std::fs::write(progress, lines.join("\n")).unwrap();
        }
    }

    /// Where it is noted that this attack was endured.
    fn progress(&self) -> Option<PathBuf> {
        let directory = PathBuf::from(std::env::var_os("SEMEL_HOSTILE_PROGRESS")?);
        std::fs::create_dir_all(&directory).unwrap();
        Some(directory.join(self.name))
    }

    fn done_before(&self) -> Option<String> {
        std::fs::read_to_string(self.progress()?).ok()
    }
}

/// Both ends of thousands of connections: as many descriptors as the system lets this process have, and those that it
/// starts from now on.
fn allow_descriptors() {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("Linux tells it");
    let hard = line.split_whitespace().nth(4).unwrap();
    let raised = std::process::Command::new("prlimit")
        .args(["--pid", &std::process::id().to_string(), &format!("--nofile={hard}:")])
        .status();
    assert!(
        raised.is_ok_and(|status| status.success()),
        "prlimit (util-linux) raises the bound on open files"
    );
}

fn report(line: &str) {
    let (name, value) = line.split_once(' ').unwrap();
    count(name, value.parse().unwrap());
}

/// The answer of the operations port to a GET.
pub(crate) async fn get(address: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon("a probe is answered", socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// How many tasks of the server have not ended; that which answers is one of them.
async fn tasks(target: &Target) -> u64 {
    let answer = get(&target.operations, "/metrics").await;
    let (_, metrics) = answer.split_once("\r\n\r\n").expect("a body after its headers");
    Samples::read(metrics).of("semel_tasks")
}

/// Waits until `holds`, which it always does in the end.
pub(crate) async fn wait_for(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    soon(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Lifecycles before anything is measured.
const WARM: u64 = 50;

type Client = IdempotencyServiceClient<Channel>;

impl Target {
    pub(crate) async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        let scheme = if self.door.authority.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", self.grpc))?;
        if let Some(authority) = &self.door.authority {
            let authority = tonic::transport::Certificate::from_pem(authority);
            endpoint =
                endpoint.tls_config(tonic::transport::ClientTlsConfig::new().ca_certificate(authority))?;
        }
        endpoint.connect().await
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(token) = &self.door.token {
            let value = AsciiMetadataValue::try_from(format!("Bearer {token}")).unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Begin, Complete, and a retry that is told the result.
    pub(crate) async fn lifecycle(&self, client: &mut Client, name: &str) -> Result<(), String> {
        use proto::begin_response::Decision;

        let told = |call: &str, status: &Status| format!("{call} of {name}: {status}");
        let begin = |attempt| proto::BeginRequest {
            key: Some(key(name)),
            attempt_id: attempt_id(attempt),
            ..proto::BeginRequest::default()
        };
        let answer = client.begin(self.request(begin(1))).await.map_err(|status| told("Begin", &status))?;
        let Some(Decision::Started(owner)) = answer.into_inner().decision else {
            return Err(format!("Begin of {name} did not start"));
        };
        let complete = proto::CompleteRequest {
            key: Some(key(name)),
            fence: owner.fence,
            attempt_id: attempt_id(1),
            result: Some(success(name)),
            retention: None,
        };
        client.complete(self.request(complete)).await.map_err(|status| told("Complete", &status))?;
        let answer = client.begin(self.request(begin(2))).await.map_err(|status| told("retry", &status))?;
        match answer.into_inner().decision {
            Some(Decision::Replayed(replayed)) if replayed.result == Some(success(name)) => Ok(()),
            other => Err(format!("the retry of {name} was told {other:?}")),
        }
    }
}

/// A caller that wants no more than to be served, again and again, until it is told to end.
#[derive(Debug)]
struct Honest {
    served: watch::Receiver<u64>,
    stop: CancellationToken,
    calling: JoinHandle<Result<(), String>>,
}

impl Honest {
    fn begin(target: &Target) -> Self {
        let (served, so_far) = watch::channel(0);
        let (stop, target) = (CancellationToken::new(), target.clone());
        let told = stop.clone();
        let calling = tokio::spawn(async move {
            let run = uuid::Uuid::new_v4();
            let mut client = None;
            while !told.is_cancelled() {
                let number = *served.borrow();
                if number % target.per_connection == 0 {
                    let channel =
                        target.channel().await.map_err(|error| format!("no connection: {error}"))?;
                    client = Some(Client::new(channel));
                }
                let client = client.as_mut().expect("the first lifecycle connects");
                target.lifecycle(client, &format!("{run}-{number}")).await?;
                served.send_replace(number + 1);
            }
            Ok(())
        });
        Self { served: so_far, stop, calling }
    }

    fn so_far(&self) -> u64 {
        assert!(!self.calling.is_finished(), "an honest caller was not served");
        *self.served.borrow()
    }

    async fn served(&self, times: u64) {
        let mut served = self.served.clone();
        let _ = soon("an honest caller is served", served.wait_for(|so_far| *so_far >= times)).await;
    }

    /// How often it was served; fails where it once was not.
    async fn end(self) -> u64 {
        self.stop.cancel();
        let ended = soon("an honest caller is answered", self.calling).await.unwrap();
        ended.unwrap_or_else(|problem| panic!("an honest caller was not served: {problem}"));
        *self.served.borrow()
    }
}
