//! `semel serve` as a process of its own, at addresses that it keeps when it is started again.

use std::net::{Ipv4Addr, SocketAddr};

use rand::RngExt;

use crate::cluster::Cluster;
use crate::program::Program;
use crate::serving::{get, serve};

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) grpc: SocketAddr,
    operations: SocketAddr,
    keyspace: String,
    arguments: Vec<String>,
    pub(crate) program: Program,
}

impl Server {
    /// Starts one on a keyspace of the cluster, with `arguments` beside what that takes.
    pub(crate) fn start(cluster: &Cluster, keyspace: &str, arguments: Vec<String>) -> Self {
        // An address that nobody else takes while the server is down.
        let address = Ipv4Addr::from(
            Ipv4Addr::new(127, 0, 0, 0).to_bits() | rand::rng().random_range(0x100..0xff_ff00),
        );
        let free = || std::net::TcpListener::bind((address, 0)).expect("a port");
        let (grpc, operations) = (free(), free());
        let address = |listener: std::net::TcpListener| listener.local_addr().expect("it is bound");
        let (grpc, operations) = (address(grpc), address(operations));
        let program = run(cluster, keyspace, (grpc, operations), &arguments);
        Self { grpc, operations, keyspace: keyspace.to_owned(), arguments, program }
    }

    /// Starts it again, once it has ended.
    pub(crate) fn start_again(&mut self, cluster: &Cluster) {
        self.program = run(cluster, &self.keyspace, (self.grpc, self.operations), &self.arguments);
    }

    pub(crate) fn is_ready(&self) -> bool {
        get(self.operations, "/readyz").starts_with("HTTP/1.1 200")
    }

    /// The sum of its metrics in whose lines this stands, since its start.
    pub(crate) fn metric(&self, with: &str) -> u64 {
        let metrics = get(self.operations, "/metrics");
        let lines = metrics.lines().filter(|line| !line.starts_with('#') && line.contains(with));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
    }
}

fn run(
    cluster: &Cluster,
    keyspace: &str,
    (grpc, operations): (SocketAddr, SocketAddr),
    arguments: &[String],
) -> Program {
    let mut command = serve(cluster, keyspace);
    command.args(["--listen", &grpc.to_string(), "--ops-listen", &operations.to_string()]).args(arguments);
    Program::run(command)
}
