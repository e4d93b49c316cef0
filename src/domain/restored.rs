//! A store that was put back from a backup: what came after the backup is gone, and is not to be run again for that.

use std::time::Duration;

use super::fence::Fence;
use super::policy::{OnLostLease, Policy};
use super::record::{GivenUp, Kept, Phase, Record};
use super::remark::Detail;
use super::time::Timestamp;

/// What a store that was restored knows of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// When it was restored.
    pub at: Timestamp,
    /// When the backup was made: whatever changed between the two is lost.
    pub backup_at: Timestamp,
    /// Until then a lost record would have been kept, by the policies in force when the backup was made.
    pub until: Timestamp,
}

impl Restored {
    /// The mark of a store that is restored at `at`, from a backup made at `backup_at` where no policy kept a record for
    /// longer than `longest_kept` after it changed.
    pub fn new(at: Timestamp, backup_at: Timestamp, longest_kept: Duration) -> Self {
        Self { at, backup_at, until: at.plus(longest_kept) }
    }

    /// Whether a record may be missing that would still be kept: by the policies of the backup, or by the present one.
    pub fn in_force(&self, policy: &Policy, now: Timestamp) -> bool {
        now < self.until.max(self.at.plus(policy.longest_kept()))
    }

    /// Whether an operation that a Begin asks for may have begun before the restore: it says that it is a retry, or
    /// when it was first sent.
    pub(super) fn may_have_lost(&self, first_sent: Option<Timestamp>, retry: bool) -> bool {
        retry || first_sent.is_some_and(|first_sent| first_sent < self.at)
    }

    /// What becomes of a record of the backup. An attempt that was open then may have completed since, and been
    /// acknowledged: its outcome is unknown, whatever its policy says of a lost lease. Its owner does not own the key any
    /// more, since another may have been granted it; the new fence is above every one that was. All else is settled, and
    /// stays.
    pub fn record(&self, record: Record) -> Record {
        let Record::Kept(kept) = record else { return record };
        if kept.expires_at <= self.at {
            return Record::Kept(kept);
        }
        let (lease_end, lease) = match kept.phase {
            Phase::Completed { .. } => return Record::Kept(kept),
            Phase::InProgress { lease_end, lease, .. } => (lease_end, lease),
            Phase::Released { .. } => (self.backup_at, Duration::ZERO),
        };
        let given_up = GivenUp { at: self.at, pause_until: self.at, detail: Detail::restored() };
        Record::Kept(Kept {
            fence: Fence::next(Some(kept.fence), self.at),
            changed_at: self.at,
            // As long as the rule for absent keys holds, which this is an exception from.
            expires_at: kept.expires_at.max(self.until),
            phase: Phase::InProgress {
                lease_end,
                lease,
                on_lost_lease: OnLostLease::MarkUnknown,
                given_up: Some(given_up),
            },
            ..kept
        })
    }
}
