//! Planted violations, each found, and the right histories that look most like them, in which nothing is.

use super::ViolationKind::{
    CompletedRanAgain, CompletionForgotten, FallingFence, RepeatedFence, ReplayDiffers, ReplayOfNothing,
    StaleOwnerAccepted, TwoOwners, UnexpectedAnswer, UnexpectedError,
};
use super::*;
use crate::bench::Plan;

const KEY: u64 = 7;
const LEASE: u64 = 1_000;
const DAY: Duration = Duration::from_hours(24);

/// Two callers at one key, on a clock that counts milliseconds.
struct Case {
    start: Instant,
    checker: Checker,
}

impl Case {
    fn new() -> Self {
        let start = Instant::now();
        let mut checker = Checker::new(Arc::new(Workload::new(Plan::default())), start);
        checker.enter(&Target::Fresh(KEY));
        checker.enter(&Target::Running(KEY));
        Self { start, checker }
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    fn span(&self, sent: u64, received: u64) -> Span {
        Span { sent: self.at(sent), received: self.at(received) }
    }

    fn started(&mut self, nonce: u64, fence: i64, attempt: u32, sent: u64, received: u64) -> &mut Self {
        let grant = Grant {
            nonce,
            fence,
            attempt,
            sent: self.at(sent),
            received: self.at(received),
            lease_end: self.at(sent + LEASE),
        };
        self.checker.started(&Target::Running(KEY), grant);
        self
    }

    fn complete(&mut self, nonce: u64, sent: u64, received: u64) -> Option<Settled> {
        self.checker.releasing(KEY, nonce, true, self.at(sent));
        self.checker.completed(KEY, nonce, self.span(sent, received), DAY)
    }

    fn abort(&mut self, nonce: u64, sent: u64, received: u64) -> &mut Self {
        self.checker.releasing(KEY, nonce, false, self.at(sent));
        self.checker.aborted(KEY, nonce, self.span(sent, received));
        self
    }

    #[track_caller]
    fn found(&self, kinds: &[ViolationKind]) {
        let found: Vec<_> = self.checker.violations().iter().map(|violation| violation.kind).collect();
        assert_eq!(found, kinds, "{:#?}", self.checker.violations());
        assert_eq!(self.checker.found(), kinds.len() as u64);
    }
}

#[test]
fn a_right_history_has_no_violation() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5).abort(1, 20, 25).started(2, 11, 2, 21, 30);
    case.checker.in_progress(&Target::Running(KEY), case.span(22, 41), 2);
    let settled = case.complete(2, 40, 50).expect("an owner");
    assert_eq!(case.checker.replayed(&Target::Settled(settled), Replay { fence: 11, attempt: 2 }), Some(2));
    case.found(&[]);
}

#[test]
fn two_owners_are_found_while_the_first_lease_runs() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5).started(2, 11, 2, 10, 20);
    case.found(&[TwoOwners]);
}

#[test]
fn two_owners_are_found_when_the_first_one_hears_last() {
    let mut case = Case::new();
    case.started(2, 11, 2, 1, 20).started(1, 10, 1, 0, 30);
    case.found(&[TwoOwners]);
}

#[test]
fn two_owners_are_found_up_to_the_end_of_the_lease_and_not_after_it() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5).started(2, 11, 2, 10, LEASE - 1);
    case.found(&[TwoOwners]);

    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5).started(2, 11, 2, 10, LEASE);
    case.found(&[]);
}

#[test]
fn an_owner_that_began_to_give_up_does_not_count() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.checker.releasing(KEY, 1, false, case.at(20));
    case.started(2, 11, 2, 10, 21);
    case.found(&[]);

    // But it does when the second heard before that.
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.checker.releasing(KEY, 1, false, case.at(20));
    case.started(2, 11, 2, 10, 19);
    case.found(&[TwoOwners]);
}

