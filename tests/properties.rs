//! What holds over every history: random commands, callers that repeat and delay their calls, servers whose
//! clocks differ, rows that are reclaimed.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use semel::domain::{
    Abort, AttemptId, Begin, BeginAnswer, CheckpointName, Command, Complete, Detail, Disposition, Fence,
    Fingerprint, Forget, Labels, Note, OnLostLease, OperationResult, Outcome, Phase, Policy,
    PositiveDuration, Reading, Record, Renew, Resolution, Resolve, SaveCheckpoint, Timestamp, Transition,
    decide,
};
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
const START: u64 = 1_800_000_000_000_000;

/// One command of a history. `of` picks an attempt that was granted before, by its place, counted back from the
/// last; so calls for stale fences come up all the time.
#[derive(Clone, Debug)]
enum Step {
    Begin {
        caller: u8,
        request: u8,
        lease: u32,
        first_sent_ago: Option<u32>,
    },
    Complete {
        of: usize,
        payload: u8,
    },
    Abort {
        of: usize,
        release: bool,
        pause: u32,
    },
    Renew {
        of: usize,
        lease: u32,
    },
    Save {
        of: usize,
        name: u8,
        value: u8,
    },
    Resolve {
        of: usize,
        payload: Option<u8>,
        force: bool,
    },
    Forget {
        of: usize,
        force: bool,
    },
    /// The last `of`-th command arrives once more.
    Again {
        of: usize,
    },
    /// Rows whose time has come are dropped.
    Reclaim,
}

#[derive(Clone, Debug)]
enum Call {
    Begin(Begin),
    Complete(Complete),
    Abort(Abort),
    Renew(Renew),
    Save(SaveCheckpoint),
    Resolve(Resolve),
    Forget(Forget),
}

/// The answer, made comparable: what the caller learns, without how much of a lease remains and whether the
/// call was the first.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Learned {
    Refused(String),
    Started { fence: Fence, attempt: u32 },
    Told(String),
}

fn steps() -> impl Strategy<Value = Vec<(Step, u32, i32)>> {
    let step = prop_oneof![
        6 => (0_u8..4, 0_u8..3, 1_u32..40, proptest::option::of(0_u32..300))
            .prop_map(|(caller, request, lease, first_sent_ago)| Step::Begin { caller, request, lease, first_sent_ago }),
        3 => (0_usize..3, 0_u8..3).prop_map(|(of, payload)| Step::Complete { of, payload }),
        3 => (0_usize..3, any::<bool>(), 0_u32..20).prop_map(|(of, release, pause)| Step::Abort { of, release, pause }),
        2 => (0_usize..3, 1_u32..40).prop_map(|(of, lease)| Step::Renew { of, lease }),
        2 => (0_usize..3, 0_u8..3, 0_u8..2).prop_map(|(of, name, value)| Step::Save { of, name, value }),
        1 => (0_usize..2, proptest::option::of(0_u8..3), any::<bool>())
            .prop_map(|(of, payload, force)| Step::Resolve { of, payload, force }),
        1 => (0_usize..2, any::<bool>()).prop_map(|(of, force)| Step::Forget { of, force }),
        3 => (0_usize..4).prop_map(|of| Step::Again { of }),
        1 => Just(Step::Reclaim),
    ];
    // Seconds that pass before the step, mostly few, and the deciding server's clock in milliseconds off.
    let pause = prop_oneof![5 => 0_u32..5, 3 => 0_u32..60, 1 => 0_u32..20_000];
    proptest::collection::vec((step, pause, -500_i32..=500), 1..60)
}

fn policies() -> impl Strategy<Value = Policy> {
    (any::<bool>(), 0_u32..4).prop_map(|(mark_unknown, max_attempts)| Policy {
        lease: 10 * SECOND,
        max_lease: 30 * SECOND,
        retention: 200 * SECOND,
        max_retention: 400 * SECOND,
        unresolved_retention: 600 * SECOND,
        max_retry_after: 15 * SECOND,
        max_attempts,
        on_lost_lease: if mark_unknown { OnLostLease::MarkUnknown } else { OnLostLease::Rerun },
        clock_skew_allowance: SECOND,
        ..Policy::default()
    })
}

fn result(payload: u8) -> Arc<OperationResult> {
    Arc::new(OperationResult {
        outcome: Outcome::Success,
        code: 0,
        content_type: String::new(),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(&[payload]),
        payload_omitted: false,
    })
}

#[derive(Clone, Copy, Debug)]
struct Grant {
    fence: Fence,
    attempt_id: AttemptId,
}

