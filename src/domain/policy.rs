//! What a tenant's endpoint is granted: windows of time, bounds, and what a lost lease means.

use std::num::NonZeroU32;
use std::time::Duration;

use super::record::RECLAIM_GRACE;
use super::time::PositiveDuration;

/// Whether a key whose owner was lost may run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLostLease {
    /// The next Begin runs.
    Rerun,
    /// Nobody runs until an operator settles it.
    MarkUnknown,
}

/// Where a policy's quotas are written: 0 in the defaults, else the rule of that number. Policies that have a quota from
/// one place count a tenant's calls together, since it was granted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaPlaces {
    /// Of `requests_per_second` and `burst`.
    pub rate: usize,
    /// Of `max_open_keys`.
    pub open_keys: usize,
}

/// How often a tenant may ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Requests a second in the long run; more than zero.
    pub per_second: f64,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

/// The rules in force for one tenant and endpoint at one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// How long an attempt owns a key where the caller does not say.
    pub lease: Duration,
    /// The longest lease that is granted.
    pub max_lease: Duration,
    /// How long an outcome is kept where the caller does not say.
    pub retention: Duration,
    /// The longest that an outcome is kept.
    pub max_retention: Duration,
    /// How long a record whose outcome is unknown is kept.
    pub unresolved_retention: Duration,
    /// The longest that a Begin is held.
    pub max_wait: Duration,
    /// The longest pause that an Abort may ask for.
    pub max_retry_after: Duration,
    /// How many attempts a key has; 0: no bound.
    pub max_attempts: u32,
    /// What the end of a lease without a word from the owner means.
    pub on_lost_lease: OnLostLease,
    /// Whether a Begin without a fingerprint is refused.
    pub fingerprint_required: bool,
    /// The largest result that is kept, in bytes.
    pub max_result_bytes: usize,
    /// How many requests a second a tenant may make in the long run; 0: no bound.
    pub requests_per_second: f64,
    /// How many of them it may make at once; 0: one second's worth.
    pub burst: u32,
    /// How many keys a tenant may have open; 0: no bound.
    pub max_open_keys: u64,
    /// Where these bounds are written.
    pub quota_places: QuotaPlaces,
    /// How far servers' clocks may differ.
    pub clock_skew_allowance: Duration,
}

impl Policy {
    /// The largest that `max_result_bytes` may be.
    pub const RESULT_BYTES_LIMIT: usize = 3 * 1024 * 1024;

    /// The lowest and the highest bound on requests a second.
    const RATES: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

    /// The longest that any duration may be.
    pub const LONGEST: Duration = Duration::from_hours(24 * 3650);

    /// Each rule that the values break, in words, naming the fields.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, problem: &str| {
            if !holds {
                problems.push(problem.to_owned());
            }
        };
        check(!self.lease.is_zero(), "lease must be more than zero");
        check(!self.retention.is_zero(), "retention must be more than zero");
        check(self.lease <= self.max_lease, "lease must not exceed max_lease");
        check(self.retention <= self.max_retention, "retention must not exceed max_retention");
        check(
            self.unresolved_retention >= self.retention,
            "unresolved_retention must not be below retention: an unknown outcome would be forgotten first",
        );
        check(
            self.unresolved_retention >= self.max_lease,
            "unresolved_retention must not be below max_lease",
        );
        check(
            self.unresolved_retention >= self.clock_skew_allowance,
            "unresolved_retention must not be below clock_skew_allowance",
        );
        check(
            self.max_result_bytes <= Self::RESULT_BYTES_LIMIT,
            "max_result_bytes must not exceed 3MiB, so that a replay fits a message",
        );
        check(
            self.requests_per_second == 0.0 || Self::RATES.contains(&self.requests_per_second),
            "requests_per_second must be 0 (no bound), or 0.001 to 1000000",
        );
        for (name, length) in [
            ("max_lease", self.max_lease),
            ("max_retention", self.max_retention),
            ("unresolved_retention", self.unresolved_retention),
            ("max_wait", self.max_wait),
            ("max_retry_after", self.max_retry_after),
        ] {
            check(length <= Self::LONGEST, &format!("{name} must not exceed 3650d"));
        }
        problems
    }

    /// How often a tenant may ask; `None` where there is no bound.
    pub fn rate(&self) -> Option<Rate> {
        if self.requests_per_second <= 0.0 {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast of floats saturates"
        )]
        let one_second = self.requests_per_second.ceil() as u32;
        let burst = if self.burst == 0 { one_second } else { self.burst };
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Some(Rate { per_second: self.requests_per_second, burst })
    }

    /// The longest that a row may have to be kept after it was written, whatever its callers ask for.
    pub fn longest_kept(&self) -> Duration {
        // A lease and a pause are waited out before an unknown outcome is kept for its own time.
        let waited_for = self.max_lease.max(self.max_retry_after);
        let unresolved = waited_for.saturating_add(self.unresolved_retention);
        let released = self.max_retry_after.saturating_add(self.max_retention);
        unresolved.max(released).saturating_add(RECLAIM_GRACE)
    }

    pub(super) fn granted_lease(&self, asked: Option<PositiveDuration>) -> Duration {
        asked.map_or(self.lease, |lease| lease.get().min(self.max_lease))
    }

    pub(super) fn granted_retention(&self, asked: Option<PositiveDuration>) -> Duration {
        asked.map_or(self.retention, |retention| retention.get().min(self.max_retention))
    }
}

impl Default for Policy {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_hours(1);
        const DAY: Duration = Duration::from_hours(24);
        Self {
            lease: Duration::from_secs(30),
            max_lease: HOUR,
            retention: DAY,
            max_retention: 30 * DAY,
            unresolved_retention: 30 * DAY,
            max_wait: Duration::from_secs(30),
            max_retry_after: HOUR,
            max_attempts: 0,
            on_lost_lease: OnLostLease::Rerun,
            fingerprint_required: false,
            max_result_bytes: 256 * 1024,
            requests_per_second: 0.0,
            burst: 0,
            max_open_keys: 0,
            quota_places: QuotaPlaces::default(),
            clock_skew_allowance: Duration::from_secs(1),
        }
    }
}
