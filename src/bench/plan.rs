//! What a run is asked to do.

use std::ops::RangeInclusive;
use std::time::Duration;

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// When that many keys were begun and completed.
    Lifecycles(u64),
    /// When that long has passed; what is under way is finished.
    For(Duration),
}

/// Everything that shapes a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How much.
    pub amount: Amount,
    /// How many callers arrive each second, whether or not earlier ones were answered (open loop). Absent: each
    /// caller is followed by the next as soon as it is done (closed loop).
    pub rate: Option<f64>,
    /// How many callers are served at a time, at most.
    pub concurrency: usize,
    /// Over how many connections they are spread, to each server.
    pub connections: usize,
    /// The share of callers who begin a key that another has begun.
    pub duplicates: f64,
    /// The share of those who come while the key is still under way; the others come after it was completed.
    pub concurrent: f64,
    /// How much duplicates prefer the newest keys: the exponent of Zipf's law; 0 prefers none.
    pub skew: f64,
    /// The sizes of results, each as likely as the others.
    pub payload_bytes: RangeInclusive<usize>,
    /// The share of owners who first give their key up, with RELEASE, and begin it again.
    pub abort_share: f64,
    /// The share of owners who renew their lease once.
    pub renew_share: f64,
    /// How long an owner works between Started and Complete.
    pub work: Duration,
    /// The lease to ask for; the policy's where absent.
    pub lease: Option<Duration>,
    /// The retention to ask for; the policy's where absent.
    pub retention: Option<Duration>,
    /// How long a Begin asks to be held while another attempt runs.
    pub wait: Option<Duration>,
    /// The deadline of each call.
    pub timeout: Duration,
    /// The keys' tenant.
    pub tenant: String,
    /// The keys' endpoint.
    pub endpoint: String,
    /// What each key begins with.
    pub key_prefix: String,
    /// Makes keys, attempts, payloads and choices; a run with a seed that the store has met before meets its keys.
    pub seed: u64,
    /// The run ends early after that many violations.
    pub max_violations: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            amount: Amount::Lifecycles(10_000),
            rate: None,
            concurrency: 64,
            connections: 2,
            duplicates: 0.3,
            concurrent: 0.5,
            skew: 1.0,
            payload_bytes: 100..=100,
            abort_share: 0.0,
            renew_share: 0.0,
            work: Duration::ZERO,
            lease: None,
            retention: None,
            wait: None,
            timeout: Duration::from_secs(30),
            tenant: "default".to_owned(),
            endpoint: "semel.bench".to_owned(),
            key_prefix: "bench".to_owned(),
            seed: 0,
            max_violations: 100,
        }
    }
}

impl Plan {
    /// What cannot be run as it stands, in words, naming the fields.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: String| {
            if !holds {
                problems.push(problem);
            }
        };
        let enough = match self.amount {
            Amount::Lifecycles(lifecycles) => lifecycles > 0,
            Amount::For(time) => !time.is_zero(),
        };
        check(enough, "lifecycles or duration must be more than zero".to_owned());
        check(
            self.rate.is_none_or(|rate| rate.is_finite() && rate > 0.0),
            format!("rate is {}; it must be more than zero", self.rate.unwrap_or_default()),
        );
        check(self.concurrency > 0, "concurrency must be at least 1".to_owned());
        check(
            (1..=self.concurrency.max(1)).contains(&self.connections),
            format!(
                "connections is {}; it must be from 1 to concurrency, which is {}",
                self.connections, self.concurrency
            ),
        );
        check(
            (0.0..=0.99).contains(&self.duplicates),
            format!("duplicates is {}; it must be from 0 to 0.99", self.duplicates),
        );
        for (name, share) in [
            ("concurrent", self.concurrent),
            ("abort-share", self.abort_share),
            ("renew-share", self.renew_share),
        ] {
            check((0.0..=1.0).contains(&share), format!("{name} is {share}; it must be from 0 to 1"));
        }
        check(
            self.concurrency > 1 || self.duplicates == 0.0 || self.concurrent == 0.0,
            "concurrency is 1, so no duplicate can come while its key is under way; set concurrent to 0"
                .to_owned(),
        );
        check((0.0..=10.0).contains(&self.skew), format!("skew is {}; it must be from 0 to 10", self.skew));
        check(!self.payload_bytes.is_empty(), "payload-bytes ends before it begins".to_owned());
        check(!self.timeout.is_zero(), "timeout must be more than zero".to_owned());
        check(self.max_violations > 0, "max-violations must be at least 1".to_owned());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_be_run_and_each_bad_value_is_named() {
        assert_eq!(Plan::default().problems(), Vec::<String>::new());
        let bad = Plan {
            amount: Amount::Lifecycles(0),
            rate: Some(-1.0),
            concurrency: 1,
            connections: 2,
            duplicates: 1.0,
            concurrent: 1.5,
            skew: f64::NAN,
            abort_share: -0.1,
            renew_share: 2.0,
            timeout: Duration::ZERO,
            max_violations: 0,
            #[allow(clippy::reversed_empty_ranges, reason = "it is what is refused")]
            payload_bytes: 2..=1,
            ..Plan::default()
        };
        let problems = bad.problems().join("\n");
        for name in [
            "lifecycles",
            "rate",
            "connections",
            "duplicates is",
            "concurrent is",
            "skew",
            "abort-share",
            "renew-share",
            "timeout",
            "max-violations",
            "concurrency is 1",
            "payload-bytes",
        ] {
            assert!(problems.contains(name), "{name} is not in\n{problems}");
        }
    }
}
