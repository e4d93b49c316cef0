//! What happens to nodes, and between servers and nodes.

use std::net::SocketAddr;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::{SERVERS, pause};
use crate::check::cuts::Cuts;
use crate::check::met::Met;
use crate::cluster::Cluster;

const MOST_TRIES: u32 = 30;

/// What becomes of what is said meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) enum Partition {
    /// The node hears, and what it says is lost.
    LosesAnswers,
    LosesAll,
    /// It arrives when the partition is over, whoever still waits for it.
    DelaysAll,
}

/// The nodes, and the ways to them: each server reaches every node at the node's address, on a port that is this server's
/// alone. Drivers take the port from whom they met first.
pub(super) struct Nodes<'a> {
    pub(super) cluster: &'a mut Cluster,
    addresses: Vec<SocketAddr>,
    /// Of each server to each node.
    ways: Vec<Vec<Cuts>>,
}

impl<'a> Nodes<'a> {
    pub(super) fn new(cluster: &'a mut Cluster, runtime: &Runtime) -> Self {
        let addresses: Vec<SocketAddr> =
            cluster.contact_points().iter().map(|node| node.parse().expect("an address")).collect();
        let ways = (0..SERVERS).map(|_| runtime.block_on(ways(&addresses))).collect();
        Self { cluster, addresses, ways }
    }

    /// Where a server reaches the nodes.
    pub(super) fn contact_points(&self, server: usize) -> Vec<String> {
        self.ways[server].iter().map(|way| way.address.clone()).collect()
    }

    fn any(&self, random: &mut StdRng) -> usize {
        random.random_range(0..self.addresses.len())
    }

    /// A server, and its way to one of the nodes.
    fn any_way(&self, random: &mut StdRng) -> (usize, &Cuts) {
        let server = random.random_range(0..SERVERS);
        (server, &self.ways[server][self.any(random)])
    }

    /// SIGKILL; a little later it is started again, and that goes on while other things happen.
    pub(super) fn kill(&mut self, node: usize, random: &mut StdRng, met: &mut Met) {
        self.cluster.kill(node);
        pause(random, 500..2_500);
        self.cluster.launch(node);
        met.add("node_kills", 1);
    }

    /// SIGSTOP, and SIGCONT.
    pub(super) fn stand_still(&self, random: &mut StdRng, met: &mut Met) {
        let node = self.any(random);
        self.cluster.pause(node);
        pause(random, 1_500..4_000);
        self.cluster.resume(node);
        met.add("node_pauses", 1);
    }

    /// A server and a node do not reach each other for a while. `unknown_outcomes` are those of a server's writes.
    pub(super) fn part(
        &self,
        partition: Partition,
        random: &mut StdRng,
        met: &mut Met,
        unknown_outcomes: impl Fn(usize) -> u64,
    ) {
        match partition {
            // The driver chooses which node a write goes to, and leaves out one that starts: so some partitions meet none.
            Partition::LosesAnswers => {
                let meets_a_write = (0..MOST_TRIES).any(|_| {
                    let (server, way) = self.any_way(random);
                    let before = unknown_outcomes(server);
                    way.set_mute(true);
                    pause(random, 1_000..2_500);
                    way.cut();
                    way.set_mute(false);
                    pause(random, 200..800);
                    unknown_outcomes(server) > before
                });
                assert!(meets_a_write, "no write met a partition in {MOST_TRIES} of them");
            }
            Partition::LosesAll | Partition::DelaysAll => {
                let (_, way) = self.any_way(random);
                way.set_held(true);
                pause(random, 1_000..2_500);
                if matches!(partition, Partition::LosesAll) {
                    way.cut();
                }
                way.set_held(false);
            }
        }
        met.add("partitions", 1);
    }
}

/// One way to each node, all on one port.
async fn ways(nodes: &[SocketAddr]) -> Vec<Cuts> {
    loop {
        let first = TcpListener::bind((nodes[0].ip(), 0)).await.expect("a free port");
        let port = first.local_addr().expect("it is bound").port();
        let mut listeners = vec![first];
        for node in &nodes[1..] {
            listeners.extend(TcpListener::bind((node.ip(), port)).await);
        }
        if listeners.len() == nodes.len() {
            let way = |(listener, node): (TcpListener, &SocketAddr)| Cuts::on(listener, &node.to_string());
            return listeners.into_iter().zip(nodes).map(way).collect();
        }
    }
}
