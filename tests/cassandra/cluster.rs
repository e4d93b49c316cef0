//! Real Apache Cassandra, one node or three, on random loopback addresses.
//!
//! Each node hangs on a pipe that this process holds (tools/cassandra/tied): however the tests end, by a panic or by
//! SIGKILL, the nodes end too.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::host_filter::AllowListHostFilter;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::{Consistency, Statement};
use tempfile::TempDir;

/// The datacenter that every node is in.
pub(crate) const DATACENTER: &str = "datacenter1";
const CQL_PORT: u16 = 9042;
const INTERNODE_PORT: u16 = 7000;
/// How long anything may take before the test gives up: a bound for what hangs, not a measure of speed.
const PATIENCE: Duration = Duration::from_mins(8);
const POLL: Duration = Duration::from_millis(200);

/// Some nodes, and where their data is. All of it goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    /// Dropped after the nodes, as it is declared after them.
    _directory: TempDir,
}

#[derive(Debug)]
struct Node {
    index: usize,
    address: Ipv4Addr,
    seed: Ipv4Addr,
    directory: PathBuf,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    /// `tools/cassandra/tied`, which ends when the node does; its standard input is the pipe.
    tied: Child,
    pid: Pid,
}

impl Cluster {
    /// Starts `count` nodes with `extra_yaml` in their configuration, and waits until they accept connections.
    pub(crate) fn start(count: usize, extra_yaml: &str) -> Self {
        Self::start_with(count, "", |_| extra_yaml.to_owned())
    }

    /// The same, where the configuration depends on the nodes' addresses, and with options of Java, a line each.
    pub(crate) fn start_with(
        count: usize,
        jvm_options: &str,
        extra_yaml: impl FnOnce(&[Ipv4Addr]) -> String,
    ) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let addresses = free_addresses(count);
        let extra_yaml = extra_yaml(&addresses);
        let mut nodes: Vec<_> = (1..=count)
            .map(|index| Node {
                index,
                address: addresses[index - 1],
                seed: addresses[0],
                directory: directory.path().join(format!("node{index}")),
                process: None,
            })
            .collect();
        for node in &nodes {
            std::fs::create_dir(&node.directory).expect("a node's directory");
            std::fs::write(node.directory.join("extra.yaml"), &extra_yaml).expect("a node's configuration");
            std::fs::write(node.directory.join("jvm.options"), jvm_options).expect("a node's options");
        }
        // The seed first: the others learn of the ring from it.
        if let Some((seed, others)) = nodes.split_first_mut() {
            seed.launch();
            seed.await_port();
            others.iter_mut().for_each(Node::launch);
            others.iter().for_each(Node::await_port);
        }
        Self { nodes, _directory: directory }
    }

    /// The nodes' addresses, with ports.
    pub(crate) fn contact_points(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.socket().to_string()).collect()
    }

    /// Where a node keeps its configuration and its data.
    pub(crate) fn directory(&self, node: usize) -> &Path {
        &self.nodes[node].directory
    }

    /// The process of a node that runs.
    pub(crate) fn pid(&self, node: usize) -> Pid {
        self.nodes[node].process.as_ref().expect("the node runs").pid
    }

    /// SIGKILL, and waits until the process is gone and its ports are free.
    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// SIGSTOP.
    pub(crate) fn pause(&self, node: usize) {
        self.nodes[node].signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, node: usize) {
        self.nodes[node].signal(Signal::SIGCONT);
    }

    /// Starts a node that was killed on the data it had, and waits until it accepts connections.
    pub(crate) fn restart(&mut self, node: usize) {
        self.launch(node);
        self.nodes[node].await_port();
    }

    /// Starts it, and waits for nothing.
    pub(crate) fn launch(&mut self, node: usize) {
        assert!(self.nodes[node].process.is_none(), "node {node} runs");
        self.nodes[node].launch();
    }

    /// Waits until every node that runs sees every other one, and a lightweight transaction passes through each: a
    /// node accepts connections some seconds before it knows that its peers are up.
    pub(crate) async fn until_serving(&self) {
        let up: Vec<_> = self.nodes.iter().filter(|node| node.process.is_some()).collect();
        let all_up = up.len() == self.nodes.len();
        let consistency = if all_up { Consistency::All } else { Consistency::Quorum };
        let began = Instant::now();
        for (number, node) in up.iter().enumerate() {
            loop {
                match node.probe(self.nodes.len(), number == 0 && all_up, consistency).await {
                    Ok(()) => break,
                    Err(error) => {
                        assert!(
                            began.elapsed() < PATIENCE,
                            "{} does not serve: {error}\n{}",
                            node.address,
                            node.log()
                        );
                        tokio::time::sleep(POLL).await;
                    }
                }
            }
        }
    }
}

