//! The promises, each held against what callers and operators were told, not against how the domain reads a record.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, prop_assert_ne};
use semel::domain::{
    Begin, BeginAnswer, Checkpoint, Completed, Disposition, Fence, InProgressAnswer, Kept, OnLostLease,
    Phase, Policy, PositiveDuration, Record, Refusal, Resolution, Started, Timestamp, UnresolvedAnswer,
    UnresolvedReason,
};

use crate::learned::Learned;
use crate::steps::Call;
use crate::world::{Decision, Grant};

/// What was said of an attempt, by its owner or an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    None,
    Unknown,
    Released,
    Done,
}

/// The latest attempt, as those outside know it. It outlives its row.
#[derive(Debug)]
struct Latest {
    fence: Fence,
    attempt: u32,
    /// Attempts since the first, or since an operator's release.
    spent: u32,
    mark_unknown: bool,
    retention: Duration,
    lease_end: Timestamp,
    /// The pause that was asked of the next attempt.
    pause_until: Option<Timestamp>,
    word: Word,
    points: Vec<Checkpoint>,
    changed_at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Promises {
    clocks_agree: bool,
    grants: Vec<Grant>,
    latest: Option<Latest>,
    /// Until when, in true time, the holder of each fence rightly believes to own the key.
    believes_until: BTreeMap<Fence, Timestamp>,
    /// The result that was acknowledged last.
    acknowledged: Option<Completed>,
}

impl Promises {
    pub(crate) fn new(clocks_agree: bool) -> Self {
        Self {
            clocks_agree,
            grants: Vec::new(),
            latest: None,
            believes_until: BTreeMap::new(),
            acknowledged: None,
        }
    }

    /// Every attempt that was granted, in order.
    pub(crate) fn grants(&self) -> &[Grant] {
        &self.grants
    }

    pub(crate) fn check(&mut self, decision: &Decision<'_>) -> Result<(), TestCaseError> {
        stale_fences_change_nothing(decision)?;
        self.an_acknowledged_result_stays(decision)?;
        match (decision.call, decision.learned) {
            (Call::Begin(begin), Learned::Begin(BeginAnswer::Started(started))) => {
                if self.grants.iter().any(|grant| grant.fence == started.fence) {
                    self.granted_again(begin, started)?;
                } else {
                    self.granted(begin, started, decision)?;
                }
                self.believes_until.insert(started.fence, decision.truth.plus(started.lease));
            }
            (Call::Begin(_), Learned::Begin(BeginAnswer::InProgress(answer))) => {
                self.in_progress(answer, decision)?;
            }
            (Call::Begin(_), Learned::Begin(BeginAnswer::Unresolved(answer))) => {
                self.unresolved(answer, decision.policy)?;
            }
            (Call::Renew(renew), Learned::Renewed(renewed)) => {
                self.believes_until.insert(renew.fence, decision.truth.plus(renewed.lease));
                self.latest_of(renew.fence)?.lease_end = renewed.lease_end;
            }
            _ => {}
        }
        if decision.changed {
            self.learn(decision)?;
        }
        Ok(())
    }

    /// A completed record changes by nothing but Forget, and every Begin is told the same of it, until it expires.
    fn an_acknowledged_result_stays(&mut self, decision: &Decision<'_>) -> Result<(), TestCaseError> {
        let Some(done) = self.acknowledged.as_ref().filter(|done| decision.now < done.expires_at) else {
            if decision.changed {
                self.acknowledged = None;
            }
            return Ok(());
        };
        if let (Call::Forget(_), true) = (decision.call, decision.changed) {
            self.acknowledged = None;
            return Ok(());
        }
        prop_assert!(!decision.changed, "{:?} changed an acknowledged result", decision.call);
        let Some(Record::Kept(kept)) = decision.after else {
            return Err(TestCaseError::fail("an acknowledged result is gone before it expired"));
        };
        let Phase::Completed { result, .. } = &kept.phase else {
            return Err(TestCaseError::fail("an acknowledged result was replaced"));
        };
        let stored = (kept.fence, kept.attempt, kept.changed_at, kept.expires_at, result);
        prop_assert_eq!(stored, (done.fence, done.attempt, done.completed_at, done.expires_at, &done.result));
        if let Call::Begin(begin) = decision.call {
            match decision.learned {
                Learned::Begin(BeginAnswer::Replayed(replayed)) => prop_assert_eq!(replayed, done),
                Learned::Refused(Refusal::FingerprintMismatch { .. }) => {
                    prop_assert!(begin.fingerprint.is_some());
                }
                other => {
                    prop_assert!(false, "instead of the acknowledged result a Begin was told {:?}", other);
                }
            }
        }
        Ok(())
    }

