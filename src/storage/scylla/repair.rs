//! Rows that somebody damaged by hand: one of the two columns is gone.
//!
//! Without its record, nobody can say what became of a key. So it becomes an attempt that was given up and whose outcome
//! is unknown, which an operator resolves; its new fence locks out whoever owned it. Without its write id, the record
//! still knows which write made it.

use std::sync::Arc;

use uuid::Uuid;

use super::rows::Damage;
use crate::domain::{
    AttemptId, Checkpoints, Detail, Fence, GivenUp, Kept, Labels, OnLostLease, Phase, Policy, Record,
    Timestamp,
};
use crate::storage::record_codec::{Codec, DecodeError};
use crate::storage::{Versioned, WriteId};

/// What is to stand in the place of a damaged row.
pub(super) fn repaired(
    damage: &Damage,
    write_id: WriteId,
    now: Timestamp,
    codec: Codec,
) -> Result<Versioned, DecodeError> {
    match damage {
        Damage::RecordGone(_) => Ok(Versioned::new(write_id, Arc::new(unknown(now)))),
        Damage::WriteIdGone(record) => codec.decode(record),
    }
}

/// An attempt of which nothing is known.
fn unknown(now: Timestamp) -> Record {
    let defaults = Policy::default();
    let detail = "the row had lost its record; the store put this in its place";
    Record::Kept(Kept {
        fence: Fence::next(None, now),
        attempt: 1,
        attempt_id: AttemptId::from_uuid(Uuid::nil()),
        attempts_before_budget: 0,
        fingerprint: None,
        first_seen_at: now,
        changed_at: now,
        expires_at: now.plus(defaults.unresolved_retention),
        retention: defaults.retention,
        checkpoints: Checkpoints::default(),
        labels: Labels::default(),
        traceparent: None,
        phase: Phase::InProgress {
            lease_end: now,
            lease: defaults.lease,
            on_lost_lease: OnLostLease::MarkUnknown,
            given_up: Some(GivenUp {
                at: now,
                pause_until: now,
                // It is shorter than the longest that is accepted, so this is never the default.
                detail: Detail::new(detail.to_owned()).unwrap_or_default(),
            }),
        },
        #[cfg(feature = "test-support")]
        probe: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Reading, UnresolvedReason};
    use crate::storage::conformance::Samples;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
    const WRITE: WriteId = WriteId(Uuid::from_u128(1));
    const REPAIR: WriteId = WriteId(Uuid::from_u128(2));

    #[test]
    fn a_row_without_its_record_becomes_unresolved_at_once_and_locks_its_owner_out() {
        let found = repaired(&Damage::RecordGone(WRITE), REPAIR, NOW, Codec::LATEST).unwrap();
        assert_eq!(found.write_id, REPAIR);
        let kept = found.record.live(NOW).expect("it is there");
        let expected = Reading::Unresolved { reason: UnresolvedReason::OutcomeUnknown, since: NOW };
        assert_eq!(kept.read(&Policy::default(), NOW), expected);
        assert_eq!(kept.fence.moment(), NOW);
        assert!(kept.detail().contains("lost its record"));
    }

    #[test]
    fn a_row_without_its_write_id_gets_its_own_back() {
        let record = Arc::new(Samples::completed(3));
        let bytes = Codec::LATEST.encode(&Versioned::new(WRITE, record.clone()));
        let found = repaired(&Damage::WriteIdGone(bytes), REPAIR, NOW, Codec::LATEST).unwrap();
        assert_eq!(found, Versioned::new(WRITE, record));
        assert!(repaired(&Damage::WriteIdGone(vec![1, 2, 3]), REPAIR, NOW, Codec::LATEST).is_err());
    }
}
