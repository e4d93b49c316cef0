//! What an owner may do: DESIGN's table of owner calls.

use std::sync::Arc;
use std::time::Duration;

use super::{Refusal, Transition, change, refuse, unchanged};
use crate::domain::attempt_id::AttemptId;
use crate::domain::checkpoint::Checkpoint;
use crate::domain::command::{
    Abort, Aborted, Command, Complete, Completed, Disposition, Renew, Renewed, SaveCheckpoint,
    SavedCheckpoint,
};
use crate::domain::fence::Fence;
use crate::domain::policy::{OnLostLease, Policy};
use crate::domain::record::{GivenUp, Kept, Phase, Record};
use crate::domain::remark::Note;
use crate::domain::result::OperationResult;
use crate::domain::time::Timestamp;

/// The record, if `fence` and `attempt_id` are its own.
fn owned(
    record: Option<&Record>,
    fence: Fence,
    attempt_id: AttemptId,
    now: Timestamp,
) -> Result<&Kept, Refusal> {
    let record = record.ok_or(Refusal::KeyNotFound)?;
    if let Record::Forgotten(_) = record {
        return Err(Refusal::FenceLost { superseded: record.fence() > fence });
    }
    let kept = record.live(now).ok_or(Refusal::KeyNotFound)?;
    if kept.fence != fence || kept.attempt_id != attempt_id {
        return Err(Refusal::FenceLost { superseded: kept.fence > fence });
    }
    Ok(kept)
}

const FENCE_LOST: Refusal = Refusal::FenceLost { superseded: false };

impl Command for Complete {
    type Answer = Completed;

    const REFUSAL_STOPS_OWNER: bool = true;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<Completed> {
        let kept = match owned(record, self.fence, self.attempt_id, now) {
            Ok(kept) => kept,
            Err(refusal) => return refuse(refusal),
        };
        match &kept.phase {
            Phase::InProgress { .. } => {
                let retention =
                    self.retention.map_or(kept.retention, |asked| asked.get().min(policy.max_retention));
                let next = completed(kept, self.result.clone(), None, retention, now);
                let answer = completion(&next, self.result.clone(), false);
                change(next, answer)
            }
            Phase::Completed { result, .. } if *result == self.result => {
                unchanged(completion(kept, result.clone(), true))
            }
            Phase::Completed { .. } => refuse(Refusal::ResultConflict),
            Phase::Released { .. } => refuse(FENCE_LOST),
        }
    }
}

/// The record once its result is known.
pub(super) fn completed(
    kept: &Kept,
    result: Arc<OperationResult>,
    resolution: Option<Note>,
    retention: Duration,
    now: Timestamp,
) -> Kept {
    Kept {
        changed_at: now,
        expires_at: now.plus(retention),
        phase: Phase::Completed { result, resolution },
        ..kept.clone()
    }
}

fn completion(kept: &Kept, result: Arc<OperationResult>, repeated: bool) -> Completed {
    Completed {
        result,
        fence: kept.fence,
        attempt: kept.attempt,
        completed_at: kept.changed_at,
        expires_at: kept.expires_at,
        labels: kept.labels.clone(),
        traceparent: kept.traceparent,
        repeated,
    }
}

/// The record once its owner, or an operator, said that nothing happened.
pub(super) fn released(kept: &Kept, phase: Phase, policy: &Policy, now: Timestamp) -> Kept {
    let pause_until = match &phase {
        Phase::Released { pause_until, .. } => *pause_until,
        Phase::InProgress { .. } | Phase::Completed { .. } => now,
    };
    let saved_nothing = kept.checkpoints.is_empty();
    Kept {
        changed_at: now,
        expires_at: pause_until.plus(if saved_nothing {
            kept.retention
        } else {
            policy.unresolved_retention
        }),
        fingerprint: if saved_nothing { None } else { kept.fingerprint.clone() },
        phase,
        ..kept.clone()
    }
}

impl Command for Abort {
    type Answer = Aborted;