    fn granted(
        &mut self,
        begin: &Begin,
        started: &Started,
        decision: &Decision<'_>,
    ) -> Result<(), TestCaseError> {
        let Decision { policy, now, truth, .. } = *decision;
        let fence = started.fence;
        prop_assert!(decision.changed);
        prop_assert!(self.grants.iter().all(|grant| grant.fence < fence), "a fence did not rise");
        self.grants.push(Grant { fence, attempt_id: begin.attempt_id });
        for (other, until) in &self.believes_until {
            prop_assert!(
                !self.clocks_agree || *until < truth,
                "{:?} believes to own the key until {:?}, {:?} was granted at {:?}",
                other,
                until,
                fence,
                truth
            );
        }
        let retention = granted_retention(policy, begin.retention, policy.retention);
        let (attempt, spent, points) = if decision.before.is_some_and(|record| record.live(now).is_some()) {
            let latest =
                self.latest.take().ok_or_else(|| TestCaseError::fail("a record without an attempt"))?;
            latest.lets_run(policy, now)?;
            (latest.attempt + 1, latest.spent + 1, latest.points)
        } else {
            if let (Some(first_sent), Some(latest)) = (begin.first_sent, &self.latest) {
                latest.may_not_have_run(first_sent, retention, decision.before)?;
            }
            if let Some(first_sent) = begin.first_sent {
                prop_assert!(first_sent >= now.minus(retention), "first sent before the window, and started");
            }
            (1, 1, Vec::new())
        };
        prop_assert_eq!(started.attempt, attempt);
        prop_assert_eq!(&started.checkpoints, &points, "the points were not handed over whole");
        self.latest = Some(Latest {
            fence,
            attempt,
            spent,
            mark_unknown: policy.on_lost_lease == OnLostLease::MarkUnknown,
            retention,
            lease_end: started.lease_end,
            pause_until: None,
            word: Word::None,
            points,
            changed_at: now,
        });
        Ok(())
    }

    /// Only the owner is told of its own grant again, and of all that it saved.
    fn granted_again(&mut self, begin: &Begin, started: &Started) -> Result<(), TestCaseError> {
        let owner =
            self.grants.iter().find(|grant| grant.fence == started.fence).map(|grant| grant.attempt_id);
        prop_assert_eq!(owner, Some(begin.attempt_id));
        let latest = self.latest_of(started.fence)?;
        prop_assert_eq!((started.attempt, latest.word), (latest.attempt, Word::None));
        prop_assert_eq!(&started.checkpoints, &latest.points);
        latest.lease_end = started.lease_end;
        Ok(())
    }

    fn in_progress(&self, answer: &InProgressAnswer, decision: &Decision<'_>) -> Result<(), TestCaseError> {
        let latest = self.latest.as_ref().ok_or_else(|| TestCaseError::fail("nothing began"))?;
        prop_assert_eq!(answer.attempt, latest.attempt);
        prop_assert!(decision.now < answer.changes_at, "told to wait for what was over");
        if answer.backing_off() {
            prop_assert_eq!(Some(answer.changes_at), latest.pause_until);
        } else {
            prop_assert_eq!((answer.lease_end, latest.word), (Some(latest.lease_end), Word::None));
        }
        Ok(())
    }

    fn unresolved(&self, answer: &UnresolvedAnswer, policy: &Policy) -> Result<(), TestCaseError> {
        let latest = self.latest.as_ref().ok_or_else(|| TestCaseError::fail("nothing began"))?;
        let forbidden = latest.mark_unknown && matches!(latest.word, Word::None | Word::Unknown);
        prop_assert_ne!(latest.word, Word::Done);
        match answer.reason {
            UnresolvedReason::OutcomeUnknown => prop_assert!(forbidden, "a rerun was allowed: {:?}", latest),
            UnresolvedReason::AttemptsExhausted => {
                prop_assert!(!forbidden && latest.used_up(policy), "attempts were left: {:?}", latest);
            }
        }
        Ok(())
    }

