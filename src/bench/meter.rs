//! Counts and times what was asked.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Something that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A Begin that was told Started.
    BeginStarted,
    /// A Begin that was told Replayed.
    BeginReplayed,
    /// A Begin that was told `InProgress`.
    BeginInProgress,
    /// A Begin of a key under way that let itself be held (`wait`), whatever it was told.
    BeginHeld,
    /// A Complete.
    Complete,
    /// An Abort.
    Abort,
    /// A Renew.
    Renew,
    /// From the first Begin of the caller that came to own the key to the answer to its Complete.
    Lifecycle,
    /// From when a caller was to come (open loop) to when its Begin was sent.
    Lateness,
}

impl Operation {
    pub(super) const ALL: [Self; 9] = [
        Self::BeginStarted,
        Self::BeginReplayed,
        Self::BeginInProgress,
        Self::BeginHeld,
        Self::Complete,
        Self::Abort,
        Self::Renew,
        Self::Lifecycle,
        Self::Lateness,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::BeginStarted => "begin, started",
            Self::BeginReplayed => "begin, replayed",
            Self::BeginInProgress => "begin, in progress",
            Self::BeginHeld => "begin, held",
            Self::Complete => "complete",
            Self::Abort => "abort",
            Self::Renew => "renew",
            Self::Lifecycle => "whole lifecycle",
            Self::Lateness => "sent late by",
        }
    }
}

/// How often something was asked, and how long it took. Failed calls are not among them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// What.
    pub operation: Operation,
    /// How often.
    pub count: u64,
    /// The mean, in microseconds, as all that follow.
    pub mean_us: f64,
    /// Half were faster.
    pub p50_us: f64,
    /// Nine in ten were faster.
    pub p90_us: f64,
    /// 99 in 100 were faster.
    pub p99_us: f64,
    /// 999 in 1000 were faster.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    /// Begins told Started.
    pub started: u64,
    /// Begins told Replayed.
    pub replayed: u64,
    /// Begins told `InProgress`.
    pub in_progress: u64,
    /// Begins told Unresolved.
    pub unresolved: u64,
    /// Completes acknowledged.
    pub completed: u64,
    /// Aborts acknowledged.
    pub aborted: u64,
    /// Renews acknowledged.
    pub renewed: u64,
    /// Calls that ended with an error.
    pub failed: u64,
    /// How often a call went to another server because its connection broke: neither an answer nor an error.
    pub resent: u64,
    /// How often a call went over another connection because its own closed before a server began it: not even sent
    /// again.
    pub not_begun: u64,
}

impl Answers {
    /// All calls that had an answer or an error.
    pub const fn calls(&self) -> u64 {
        self.begins() + self.completed + self.aborted + self.renewed + self.failed
    }

    /// All Begins that had an answer.
    pub const fn begins(&self) -> u64 {
        self.started + self.replayed + self.in_progress + self.unresolved
    }
}

/// Shared by all callers of a run.
#[derive(Debug)]
pub(super) struct Meter(Mutex<Measured>);

#[derive(Debug)]
pub(super) struct Measured {
    pub(super) answers: Answers,
    histograms: [Histogram<u64>; Operation::ALL.len()],
}

impl Meter {
    pub(super) fn new() -> Self {
        // Three digits, up to an hour; new_with_bounds refuses only bounds that are none.
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000_000, 3).unwrap_or_else(|_| {
            unreachable!("1 is at least 1, an hour at least twice that, and 3 digits at most 5")
        });
        let histograms = std::array::from_fn(|_| histogram.clone());
        Self(Mutex::new(Measured { answers: Answers::default(), histograms }))
    }

    pub(super) fn measured(&self) -> MutexGuard<'_, Measured> {
        // Counters have no state that a panic could leave half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measured {
    pub(super) fn record(&mut self, operation: Operation, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.histograms[operation as usize].saturating_record(nanos.max(1));
    }

    /// Every operation that happened.
    pub(super) fn latencies(&self) -> Vec<Latency> {
        Operation::ALL
            .into_iter()
            .map(|operation| (operation, &self.histograms[operation as usize]))
            .filter(|(_, histogram)| !histogram.is_empty())
            .map(|(operation, histogram)| {
                let at = |quantile| micros(histogram.value_at_quantile(quantile));
                Latency {
                    operation,
                    count: histogram.len(),
                    mean_us: histogram.mean() / 1e3,
                    p50_us: at(0.5),
                    p90_us: at(0.9),
                    p99_us: at(0.99),
                    p999_us: at(0.999),
                    max_us: micros(histogram.max()),
                }
            })
            .collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "an hour of nanoseconds is below 2^53")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_told_within_three_digits() {
        let meter = Meter::new();
        for millis in 1..=1000 {
            meter.measured().record(Operation::Complete, Duration::from_millis(millis));
        }
        let latencies = meter.measured().latencies();
        let [latency] = latencies[..] else { panic!("{latencies:?}") };
        assert_eq!((latency.operation, latency.count), (Operation::Complete, 1000));
        for (said, right) in [
            (latency.p50_us, 500e3),
            (latency.p99_us, 990e3),
            (latency.p999_us, 999e3),
            (latency.max_us, 1e6),
        ] {
            assert!((said - right).abs() <= right / 1e3, "{said}, not {right}");
        }
    }

    #[test]
    fn operations_stand_where_their_histograms_do() {
        for (place, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, place);
        }
    }
}
