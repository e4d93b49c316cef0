//! What holds over every history of a key.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

mod learned;
mod promises;
mod repetition;
mod restore;
mod steps;
mod world;

use std::collections::BTreeMap;

use learned::Learned;
use proptest::prelude::*;
use semel::domain::{BeginAnswer, Policy, Reason, UnresolvedReason};
use steps::{Call, SECOND, Step, policies, steps};
use world::World;

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
    let begin = Step::Begin { caller: 0, request: 0, lease: 1, retention: None, first_sent_ago: None };
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
        assert_eq!(world.promises.grants().len(), 2, "the second Begin starts");
    }
}

/// How many histories each property is tried on.
pub(crate) fn histories() -> u32 {
    std::env::var("SEMEL_HISTORIES").map_or(20_000, |n| n.parse().expect("SEMEL_HISTORIES is a number"))
}

/// Histories are worth something only where they meet what the promises are about: the generator's own check.
#[test]
fn histories_meet_what_the_promises_are_about() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeMap::new();
    for _ in 0..500 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let policy = policies().new_tree(&mut runner).unwrap().current();
        let mut world = World::new(policy, true);
        for (step, pause, off) in &steps {
            let sent_before = world.sent.len();
            let row_before = world.record.is_some();
            let earlier = match step {
                Step::Again { of } => world.sent.iter().rev().nth(*of).cloned(),
                _ => None,
            };
            world.step(step, *pause, *off).unwrap();
            let mut meet = |what, happened: bool| *met.entry(what).or_insert(0_u32) += u32::from(happened);
            meet("a reclaimed row", row_before && world.record.is_none());
            let Some(sent) = world.sent.get(sent_before) else { continue };
            meet("a late copy of a call that took effect", earlier.is_some_and(|e| e.changed && *pause > 0));
            match (&sent.call, &sent.learned) {
                (Call::Begin(begin), Learned::Begin(BeginAnswer::Started(started))) => {
                    meet("a takeover", sent.changed && started.attempt > 1);
                    meet("points handed over", sent.changed && !started.checkpoints.is_empty());
                    meet("a start with first_sent", sent.changed && begin.first_sent.is_some());
                }
                (_, Learned::Begin(BeginAnswer::Replayed(_))) => meet("a replay", true),
                (_, Learned::Begin(BeginAnswer::InProgress(told))) => meet("a pause", told.backing_off()),
                (_, Learned::Begin(BeginAnswer::Unresolved(told))) => {
                    let unknown = told.reason == UnresolvedReason::OutcomeUnknown;
                    meet(if unknown { "an unknown outcome" } else { "attempts used up" }, true);
                }
                (_, Learned::Refused(refusal)) => meet(refusal.reason().as_str(), true),
                (Call::Complete(call), Learned::Completed(_)) => {
                    meet("a Complete with its own retention", sent.changed && call.retention.is_some());
                }
                _ => {}
            }
        }
    }
    for (what, least) in [
        ("a reclaimed row", 50),
        ("a late copy of a call that took effect", 300),
        ("a takeover", 300),
        ("points handed over", 100),
        ("a start with first_sent", 500),
        ("a replay", 300),
        ("a pause", 50),
        ("an unknown outcome", 300),
        ("attempts used up", 100),
        ("a Complete with its own retention", 100),
        (Reason::KeyExpired.as_str(), 50),
        (Reason::AttemptEnded.as_str(), 20),
        (Reason::FenceLost.as_str(), 500),
        (Reason::ResultConflict.as_str(), 20),
        (Reason::CheckpointConflict.as_str(), 20),
    ] {
        let times = met.get(what).copied().unwrap_or_default();
        assert!(times >= least, "{what}: met {times} times, at least {least} are wanted; all: {met:?}");
    }
}
