//! Three servers that are restarted in turn, as for a new release, while callers are at work on all of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::Arc;

use nix::sys::signal::Signal;
use rand::RngExt;
use serde_json::Value;
use tokio::runtime::Runtime;
use tonic::Streaming;
use tonic::transport::Endpoint;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::cluster::{Cluster, DATACENTER};
use crate::program::{Heard, Program, send, wait_until};
use crate::serving::{get, keyspace, schema, serve};
use crate::support;

/// What every server must have completed before, and again after its restart.
const ITS_SHARE: u64 = 20;

/// A server at addresses that it keeps.
struct Server {
    grpc: SocketAddr,
    operations: SocketAddr,
    program: Program,
}

impl Server {
    fn start(cluster: &Cluster, keyspace: &str) -> Self {
        // An address that nobody else takes while the server is down.
        let address = Ipv4Addr::from(
            Ipv4Addr::new(127, 0, 0, 0).to_bits() | rand::rng().random_range(0x100..0xff_ff00),
        );
        let free = || std::net::TcpListener::bind((address, 0)).expect("a port");
        let (grpc, operations) = (free(), free());
        let address = |listener: std::net::TcpListener| listener.local_addr().expect("it is bound");
        let (grpc, operations) = (address(grpc), address(operations));
        Self { grpc, operations, program: start(cluster, keyspace, grpc, operations) }
    }

    fn is_ready(&self) -> bool {
        get(self.operations, "/readyz").starts_with("HTTP/1.1 200")
    }

    /// How many lifecycles it completed since its start.
    fn completed(&self) -> u64 {
        let metrics = get(self.operations, "/metrics");
        let counts = metrics.lines().filter(|line| line.contains(r#"decision="completed""#));
        counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }

    async fn health(&self) -> Streaming<HealthCheckResponse> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.grpc)).expect("an address");
        let mut client = HealthClient::new(endpoint.connect().await.expect("it listens"));
        client.watch(HealthCheckRequest::default()).await.expect("it tells of its health").into_inner()
    }

    /// Not ready, drained, stopped, started, ready: each of it seen.
    fn restart(&mut self, cluster: &Cluster, keyspace: &str, runtime: &Runtime) {
        let mut health = runtime.block_on(self.health());
        let mut next = || runtime.block_on(health.message()).expect("a state").map(|state| state.status());
        assert_eq!(next(), Some(ServingStatus::Serving));
        self.program.signal(Signal::SIGTERM);
        assert_eq!(next(), Some(ServingStatus::NotServing), "it says that it is not ready before it goes");
        assert_eq!(self.program.wait().code(), Some(0), "{}", self.program.log.text());
        let log = self.program.log.text();
        assert!(log.contains("every call has ended"), "no call was cut short: {log}");
        self.program = start(cluster, keyspace, self.grpc, self.operations);
        wait_until("it is ready", || self.is_ready());
    }
}

fn start(cluster: &Cluster, keyspace: &str, grpc: SocketAddr, operations: SocketAddr) -> Program {
    let mut command = serve(cluster, keyspace);
    command.args(["--listen", &grpc.to_string(), "--ops-listen", &operations.to_string()]);
    Program::run(command)
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
    let mut servers: Vec<_> = (0..3).map(|_| Server::start(cluster, &keyspace)).collect();
    let mut bench = Bench::start(&servers);
    let mut restarts = 0;
    for _ in 0..support::size("SEMEL_ROLLING_ROUNDS", 1) {
        for place in 0..servers.len() {
            let served = |server: &Server| server.completed() >= ITS_SHARE;
            wait_until("every server has its share of the calls", || servers.iter().all(served));
            servers[place].restart(cluster, &keyspace, runtime);
            restarts += 1;
            assert!(bench.process.try_wait().expect("it can be asked").is_none(), "{}", bench.log.text());
        }
    }
    wait_until("every server serves again", || servers.iter().all(|server| server.completed() >= ITS_SHARE));
    let report = bench.finish();
    println!("{report:#}");
    let number = |path: &str| report.pointer(path).and_then(Value::as_u64).expect("a number");
    assert_eq!(number("/answers/failed"), 0, "{report:#}");
    assert_eq!(number("/violations_found"), 0, "{report:#}");
    assert_eq!(number("/leases_lost"), 0, "{report:#}");
    support::count("cassandra_rolling_restarts", restarts);
    support::count("cassandra_rolling_lifecycles", number("/lifecycles"));
}
