//! Three servers that are restarted in turn, as for a new release, while callers are at work on all of them.

use std::process::{Child, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::Streaming;
use tonic::transport::Endpoint;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::cluster::{Cluster, DATACENTER};
use crate::processes::Server;
use crate::program::{Heard, send, wait_until};
use crate::serving::{keyspace, schema};
use crate::support;

/// What every server must have completed before, and again after its restart.
const ITS_SHARE: u64 = 20;

async fn health(server: &Server) -> Streaming<HealthCheckResponse> {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).expect("an address");
    let mut client = HealthClient::new(endpoint.connect().await.expect("it listens"));
    client.watch(HealthCheckRequest::default()).await.expect("it tells of its health").into_inner()
}

/// Not ready, drained, stopped, started, ready: each of it seen.
fn restart(server: &mut Server, cluster: &Cluster, runtime: &Runtime) {
    let mut health = runtime.block_on(health(server));
    let mut next = || runtime.block_on(health.message()).expect("a state").map(|state| state.status());
    assert_eq!(next(), Some(ServingStatus::Serving));
    server.program.signal(Signal::SIGTERM);
    assert_eq!(next(), Some(ServingStatus::NotServing), "it says that it is not ready before it goes");
    assert_eq!(server.program.wait().code(), Some(0), "{}", server.program.log.text());
    server.program.log.wait_for("every call has ended", 1); // no call was cut short
    server.start_again(cluster);
    wait_until("it is ready", || server.is_ready());
}

/// How many lifecycles a server completed since its start.
fn completed(server: &Server) -> u64 {
    server.metric(r#"decision="completed""#)
}

/// `semel bench` at work; killed when this is dropped.
struct Bench {
    process: Child,
    report: Arc<Heard>,
    log: Arc<Heard>,
}

impl Bench {
    fn start(servers: &[Server]) -> Self {
        let addresses: Vec<_> = servers.iter().map(|server| server.grpc.to_string()).collect();
        let mut command = support::semel();
        command.args(["bench", "--server", &addresses.join(","), "--duration", "1h", "--output", "json"]);
        command.args(["--concurrency", "8", "--duplicates", "0.3", "--wait", "2s", "--work", "20ms"]);
        command.args(["--abort-share", "0.1", "--renew-share", "0.1", "--timeout", "1m"]);
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("semel starts");
        let report = Heard::listen(process.stdout.take().expect("it is piped"));
        let log = Heard::listen(process.stderr.take().expect("it is piped"));
        Self { process, report, log }
    }

    /// Ends it early, and takes its report; it must have passed.
    fn finish(mut self) -> Value {
        send(&self.process, Signal::SIGINT);
        let status = self.process.wait().expect("it ends");
        wait_until("it has reported", || self.report.text().ends_with('\n') || !status.success());
        let report = self.report.text();
        assert!(status.success(), "{report}\n{}", self.log.text());
        serde_json::from_str(&report).expect("JSON")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

pub(crate) fn servers_restart_in_turn_under_load(cluster: &mut Cluster, runtime: &Runtime) {
    let keyspace = keyspace();
    let replication = format!("{DATACENTER}=1");
    let (applied, told) = schema(cluster, &keyspace, &["apply", "--replication", &replication]);
    assert_eq!(applied.status.code(), Some(0), "{told}");
    let mut servers: Vec<_> = (0..3).map(|_| Server::start(cluster, &keyspace, Vec::new())).collect();
    let mut bench = Bench::start(&servers);
    let mut restarts = 0;
    for _ in 0..support::size("SEMEL_ROLLING_ROUNDS", 1) {
        for place in 0..servers.len() {
            let served = |server: &Server| completed(server) >= ITS_SHARE;
            wait_until("every server has its share of the calls", || servers.iter().all(served));
            restart(&mut servers[place], cluster, runtime);
            restarts += 1;
            assert!(bench.process.try_wait().expect("it can be asked").is_none(), "{}", bench.log.text());
        }
    }
    wait_until("every server serves again", || servers.iter().all(|server| completed(server) >= ITS_SHARE));
    let report = bench.finish();
    println!("{report:#}");
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).expect("a number");
    assert_eq!(number("/answers/failed"), 0, "{report:#}");
    assert_eq!(number("/violations_found"), 0, "{report:#}");
    assert_eq!(number("/leases_lost"), 0, "{report:#}");
    support::count("cassandra_rolling_restarts", restarts);
    support::count("cassandra_rolling_lifecycles", number("/lifecycles"));
}