/// A key, its callers and the true time.
struct World {
    policy: Policy,
    record: Option<Record>,
    truth: Timestamp,
    grants: Vec<Grant>,
    calls: Vec<Call>,
    /// Until when, in true time, the holder of each fence rightly believes to own the key.
    believes_until: BTreeMap<Fence, Timestamp>,
    /// The result of each fence that was acknowledged, while its record lives.
    acknowledged: Option<(Fence, Arc<OperationResult>, Timestamp)>,
    /// Whether the servers' clocks differ by less than the skew allowance: only then do leases hold.
    clocks_agree: bool,
}

fn apply<C: Command>(
    record: &mut Option<Record>,
    command: &C,
    policy: &Policy,
    now: Timestamp,
    learn: impl Fn(C::Answer) -> Learned,
) -> (Learned, bool) {
    match decide(record.as_ref(), command, policy, now) {
        Transition::Unchanged(Ok(answer)) => (learn(answer), false),
        Transition::Unchanged(Err(refusal)) => (Learned::Refused(refusal.reason().to_string()), false),
        Transition::Change { next, answer } => {
            *record = Some(next);
            (learn(answer), true)
        }
    }
}

fn perform(record: &mut Option<Record>, call: &Call, policy: &Policy, now: Timestamp) -> (Learned, bool) {
    let told = |text: String| Learned::Told(text);
    match call {
        Call::Begin(begin) => apply(record, begin, policy, now, |answer| match answer {
            BeginAnswer::Started(started) => {
                Learned::Started { fence: started.fence, attempt: started.attempt }
            }
            BeginAnswer::Replayed(replayed) => told(format!("replayed {:?}", replayed.result.payload)),
            BeginAnswer::InProgress(running) => told(format!("in progress {}", running.attempt)),
            BeginAnswer::Unresolved(unresolved) => {
                told(format!("unresolved {:?} {:?}", unresolved.reason, unresolved.since))
            }
        }),
        Call::Complete(complete) => apply(record, complete, policy, now, |answer| {
            told(format!("completed {:?} {:?}", answer.completed_at, answer.expires_at))
        }),
        Call::Abort(abort) => apply(record, abort, policy, now, |_| told("aborted".to_owned())),
        Call::Renew(renew) => {
            apply(record, renew, policy, now, |answer| told(format!("renewed {:?}", answer.lease_end)))
        }
        Call::Save(save) => apply(record, save, policy, now, |_| told("saved".to_owned())),
        Call::Resolve(resolve) => {
            apply(record, resolve, policy, now, |kept| told(format!("resolved {:?}", kept.phase)))
        }
        Call::Forget(forget) => apply(record, forget, policy, now, |()| told("forgotten".to_owned())),
    }
}

impl World {
    fn new(policy: Policy, clocks_agree: bool) -> Self {
        Self {
            policy,
            record: None,
            truth: Timestamp::from_micros(START),
            grants: Vec::new(),
            calls: Vec::new(),
            believes_until: BTreeMap::new(),
            acknowledged: None,
            clocks_agree,
        }
    }

    fn grant(&self, of: usize) -> Option<Grant> {
        self.grants.iter().rev().nth(of).copied()
    }

