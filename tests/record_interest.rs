//! What a store has to note of a record: a table, and that it agrees with how records read.

#[path = "support/fixtures.rs"]
mod fixtures;

use std::time::Duration;

use fixtures::{begin, result};
use semel::domain::{
    Checkpoints, Detail, Fence, Forgotten, GivenUp, Interest, Kept, Labels, OnLostLease, Phase, Policy,
    Reading, Record, Timestamp,
};

const SECOND: Duration = Duration::from_secs(1);
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn policy(max_attempts: u32) -> Policy {
    Policy { max_attempts, ..Policy::default() }
}

fn kept(attempt: u32, attempts_before_budget: u32, phase: Phase) -> Kept {
    Kept {
        fence: Fence::new(1_800_000_000_000_000).unwrap(),
        attempt,
        attempt_id: begin(1).attempt_id,
        attempts_before_budget,
        fingerprint: None,
        first_seen_at: NOW,
        changed_at: NOW,
        expires_at: NOW.plus(1000 * SECOND),
        retention: 1000 * SECOND,
        checkpoints: Checkpoints::default(),
        labels: Labels::default(),
        traceparent: None,
        probe: None,
        phase,
    }
}

fn running(on_lost_lease: OnLostLease, given_up: bool) -> Phase {
    let given_up =
        given_up.then(|| GivenUp { at: NOW, pause_until: NOW.plus(SECOND), detail: Detail::default() });
    Phase::InProgress { lease_end: NOW.plus(30 * SECOND), lease: 30 * SECOND, on_lost_lease, given_up }
}

fn released() -> Phase {
    Phase::Released { pause_until: NOW, detail: Detail::default(), resolution: None }
}

/// Every phase, on attempt 1, 2 and 3, with and without a budget that an operator renewed.
fn records() -> Vec<Kept> {
    let phases = [
        running(OnLostLease::Rerun, false),
        running(OnLostLease::Rerun, true),
        running(OnLostLease::MarkUnknown, false),
        running(OnLostLease::MarkUnknown, true),
        released(),
        Phase::Completed { result: result("done"), resolution: None },
    ];
    let attempts = [(1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (3, 3)];
    let of_phase = |phase: &Phase| {
        let phase = phase.clone();
        attempts.map(|(attempt, before)| kept(attempt, before, phase.clone()))
    };
    phases.iter().flat_map(of_phase).collect()
}

#[test]
fn each_record_is_of_the_interest_that_the_table_says() {
    use Interest::{MayEndUnresolved, Open, Settled};
    use OnLostLease::{MarkUnknown, Rerun};
    let completed = || Phase::Completed { result: result("done"), resolution: None };
    // attempt, attempts before the budget, phase; interest where the budget is 0 (no bound), 1, 2, 3
    let table = [
        (1, 0, running(Rerun, false), [Open, MayEndUnresolved, Open, Open]),
        (2, 0, running(Rerun, false), [Open, MayEndUnresolved, MayEndUnresolved, Open]),
        (3, 1, running(Rerun, false), [Open, MayEndUnresolved, MayEndUnresolved, Open]),
        (3, 0, running(Rerun, true), [Open, MayEndUnresolved, MayEndUnresolved, MayEndUnresolved]),
        (3, 0, released(), [Open, MayEndUnresolved, MayEndUnresolved, MayEndUnresolved]),
        (3, 3, released(), [Open, Open, Open, Open]),
        (1, 0, running(MarkUnknown, false), [MayEndUnresolved; 4]),
        (1, 0, running(MarkUnknown, true), [MayEndUnresolved; 4]),
        (3, 0, completed(), [Settled; 4]),
    ];
    for (attempt, before, phase, expected) in table {
        let record = Record::Kept(kept(attempt, before, phase));
        let found = [0, 1, 2, 3].map(|max_attempts| record.interest(&policy(max_attempts)));
        assert_eq!(found, expected, "{record:?}");
    }
    let fence = Fence::new(1).unwrap();
    let forgotten = Record::Forgotten(Forgotten { fence, changed_at: NOW, reclaim_at: NOW });
    assert_eq!(forgotten.interest(&policy(1)), Settled);
}

#[test]
fn what_time_alone_makes_unresolved_was_noted_and_nothing_else() {
    let mut unresolved = 0;
    for kept in records() {
        for policy in [0, 1, 2, 3].map(policy) {
            let ever = [0, 15, 32, 900]
                .map(|seconds| kept.read(&policy, NOW.plus(seconds * SECOND)))
                .iter()
                .any(|reading| matches!(reading, Reading::Unresolved { .. }));
            let record = Record::Kept(kept.clone());
            let interest = record.interest(&policy);
            assert_eq!(ever, interest == Interest::MayEndUnresolved, "{record:?}");
            assert_eq!(record.is_open(), interest >= Interest::Open, "{record:?}");
            unresolved += u32::from(ever);
        }
    }
    assert!(unresolved > 40, "{unresolved} of the cases end unresolved");
}