impl Node {
    fn socket(&self) -> SocketAddr {
        SocketAddr::from((self.address, CQL_PORT))
    }

    fn launch(&mut self) {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/cassandra");
        let mut tied = Command::new(tools.join("tied"))
            .arg(tools.join("node"))
            .arg(&self.directory)
            .args([self.address.to_string(), self.index.to_string(), self.seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tools/cassandra/tied starts");
        let mut line = String::new();
        let stdout = tied.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("tools/cassandra/tied prints a process id");
        let pid = Pid::from_raw(line.trim().parse().expect("a process id"));
        self.process = Some(Process { tied, pid });
    }

    fn await_port(&self) {
        let began = Instant::now();
        while TcpStream::connect_timeout(&self.socket(), Duration::from_secs(1)).is_err() {
            let process = self.process.as_ref().expect("it was launched");
            // Signal none: only whether the process is there.
            assert!(kill(process.pid, None).is_ok(), "{} ended:\n{}", self.address, self.log());
            assert!(began.elapsed() < PATIENCE, "{} does not listen:\n{}", self.address, self.log());
            std::thread::sleep(POLL);
        }
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the node runs");
        kill(process.pid, signal).expect("the node's process takes the signal");
    }

    fn kill(&mut self) {
        let Some(Process { mut tied, pid }) = self.process.take() else { return };
        // Its pid is its own for as long as `tied`, its parent, has not seen it end.
        _ = kill(pid, Signal::SIGKILL);
        _ = tied.wait();
    }

    /// The last lines of what the node said.
    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.directory.join("out.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// One write at `consistency` and one lightweight transaction, through this node.
    async fn probe(
        &self,
        replicas: usize,
        create: bool,
        consistency: Consistency,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let session = connect(self.socket(), None).await?;
        if create {
            for ddl in [
                format!(
                    "CREATE KEYSPACE IF NOT EXISTS probe WITH replication = \
                     {{'class': 'NetworkTopologyStrategy', '{DATACENTER}': {replicas}}}"
                ),
                "CREATE TABLE IF NOT EXISTS probe.probe (id int PRIMARY KEY, value int)".to_owned(),
            ] {
                session.query_unpaged(ddl, &[]).await?;
                session.await_schema_agreement().await?;
            }
        }
        let mut write = Statement::new("UPDATE probe.probe SET value = 1 WHERE id = 1");
        write.set_consistency(consistency);
        session.query_unpaged(write, &[]).await?;
        session.query_unpaged("UPDATE probe.probe SET value = 1 WHERE id = 2 IF value = null", &[]).await?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A session with one node alone, for what a test does behind the store's back.
pub(crate) async fn connect(
    node: SocketAddr,
    user: Option<(&str, &str)>,
) -> Result<Session, Box<dyn std::error::Error>> {
    let profile = scylla::client::execution_profile::ExecutionProfile::builder()
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .request_timeout(Some(Duration::from_secs(30)))
        .build();
    let mut builder = SessionBuilder::new()
        .known_node_addr(node)
        .host_filter(Arc::new(AllowListHostFilter::new([node])?))
        .default_execution_profile_handle(profile.into_handle())
        .schema_agreement_timeout(PATIENCE);
    if let Some((user, password)) = user {
        builder = builder.user(user, password);
    }
    Ok(builder.build().await?)
}

/// `127.a.b.1` and following, where nobody listens.
fn free_addresses(count: usize) -> Vec<Ipv4Addr> {
    let mut random = rand::rng();
    loop {
        let (a, b) = (random.random_range(1..255), random.random_range(1..255));
        let addresses: Vec<_> = (1..=3).map(|last| Ipv4Addr::new(127, a, b, last)).collect();
        let free = |address: &Ipv4Addr| {
            [CQL_PORT, INTERNODE_PORT].iter().all(|port| TcpListener::bind((*address, *port)).is_ok())
        };
        if addresses.iter().all(free) {
            return addresses[..count].to_vec();
        }
    }
}
