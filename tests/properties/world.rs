//! A key, its callers and the true time.

use std::time::Duration;

use bytes::Bytes;
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use semel::domain::{
    Abort, AttemptId, Begin, CheckpointName, Complete, Detail, Disposition, Fence, Fingerprint, Forget,
    Labels, Note, Policy, PositiveDuration, Record, Renew, Resolution, Resolve, SaveCheckpoint, Timestamp,
};
use uuid::Uuid;

use crate::learned::{Learned, perform};
use crate::promises::Promises;
use crate::repetition;
use crate::steps::{Call, SECOND, Step, on_lost_lease, result};

const START: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) fence: Fence,
    pub(crate) attempt_id: AttemptId,
}

/// A call as it was sent, what came of it, and the record that it left.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) call: Call,
    pub(crate) learned: Learned,
    pub(crate) changed: bool,
    pub(crate) left: Option<Record>,
}

/// One decision, for those who judge it.
pub(crate) struct Decision<'a> {
    pub(crate) call: &'a Call,
    pub(crate) policy: &'a Policy,
    pub(crate) before: Option<&'a Record>,
    pub(crate) after: Option<&'a Record>,
    pub(crate) learned: &'a Learned,
    pub(crate) changed: bool,
    /// By the clock of the server that decides.
    pub(crate) now: Timestamp,
    /// By the callers' clocks.
    pub(crate) truth: Timestamp,
}

pub(crate) struct World {
    pub(crate) policy: Policy,
    pub(crate) record: Option<Record>,
    pub(crate) truth: Timestamp,
    pub(crate) sent: Vec<Sent>,
    pub(crate) promises: Promises,
}

impl World {
    /// `clocks_agree`: the servers' clocks differ by less than the skew allowance. Only then do leases hold.
    pub(crate) fn new(policy: Policy, clocks_agree: bool) -> Self {
        let promises = Promises::new(clocks_agree);
        Self { policy, record: None, truth: START, sent: Vec::new(), promises }
    }

    pub(crate) fn step(&mut self, step: &Step, pause: u32, off_millis: i32) -> Result<(), TestCaseError> {
        self.truth = self.truth.plus(pause * SECOND);
        let off = Duration::from_millis(u64::from(off_millis.unsigned_abs()));
        let now = if off_millis < 0 { self.truth.minus(off) } else { self.truth.plus(off) };
        match *step {
            Step::Reclaim => {
                self.record.take_if(|record| record.reclaim_at() <= now);
                Ok(())
            }
            Step::Policy { mark_unknown, max_attempts } => {
                self.policy.on_lost_lease = on_lost_lease(mark_unknown);
                self.policy.max_attempts = max_attempts;
                Ok(())
            }
            Step::Again { of } => match self.sent.iter().rev().nth(of).cloned() {
                Some(earlier) => self.send(earlier.call.clone(), Some(&earlier), now),
                None => Ok(()),
            },
            _ => self.call(step).map_or(Ok(()), |call| self.send(call, None, now)),
        }
    }

    fn send(&mut self, call: Call, earlier: Option<&Sent>, now: Timestamp) -> Result<(), TestCaseError> {
        let before = self.record.clone();
        let (learned, changed) = perform(&mut self.record, &call, &self.policy, now);

        let mut pure = before.clone();
        prop_assert_eq!(perform(&mut pure, &call, &self.policy, now), (learned.clone(), changed));
        prop_assert_eq!(&pure, &self.record, "the decision depends on its arguments alone");

        let mut twice = self.record.clone();
        let (again, changed_again) = perform(&mut twice, &call, &self.policy, now);
        prop_assert!(!changed_again, "sent twice, {:?} changed something twice", call);
        prop_assert_eq!(&learned, &again, "sent twice at one moment, {:?} is answered otherwise", call);

        let decision = Decision {
            call: &call,
            policy: &self.policy,
            before: before.as_ref(),
            after: self.record.as_ref(),
            learned: &learned,
            changed,
            now,
            truth: self.truth,
        };
        if let Some(earlier) = earlier {
            repetition::check(earlier, &decision)?;
        }
        self.promises.check(&decision)?;
        self.sent.push(Sent { call, learned, changed, left: self.record.clone() });
        Ok(())
    }

    fn grant(&self, of: usize) -> Option<Grant> {
        self.promises.grants().iter().rev().nth(of).copied()
    }

    fn call(&self, step: &Step) -> Option<Call> {
        let positive = |seconds: u32| PositiveDuration::new(seconds * SECOND).unwrap();
        Some(match *step {
            Step::Begin { caller, request, lease, retention, first_sent_ago } => {
                // Callers make a new id for each attempt; a few ids in turn are enough to meet themselves again.
                let attempts = self.promises.grants().len() as u128;
                Call::Begin(Begin {
                    attempt_id: AttemptId::from_uuid(Uuid::from_u128(
                        u128::from(caller) * 100 + attempts / 3,
                    )),
                    fingerprint: (request > 0).then(|| Fingerprint::new(&[request.min(1)]).unwrap()),
                    lease: Some(positive(lease)),
                    retention: retention.map(positive),
                    first_sent: first_sent_ago.map(|ago| self.truth.minus(ago * SECOND)),
                    labels: Labels::default(),
                    traceparent: None,
                    may_open: true,
                })
            }
            Step::Complete { of, payload, retention } => {
                let Grant { fence, attempt_id } = self.grant(of)?;
                let retention = retention.map(positive);
                Call::Complete(Complete { fence, attempt_id, result: result(payload), retention })
            }
            Step::Abort { of, release, pause } => {
                let Grant { fence, attempt_id } = self.grant(of)?;
                Call::Abort(Abort {
                    fence,
                    attempt_id,
                    disposition: if release { Disposition::Release } else { Disposition::OutcomeUnknown },
                    detail: Detail::default(),
                    retry_after: pause * SECOND,
                })
            }
            Step::Renew { of, lease } => {
                let Grant { fence, attempt_id } = self.grant(of)?;
                Call::Renew(Renew { fence, attempt_id, lease: lease.map(positive) })
            }
            Step::Save { of, name, value } => {
                let Grant { fence, attempt_id } = self.grant(of)?;
                Call::Save(SaveCheckpoint {
                    fence,
                    attempt_id,
                    name: CheckpointName::new(&format!("point {name}")).unwrap(),
                    value: Bytes::copy_from_slice(&[value]),
                })
            }
            Step::Resolve { of, payload, force } => Call::Resolve(Resolve {
                fence: self.grant(of)?.fence,
                resolution: payload.map_or(Resolution::Release, |p| Resolution::Result(result(p))),
                note: Note::default(),
                force,
            }),
            Step::Forget { of, force } => Call::Forget(Forget { fence: self.grant(of)?.fence, force }),
            Step::Again { .. } | Step::Policy { .. } | Step::Reclaim => return None,
        })
    }
}
