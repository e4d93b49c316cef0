//! What a run tells: while it goes on, and when it is over.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::checker::{Checker, Violation};
use super::comparison::Comparison;
use super::meter::{Answers, Latency, Measured, Operation};
use super::plan::{Amount, Plan};
use super::pool::Drawn;

/// How far the shares met may be from those asked for, beside one round of callers in flight.
const SHARE_TOLERANCE: f64 = 0.02;

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    elapsed: Duration,
    completed: u64,
    amount: Amount,
    calls_per_second: f64,
    lifecycles_per_second: f64,
    violations: u64,
}

impl Progress {
    pub(super) fn between(
        start: Instant,
        before: (Instant, Answers),
        now: (Instant, Answers),
        plan: &Plan,
        violations: u64,
    ) -> Self {
        let seconds = now.0.duration_since(before.0).as_secs_f64();
        let per_second = |count: u64| per(count, seconds);
        Self {
            elapsed: now.0.duration_since(start),
            completed: now.1.completed,
            amount: plan.amount,
            calls_per_second: per_second(now.1.calls() - before.1.calls()),
            lifecycles_per_second: per_second(now.1.completed - before.1.completed),
            violations,
        }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} s", self.elapsed.as_secs_f64())?;
        match self.amount {
            Amount::Lifecycles(of) => write!(f, "  {} of {of} lifecycles", self.completed)?,
            Amount::For(time) => write!(f, " of {:.0} s  {} lifecycles", time.as_secs_f64(), self.completed)?,
        }
        write!(
            f,
            "  {:.0} lifecycles/s  {:.0} calls/s  {} violations",
            self.lifecycles_per_second, self.calls_per_second, self.violations
        )
    }
}

/// Which share of callers came to a key that another had begun.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Duplicates {
    /// The share asked for.
    pub asked: f64,
    /// The share met.
    pub met: f64,
    /// Of those, the share asked for to come while the key was under way.
    pub concurrent_asked: f64,
    /// Of those, the share that did.
    pub concurrent_met: f64,
    /// How many came while the key was under way.
    pub concurrent: u64,
    /// How many came after it was completed.
    pub sequential: u64,
}

/// How well the rate asked for was kept.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct OpenLoop {
    /// Callers per second asked for.
    pub rate_asked: f64,
    /// Callers per second that came.
    pub rate_met: f64,
}

/// What a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Against whom; several servers are parted by commas.
    pub server: String,
    /// With which seed.
    pub seed: u64,
    /// Callers served at a time, at most.
    pub concurrency: usize,
    /// Over that many connections.
    pub connections: usize,
    /// How long it took.
    pub elapsed_seconds: f64,
    /// Keys begun and completed.
    pub lifecycles: u64,
    /// Keys begun.
    pub keys: u64,
    /// Callers that came, those with duplicates included.
    pub callers: u64,
    /// Keys completed per second.
    pub lifecycles_per_second: f64,
    /// Calls answered per second.
    pub calls_per_second: f64,
    /// What was answered.
    pub answers: Answers,
    /// How many of the callers came to a key that another had begun.
    pub duplicates: Duplicates,
    /// Present where callers came at a rate.
    pub open_loop: Option<OpenLoop>,
    /// How long each operation took.
    pub latencies: Vec<Latency>,
    /// Owners that lost their key because their lease was over.
    pub leases_lost: u64,
    /// Promises broken.
    pub violations_found: u64,
    /// The first of each kind.
    pub violations: Vec<Violation>,
    /// What the run was asked to do and did not: its finding no violation would say too little.
    pub shortfalls: Vec<String>,
    /// Beside a server that does nothing, where that was asked for.
    pub comparison: Option<Comparison>,
}

