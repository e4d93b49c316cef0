//! The real server and one that does nothing, side by side in one run, by the same client code.

use serde::Serialize;
use tonic::transport::Endpoint;

use super::checker::Violation;
use super::meter::Latency;
use super::phases::Phases;
use super::plan::Plan;
use super::run::RunError;
use super::servers::Servers;

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
    servers: &Servers,
    noop: &Endpoint,
    plan: &Plan,
    of: ComparisonPlan,
) -> Result<Comparison, RunError> {
    let plan = Plan { key_prefix: format!("{}-compared", plan.key_prefix), ..plan.clone() };
    let noop = Phases::connect(&noop.clone().into(), plan.clone()).await?;
    let calls = Phases::connect(servers, plan.clone()).await?;
    let mut rounds = Vec::with_capacity(of.rounds);
    for round in 0..=of.rounds as u64 {
        let keys = round * of.calls..(round + 1) * of.calls;
        let nothing = noop.begin(keys.clone()).await;
        let begun = calls.begin(keys).await;
        let (noop_rate, begin) = (nothing.per_second, begun.per_second);
        noop.leave(nothing);
        let complete = calls.complete(begun).await;
        if round > 0 {
            rounds.push(Round { noop: noop_rate, begin, complete });
        }
    }
    let (violations_found, violations) = calls.violations();
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
        noop_latencies: noop.latencies(),
        latencies: calls.latencies(),
        violations_found,
        violations,
    })
}

/// The middle one of `values`, or between the middle two; not a number where there are none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
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
