//! What is stored of a key, and how it reads at a moment.

use std::sync::Arc;
use std::time::Duration;

use super::attempt_id::AttemptId;
use super::checkpoint::Checkpoints;
use super::fence::Fence;
use super::fingerprint::Fingerprint;
use super::labels::Labels;
use super::policy::{OnLostLease, Policy};
use super::remark::{Detail, Note};
use super::result::OperationResult;
use super::time::Timestamp;
use super::traceparent::Traceparent;

/// How long past its last use a row is kept so that its fence still counts.
pub(super) const RECLAIM_GRACE: Duration = Duration::from_hours(1);

/// Everything that is stored of a key.
#[cfg_attr(
    feature = "test-support",
    allow(clippy::large_enum_variant, reason = "the probe alone makes it larger than clippy likes")
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An attempt and what became of it.
    Kept(Kept),
    /// An operator erased everything but the fence.
    Forgotten(Forgotten),
}

/// A bare fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The last fence that was granted.
    pub fence: Fence,
    /// When it was forgotten.
    pub changed_at: Timestamp,
    /// From then on the row may go.
    pub reclaim_at: Timestamp,
}

/// The latest attempt of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The attempt's fence.
    pub fence: Fence,
    /// The attempt's number, 1 for the first.
    pub attempt: u32,
    /// The attempt's name.
    pub attempt_id: AttemptId,
    /// How many attempts had been made when the present budget began.
    pub attempts_before_budget: u32,
    /// The digest that every Begin is compared with.
    pub fingerprint: Option<Fingerprint>,
    /// When the first attempt began.
    pub first_seen_at: Timestamp,
    /// When the record last changed.
    pub changed_at: Timestamp,
    /// From then on the record reads as absent.
    pub expires_at: Timestamp,
    /// The retention that the attempt's Begin was granted.
    pub retention: Duration,
    /// What the attempts so far saved.
    pub checkpoints: Checkpoints,
    /// The attempt's labels.
    pub labels: Labels,
    /// The attempt's trace.
    pub traceparent: Option<Traceparent>,
    /// How far the attempt got.
    pub phase: Phase,
    /// What a later release may come to keep: in tests, servers of two releases work side by side on one store, and
    /// nothing drops it. Nothing depends on it.
    #[cfg(feature = "test-support")]
    pub probe: Option<u64>,
}

/// How far an attempt got, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has neither completed nor released.
    InProgress {
        /// Until when it owns the key.
        lease_end: Timestamp,
        /// The length that was granted last.
        lease: Duration,
        /// What the end of the lease means, as policy had it when the attempt began.
        on_lost_lease: OnLostLease,
        /// It said that nobody can tell what happened.
        given_up: Option<GivenUp>,
    },
    /// It happened, with this result.
    Completed {
        /// What every later Begin gets.
        result: Arc<OperationResult>,
        /// Set when an operator said so, not the owner.
        resolution: Option<Note>,
    },
    /// Nothing happened.
    Released {
        /// Until then the next Begin is told to wait.
        pause_until: Timestamp,
        /// What the owner said.
        detail: Detail,
        /// Set when an operator said so, not the owner.
        resolution: Option<Note>,
    },
}

/// An Abort with an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// When.
    pub at: Timestamp,
    /// Until then the next Begin, where it may run at all, is told to wait.
    pub pause_until: Timestamp,
    /// What the owner said.
    pub detail: Detail,
}

/// How a record that is neither expired nor forgotten reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// An attempt owns the key.
    InProgress,
    /// It happened.
    Completed,
    /// Nothing happened; the next Begin runs.
    Released,
    /// Nobody knows what happened, or nobody may try again.
    Unresolved {
        /// Which of the two.
        reason: UnresolvedReason,
        /// Since when.
        since: Timestamp,
    },
    /// The lease is over and the next Begin runs.
    LeaseLost,
}

/// Why a record waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnresolvedReason {
    /// The owner said so, or was lost, under a policy that forbids a rerun.
    OutcomeUnknown,
    /// The policy's attempts were all made.
    AttemptsExhausted,
}

/// Who may come to look for a record though nobody calls again: what a store that cannot look at every record has to
/// note. Ordered: each is more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interest {
    /// Nobody: it is completed or forgotten.
    Settled,
    /// Somebody who lists what is open. A Begin has to come before it can be unresolved.
    Open,
    /// An operator: time alone makes it unresolved, where it is not so already.
    MayEndUnresolved,
}

impl Record {
    /// The last fence that was granted.
    pub const fn fence(&self) -> Fence {
        match self {
            Self::Kept(kept) => kept.fence,
            Self::Forgotten(forgotten) => forgotten.fence,
        }
    }

