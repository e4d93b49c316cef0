//! The store on a database, against real Apache Cassandra: one node, or three.
//!
//! This binary owns the clusters, starts each when the first test needs it, and stops it when none does. So it has a
//! harness of its own: arguments that do not begin with `-` choose tests by a part of their name.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use cluster::Cluster;
use tokio::runtime::Runtime;

mod abandoned;
#[path = "../support/between.rs"]
mod between;
mod callers;
#[path = "../support/server.rs"]
mod calls;
#[path = "../linearizability/check/mod.rs"]
mod check;
mod clocks;
mod cluster;
mod conforming;
mod copying;
mod costs;
mod database;
#[path = "../support/fixtures.rs"]
mod fixtures;
mod forged;
mod formats;
mod harness;
mod history;
mod linearizable;
mod listing;
#[path = "../support/log.rs"]
mod log;
mod nemeses;
mod nodes;
mod processes;
#[path = "../support/program.rs"]
mod program;
mod races;
#[path = "../support/raw.rs"]
mod raw;
mod rolling;
mod rows;
mod schemas;
mod secured;
mod servers;
mod serving;
#[path = "../support/mod.rs"]
mod support;
mod wire;

/// What a test needs running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nodes {
    /// What it starts itself.
    None,
    /// One that nobody kills: it keeps its schema in memory, so that a keyspace for each test costs little.
    One,
    OneToKill,
    Three,
}

type Test = (&'static str, Nodes, fn(&mut Cluster, &Runtime));

macro_rules! test {
    ($nodes:ident, $module:ident::$name:ident) => {
        (stringify!($name), Nodes::$nodes, $module::$name)
    };
}

const LINEARIZABLE: Test = test!(Three, linearizable::histories_of_three_servers_are_linearizable);

/// In the order of their clusters, so that each cluster is started once.
const TESTS: &[Test] = &[
    test!(None, harness::nodes_end_with_whoever_started_them),
    test!(None, history::the_checker_finds_what_cannot_be),
    test!(None, secured::a_secured_cluster_is_used_and_mistakes_are_named),
    test!(One, conforming::a_store_on_a_node_conforms),
    test!(One, schemas::a_schema_is_applied_once),
    test!(One, schemas::several_at_once_apply_it_once),
    test!(One, schemas::what_will_not_do_is_refused),
    test!(One, rows::a_row_goes_after_its_ttl),
    test!(One, rows::a_write_costs_one_transaction),
    test!(One, rows::a_damaged_row_is_repaired),
    test!(One, rows::an_unreadable_record_is_refused),
    test!(One, listing::what_may_end_unresolved_is_listed),
    test!(One, listing::what_is_open_is_listed_where_it_is_asked_for),
    test!(One, listing::a_hint_is_written_before_its_record),
    test!(One, listing::settled_attempts_leave_no_hints),
    test!(One, listing::stale_hints_and_empty_hours_go),
    test!(One, listing::a_scan_misses_nothing_that_is_taken_over),
    test!(One, copying::records_move_there_and_back),
    test!(One, serving::servers_share_what_schema_apply_made),
    test!(One, rolling::servers_restart_in_turn_under_load),
    test!(OneToKill, serving::a_server_waits_for_its_database_and_follows_it),
    test!(Three, nodes::chained_writes_survive_the_death_of_a_node),
    test!(Three, nodes::one_replica_among_three_nodes_is_warned_of),
    test!(Three, costs::calls_cost_what_they_must),
    test!(Three, races::callers_on_three_servers_race),
    test!(Three, clocks::clocks_within_the_allowance_leave_one_owner),
    test!(Three, clocks::beyond_the_allowance_the_fence_protects),
    test!(Three, abandoned::what_a_dead_server_began_is_found),
    test!(Three, formats::two_releases_share_a_database),
    test!(Three, forged::forged_answers_deceive_nobody),
    LINEARIZABLE,
    test!(Three, nemeses::nothing_is_lost_while_nodes_die),
];

fn main() -> ExitCode {
    harness::work_as_child();
    copying::work_as_child();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    // tools/parts/linearizability has this one alone, and so leaves nothing out.
    let only = std::env::args().any(|argument| argument == "--only-linearizable");
    let tests = if only { &[LINEARIZABLE] } else { TESTS };
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    let runtime = Runtime::new().expect("a runtime");
    let mut running: Option<(Nodes, Cluster)> = None;
    let (mut passed, mut failed) = (0, 0);
    for (name, nodes, test) in tests.iter().filter(|(name, _, _)| chosen(name)) {
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
    let left_out = tests.len() - passed - failed;
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
        // So few tombstones that a listing which reads past many of them fails.
        Nodes::One => Cluster::start_with(1, "-Dcassandra.test.flush_local_schema_changes=false\n", |_| {
            "tombstone_warn_threshold: 200\ntombstone_failure_threshold: 500\n".to_owned()
        }),
        Nodes::OneToKill => Cluster::start(1, ""),
        // As docs/OPERATIONS.md advises: a node that is killed under the default forgets what it acknowledged last, and
        // two of them at once may forget a whole quorum's word.
        Nodes::Three => Cluster::start(3, "commitlog_sync: batch\n"),
    };
    runtime.block_on(cluster.until_serving());
    println!("{nodes:?}: serving after {} s, at {:?}", began.elapsed().as_secs(), cluster.contact_points());
    cluster
}
