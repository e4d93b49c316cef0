//! Histories of three servers on three nodes, under nemeses: every key's calls, whichever server they went to, could have
//! happened one at a time. docs/adr/0021 says how that is decided.

mod processes;
mod releases;
mod troubles;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Runtime;

use crate::check::callers::Manners;
use crate::check::met::Met;
use crate::check::progress::Progress;
use crate::cluster::Cluster;
use crate::support;

const SERVERS: usize = 3;
const CALLERS: u32 = 14;
/// How far clocks may differ here.
const ALLOWANCE: Duration = Duration::from_millis(300);
/// How long a write whose outcome is unknown is sent again: so short that callers hear of some.
const SETTLE_WITHIN: Duration = Duration::from_millis(300);
/// What is counted beside what calls came to.
const NAMES: [&str; 12] = [
    "histories",
    "kills",
    "pauses",
    "rolling_restarts",
    "policy_reloads",
    "clock_jumps",
    "schema_upgrades",
    "node_kills",
    "node_pauses",
    "partitions",
    "unknown_outcomes",
    "told_unknown",
];

/// A lightweight transaction takes tens of milliseconds here, and seconds where a node is slow.
fn manners() -> Manners {
    Manners {
        keys: (0..1000).map(|n| format!("k{n}")).collect(),
        keys_at_once: 4,
        calls: 45,
        open: 6,
        lease: 1_000,
        retention: 2_500,
        patience: 10_000,
        impatience: 250,
        pause: 300,
    }
}

/// Lets so many milliseconds pass.
fn pause(random: &mut StdRng, millis: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(random.random_range(millis)));
}

/// The history of a seed: every other one is of servers in this process, whose clocks jump and whose next release comes.
fn history(cluster: &mut Cluster, runtime: &Runtime, seed: u64) -> Result<Met, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut met = if seed.is_multiple_of(2) {
        processes::history(cluster, runtime, seed, &mut random)?
    } else {
        releases::history(cluster, runtime, seed, &mut random)?
    };
    met.add("histories", 1);
    Ok(met)
}

pub(crate) fn histories_of_three_servers_are_linearizable(cluster: &mut Cluster, runtime: &Runtime) {
    let first = support::size("SEMEL_LINEARIZABLE_CASSANDRA_FIRST_SEED", 0);
    let last = first + support::size("SEMEL_LINEARIZABLE_CASSANDRA", 2);
    let names: Vec<_> = Met::NAMES.into_iter().chain(NAMES).collect();
    let progress = Progress::of("SEMEL_LINEARIZABLE_CASSANDRA_PROGRESS", names.clone());
    let mut met = Met::default();
    for seed in first..last {
        let of_seed = progress.done(seed).unwrap_or_else(|| {
            runtime.block_on(cluster.until_serving());
            let of_seed = history(cluster, runtime, seed).unwrap_or_else(|problem| {
                panic!(
                    "seed {seed}: {problem}\nAgain: SEMEL_LINEARIZABLE_CASSANDRA_FIRST_SEED={seed} \
                     SEMEL_LINEARIZABLE_CASSANDRA=1 cargo test --features cassandra-tests --test cassandra -- \
                     histories"
                )
            });
            progress.note(seed, &of_seed);
            of_seed
        });
        println!("seed {seed}: {:?}", of_seed.0);
        met.join(&of_seed);
    }
    println!("seeds {first} to {}", last - 1);
    for name in names {
        support::count(&format!("linearizable_cassandra_{name}"), met.0.get(name).copied().unwrap_or(0));
    }
}
