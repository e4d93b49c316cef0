//! Who runs: DESIGN's table of what a Begin meets, row by row.

use std::time::Duration;

use super::{Refusal, Transition, change, refuse, unchanged};
use crate::domain::checkpoint::Checkpoints;
use crate::domain::command::{
    Begin, BeginAnswer, BeginOnStore, Command, Completed, InProgressAnswer, Previous, Started,
    UnresolvedAnswer,
};
use crate::domain::fence::Fence;
use crate::domain::policy::Policy;
use crate::domain::record::{Kept, Phase, Reading, Record};
use crate::domain::time::Timestamp;

/// The longest that a caller is told to wait before it asks again about a running attempt: most end well
/// before their lease does.
const ASK_AGAIN_WITHIN: Duration = Duration::from_secs(1);

impl Command for Begin {
    type Answer = BeginAnswer;

    const REFUSAL_STOPS_OWNER: bool = false;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<BeginAnswer> {
        let Some(kept) = record.and_then(|record| record.live(now)) else {
            return self.on_absent(record, policy, now);
        };
        if let (Some(sent), Some(stored)) = (&self.fingerprint, &kept.fingerprint)
            && sent != stored
        {
            return refuse(Refusal::FingerprintMismatch { original: kept.traceparent });
        }
        if let Phase::Completed { result, .. } = &kept.phase {
            return unchanged(BeginAnswer::Replayed(Completed {
                result: result.clone(),
                fence: kept.fence,
                attempt: kept.attempt,
                completed_at: kept.changed_at,
                expires_at: kept.expires_at,
                labels: kept.labels.clone(),
                traceparent: kept.traceparent,
                repeated: true,
            }));
        }
        if kept.attempt_id == self.attempt_id {
            return self.on_own_attempt(kept, policy, now);
        }
        match kept.read(policy, now) {
            Reading::InProgress | Reading::Completed => unchanged(running(kept, policy, now)),
            Reading::Unresolved { reason, since } => unchanged(BeginAnswer::Unresolved(UnresolvedAnswer {
                reason,
                attempt: kept.attempt,
                detail: kept.detail().to_owned(),
                since,
                traceparent: kept.traceparent,
            })),
            Reading::LeaseLost | Reading::Released => match kept.pause_until() {
                Some(pause_until) if now < pause_until => unchanged(backing_off(kept, pause_until, now)),
                _ => self.start_after(kept, policy, now),
            },
        }
    }
}

impl Command for BeginOnStore<'_> {
    type Answer = BeginAnswer;

    const REFUSAL_STOPS_OWNER: bool = Begin::REFUSAL_STOPS_OWNER;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<BeginAnswer> {
        let absent = record.and_then(|record| record.live(now)).is_none();
        let lost = self.restored.is_some_and(|restored| {
            restored.in_force(policy, now) && restored.may_have_lost(self.begin.first_sent, self.retry)
        });
        if absent && lost {
            return refuse(Refusal::KeyExpired);
        }
        self.begin.decide(record, policy, now)
    }
}

