//! The store on a database, against real Apache Cassandra: one node, or three.
//!
//! This binary owns the clusters, starts each when the first test needs it, and stops it when none does. So it has a
//! harness of its own: arguments that do not begin with `-` choose tests by a part of their name.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use cluster::Cluster;
use tokio::runtime::Runtime;

mod cluster;
mod harness;
#[path = "../support/mod.rs"]
mod support;

/// What a test needs running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nodes {
    /// What it starts itself.
    None,
    Three,
}

type Test = (&'static str, Nodes, fn(&mut Cluster, &Runtime));

/// In the order of their clusters, so that each cluster is started once.
const TESTS: &[Test] = &[
    ("nodes_end_with_whoever_started_them", Nodes::None, harness::nodes_end_with_whoever_started_them),
    (
        "a_node_stands_still_dies_and_comes_back",
        Nodes::Three,
        harness::a_node_stands_still_dies_and_comes_back,
    ),
];

fn main() -> ExitCode {
    harness::work_as_child();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    let runtime = Runtime::new().expect("a runtime");
    let mut running: Option<(Nodes, Cluster)> = None;
    let (mut passed, mut failed) = (0, 0);
    for (name, nodes, test) in TESTS.iter().filter(|(name, _, _)| chosen(name)) {
        let began = Instant::now();
        let ok = catch_unwind(AssertUnwindSafe(|| {
            if running.as_ref().is_none_or(|(running, _)| running != nodes) {
                running = None; // stopped before the next one starts: they need the memory
                running = Some((*nodes, start(*nodes, &runtime)));
            }
            let (_, cluster) = running.as_mut().expect("it was started");
            test(cluster, &runtime);
        }))
        .is_ok();
        if !ok {
            running = None; // the next test gets a cluster that this one did not touch
        }
        println!("test {name} ... {} ({} s)", if ok { "ok" } else { "FAILED" }, began.elapsed().as_secs());
        if ok { passed += 1 } else { failed += 1 }
    }
    drop(running);
    let left_out = TESTS.len() - passed - failed;
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {left_out} filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn start(nodes: Nodes, runtime: &Runtime) -> Cluster {
    let began = Instant::now();
    let cluster = match nodes {
        Nodes::None => Cluster::start(0, ""),
        Nodes::Three => Cluster::start(3, ""),
    };
    runtime.block_on(cluster.until_serving());
    println!("{nodes:?}: serving after {} s, at {:?}", began.elapsed().as_secs(), cluster.contact_points());
    cluster
}
