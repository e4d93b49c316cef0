//! A store that fails, or takes long: what needs no write is answered, who waits is answered in time, and callers who
//! were there share a failure.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/timed_store.rs"]
mod timed_store;

use std::sync::Arc;
use std::time::Duration;

use fixtures::begin;
use semel::coordinator::{Begun, CallError, Poll, Settings};
use semel::domain::{Abort, Begin, BeginAnswer, Detail, Disposition, PositiveDuration, Renew};
use semel::storage::Store;
use semel::storage::fault_injecting::{Fault, FaultInjecting, Gate};
use semel::storage::memory::MemoryStore;
use semel::storage::metered::Operation;
use simulated::{MILLI, SECOND, Server, settle};
use timed_store::Faults;
use tokio::task::JoinSet;
use tokio::time::Instant;

const GET: Operation = Operation::Get;
const PUT: Operation = Operation::CompareAndPut;

const REFUSES: Faults = Faults { unavailable: 100, applied_unsaid: 0, lost: 0 };
const LOSES: Faults = Faults { unavailable: 0, applied_unsaid: 0, lost: 100 };

/// A server whose store fails as it is told to, and a healthy one on the same records.
fn two_servers(settings: Settings, faults: Faults) -> (Server, Server, Arc<FaultInjecting>) {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let store = Arc::new(FaultInjecting::new(memory.clone()));
    let here = Server::on(store.clone(), 1, Duration::ZERO, settings, faults);
    let elsewhere = Server::on(memory, 2, Duration::ZERO, Settings::default(), Faults::default());
    (here, elsewhere, store)
}

