//! The real server and one that does nothing, side by side in one run, by the same client code.

use std::ops::Range;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use super::checker::{Grant, Violation};
use super::meter::Latency;
use super::plan::Plan;
use super::pool::Target;
use super::run::{Client, Run, RunError};

/// How much to compare.
#[derive(Clone, Copy, Debug)]
pub struct ComparisonPlan {
    /// How many rounds, each of one phase of every kind.
    pub rounds: usize,
    /// How many calls a phase makes.
    pub calls: u64,
}

/// Calls answered per second, phase by phase, one after the other.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Round {
    /// Begins to the server that does nothing.
    pub noop: f64,
    /// Begins of fresh keys, each told Started.
    pub begin: f64,
    /// Completes of those keys.
    pub complete: f64,
}

/// What the rounds came to.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// In flight during each phase.
    pub concurrency: usize,
    /// Over that many connections.
    pub connections: usize,
    /// Calls of a phase.
    pub calls: u64,
    /// Each round; the first one, which warms caches up, is not among them.
    pub rounds: Vec<Round>,
    /// The medians of the rounds.
    pub median: Round,
    /// The median of each round's Begins as a share of its no-ops.
    pub begin_ratio: f64,
    /// The median of each round's Completes as a share of its no-ops.
    pub complete_ratio: f64,
    /// Latencies of the no-op Begin.
    pub noop_latencies: Vec<Latency>,
    /// Latencies of Begin and Complete.
    pub latencies: Vec<Latency>,
    /// Promises broken meanwhile.
    pub violations_found: u64,
    /// The first of each kind.
    pub violations: Vec<Violation>,
}

/// Alternates no-ops, Begins and Completes. Of `plan`, its shares, amount and rate do not count.
pub async fn compare(
    server: &Endpoint,
    noop: &Endpoint,
    plan: &Plan,
    of: ComparisonPlan,
) -> Result<Comparison, RunError> {
    let plan = Plan { key_prefix: format!("{}-compared", plan.key_prefix), rate: None, ..plan.clone() };
    let stop = CancellationToken::new();
    let (noop_clients, noop) = Run::prepare(noop, plan.clone(), stop.clone()).await?;
    let (clients, run) = Run::prepare(server, plan.clone(), stop).await?;
    let (noop, run) = (Arc::new(noop), Arc::new(run));
    let mut rounds = Vec::with_capacity(of.rounds);
    for round in 0..=of.rounds as u64 {
        let keys = round * of.calls..(round + 1) * of.calls;
        let (nothing, granted) = begin_all(&noop, &noop_clients, keys.clone()).await;
        for (key, _) in granted {
            noop.leave(&Target::Fresh(key));
        }
        let (begin, granted) = begin_all(&run, &clients, keys).await;
        let complete = complete_all(&run, &clients, granted).await;
        if round > 0 {
            rounds.push(Round { noop: nothing, begin, complete });
        }
    }
    let (violations_found, violations) = run.violations();
    Ok(Comparison {
        concurrency: plan.concurrency,
        connections: plan.connections,
        calls: of.calls,
        median: Round {
            noop: median(rounds.iter().map(|round| round.noop)),
            begin: median(rounds.iter().map(|round| round.begin)),
            complete: median(rounds.iter().map(|round| round.complete)),
        },
        begin_ratio: median(rounds.iter().map(|round| round.begin / round.noop)),
        complete_ratio: median(rounds.iter().map(|round| round.complete / round.noop)),
        rounds,
        noop_latencies: noop.meter().measured().latencies(),
        latencies: run.meter().measured().latencies(),
        violations_found,
        violations,
    })
}

type Granted = Vec<(u64, Grant)>;

/// Begins every key; gives the rate, and what was granted.
async fn begin_all(run: &Arc<Run>, clients: &[Client], keys: Range<u64>) -> (f64, Granted) {
    let calls = keys.end - keys.start;
    let next = Arc::new(AtomicU64::new(keys.start));
    let mut callers = JoinSet::new();
    let start = Instant::now();
    for place in 0..run.plan().concurrency {
        let (run, next) = (run.clone(), next.clone());
        let mut client = clients[place % clients.len()].clone();
        let end = keys.end;
        callers.spawn(async move {
            let mut granted = Vec::new();
            loop {
                let key = next.fetch_add(1, Ordering::Relaxed);
                if key >= end {
                    return granted;
                }
                let target = Target::Fresh(key);
                run.enter(&target);
                match run.begin(&mut client, &target, run.new_nonce(), Instant::now()).await {
                    Some(grant) => granted.push((key, grant)),
                    None => run.leave(&target),
                }
            }
        });
    }
    let granted = callers.join_all().await.into_iter().flatten().collect();
    (rate(calls, start), granted)
}

/// Completes every key; gives the rate.
async fn complete_all(run: &Arc<Run>, clients: &[Client], granted: Granted) -> f64 {
    let calls = granted.len() as u64;
    let granted = Arc::new(Mutex::new(granted));
    let mut callers = JoinSet::new();
    let start = Instant::now();
    for place in 0..run.plan().concurrency {
        let (run, granted) = (run.clone(), granted.clone());
        let mut client = clients[place % clients.len()].clone();
        callers.spawn(async move {
            loop {
                let next = granted.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
                let Some((key, grant)) = next else { return };
                run.complete(&mut client, key, &grant).await;
                run.leave(&Target::Fresh(key));
            }
        });
    }
    callers.join_all().await;
    rate(calls, start)
}

#[allow(clippy::cast_precision_loss, reason = "a phase makes fewer than 2^53 calls")]
fn rate(calls: u64, start: Instant) -> f64 {
    calls as f64 / start.elapsed().as_secs_f64()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "halves are exact")]
    fn a_median_is_the_middle_one_or_between_the_middle_two() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