#[test]
fn a_renewed_lease_counts_in_full() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.checker.renewed(KEY, 1, case.span(900, 905), Duration::from_millis(LEASE));
    case.started(2, 11, 2, 1_000, 1_500);
    case.found(&[TwoOwners]);

    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5).started(2, 11, 2, 1_000, 1_500);
    case.checker.renewed(KEY, 1, case.span(900, 1_600), Duration::from_millis(LEASE));
    case.found(&[TwoOwners]);
}

#[test]
fn a_repeated_fence_is_found() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5).abort(1, 10, 15).started(2, 10, 2, 20, 25);
    case.found(&[RepeatedFence]);
}

#[test]
fn a_falling_fence_is_found() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5).abort(1, 10, 15).started(2, 9, 2, 20, 25);
    case.found(&[FallingFence]);
}

#[test]
fn fences_of_calls_that_overlap_say_which_came_first() {
    // The first one's answer came late: it aborted at once, and its fence is lower.
    let mut case = Case::new();
    case.started(1, 11, 2, 10, 30).abort(1, 40, 45).started(2, 12, 3, 20, 50);
    case.found(&[]);
}

#[test]
fn a_replay_of_another_fence_or_attempt_is_found() {
    for replay in [Replay { fence: 9, attempt: 1 }, Replay { fence: 10, attempt: 2 }] {
        let mut case = Case::new();
        case.started(1, 10, 1, 0, 5);
        let settled = case.complete(1, 10, 20).expect("an owner");
        assert_eq!(case.checker.replayed(&Target::Settled(settled), replay), None);
        assert_eq!(case.checker.replayed(&Target::Running(KEY), replay), None);
        case.found(&[ReplayDiffers, ReplayDiffers]);
    }
}

#[test]
fn a_replay_is_of_what_was_sent_even_before_the_acknowledgement() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.checker.releasing(KEY, 1, true, case.at(10));
    assert_eq!(case.checker.replayed(&Target::Running(KEY), Replay { fence: 10, attempt: 1 }), Some(1));
    case.found(&[]);
}

#[test]
fn a_replay_of_what_nobody_completed_is_found() {
    let mut case = Case::new();
    let replay = Replay { fence: 10, attempt: 1 };
    assert_eq!(case.checker.replayed(&Target::Running(KEY), replay), None);
    case.started(1, 10, 1, 0, 5);
    assert_eq!(case.checker.replayed(&Target::Running(KEY), replay), None);
    case.abort(1, 10, 15);
    assert_eq!(case.checker.replayed(&Target::Running(KEY), replay), None);
    case.found(&[ReplayOfNothing, ReplayOfNothing, ReplayOfNothing]);
}

#[test]
fn a_completed_key_that_runs_again_is_found() {
    // By a caller that came after it.
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    let settled = case.complete(1, 10, 20).expect("an owner");
    let grant = Grant {
        nonce: 2,
        fence: 11,
        attempt: 2,
        sent: case.at(30),
        received: case.at(40),
        lease_end: case.at(30 + LEASE),
    };
    case.checker.started(&Target::Settled(settled), grant);
    case.found(&[CompletedRanAgain]);

    // By one that was there all along, and heard after the acknowledgement.
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.complete(1, 10, 20);
    case.started(2, 11, 2, 1, 30);
    case.found(&[CompletedRanAgain]);

    // By one that heard before the acknowledgement.
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.checker.releasing(KEY, 1, true, case.at(10));
    case.started(2, 11, 2, 1, 15);
    case.complete(1, 10, 20);
    case.found(&[CompletedRanAgain]);
}

#[test]
fn a_completed_key_may_run_again_once_it_is_no_longer_kept() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.checker.releasing(KEY, 1, true, case.at(10));
    let settled =
        case.checker.completed(KEY, 1, case.span(10, 20), Duration::from_millis(100)).expect("an owner");
    let grant = Grant {
        nonce: 2,
        fence: 11,
        attempt: 1,
        sent: case.at(50),
        received: case.at(110),
        lease_end: case.at(50 + LEASE),
    };
    case.checker.started(&Target::Settled(settled), grant);
    case.found(&[]);
    // Even then the fence rises.
    case.checker.started(&Target::Settled(settled), Grant { fence: 10, ..grant });
    case.checker.started(&Target::Settled(settled), Grant { fence: 9, ..grant });
    case.found(&[RepeatedFence, FallingFence]);
}

