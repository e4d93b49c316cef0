//! Histories of real servers on the embedded store, under nemeses: every key's calls could have happened one at a time,
//! each between its sending and its answer. docs/adr/0021 says how that is decided.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

#[path = "../support/between.rs"]
mod between;
mod check;
#[path = "../support/fixtures.rs"]
mod fixtures;
mod in_process;
mod processes;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use check::callers::Manners;
use check::met::Met;
use check::progress::Progress;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Runtime;

/// Histories that run at once: most of the time of each is waiting.
const AT_ONCE: usize = 4;
const CALLERS: u32 = 6;
/// What is counted beside what calls came to.
const NAMES: [&str; 9] = [
    "histories",
    "kills",
    "stops",
    "pauses",
    "policy_reloads",
    "lost_answers",
    "clock_jumps",
    "slow_writes",
    "unsaid_writes",
];

fn manners() -> Manners {
    Manners {
        keys: (0..6).map(|n| format!("k{n}")).collect(),
        keys_at_once: 2,
        calls: 45,
        open: 8,
        lease: 60,
        retention: 250,
        patience: 3_000,
        impatience: 15,
        pause: 20,
    }
}

/// Lets some time pass, of so many milliseconds at most.
fn pause(random: &mut StdRng, most: u64) {
    std::thread::sleep(Duration::from_millis(random.random_range(most / 4..most)));
}

/// The history of a seed: every third is of servers in this process, whose clocks jump.
fn history(runtime: &Runtime, seed: u64) -> Result<Met, String> {
    let mut random = StdRng::seed_from_u64(seed);
    let judged = if seed.is_multiple_of(3) {
        in_process::history(runtime, seed, &mut random)
    } else {
        processes::history(runtime, seed, &mut random)
    };
    let again = "Again: SEMEL_LINEARIZABLE_FIRST_SEED";
    let mut met =
        judged.map_err(|problem| format!("seed {seed}: {problem}\n{again}={seed} SEMEL_LINEARIZABLE=1"))?;
    met.add("histories", 1);
    Ok(met)
}

#[test]
fn every_history_is_linearizable() {
    let first = support::size("SEMEL_LINEARIZABLE_FIRST_SEED", 0);
    let last = first + support::size("SEMEL_LINEARIZABLE", 50);
    let runtime = Runtime::new().unwrap();
    let names: Vec<_> = Met::NAMES.into_iter().chain(NAMES).collect();
    let progress = Progress::of("SEMEL_LINEARIZABLE_PROGRESS", names.clone());
    let next = AtomicU64::new(first);
    let sum = Mutex::new((Met::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= last {
                        return;
                    }
                    let before = progress.done(seed);
                    let is_new = before.is_none();
                    let judged = before.map_or_else(|| history(&runtime, seed), Ok);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    match judged {
                        Ok(met) => {
                            if is_new {
                                progress.note(seed, &met);
                            }
                            sum.0.join(&met);
                        }
                        Err(problem) => {
                            sum.1.push(problem);
                            // No other is begun.
                            next.fetch_max(last, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (met, problems) = sum.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    println!("seeds {first} to {}", last - 1);
    for name in names {
        support::count(&format!("linearizable_{name}"), met.0.get(name).copied().unwrap_or(0));
    }
}

#[test]
fn impossible_histories_are_refused() {
    support::count("linearizable_impossible", check::impossible::refused_histories());
}
