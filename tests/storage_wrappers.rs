//! The wrappers: faults happen as they are told, an unknown outcome is settled by sending again, and calls are counted.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use semel::domain::Policy;
use semel::storage::conformance::{Samples, key};
use semel::storage::fault_injecting::{Fault, FaultInjecting, Gate};
use semel::storage::memory::MemoryStore;
use semel::storage::metered::{CallOutcome, Metered, Operation};
use semel::storage::{Expected, Freshness, Put, Store, StoreError, Versioned, Write, WriteId};
use uuid::Uuid;

const PUT: Operation = Operation::CompareAndPut;

fn first(n: u64) -> Write {
    let next = Versioned::new(WriteId(Uuid::from_u64_pair(1, n)), Arc::new(Samples::any(n)));
    Write::new(key("t", 1), None, next, &Policy::default())
}

fn made_by(write: &Write) -> Versioned {
    write.made()
}

fn faulty() -> (Arc<FaultInjecting>, Arc<MemoryStore>) {
    let inner = Arc::new(MemoryStore::new());
    (Arc::new(FaultInjecting::new(inner.clone())), inner)
}

async fn read(store: &dyn Store) -> Option<Versioned> {
    store.get(&key("t", 1), Freshness::Acknowledged).await.expect("it reads")
}

fn is_unavailable<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(_)))
}

fn is_unknown<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::OutcomeUnknown(_)))
}

#[tokio::test]
async fn an_unavailable_store_does_nothing_as_often_as_it_is_told() {
    let (store, inner) = faulty();
    let write = first(1);
    store.inject_times(PUT, Fault::Unavailable, 3);
    for left in (0..3).rev() {
        assert!(is_unavailable(&store.compare_and_put(&write).await));
        assert_eq!(store.remaining(PUT), left);
        assert_eq!(read(&*inner).await, None);
    }
    assert_eq!(store.compare_and_put(&write).await.expect("the script is over"), Put::Applied);
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_sending_again() {
    for (fault, done) in [(Fault::UnknownDone, true), (Fault::UnknownNotDone, false)] {
        let (store, inner) = faulty();
        let write = first(1);
        store.inject(PUT, fault);
        assert!(is_unknown(&store.compare_and_put(&write).await));
        assert_eq!(read(&*inner).await.is_some(), done);
        assert_eq!(store.compare_and_put(&write).await.expect("known now"), Put::Applied);
        assert_eq!(read(&*inner).await, Some(made_by(&write)));
    }
}

#[tokio::test]
async fn a_late_write_lands_when_told_or_before_a_serial_read() {
    let (store, inner) = faulty();
    let write = first(1);
    store.inject(PUT, Fault::UnknownLate);
    assert!(is_unknown(&store.compare_and_put(&write).await));
    assert_eq!(read(&*store).await, None, "an ordinary read may miss it");
    let found = store.get(&write.key, Freshness::Serial).await.expect("it reads");
    assert_eq!(found, Some(made_by(&write)), "a serial one may not");
    assert!(store.land().await.is_empty(), "it landed once");

    // One that comes too late is refused, and sending it again says so.
    let (late, winner) = (first(2), Write { expected: Expected::Version(write.write_id), ..first(3) });
    store.inject(PUT, Fault::UnknownLate);
    assert!(is_unknown(&store.compare_and_put(&late).await));
    assert_eq!(store.compare_and_put(&winner).await.expect("written"), Put::Applied);
    let landed = store.land().await;
    assert!(matches!(&landed[..], [Ok(Put::Conflict(Some(current)))] if *current == made_by(&winner)));
    assert_eq!(read(&*inner).await, Some(made_by(&winner)));
}

#[tokio::test]
async fn a_held_call_waits_for_its_gate() {
    let (store, inner) = faulty();
    let write = first(1);
    let (before, after) = (Gate::new(), Gate::new());
    store.inject(PUT, Fault::HeldBefore(before.clone()));
    store.inject(PUT, Fault::HeldAfter(after.clone()));
    let send = |store: Arc<FaultInjecting>, write: Write| {
        tokio::spawn(async move { store.compare_and_put(&write).await })
    };
    let one = send(store.clone(), write.clone());
    before.arrival().await;
    assert_eq!(read(&*inner).await, None, "it has not been done");
    let two = send(store.clone(), write.clone());
    after.arrival().await;
    assert_eq!(read(&*inner).await, Some(made_by(&write)), "it has been done, and not answered");
    assert!(!one.is_finished() && !two.is_finished());
    before.open();
    after.open();
    for call in [one, two] {
        assert_eq!(call.await.expect("no panic").expect("an answer"), Put::Applied);
    }
    store.inject(PUT, Fault::HeldBefore(before));
    assert_eq!(store.compare_and_put(&write).await.expect("an open gate holds nobody"), Put::Applied);
}

#[tokio::test]
async fn every_operation_has_a_script_of_its_own() {
    let (store, _) = faulty();
    for operation in Operation::ALL {
        store.inject(operation, Fault::Unavailable);
    }
    let scan =
        semel::storage::Scan { scope: semel::storage::Scope::All, tenant: None, after: None, limit: 10 };
    let now = semel::domain::Timestamp::from_micros(0);
    assert!(is_unavailable(&store.get(&key("t", 1), Freshness::Acknowledged).await));
    assert!(is_unavailable(&store.compare_and_put(&first(1)).await));
    assert!(is_unavailable(&store.scan(&scan).await));
    assert!(is_unavailable(&store.reclaim(now, 1).await));
    assert!(is_unavailable(&store.ping().await));
    for operation in Operation::ALL {
        assert_eq!(store.remaining(operation), 0, "{operation:?}");
    }
    store.ping().await.expect("the scripts are over");
}

#[tokio::test]
async fn calls_are_counted_by_operation_and_outcome_with_their_seconds() {
    let (store, _) = faulty();
    let gate = Gate::new();
    let metered = Metered::new(store.clone());
    let write = first(1);
    store.inject(PUT, Fault::Unavailable);
    store.inject(PUT, Fault::UnknownNotDone);
    drop(metered.compare_and_put(&write).await);
    drop(metered.compare_and_put(&write).await);
    drop(metered.compare_and_put(&write).await);
    drop(metered.compare_and_put(&first(2)).await);
    store.inject(PUT, Fault::HeldBefore(gate.clone()));
    assert!(metered.compare_and_put(&write).now_or_never().is_none(), "its caller leaves");
    read(&metered).await;
    let counts: Vec<_> =
        metered.snapshot().into_iter().map(|(what, how, calls)| (what, how, calls.count)).collect();
    assert_eq!(
        counts,
        [
            (Operation::Get, CallOutcome::Ok, 1),
            (PUT, CallOutcome::Ok, 1),
            (PUT, CallOutcome::Conflict, 1),
            (PUT, CallOutcome::Unavailable, 1),
            (PUT, CallOutcome::OutcomeUnknown, 1),
            (PUT, CallOutcome::Abandoned, 1),
        ]
    );

    // A call that is held for a while is counted with at least that while.
    let (hold, gate) = (Duration::from_millis(20), Gate::new());
    store.inject(Operation::Ping, Fault::HeldBefore(gate.clone()));
    let (answer, ()) = tokio::join!(metered.ping(), async {
        gate.arrival().await;
        tokio::time::sleep(hold).await;
        gate.open();
    });
    answer.expect("it goes through");
    assert!(metered.calls(Operation::Ping, CallOutcome::Ok).total >= hold);
}