impl Report {
    pub(super) fn new(
        server: String,
        plan: &Plan,
        elapsed: Duration,
        drawn: Drawn,
        measured: &Measured,
        checker: &Checker,
    ) -> Self {
        let seconds = elapsed.as_secs_f64();
        let answers = measured.answers;
        let duplicates = Duplicates {
            asked: plan.duplicates,
            met: share(drawn.duplicates(), drawn.callers()),
            concurrent_asked: plan.concurrent,
            concurrent_met: share(drawn.concurrent, drawn.duplicates()),
            concurrent: drawn.concurrent,
            sequential: drawn.sequential,
        };
        Self {
            server,
            seed: plan.seed,
            concurrency: plan.concurrency,
            connections: plan.connections,
            elapsed_seconds: seconds,
            lifecycles: answers.completed,
            keys: drawn.fresh,
            callers: drawn.callers(),
            lifecycles_per_second: per(answers.completed, seconds),
            calls_per_second: per(answers.calls(), seconds),
            answers,
            duplicates,
            open_loop: plan
                .rate
                .map(|rate_asked| OpenLoop { rate_asked, rate_met: per(drawn.callers(), seconds) }),
            latencies: measured.latencies(),
            leases_lost: checker.leases_lost(),
            violations_found: checker.found(),
            violations: checker.violations().to_vec(),
            shortfalls: shortfalls(plan, drawn, &answers),
            comparison: None,
        }
    }

    /// No promise was found broken, and the run did what it was asked to do.
    pub fn passed(&self) -> bool {
        self.violations().next().is_none() && self.shortfalls.is_empty()
    }

    /// Everything found broken that was kept, in the comparison also.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        let compared = self.comparison.iter().flat_map(|comparison| &comparison.violations);
        self.violations.iter().chain(compared)
    }
}

/// What was asked and not met.
fn shortfalls(plan: &Plan, drawn: Drawn, answers: &Answers) -> Vec<String> {
    let mut shortfalls = Vec::new();
    if let Amount::Lifecycles(asked) = plan.amount
        && answers.completed < asked
    {
        shortfalls.push(format!("{} of {asked} lifecycles were completed", answers.completed));
    }
    if answers.completed == 0 {
        shortfalls.push("no key was completed, so nothing was shown".to_owned());
    }
    let mut check = |name: &str, asked: f64, some: u64, all: u64| {
        let met = share(some, all);
        let tolerance = SHARE_TOLERANCE + share(plan.concurrency as u64, all);
        // Fewer than one is owed of a few.
        if all > 0 && (met - asked).abs() > tolerance {
            shortfalls.push(format!("the share of {name} was {met:.3}, not {asked}"));
        }
    };
    check("duplicates", plan.duplicates, drawn.duplicates(), drawn.callers());
    check(
        "duplicates that came while their key was under way",
        plan.concurrent,
        drawn.concurrent,
        drawn.duplicates(),
    );
    if plan.duplicates > 0.0 && drawn.duplicates() == 0 {
        shortfalls.push("no duplicate was sent".to_owned());
    }
    shortfalls
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = self.open_loop.map_or_else(
            || "closed loop".to_owned(),
            |open| format!("open loop, {:.0} of {:.0} callers/s", open.rate_met, open.rate_asked),
        );
        writeln!(
            f,
            "server       {}, {way}, {} at a time over {} connections, seed {}",
            self.server, self.concurrency, self.connections, self.seed
        )?;
        writeln!(
            f,
            "lifecycles   {} in {:.2} s: {:.0}/s, {:.0} calls/s",
            self.lifecycles, self.elapsed_seconds, self.lifecycles_per_second, self.calls_per_second
        )?;
        let duplicates = &self.duplicates;
        writeln!(
            f,
            "callers      {}, of them duplicates {} ({:.1} %, asked {:.1} %): {} while the key was under way, {} after",
            self.callers,
            duplicates.concurrent + duplicates.sequential,
            duplicates.met * 100.0,
            duplicates.asked * 100.0,
            duplicates.concurrent,
            duplicates.sequential
        )?;
        let answers = &self.answers;
        writeln!(
            f,
            "answers      started {}, replayed {}, in progress {}, unresolved {}; completed {}, aborted {}, renewed {}; errors {}; resent {}, not begun {}; leases lost {}",
            answers.started,
            answers.replayed,
            answers.in_progress,
            answers.unresolved,
            answers.completed,
            answers.aborted,
            answers.renewed,
            answers.failed,
            answers.resent,
            answers.not_begun,
            self.leases_lost
        )?;
        write_latencies(f, &self.latencies)?;
        if let Some(comparison) = &self.comparison {
            write!(f, "{comparison}")?;
        }
        self.write_verdict(f)
    }
}

