//! What Begin and Complete cost on one node of Apache Cassandra, beside the driver alone: `make bench-cassandra`.
//!
//! The driver sends the conditional updates that a Begin and a Complete come to: the same statements, consistencies,
//! sizes and TTLs, on the same table, as many at a time. In each round it takes turns with three semel servers, which
//! are sent Begins and Completes by `semel bench`'s own callers. Every rate is the median of the rounds, and every ratio
//! is that of rates within a round. The node has cores of its own, as a database has machines of its own, so that what it
//! does in a second is the bound for all of them. Processor times tell where the difference goes.
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first thing that goes wrong")]

use std::path::Path;
use std::process::Command;

use semel::bench::{Phases, Plan, median};
use semel::storage::scylla::Settings;
use semel::storage::scylla::schema::{self, Replication};
use tokio::runtime::Runtime;
use tonic::transport::Endpoint;

use cluster::{Cluster, DATACENTER};
use driver::Driver;
use processor::{Cost, Processors};
use program::Program;

#[allow(dead_code, reason = "tests kill nodes and stop them; here one runs undisturbed")]
#[path = "../../tests/cassandra/cluster.rs"]
mod cluster;
mod disk;
mod driver;
mod processor;
#[path = "../../tests/support/program.rs"]
mod program;
#[path = "../../tests/support/mod.rs"]
mod support;

const KEYSPACE: &str = "semel";
/// Of each result, which does not compress.
const RESULT_BYTES: usize = 100;
const MARK_UNKNOWN: &str = "[defaults]\non_lost_lease = \"mark_unknown\"\n";

/// What is measured: a name, and how its server differs from one as it comes.
const SERVERS: [(&str, &[&str]); 3] = [
    ("semel: rerun, listing = unresolved (both defaults)", &[]),
    ("semel: rerun, listing = open", &["--scylla-listing", "open"]),
    ("semel: mark_unknown, listing = unresolved", &["--policy", "mark_unknown.toml"]),
];

fn main() {
    // `cargo test --benches` runs this too, to see that it works.
    let measures = std::env::args().any(|argument| argument == "--bench");
    let rounds = support::size("SEMEL_BENCH_ROUNDS", if measures { 9 } else { 1 });
    let calls = support::size("SEMEL_BENCH_CALLS", if measures { 4000 } else { 100 });
    // As many as `semel bench` has in flight by default.
    let concurrency = usize::try_from(support::size("SEMEL_BENCH_CONCURRENCY", 64)).unwrap();
    // Java compiles what it does often, anew and better, for some minutes, and again when it does something else: until
    // then it is busy with that. So what is measured is done before, by everybody, on all cores.
    let warm_up = support::size("SEMEL_BENCH_WARM_UP", if measures { 5 } else { 1 });
    let runtime = Runtime::new().unwrap();
    let jmx = disk::free_port();
    // With every compiler of Java at work, as in production: the tests do without, to start sooner.
    let options = format!("-XX:TieredStopAtLevel=4\n-Xms1g\n-Xmx1g\n{}", disk::jvm_options(jmx));
    let cluster = Cluster::start_with(1, &options, |_| String::new());
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("load of the machine before: {}", load().trim());
    let measured = runtime.block_on(measure(&cluster, warm_up, rounds, calls, concurrency));
    println!("load of the machine after: {}\n", load().trim());
    print(&measured, calls, concurrency);
    let records = (warm_up + rounds) * calls * (1 + SERVERS.len() as u64) + driver::PATTERNS;
    disk::print(&cluster, jmx, KEYSPACE, records);
}

/// What a phase cost, of each kind: the driver first, then the servers.
type Round = Vec<(Cost, Cost)>;

