//! Three `semel serve`: killed, paused, restarted in turn, cut off from a node, with policies that change.

use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::troubles::{Nodes, Partition};
use super::{ALLOWANCE, CALLERS, SERVERS, SETTLE_WITHIN, manners, pause};
use crate::check::callers::Scene;
use crate::check::course::Course;
use crate::check::history::{Timeline, World, wall};
use crate::check::met::Met;
use crate::check::policies::{drawn, put_in_force};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::processes::Server;
use crate::program::wait_until;

#[derive(Clone, Copy, Debug)]
enum Nemesis {
    Kill,
    Pause,
    RestartInTurn,
    Reload,
    KillNode,
    PauseNode,
    Part(Partition),
}

const NEMESES: [Nemesis; 9] = [
    Nemesis::Kill,
    Nemesis::Pause,
    Nemesis::RestartInTurn,
    Nemesis::Reload,
    Nemesis::KillNode,
    Nemesis::PauseNode,
    Nemesis::Part(Partition::LosesAnswers),
    Nemesis::Part(Partition::LosesAll),
    Nemesis::Part(Partition::DelaysAll),
];

/// A server, and its policy file.
struct Served {
    server: Server,
    policy: PathBuf,
}

/// Each nemesis once, in an order and against whom its seed says.
pub(super) fn history(
    cluster: &mut Cluster,
    runtime: &Runtime,
    seed: u64,
    random: &mut StdRng,
) -> Result<Met, String> {
    let database = runtime.block_on(Database::new(cluster));
    let mut nodes = Nodes::new(cluster, runtime);
    let directory = TempDir::new().expect("a temporary directory");
    let (text, first) = drawn(random, ALLOWANCE);
    let mut servers: Vec<_> = (0..SERVERS)
        .map(|number| {
            let policy = directory.path().join(format!("policy{number}.toml"));
            std::fs::write(&policy, &text).expect("a file");
            let arguments = [
                ("--policy", policy.display().to_string()),
                ("--clock-skew-allowance", format!("{}ms", ALLOWANCE.as_millis())),
                ("--settle-within", format!("{}ms", SETTLE_WITHIN.as_millis())),
                ("--scylla-nodes", nodes.contact_points(number).join(",")),
            ];
            let arguments =
                arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
            Served { server: Server::start(nodes.cluster, &database.settings.keyspace, arguments), policy }
        })
        .collect();
    let urls = servers.iter().map(|served| format!("http://{}", served.server.grpc)).collect();
    let mut policies = Timeline::new(Arc::new(first));
    let course = Course::begin(runtime, &Scene::new(manners(), urls), seed, CALLERS);
    let mut met = Met::default();
    let mut order = NEMESES;
    order.shuffle(random);
    for nemesis in order {
        pause(random, 200..800);
        let any = random.random_range(0..SERVERS);
        match nemesis {
            Nemesis::Kill => {
                let server = &mut servers[any].server;
                met.add("unknown_outcomes", unknown_outcomes(server));
                server.program.signal(Signal::SIGKILL);
                server.program.wait();
                server.start_again(nodes.cluster);
                met.add("kills", 1);
            }
            Nemesis::Pause => {
                servers[any].server.program.signal(Signal::SIGSTOP);
                pause(random, 500..3_000);
                servers[any].server.program.signal(Signal::SIGCONT);
                met.add("pauses", 1);
            }
            Nemesis::RestartInTurn => {
                for Served { server, .. } in &mut servers {
                    met.add("unknown_outcomes", unknown_outcomes(server));
                    server.program.signal(Signal::SIGTERM);
                    server.program.wait();
                    server.start_again(nodes.cluster);
                    wait_until("it is ready", || server.is_ready());
                    met.add("rolling_restarts", 1);
                }
            }
            Nemesis::Reload => {
                // One after the other: meanwhile both are in force.
                let (text, next) = drawn(random, ALLOWANCE);
                let from = wall();
                for Served { server, policy } in &servers {
                    put_in_force(&server.program, policy, &text);
                    pause(random, 10..400);
                }
                policies.change(from, wall(), Arc::new(next));
                met.add("policy_reloads", 1);
            }
            Nemesis::KillNode => {
                let node = random.random_range(0..SERVERS);
                nodes.kill(node, random, &mut met);
            }
            Nemesis::PauseNode => nodes.stand_still(random, &mut met),
            Nemesis::Part(partition) => {
                let unknown = |server: usize| unknown_outcomes(&servers[server].server);
                nodes.part(partition, random, &mut met, unknown);
            }
        }
    }
    pause(random, 200..800);
    let world = World { policies, clocks: vec![Timeline::new(0); SERVERS], is_shared: true };
    met.join(&course.end(runtime, &world)?);
    for Served { server, .. } in &servers {
        met.add("unknown_outcomes", unknown_outcomes(server));
    }
    Ok(met)
}

fn unknown_outcomes(server: &Server) -> u64 {
    server.metric("semel_store_unknown_outcomes_total")
}