fn polling() -> Settings {
    Settings { poll: Some(Poll { first: 50 * MILLI, longest: SECOND }), ..Settings::default() }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_writes_still_answers_what_needs_none() {
    for settings in [Settings::default(), polling()] {
        let (here, elsewhere, _) = two_servers(settings, REFUSES);
        let done = elsewhere.start("completed", 1).await;
        elsewhere.complete("completed", 1, done.fence, "done").await.unwrap();
        elsewhere.start("running", 1).await;
        let given_up = elsewhere.start("given up", 1).await;
        let (disposition, detail) = (Disposition::OutcomeUnknown, Detail::default());
        let (fence, attempt_id) = (given_up.fence, begin(1).attempt_id);
        let abort = Abort { fence, attempt_id, disposition, detail, retry_after: 60 * SECOND };
        elsewhere.run("given up", &abort).await.unwrap();
        let released = elsewhere.start("released", 1).await;
        elsewhere.release("released", 1, released.fence).await;

        let answer = here.begin("completed", &begin(2)).await;
        assert!(matches!(&answer, Ok(BeginAnswer::Replayed(r)) if r.result.payload == "done"), "{answer:?}");
        for name in ["running", "given up"] {
            let answer = here.begin(name, &begin(2)).await;
            assert!(matches!(answer, Ok(BeginAnswer::InProgress(_))), "{name}: {answer:?}");
        }
        for name in ["released", "absent"] {
            assert_eq!(here.begin(name, &begin(2)).await, Err(CallError::StoreUnavailable), "{name}");
        }
        let repeated = here.complete("completed", 1, done.fence, "done").await;
        assert!(repeated.unwrap().repeated, "what is known to be done needs no write");
        here.store.set_faults(Faults::default());
        assert_eq!(here.start("absent", 2).await.attempt, 1, "nothing was written before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_begins_share_a_failure() {
    for (faults, reads_fail) in [(REFUSES, false), (REFUSES, true), (LOSES, false)] {
        let (here, _, store) = two_servers(Settings::default(), faults);
        if reads_fail {
            store.inject_times(GET, Fault::Unavailable, 2);
        }
        let began = Instant::now();
        let mut calls = JoinSet::new();
        for attempt in 0..1000 {
            let here = here.share();
            calls.spawn(async move { here.begin("hot", &begin(attempt)).await });
        }
        let answers = calls.join_all().await;
        let count = |error| answers.iter().filter(|answer| **answer == Err(error)).count();
        let unknown = count(CallError::StoreOutcomeUnknown);
        assert_eq!(count(CallError::StoreUnavailable), 1000 - unknown);
        // The first one's calls began before the others came; those of the second answer all.
        let (reads, writes) = here.store.calls();
        let (most_unknown, most_writes) = if faults.lost > 0 { (2, 120) } else { (0, 2) };
        assert!(unknown <= most_unknown, "who sent something alone: {unknown}");
        assert!(reads <= 2 && writes <= most_writes, "{reads} reads, {writes} writes");
        assert!(began.elapsed() < 21 * SECOND, "{:?}", began.elapsed());
        here.store.set_faults(Faults::default());
        assert_eq!(here.start("hot", 5000).await.attempt, 1, "who comes later asks anew");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_ends_no_wait_but_of_those_who_queued_for_it() {
    let (here, elsewhere, store) = two_servers(polling(), Faults::default());
    let fence = elsewhere.start("k", 1).await.fence;
    let mut waiting = JoinSet::new();
    for attempt in 2..102 {
        let here = here.share();
        waiting.spawn(async move { here.begin_waiting("k", &begin(attempt), 20 * SECOND, None).await });
    }
    settle().await;
    tokio::time::sleep(10 * MILLI).await;
    store.inject(GET, Fault::Unavailable);
    tokio::time::sleep(5 * SECOND).await;
    elsewhere.complete("k", 1, fence, "done").await.unwrap();
    let answers = waiting.join_all().await;
    let failed = answers.iter().filter(|answer| **answer == Err(CallError::StoreUnavailable)).count();
    let replayed =
        |answer: &Result<Begun, _>| matches!(answer, Ok(Begun { answer: BeginAnswer::Replayed(_), .. }));
    assert_eq!(answers.iter().filter(|answer| replayed(answer)).count(), 100 - failed);
    assert!((1..20).contains(&failed), "{failed} failed");
}

/// A Begin that may be held for three seconds, of which another call has the turn, or the store its read, for the last:
/// what it answers, and when.
async fn held_while(fault: Fault, operation: Operation, settings: Settings, deadline: Option<Duration>) {
    let (here, _, store) = two_servers(settings, Faults::default());
    let lease = PositiveDuration::new(SECOND).ok();
    let short = Begin { lease, ..begin(1) };
    let Ok(BeginAnswer::Started(started)) = here.begin("k", &short).await else { panic!("it starts") };
    let began = Instant::now();
    let waiter = tokio::spawn({
        let here = here.share();
        let deadline = deadline.map(|deadline| began + deadline);
        async move { here.begin_waiting("k", &begin(2), 3 * SECOND, deadline).await }
    });
    tokio::time::sleep(500 * MILLI).await;
    store.inject(operation, fault);
    let _renewing = tokio::spawn({
        let here = here.share();
        let renew = Renew { fence: started.fence, attempt_id: begin(1).attempt_id, lease: None };
        async move { here.run("k", &renew).await }
    });
    let answer = tokio::time::timeout(60 * SECOND, waiter).await.expect("it is answered").unwrap();
    let took = began.elapsed();
    assert!(matches!(answer, Ok(Begun { answer: BeginAnswer::InProgress(_), .. })), "{answer:?}");
    assert!(took >= 2700 * MILLI && took <= 3 * SECOND + 2 * MILLI, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_held_begin_is_answered_in_time_whoever_has_the_turn() {
    for settings in [Settings::default(), polling()] {
        for deadline in [None, Some(60 * SECOND), Some(3 * SECOND)] {
            held_while(Fault::HeldBefore(Gate::new()), PUT, settings.clone(), deadline).await;
        }
    }
    // A poll whose answer does not come.
    for deadline in [None, Some(60 * SECOND), Some(3 * SECOND)] {
        held_while(Fault::HeldBefore(Gate::new()), GET, polling(), deadline).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_who_waits_for_a_turn() {
    let (here, _, store) = two_servers(polling(), Faults::default());
    let fence = here.start("k", 1).await.fence;
    let waiter = tokio::spawn({
        let here = here.share();
        async move { here.begin_waiting("k", &begin(2), 20 * SECOND, None).await }
    });
    settle().await;
    tokio::time::sleep(10 * MILLI).await;
    store.inject(PUT, Fault::HeldBefore(Gate::new()));
    let _completing = tokio::spawn({
        let here = here.share();
        async move { here.complete("k", 1, fence, "done").await }
    });
    tokio::time::sleep(5 * SECOND).await;
    here.coordinator.drain();
    let answer = tokio::time::timeout(MILLI, waiter).await.expect("it is answered at once").unwrap();
    assert!(matches!(answer, Ok(Begun { answer: BeginAnswer::InProgress(_), .. })), "{answer:?}");
}
