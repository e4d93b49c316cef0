//! What holds when a store is restored from a backup: whatever came between the two is lost, and does not run again.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use semel::domain::{
    AttemptId, Begin, BeginAnswer, BeginOnStore, Kept, Phase, Policy, Record, Refusal, Restored, Timestamp,
    Transition, decide,
};
use uuid::Uuid;

use crate::learned::perform;
use crate::steps::{Call, SECOND, policies, steps};
use crate::world::World;

/// A store after its restore, and what was granted and sent before.
struct AfterRestore {
    world: World,
    backup: Option<Record>,
    mark: Restored,
    policy: Policy,
}

impl AfterRestore {
    /// Comes to a Begin on the restored record, as it is `seconds` after the restore.
    fn begin(&self, begin: &Begin, retry: bool, seconds: u32) -> Transition<BeginAnswer> {
        let command = BeginOnStore { begin, retry, restored: Some(self.mark) };
        decide(self.world.record.as_ref(), &command, &self.policy, self.at(seconds))
    }

    fn at(&self, seconds: u32) -> Timestamp {
        self.mark.at.plus(seconds * SECOND)
    }

    fn begins(&self) -> impl Iterator<Item = &Begin> {
        self.world.sent.iter().filter_map(|sent| match &sent.call {
            Call::Begin(begin) => Some(begin),
            _ => None,
        })
    }

    /// Who says that it is a retry is not started, with its own attempt id or a new one, until a lost record would be gone.
    fn no_retry_runs(&self, seconds: u32) -> Result<(), TestCaseError> {
        for begin in self.begins() {
            let anew = Begin { attempt_id: AttemptId::from_uuid(Uuid::from_u128(7)), ..begin.clone() };
            for begin in [begin, &anew] {
                let came_to = self.begin(begin, true, seconds);
                prop_assert!(
                    matches!(came_to, Transition::Unchanged(_)),
                    "{begin:?} ran again: {came_to:?} on {:?}",
                    self.world.record
                );
                let early = Begin { first_sent: Some(self.mark.at.minus(SECOND)), ..begin.clone() };
                prop_assert!(matches!(self.begin(&early, false, seconds), Transition::Unchanged(_)));
            }
        }
        Ok(())
    }

    /// Whoever was granted a fence, before the backup or after, changes nothing any more.
    fn no_owner_is_left(&self, seconds: u32) -> Result<(), TestCaseError> {
        for sent in &self.world.sent {
            if matches!(sent.call, Call::Begin(_)) {
                continue;
            }
            // An operator's Forget of a settled record that was in the backup is as good as before.
            let settled = |record: &Record| !record.is_open();
            if self.world.record.as_ref().is_some_and(settled) && matches!(sent.call, Call::Forget(_)) {
                continue;
            }
            let mut record = self.world.record.clone();
            let expired = record.as_ref().is_some_and(|record| record.live(self.at(seconds)).is_none());
            let (learned, changed) = perform(&mut record, &sent.call, &self.policy, self.at(seconds));
            prop_assert!(!changed || expired, "{:?} changed the restored record: {learned:?}", sent.call);
        }
        Ok(())
    }

    /// What the backup knew to be done is replayed as it was.
    fn results_are_replayed(&self) -> Result<(), TestCaseError> {
        let Some(Record::Kept(Kept { phase: Phase::Completed { result, .. }, expires_at, .. })) =
            &self.backup
        else {
            return Ok(());
        };
        if *expires_at <= self.mark.at {
            return Ok(());
        }
        prop_assert_eq!(&self.world.record, &self.backup);
        for begin in self.begins() {
            match self.begin(begin, true, 0) {
                Transition::Unchanged(Ok(BeginAnswer::Replayed(replayed))) => {
                    prop_assert_eq!(&replayed.result, result);
                }
                Transition::Unchanged(Err(Refusal::FingerprintMismatch { .. })) => {}
                other => prop_assert!(false, "instead of the result: {:?}", other),
            }
        }
        Ok(())
    }

    /// Whatever is started in the end has a fence above all that ever were.
    fn fences_rise(&self) -> Result<(), TestCaseError> {
        let begin = Begin {
            attempt_id: AttemptId::from_uuid(Uuid::from_u128(9)),
            fingerprint: None,
            lease: None,
            retention: None,
            first_sent: None,
            labels: semel::domain::Labels::default(),
            traceparent: None,
            may_open: true,
        };
        if let Transition::Change { next, .. } = self.begin(&begin, false, 0) {
            for grant in self.world.promises.grants() {
                prop_assert!(next.fence() > grant.fence, "{:?} is not above {:?}", next.fence(), grant.fence);
            }
        }
        if let Some(record) = self.world.record.as_ref().filter(|record| record.is_open()) {
            let live = record.live(self.mark.at).is_some();
            let above = self.world.promises.grants().iter().all(|grant| grant.fence < record.fence());
            prop_assert!(!live || above, "a record kept a fence that was granted");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: crate::histories() / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_a_restore_lost_does_not_run_again(
        before in steps(),
        lost in steps(),
        policy in policies(),
        seconds in 0_u32..20_000,
    ) {
        let mut world = World::new(policy, true);
        for (step, pause, off) in &before {
            world.step(step, *pause, *off)?;
        }
        let (backup, backup_at) = (world.record.clone(), world.truth);
        for (step, pause, off) in &lost {
            world.step(step, *pause, *off)?;
        }
        // The restoring machine's clock is not behind those that granted.
        let at = world.truth.plus(SECOND);
        let policy = world.policy.clone();
        let mark = Restored::new(at, backup_at, policy.longest_kept());
        world.record = backup.clone().map(|record| mark.record(record));
        let after = AfterRestore { world, backup, mark, policy };
        if after.mark.in_force(&after.policy, after.at(seconds)) {
            after.no_retry_runs(seconds)?;
        }
        after.no_owner_is_left(0)?;
        after.results_are_replayed()?;
        after.fences_rise()?;
    }
}