#[test]
fn a_forgotten_completion_is_found() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    // Sent before the acknowledgement: it may have been decided before the Complete.
    let settled = case.complete(1, 10, 20).expect("an owner");
    case.checker.in_progress(&Target::Running(KEY), case.span(19, 30), 1);
    case.found(&[]);
    case.checker.in_progress(&Target::Running(KEY), case.span(21, 30), 1);
    case.checker.in_progress(&Target::Settled(settled), case.span(21, 30), 1);
    case.checker.unresolved(&Target::Settled(settled), case.span(21, 30), 1);
    case.found(&[CompletionForgotten, CompletionForgotten, CompletionForgotten]);
}

#[test]
fn a_stale_owner_that_is_believed_is_found() {
    // The first lease is over and the key was taken over: rightly so.
    let taken_over = || {
        let mut case = Case::new();
        case.started(1, 10, 1, 0, 5).started(2, 11, 2, 2_000, 2_010);
        case.found(&[]);
        case
    };
    let mut case = taken_over();
    case.complete(1, 2_020, 2_030);
    case.found(&[StaleOwnerAccepted]);
    let mut case = taken_over();
    case.abort(1, 2_020, 2_030);
    case.found(&[StaleOwnerAccepted]);
    let mut case = taken_over();
    case.checker.renewed(KEY, 1, case.span(2_020, 2_030), Duration::from_millis(LEASE));
    case.found(&[StaleOwnerAccepted]);
    // Refused, it is as it should be, and counted.
    let mut case = taken_over();
    case.checker.fence_lost("Complete", KEY, 1, case.span(2_020, 2_030));
    case.found(&[]);
    assert_eq!(case.checker.leases_lost(), 1);
}

#[test]
fn a_lost_fence_within_the_lease_is_found() {
    let mut case = Case::new();
    case.started(1, 10, 1, 0, 5);
    case.checker.fence_lost("Complete", KEY, 1, case.span(20, 30));
    case.found(&[UnexpectedError]);
}

#[test]
fn errors_and_answers_without_a_cause_are_found() {
    let start = Instant::now();
    let mut case = Case { start, checker: Checker::new(Arc::new(Workload::new(Plan::default())), start) };
    case.checker.enter(&Target::Fresh(KEY));
    case.checker.in_progress(&Target::Fresh(KEY), case.span(0, 1), 1);
    case.started(1, 10, 2, 2, 3);
    case.checker.unresolved(&Target::Fresh(KEY), case.span(4, 5), 1);
    case.checker.malformed(KEY, "no decision".to_owned());
    case.checker.failed("Begin", KEY, "UNAVAILABLE");
    case.found(&[UnexpectedAnswer, UnexpectedAnswer, UnexpectedAnswer, UnexpectedAnswer, UnexpectedError]);
}

#[test]
fn nothing_is_kept_of_a_key_that_everybody_left() {
    let mut case = Case::new();
    assert!(!case.checker.leave(&Target::Fresh(KEY)));
    assert!(case.checker.leave(&Target::Running(KEY)));
    assert!(case.checker.keys.is_empty());
}

#[test]
fn each_kind_is_kept_a_few_times_and_counted_always() {
    let mut case = Case::new();
    for _ in 0..50 {
        case.checker.failed("Begin", KEY, "UNAVAILABLE");
    }
    case.checker.malformed(KEY, "no decision".to_owned());
    assert_eq!(case.checker.violations().len(), KEPT_OF_EACH_KIND + 1);
    assert_eq!(case.checker.found(), 51);
}