    /// When the record last changed.
    pub const fn changed_at(&self) -> Timestamp {
        match self {
            Self::Kept(kept) => kept.changed_at,
            Self::Forgotten(forgotten) => forgotten.changed_at,
        }
    }

    /// From then on the row may go: until then its fence counts. The fence is a moment too, and where the clock that
    /// granted it was ahead of the one that changed the record last, it is the later one.
    pub fn reclaim_at(&self) -> Timestamp {
        match self {
            Self::Kept(kept) => {
                let used = kept.expires_at.max(kept.changed_at.plus(kept.retention));
                used.max(kept.fence.moment()).plus(RECLAIM_GRACE)
            }
            Self::Forgotten(forgotten) => forgotten.reclaim_at,
        }
    }

    /// The record, unless it reads as absent.
    pub fn live(&self, now: Timestamp) -> Option<&Kept> {
        match self {
            Self::Kept(kept) if now < kept.expires_at => Some(kept),
            Self::Kept(_) | Self::Forgotten(_) => None,
        }
    }

    /// Whether the record is not settled: stores keep an index of these.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Kept(Kept { phase: Phase::InProgress { .. } | Phase::Released { .. }, .. }))
    }

    /// What the record may come to under `policy` while nobody calls. Expiry does not count: an expired record reads
    /// as absent, whatever was noted of it.
    pub const fn interest(&self, policy: &Policy) -> Interest {
        let Self::Kept(kept) = self else { return Interest::Settled };
        match kept.phase {
            Phase::Completed { .. } => Interest::Settled,
            Phase::InProgress { on_lost_lease: OnLostLease::MarkUnknown, .. } => Interest::MayEndUnresolved,
            Phase::InProgress { .. } | Phase::Released { .. } => {
                if kept.attempts_used_up(policy) {
                    Interest::MayEndUnresolved
                } else {
                    Interest::Open
                }
            }
        }
    }
}

impl Forgotten {
    /// What is left of `record` when an operator forgets it.
    pub(super) fn of(record: &Record, now: Timestamp) -> Self {
        let retention = match record {
            Record::Kept(kept) => kept.retention,
            Record::Forgotten(_) => Duration::ZERO,
        };
        let fence = record.fence();
        let used = now.plus(retention).max(fence.moment());
        Self { fence, changed_at: now, reclaim_at: used.plus(RECLAIM_GRACE) }
    }
}

impl Kept {
    /// How the record reads at `now` under the policy in force.
    pub fn read(&self, policy: &Policy, now: Timestamp) -> Reading {
        let exhausted = |since| Reading::Unresolved { reason: UnresolvedReason::AttemptsExhausted, since };
        match &self.phase {
            Phase::Completed { .. } => Reading::Completed,
            Phase::Released { .. } if self.attempts_used_up(policy) => exhausted(self.changed_at),
            Phase::Released { .. } => Reading::Released,
            Phase::InProgress { lease_end, on_lost_lease, given_up, .. } => {
                let since = given_up.as_ref().map_or(*lease_end, |given_up| given_up.at);
                if given_up.is_none() && now <= lease_end.plus(policy.clock_skew_allowance) {
                    return Reading::InProgress;
                }
                match on_lost_lease {
                    OnLostLease::MarkUnknown => {
                        Reading::Unresolved { reason: UnresolvedReason::OutcomeUnknown, since }
                    }
                    OnLostLease::Rerun if self.attempts_used_up(policy) => exhausted(since),
                    OnLostLease::Rerun => Reading::LeaseLost,
                }
            }
        }
    }

    /// Until when the next Begin is told to wait, where the last attempt asked for a pause.
    pub fn pause_until(&self) -> Option<Timestamp> {
        match &self.phase {
            Phase::Released { pause_until, .. } => Some(*pause_until),
            Phase::InProgress { given_up: Some(given_up), .. } => Some(given_up.pause_until),
            Phase::InProgress { given_up: None, .. } | Phase::Completed { .. } => None,
        }
    }

    /// What the last owner said when it gave the key up.
    pub fn detail(&self) -> &str {
        match &self.phase {
            Phase::Released { detail, .. } => detail.as_str(),
            Phase::InProgress { given_up: Some(given_up), .. } => given_up.detail.as_str(),
            Phase::InProgress { given_up: None, .. } | Phase::Completed { .. } => "",
        }
    }

    const fn attempts_used_up(&self, policy: &Policy) -> bool {
        policy.max_attempts > 0
            && self.attempt.saturating_sub(self.attempts_before_budget) >= policy.max_attempts
    }
}