impl Begin {
    fn on_absent(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<BeginAnswer> {
        if let Some(first_sent) = self.first_sent {
            let window = policy.granted_retention(self.retention);
            let known_before = record.is_some_and(|record| match record {
                Record::Kept(Kept {
                    phase: Phase::Completed { .. } | Phase::InProgress { .. },
                    expires_at,
                    ..
                }) => first_sent < *expires_at,
                Record::Kept(Kept { phase: Phase::Released { .. }, .. }) | Record::Forgotten(_) => false,
            });
            if first_sent < now.minus(window) || known_before {
                return refuse(Refusal::KeyExpired);
            }
        }
        if !self.may_open {
            return refuse(Refusal::TooManyOpenKeys);
        }
        self.start(record.map(Record::fence), None, policy, now)
    }

    /// The caller's own attempt, asked for again because the answer was lost.
    fn on_own_attempt(&self, kept: &Kept, policy: &Policy, now: Timestamp) -> Transition<BeginAnswer> {
        let Phase::InProgress { lease_end, given_up: None, on_lost_lease, .. } = kept.phase else {
            return refuse(Refusal::AttemptEnded);
        };
        if now < lease_end {
            return unchanged(BeginAnswer::Started(started(kept, lease_end, None, now)));
        }
        let lease = policy.granted_lease(self.lease);
        let lease_end = now.plus(lease);
        let next = Kept {
            changed_at: now,
            expires_at: lease_end.plus(policy.unresolved_retention),
            phase: Phase::InProgress { lease_end, lease, on_lost_lease, given_up: None },
            ..kept.clone()
        };
        let answer = BeginAnswer::Started(started(&next, lease_end, None, now));
        change(next, answer)
    }

    fn start_after(&self, kept: &Kept, policy: &Policy, now: Timestamp) -> Transition<BeginAnswer> {
        self.start(Some(kept.fence), Some(kept), policy, now)
    }

    /// A new attempt: the first, or the one after `previous`.
    fn start(
        &self,
        known: Option<Fence>,
        previous: Option<&Kept>,
        policy: &Policy,
        now: Timestamp,
    ) -> Transition<BeginAnswer> {
        let lease = policy.granted_lease(self.lease);
        let lease_end = now.plus(lease);
        let next = Kept {
            fence: Fence::next(known, now),
            attempt: previous.map_or(1, |previous| previous.attempt.saturating_add(1)),
            attempt_id: self.attempt_id,
            attempts_before_budget: previous.map_or(0, |previous| previous.attempts_before_budget),
            fingerprint: self
                .fingerprint
                .clone()
                .or_else(|| previous.and_then(|previous| previous.fingerprint.clone())),
            first_seen_at: previous.map_or(now, |previous| previous.first_seen_at),
            changed_at: now,
            expires_at: lease_end.plus(policy.unresolved_retention),
            retention: policy.granted_retention(self.retention),
            checkpoints: previous.map_or_else(Checkpoints::default, |previous| previous.checkpoints.clone()),
            labels: self.labels.clone(),
            traceparent: self.traceparent,
            #[cfg(feature = "test-support")]
            probe: previous.and_then(|previous| previous.probe),
            phase: Phase::InProgress {
                lease_end,
                lease,
                on_lost_lease: policy.on_lost_lease,
                given_up: None,
            },
        };
        let answer = BeginAnswer::Started(started(&next, lease_end, previous, now));
        change(next, answer)
    }
}

fn started(kept: &Kept, lease_end: Timestamp, previous: Option<&Kept>, now: Timestamp) -> Started {
    Started {
        fence: kept.fence,
        attempt: kept.attempt,
        lease: lease_end.since(now),
        lease_end,
        checkpoints: kept.checkpoints.as_slice().to_vec(),
        previous: previous.map(|previous| Previous {
            lost: matches!(previous.phase, Phase::InProgress { .. }),
            traceparent: previous.traceparent,
        }),
    }
}

fn running(kept: &Kept, policy: &Policy, now: Timestamp) -> BeginAnswer {
    let lease_end = match kept.phase {
        Phase::InProgress { lease_end, .. } => lease_end,
        Phase::Completed { .. } | Phase::Released { .. } => now,
    };
    // One microsecond past the allowance is the first moment that reads otherwise.
    let changes_at = lease_end.plus(policy.clock_skew_allowance).plus(Duration::from_micros(1));
    BeginAnswer::InProgress(InProgressAnswer {
        attempt: kept.attempt,
        retry_after: changes_at.since(now).min(ASK_AGAIN_WITHIN),
        lease_end: Some(lease_end),
        traceparent: kept.traceparent,
        changes_at,
    })
}

fn backing_off(kept: &Kept, pause_until: Timestamp, now: Timestamp) -> BeginAnswer {
    BeginAnswer::InProgress(InProgressAnswer {
        attempt: kept.attempt,
        retry_after: pause_until.since(now),
        lease_end: None,
        traceparent: kept.traceparent,
        changes_at: pause_until,
    })
}