    const REFUSAL_STOPS_OWNER: bool = true;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<Aborted> {
        const REPEATED: Aborted = Aborted { repeated: true };
        const DONE: Aborted = Aborted { repeated: false };
        let kept = match owned(record, self.fence, self.attempt_id, now) {
            Ok(kept) => kept,
            Err(refusal) => return refuse(refusal),
        };
        let pause_until = now.plus(self.retry_after.min(policy.max_retry_after));
        match (&kept.phase, self.disposition) {
            (Phase::Completed { .. }, _) => refuse(Refusal::AlreadyCompleted),
            (Phase::Released { .. }, Disposition::Release)
            | (Phase::InProgress { given_up: Some(_), .. }, Disposition::OutcomeUnknown) => {
                unchanged(REPEATED)
            }
            (Phase::Released { .. }, Disposition::OutcomeUnknown) => refuse(FENCE_LOST),
            (Phase::InProgress { .. }, Disposition::Release) => {
                let phase = Phase::Released { pause_until, detail: self.detail.clone(), resolution: None };
                change(released(kept, phase, policy, now), DONE)
            }
            (
                Phase::InProgress { lease_end, lease, on_lost_lease, given_up: None },
                Disposition::OutcomeUnknown,
            ) => {
                let given_up = GivenUp { at: now, pause_until, detail: self.detail.clone() };
                let next = Kept {
                    changed_at: now,
                    expires_at: pause_until.plus(policy.unresolved_retention),
                    phase: Phase::InProgress {
                        lease_end: *lease_end,
                        lease: *lease,
                        on_lost_lease: *on_lost_lease,
                        given_up: Some(given_up),
                    },
                    ..kept.clone()
                };
                change(next, DONE)
            }
        }
    }
}

impl Command for Renew {
    type Answer = Renewed;

    const REFUSAL_STOPS_OWNER: bool = true;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<Renewed> {
        let kept = match owned(record, self.fence, self.attempt_id, now) {
            Ok(kept) => kept,
            Err(refusal) => return refuse(refusal),
        };
        let (lease_end, last, on_lost_lease) = match still_running(kept) {
            Ok(running) => running,
            Err(refusal) => return refuse(refusal),
        };
        let lease = self.lease.map_or(last, |asked| asked.get().min(policy.max_lease));
        let renewed_end = now.plus(lease);
        if renewed_end <= lease_end {
            return unchanged(Renewed { lease: lease_end.since(now), lease_end });
        }
        let next = Kept {
            changed_at: now,
            expires_at: renewed_end.plus(policy.unresolved_retention),
            phase: Phase::InProgress { lease_end: renewed_end, lease, on_lost_lease, given_up: None },
            ..kept.clone()
        };
        change(next, Renewed { lease, lease_end: renewed_end })
    }
}

impl Command for SaveCheckpoint {
    type Answer = SavedCheckpoint;

    const REFUSAL_STOPS_OWNER: bool = true;

    fn decide(&self, record: Option<&Record>, _: &Policy, now: Timestamp) -> Transition<SavedCheckpoint> {
        let kept = match owned(record, self.fence, self.attempt_id, now) {
            Ok(kept) => kept,
            Err(refusal) => return refuse(refusal),
        };
        if let Err(refusal) = still_running(kept) {
            return refuse(refusal);
        }
        if let Some(point) = kept.checkpoints.find(&self.name) {
            return if point.value == self.value {
                unchanged(SavedCheckpoint { repeated: true })
            } else {
                refuse(Refusal::CheckpointConflict)
            };
        }
        let point = Checkpoint { name: self.name.clone(), value: self.value.clone(), fence: kept.fence };
        match kept.checkpoints.with(point) {
            Some(checkpoints) => {
                let next = Kept { changed_at: now, checkpoints, ..kept.clone() };
                change(next, SavedCheckpoint { repeated: false })
            }
            None => refuse(Refusal::CheckpointLimit),
        }
    }
}

/// The lease of an attempt that may still renew and save.
fn still_running(kept: &Kept) -> Result<(Timestamp, Duration, OnLostLease), Refusal> {
    match &kept.phase {
        Phase::InProgress { lease_end, lease, on_lost_lease, given_up: None } => {
            Ok((*lease_end, *lease, *on_lost_lease))
        }
        Phase::Completed { .. } => Err(Refusal::AlreadyCompleted),
        Phase::InProgress { given_up: Some(_), .. } | Phase::Released { .. } => Err(FENCE_LOST),
    }
}