    fn call(&self, step: &Step) -> Option<Call> {
        let caller_id = |caller: u8| {
            // Callers make a new id for each attempt; a few ids in turn are enough to meet themselves again.
            AttemptId::from_uuid(Uuid::from_u128(u128::from(caller) * 100 + self.grants.len() as u128 / 3))
        };
        Some(match *step {
            Step::Begin { caller, request, lease, first_sent_ago } => Call::Begin(Begin {
                attempt_id: caller_id(caller),
                fingerprint: (request > 0).then(|| Fingerprint::new(&[request.min(1)]).unwrap()),
                lease: Some(PositiveDuration::new(lease * SECOND).unwrap()),
                retention: None,
                first_sent: first_sent_ago.map(|ago| self.truth.minus(ago * SECOND)),
                labels: Labels::default(),
                traceparent: None,
            }),
            Step::Complete { of, payload } => {
                let Grant { fence, attempt_id } = self.grant(of)?;
                Call::Complete(Complete { fence, attempt_id, result: result(payload), retention: None })
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
                let lease = Some(PositiveDuration::new(lease * SECOND).unwrap());
                Call::Renew(Renew { fence, attempt_id, lease })
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
            Step::Resolve { of, payload, force } => {
                let resolution = payload.map_or(Resolution::Release, |p| Resolution::Result(result(p)));
                Call::Resolve(Resolve {
                    fence: self.grant(of)?.fence,
                    resolution,
                    note: Note::default(),
                    force,
                })
            }
            Step::Forget { of, force } => Call::Forget(Forget { fence: self.grant(of)?.fence, force }),
            Step::Again { of } => self.calls.iter().rev().nth(of)?.clone(),
            Step::Reclaim => return None,
        })
    }

    fn step(&mut self, step: &Step, pause: u32, off_millis: i32) -> Result<(), TestCaseError> {
        self.truth = self.truth.plus(pause * SECOND);
        let off = Duration::from_millis(u64::from(off_millis.unsigned_abs()));
        let now = if off_millis < 0 { self.truth.minus(off) } else { self.truth.plus(off) };
        if matches!(step, Step::Reclaim) && self.record.as_ref().is_some_and(|r| r.reclaim_at() <= now) {
            self.record = None;
        }
        let Some(call) = self.call(step) else { return Ok(()) };
        self.calls.push(call.clone());
        let before = self.record.clone();

        let mut pure = before.clone();
        prop_assert_eq!(perform(&mut pure, &call, &self.policy, now), {
            let learned = perform(&mut self.record, &call, &self.policy, now);
            self.check(&call, before.as_ref(), &learned, now)?;
            learned
        });
        prop_assert_eq!(&pure, &self.record, "the decision depends on its arguments alone");

        let mut twice = self.record.clone();
        let (first, _) = perform(&mut pure.clone(), &call, &self.policy, now);
        let (again, changed) = perform(&mut twice, &call, &self.policy, now);
        prop_assert!(!changed, "a call sent twice changed something twice: {:?}", call);
        let ended = matches!(&again, Learned::Refused(reason) if reason == "KEY_NOT_FOUND");
        prop_assert!(first == again || ended, "{:?} then {:?} for {:?}", first, again, call);
        Ok(())
    }

    fn check(
        &mut self,
        call: &Call,
        before: Option<&Record>,
        (learned, changed): &(Learned, bool),
        now: Timestamp,
    ) -> Result<(), TestCaseError> {
        if let (Call::Begin(begin), Learned::Started { fence, .. }) = (call, learned) {
            self.started(begin, *fence, *changed, now)?;
        }
        if let Call::Renew(renew) = call
            && let Learned::Told(_) = learned
            && let Some(Record::Kept(kept)) = &self.record
            && let Phase::InProgress { lease_end, .. } = kept.phase
        {
            self.believes_until.insert(renew.fence, self.truth.plus(lease_end.since(now)));
        }
        if *changed {
            self.changed(call, before, now)?;
        }
        if let Some((fence, result, expires_at)) = self.acknowledged.clone() {
            if now < expires_at {
                let Some(Record::Kept(kept)) = &self.record else {
                    return Err(TestCaseError::fail("an acknowledged result is gone before it expired"));
                };
                let Phase::Completed { result: stored, .. } = &kept.phase else {
                    return Err(TestCaseError::fail("an acknowledged result was replaced"));
                };
                prop_assert_eq!((kept.fence, stored), (fence, &result));
            } else {
                self.acknowledged = None;
            }
        }
        Ok(())
    }

    fn started(
        &mut self,
        begin: &Begin,
        fence: Fence,
        changed: bool,
        now: Timestamp,
    ) -> Result<(), TestCaseError> {
        let Some(Record::Kept(kept)) = &self.record else {
            return Err(TestCaseError::fail("Started without a record"));
        };
        let Phase::InProgress { lease_end, .. } = kept.phase else {
            return Err(TestCaseError::fail("Started without ownership"));
        };
        let known = self.grants.iter().any(|grant| grant.fence == fence);
        if !known {
            prop_assert!(changed);
            prop_assert!(self.grants.iter().all(|grant| grant.fence < fence), "a fence did not rise");
            self.grants.push(Grant { fence, attempt_id: begin.attempt_id });
        }
        for (other, until) in &self.believes_until {
            prop_assert!(
                !self.clocks_agree || *other == fence || *until < self.truth,
                "{:?} believes to own the key until {:?}, {:?} was granted at {:?}",
                other,
                until,
                fence,
                self.truth
            );
        }
        self.believes_until.insert(fence, self.truth.plus(lease_end.since(now)));
        Ok(())
    }

    /// What may change a record, and who thereby stops owning the key.
    fn changed(&mut self, call: &Call, before: Option<&Record>, now: Timestamp) -> Result<(), TestCaseError> {
        let fence_before = before.map(Record::fence);
        let after = self.record.as_ref().map(Record::fence);
        prop_assert!(after >= fence_before, "a fence fell");
        let by_fence = match call {
            Call::Begin(_) => None,
            Call::Complete(c) => Some(c.fence),
            Call::Abort(a) => Some(a.fence),
            Call::Renew(r) => Some(r.fence),
            Call::Save(s) => Some(s.fence),
            Call::Resolve(r) => Some(r.fence),
            Call::Forget(f) => Some(f.fence),
        };
        if let Some(fence) = by_fence {
            prop_assert_eq!(Some(fence), fence_before, "a stale fence changed something");
        }
        match call {
            Call::Complete(complete) => {
                if let Some(Record::Kept(kept)) = &self.record {
                    self.acknowledged = Some((complete.fence, complete.result.clone(), kept.expires_at));
                }
                self.believes_until.remove(&complete.fence);
            }
            Call::Resolve(resolve) => {
                if let (Resolution::Result(result), Some(Record::Kept(kept))) =
                    (&resolve.resolution, &self.record)
                {
                    self.acknowledged = Some((resolve.fence, result.clone(), kept.expires_at));
                }
                self.believes_until.remove(&resolve.fence);
            }
            Call::Forget(forget) => {
                self.acknowledged = None;
                self.believes_until.remove(&forget.fence);
            }
            Call::Abort(abort) => _ = self.believes_until.remove(&abort.fence),
            Call::Begin(_) => {
                if let Some(kept) = before.and_then(|record| record.live(now)) {
                    let reading = kept.read(&self.policy, now);
                    let own = matches!(&self.record, Some(Record::Kept(next)) if next.fence == kept.fence);
                    prop_assert!(
                        own || matches!(reading, Reading::LeaseLost | Reading::Released),
                        "a Begin ran where the record read {:?}",
                        reading
                    );
                }
            }
            Call::Renew(_) | Call::Save(_) => {}
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: histories(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(steps in steps(), policy in policies()) {
        let mut world = World::new(policy, true);
        for (step, pause, off) in &steps {
            world.step(step, *pause, *off)?;
        }
    }

    /// Clocks up to half an hour off either way, as far apart as the grace: leases may overlap, but fences rise,
    /// a stale one writes nothing, and what was acknowledged stays until the clock that decides says it expired.
    #[test]
    fn fences_rise_while_clocks_stay_within_the_grace(steps in steps(), policy in policies()) {
        let mut world = World::new(policy, false);
        for (step, pause, off) in &steps {
            world.step(step, *pause, *off * 3_599)?;
        }
    }
}

/// Found by the property above: one server grants with its clock half an hour ahead, another changes the record with
/// its clock behind, and the row is reclaimed long before the fence's own moment is an hour past.
#[test]
fn a_fence_granted_by_a_clock_ahead_is_kept_past_a_change_by_a_clock_behind() {
    let begin = Step::Begin { caller: 0, request: 0, lease: 1, first_sent_ago: None };
    let release = Step::Resolve { of: 0, payload: None, force: true };
    let forget = Step::Forget { of: 0, force: true };
    for last_change in [release, forget] {
        let policy = Policy { retention: SECOND, unresolved_retention: SECOND, ..Policy::default() };
        let mut world = World::new(policy, false);
        for (step, pause, off_millis) in [
            (&begin, 0, 1_700_000),
            (&last_change, 0, -1_700_000),
            (&Step::Reclaim, 300, 1_700_000),
            (&begin, 0, -1_700_000),
        ] {
            world.step(step, pause, off_millis).unwrap();
        }
        assert_eq!(world.grants.len(), 2, "the second Begin starts");
    }
}

/// How many histories each property is tried on.
fn histories() -> u32 {
    std::env::var("SEMEL_HISTORIES").map_or(20_000, |n| n.parse().expect("SEMEL_HISTORIES is a number"))
}

/// Histories are worth something only where attempts follow each other: the generator's own check.
#[test]
fn histories_meet_takeovers_replays_unknowns_and_reclaimed_rows() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut takeovers, mut completions, mut unresolved, mut reclaimed) = (0, 0, 0, 0);
    for _ in 0..500 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let policy = policies().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(policy, true);
        for (step, pause, off) in &steps {
            let before = world.record.is_some();
            world.step(step, *pause, *off).unwrap();
            reclaimed += u32::from(before && world.record.is_none());
            completions += u32::from(world.acknowledged.is_some());
            if let Some(Record::Kept(kept)) = &world.record {
                takeovers += u32::from(kept.attempt > 1);
                let reading = kept.read(&world.policy, world.truth);
                unresolved += u32::from(matches!(reading, Reading::Unresolved { .. }));
            }
        }
    }
    for (what, met, least) in [
        ("takeovers", takeovers, 500),
        ("completions", completions, 500),
        ("unresolved records", unresolved, 500),
        ("reclaimed rows", reclaimed, 10),
    ] {
        assert!(met >= least, "{what}: met {met}, at least {least} are wanted");
    }
}