async fn measure(cluster: &Cluster, warm_up: u64, rounds: u64, calls: u64, concurrency: usize) -> Vec<Round> {
    cluster.until_serving().await;
    let settings = Settings::new(cluster.contact_points(), KEYSPACE);
    let replication = Replication::new([(DATACENTER.to_owned(), 1.try_into().unwrap())]).unwrap();
    schema::apply(&settings, Some(&replication)).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mark_unknown.toml"), MARK_UNKNOWN).unwrap();
    let programs: Vec<_> =
        SERVERS.iter().map(|(_, arguments)| serve(cluster, directory.path(), arguments)).collect();
    let mut servers = Vec::new();
    for (place, program) in programs.iter().enumerate() {
        let plan = Plan {
            concurrency,
            payload_bytes: RESULT_BYTES..=RESULT_BYTES,
            key_prefix: format!("bench{place}"),
            seed: rand::random(),
            ..Plan::default()
        };
        servers.push(
            Phases::connect(&Endpoint::from_shared(program.url.clone()).unwrap().into(), plan).await.unwrap(),
        );
    }
    let driver = Driver::like(&servers[0], cluster, KEYSPACE, concurrency).await;
    let node = u32::try_from(cluster.pid(0).as_raw()).unwrap();
    let mut measured = Vec::new();
    for round in 0..warm_up + rounds {
        if round == warm_up {
            let callers = std::iter::once(std::process::id()).chain(programs.iter().map(Program::pid));
            processor::part(node, callers, support::size("SEMEL_BENCH_NODE_CORES", 1));
        }
        let first = driver::PATTERNS + round * calls;
        let keys = first..first + calls;
        let mut costs: Vec<Option<(Cost, Cost)>> = vec![None; 1 + servers.len()];
        let kinds = costs.len();
        for turn in 0..kinds {
            // Nobody has the same neighbour's leftovers in every round.
            let kind = (turn + usize::try_from(round).unwrap()) % kinds;
            costs[kind] = Some(if kind == 0 {
                let processors = Processors::new(node, None);
                let (begin, begun) = processors.measured(calls, driver.begin(keys.clone())).await;
                let (complete, ()) = processors.measured(calls, driver.complete(begun)).await;
                (begin, complete)
            } else {
                let server = &servers[kind - 1];
                let processors = Processors::new(node, Some(programs[kind - 1].pid()));
                let (begin, begun) = processors.measured(calls, server.begin(keys.clone())).await;
                let (complete, _) = processors.measured(calls, server.complete(begun)).await;
                (begin, complete)
            });
        }
        if round >= warm_up {
            measured.push(costs.into_iter().map(Option::unwrap).collect());
        }
    }
    for server in &servers {
        let (found, violations) = server.violations();
        assert_eq!(found, 0, "{violations:?}");
    }
    measured
}

fn serve(cluster: &Cluster, directory: &Path, arguments: &[&str]) -> Program {
    let mut command: Command = support::semel();
    command
        .current_dir(directory)
        .args(["serve", "--store", "scylla", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
        .args(["--scylla-nodes", &cluster.contact_points().join(",")])
        .args(["--scylla-datacenter", DATACENTER, "--scylla-keyspace", KEYSPACE])
        .args(arguments);
    Program::run(command)
}

fn print(measured: &[Round], calls: u64, concurrency: usize) {
    println!(
        "{} rounds of {calls} calls of each kind, {concurrency} at a time, results of {RESULT_BYTES} bytes; medians\n",
        measured.len()
    );
    println!(
        "{:<52}{:>9}{:>8}{:>30}\n{:<52}{:>9}{:>8}{:>10}{:>10}{:>10}",
        "", "calls/s", "of the", "microseconds of processor", "", "", "driver", "node", "server", "caller"
    );
    let names = std::iter::once("the driver alone").chain(SERVERS.iter().map(|(name, _)| *name));
    for (kind, name) in names.enumerate() {
        type Call = fn(&(Cost, Cost)) -> &Cost;
        let both: [(&str, Call); 2] = [("Begin", |cost| &cost.0), ("Complete", |cost| &cost.1)];
        for (call, of) in both {
            let middle =
                |value: &dyn Fn(&Cost) -> f64| median(measured.iter().map(|round| value(of(&round[kind]))));
            let ratio =
                median(measured.iter().map(|round| of(&round[kind]).per_second / of(&round[0]).per_second));
            println!(
                "{:<52}{:>9.0}{:>8.2}{:>10.0}{:>10.0}{:>10.0}",
                format!("{call}, {name}"),
                middle(&|cost| cost.per_second),
                ratio,
                middle(&|cost| cost.node),
                middle(&|cost| cost.server),
                middle(&|cost| cost.caller),
            );
        }
    }
    let node = median(measured.iter().map(|round| round[0].0.node));
    println!(
        "\nThe node does {:.0} first writes and {:.0} later ones per second and core.",
        1e6 / node,
        1e6 / median(measured.iter().map(|round| round[0].1.node))
    );
}