impl Report {
    fn write_verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let compared = self.comparison.as_ref().map_or(0, |comparison| comparison.violations_found);
        let found = self.violations_found + compared;
        if found == 0 {
            writeln!(f, "violations   none")?;
        } else {
            writeln!(f, "violations   {found}; the first of each kind:")?;
        }
        for violation in self.violations() {
            writeln!(
                f,
                "  {:?} at {:.3} s, key {}: {}",
                violation.kind, violation.after_seconds, violation.key, violation.details
            )?;
        }
        for shortfall in &self.shortfalls {
            writeln!(f, "not met      {shortfall}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "beside a server that does nothing, {} in flight over {} connections, {} rounds of {} calls, medians:",
            self.concurrency,
            self.connections,
            self.rounds.len(),
            self.calls
        )?;
        writeln!(f, "  no-op      {:>9.0}/s", self.median.noop)?;
        writeln!(f, "  begin      {:>9.0}/s   {:.3} of the no-op", self.median.begin, self.begin_ratio)?;
        writeln!(
            f,
            "  complete   {:>9.0}/s   {:.3} of the no-op",
            self.median.complete, self.complete_ratio
        )?;
        let no_ops =
            self.noop_latencies.iter().filter(|latency| latency.operation == Operation::BeginStarted);
        for latency in no_ops {
            writeln!(f, "  no-op latency p50 {:.0} us, p99 {:.0} us", latency.p50_us, latency.p99_us)?;
        }
        for latency in &self.latencies {
            writeln!(
                f,
                "  {} latency p50 {:.0} us, p99 {:.0} us",
                latency.operation.name(),
                latency.p50_us,
                latency.p99_us
            )?;
        }
        Ok(())
    }
}

fn write_latencies(f: &mut fmt::Formatter<'_>, latencies: &[Latency]) -> fmt::Result {
    writeln!(
        f,
        "{:<20}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}  microseconds",
        "latency", "count", "p50", "p90", "p99", "p99.9", "max"
    )?;
    for latency in latencies {
        writeln!(
            f,
            "{:<20}{:>10}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>10.0}",
            latency.operation.name(),
            latency.count,
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p999_us,
            latency.max_us
        )?;
    }
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn share(some: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { some as f64 / all as f64 }
}

#[allow(clippy::cast_precision_loss, reason = "counts are below 2^53")]
fn per(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortfalls_of(drawn: Drawn, completed: u64) -> Vec<String> {
        let plan = Plan { amount: Amount::Lifecycles(10_000), ..Plan::default() };
        shortfalls(&plan, drawn, &Answers { completed, ..Answers::default() })
    }

    #[test]
    fn a_run_that_did_what_was_asked_falls_short_of_nothing() {
        let drawn = Drawn { fresh: 10_000, concurrent: 2_143, sequential: 2_142 };
        assert_eq!(shortfalls_of(drawn, 10_000), Vec::<String>::new());
    }

    #[test]
    fn a_run_without_its_share_of_duplicates_does_not_pass() {
        let drawn = Drawn { fresh: 10_000, concurrent: 1_600, sequential: 1_600 };
        assert_eq!(shortfalls_of(drawn, 10_000), ["the share of duplicates was 0.242, not 0.3"]);
        let none = shortfalls_of(Drawn { fresh: 10_000, ..Drawn::default() }, 10_000);
        assert_eq!(none, ["the share of duplicates was 0.000, not 0.3", "no duplicate was sent"]);
        let drawn = Drawn { fresh: 10_000, concurrent: 1_000, sequential: 3_285 };
        assert_eq!(
            shortfalls_of(drawn, 10_000),
            ["the share of duplicates that came while their key was under way was 0.233, not 0.5"]
        );
    }

    #[test]
    fn a_run_that_completed_too_little_does_not_pass() {
        let drawn = Drawn { fresh: 10_000, concurrent: 2_143, sequential: 2_142 };
        assert_eq!(shortfalls_of(drawn, 9_999), ["9999 of 10000 lifecycles were completed"]);
        assert!(shortfalls_of(drawn, 0).contains(&"no key was completed, so nothing was shown".to_owned()));
    }
}