    /// What an effective call tells those outside.
    fn learn(&mut self, decision: &Decision<'_>) -> Result<(), TestCaseError> {
        let Decision { policy, now, .. } = *decision;
        let fence = match decision.call {
            Call::Begin(_) => return self.touch(decision),
            Call::Complete(call) => call.fence,
            Call::Abort(call) => call.fence,
            Call::Renew(call) => call.fence,
            Call::Save(call) => call.fence,
            Call::Resolve(call) => call.fence,
            Call::Forget(call) => call.fence,
        };
        if !matches!(decision.call, Call::Renew(_) | Call::Save(_)) {
            self.believes_until.remove(&fence);
        }
        if let Call::Forget(_) = decision.call {
            self.latest = None;
            return Ok(());
        }
        let latest = self.latest_of(fence)?;
        match (decision.call, decision.learned) {
            (Call::Complete(call), Learned::Completed(done)) => {
                let retention = granted_retention(policy, call.retention, latest.retention);
                prop_assert_eq!((done.completed_at, done.expires_at), (now, now.plus(retention)));
                prop_assert_eq!((&done.result, done.fence), (&call.result, call.fence));
                latest.word = Word::Done;
                self.acknowledged = Some(done.clone());
            }
            (Call::Abort(call), Learned::Aborted) => {
                latest.word = match call.disposition {
                    Disposition::Release => Word::Released,
                    Disposition::OutcomeUnknown => Word::Unknown,
                };
                latest.pause_until = Some(now.plus(call.retry_after.min(policy.max_retry_after)));
            }
            (Call::Save(call), Learned::Saved) => {
                let (name, value) = (call.name.clone(), call.value.clone());
                latest.points.push(Checkpoint { name, value, fence });
            }
            (Call::Resolve(call), Learned::Resolved(kept)) => match &call.resolution {
                Resolution::Release => {
                    latest.word = Word::Released;
                    (latest.spent, latest.pause_until) = (0, Some(now));
                }
                Resolution::Result(_) => {
                    prop_assert_eq!(kept.expires_at, now.plus(latest.retention));
                    latest.word = Word::Done;
                    self.acknowledged = completed(kept);
                }
            },
            _ => {}
        }
        self.touch(decision)
    }

    fn touch(&mut self, decision: &Decision<'_>) -> Result<(), TestCaseError> {
        let after = decision.after.map(Record::fence);
        let latest = self.latest.as_mut().filter(|latest| Some(latest.fence) == after);
        latest.ok_or_else(|| TestCaseError::fail("the record is not the latest attempt's"))?.changed_at =
            decision.now;
        Ok(())
    }

    fn latest_of(&mut self, fence: Fence) -> Result<&mut Latest, TestCaseError> {
        let latest = self.latest.as_mut().filter(|latest| latest.fence == fence);
        latest.ok_or_else(|| TestCaseError::fail(format!("{fence:?} is not the latest attempt's")))
    }
}

impl Latest {
    fn used_up(&self, policy: &Policy) -> bool {
        policy.max_attempts > 0 && self.spent >= policy.max_attempts
    }

    /// Whether the next attempt may begin while this one is known.
    fn lets_run(&self, policy: &Policy, now: Timestamp) -> Result<(), TestCaseError> {
        let over = match self.word {
            Word::None => !self.mark_unknown && now > self.lease_end.plus(policy.clock_skew_allowance),
            Word::Unknown => !self.mark_unknown,
            Word::Released => true,
            Word::Done => false,
        };
        prop_assert!(over, "a Begin ran after {:?}", self);
        prop_assert!(!self.used_up(policy), "an attempt too many after {:?}", self);
        prop_assert!(self.pause_until.is_none_or(|until| until <= now), "the pause was not over: {:?}", self);
        Ok(())
    }

    /// An operation that was first sent before this attempt's end is not run again once the attempt is forgotten, unless
    /// nothing had happened: as long as the row is known by its expiry, afterwards by the caller's own window.
    fn may_not_have_run(
        &self,
        first_sent: Timestamp,
        retention: Duration,
        known: Option<&Record>,
    ) -> Result<(), TestCaseError> {
        if self.word == Word::Released {
            return Ok(());
        }
        if let Some(Record::Kept(kept)) = known {
            prop_assert!(first_sent >= kept.expires_at, "first sent before a known expiry, and started");
        }
        prop_assert!(
            first_sent > self.changed_at || retention > self.retention,
            "first sent at {:?}, and started after {:?}",
            first_sent,
            self
        );
        Ok(())
    }
}

fn stale_fences_change_nothing(decision: &Decision<'_>) -> Result<(), TestCaseError> {
    let (before, after) = (decision.before.map(Record::fence), decision.after.map(Record::fence));
    prop_assert!(after >= before, "a fence fell");
    let fence = match decision.call {
        Call::Begin(_) => return Ok(()),
        Call::Complete(call) => call.fence,
        Call::Abort(call) => call.fence,
        Call::Renew(call) => call.fence,
        Call::Save(call) => call.fence,
        Call::Resolve(call) => call.fence,
        Call::Forget(call) => call.fence,
    };
    prop_assert!(!decision.changed || Some(fence) == before, "a stale fence changed something");
    Ok(())
}

/// What callers were told of a record that an operator completed.
fn completed(kept: &Kept) -> Option<Completed> {
    let Phase::Completed { result, .. } = &kept.phase else { return None };
    Some(Completed {
        result: result.clone(),
        fence: kept.fence,
        attempt: kept.attempt,
        completed_at: kept.changed_at,
        expires_at: kept.expires_at,
        labels: kept.labels.clone(),
        traceparent: kept.traceparent,
        repeated: true,
    })
}

fn granted_retention(policy: &Policy, asked: Option<PositiveDuration>, otherwise: Duration) -> Duration {
    asked.map_or(otherwise, |asked| asked.get().min(policy.max_retention))
}
