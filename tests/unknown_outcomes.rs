//! Writes whose outcome the store does not say: settled where there is time, said honestly where there is not, and
//! never mixed up with writes that were not begun.

#[path = "support/fixtures.rs"]
mod fixtures;

use std::sync::Arc;
use std::time::Duration;

use fixtures::{TestClock, begin, key, result};
use semel::coordinator::{BeginCall, CallError, Coordinator, Settings};
use semel::domain::{
    Abort, AttemptId, BeginAnswer, CheckpointName, Command, Complete, Detail, Disposition, Fence, Kept,
    Lookup, Phase, Policy, PositiveDuration, Renew, SaveCheckpoint, Started,
};
use semel::storage::Store;
use semel::storage::fault_injecting::{Fault, FaultInjecting, Gate};
use semel::storage::memory::MemoryStore;
use semel::storage::metered::{Metered, Operation};
use tokio::time::{Instant, timeout_at};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const PUT: Operation = Operation::CompareAndPut;

/// A server on a store that fails as it is told, and one on the same records whose store never fails.
struct Scene {
    store: Arc<FaultInjecting>,
    calls: Arc<Metered>,
    server: Arc<Coordinator>,
    elsewhere: Coordinator,
    policy: Policy,
}

impl Scene {
    fn new() -> Arc<Self> {
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let store = Arc::new(FaultInjecting::new(memory.clone()));
        let calls = Arc::new(Metered::new(store.clone()));
        let clock = TestClock::new(Duration::ZERO);
        let server = Arc::new(Coordinator::new(calls.clone(), clock.clone(), 1, Settings::default()));
        let elsewhere = Coordinator::new(memory, clock, 2, Settings::default());
        Arc::new(Self { store, calls, server, elsewhere, policy: Policy::default() })
    }

    /// Calls of the store so far, whatever became of them; those under way are not among them.
    fn ended(&self, operation: Operation) -> u64 {
        self.calls
            .snapshot()
            .iter()
            .filter(|(what, ..)| *what == operation)
            .map(|(.., calls)| calls.count)
            .sum()
    }

    async fn begin_on(
        &self,
        server: &Coordinator,
        attempt: u128,
        deadline: Option<Instant>,
    ) -> Result<BeginAnswer, CallError> {
        let (key, begin) = (key("k"), begin(attempt));
        let (policy, wait, retry) = (&self.policy, Duration::ZERO, false);
        let call = BeginCall { key: &key, begin: &begin, policy, wait, deadline, retry };
        Ok(server.begin(&call).await?.answer)
    }

    async fn begin(&self, attempt: u128, deadline: Option<Instant>) -> Result<BeginAnswer, CallError> {
        self.begin_on(&self.server, attempt, deadline).await
    }

    async fn start(&self, attempt: u128) -> Started {
        started(self.begin(attempt, None).await)
    }

    async fn run<C: Command>(&self, command: C) -> Result<C::Answer, CallError> {
        self.server.run(&key("k"), &command, &self.policy, None).await
    }

    async fn kept(&self) -> Kept {
        self.elsewhere.run(&key("k"), &Lookup, &self.policy, None).await.unwrap()
    }
}

fn started(answer: Result<BeginAnswer, CallError>) -> Started {
    match answer {
        Ok(BeginAnswer::Started(started)) => started,
        other => panic!("{other:?}"),
    }
}

fn attempt_id(attempt: u128) -> AttemptId {
    begin(attempt).attempt_id
}

fn complete(attempt: u128, fence: Fence) -> Complete {
    Complete { fence, attempt_id: attempt_id(attempt), result: result("done"), retention: None }
}

fn release(attempt: u128, fence: Fence) -> Abort {
    let (disposition, detail) = (Disposition::Release, Detail::default());
    Abort { fence, attempt_id: attempt_id(attempt), disposition, detail, retry_after: Duration::ZERO }
}

/// Each kind of write, on a record that it changes: its name, and what it answers and leaves when its answer is lost.
async fn every_write(fault: &Fault) {
    let scene = Scene::new();
    let lose = || scene.store.inject_times(PUT, fault.clone(), 3);
    lose();
    let first = scene.start(1).await;
    assert_eq!((first.attempt, scene.kept().await.fence), (1, first.fence), "a first Begin, {fault:?}");
    lose();
    let lease = PositiveDuration::new(40 * SECOND).ok();
    let renew = Renew { fence: first.fence, attempt_id: attempt_id(1), lease };
    let renewed = scene.run(renew).await.unwrap();
    let Phase::InProgress { lease_end, .. } = scene.kept().await.phase else { panic!("it runs") };
    assert_eq!(lease_end, renewed.lease_end, "Renew, {fault:?}");
    lose();
    let (name, value) = (CheckpointName::new("charged").unwrap(), b"ch_1"[..].into());
    let save = SaveCheckpoint { fence: first.fence, attempt_id: attempt_id(1), name, value };
    assert!(!scene.run(save).await.unwrap().repeated, "SaveCheckpoint, {fault:?}");
    assert_eq!(scene.kept().await.checkpoints.as_slice().len(), 1);
    lose();
    assert!(!scene.run(release(1, first.fence)).await.unwrap().repeated, "Abort, {fault:?}");
    lose();
    let second = scene.start(2).await;
    assert_eq!((second.attempt, scene.kept().await.fence), (2, second.fence), "a takeover, {fault:?}");
    lose();
    let completed = scene.run(complete(2, second.fence)).await.unwrap();
    assert!(!completed.repeated, "Complete, {fault:?}");
    assert_eq!(scene.kept().await.fence, second.fence);
    assert_eq!(scene.store.remaining(PUT), 0, "every fault was met");
    scene.store.land().await;
    assert!(matches!(scene.kept().await.phase, Phase::Completed { .. }), "what lands late changes nothing");
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_write_is_settled_done_or_not_or_late() {
    for fault in [Fault::UnknownDone, Fault::UnknownNotDone, Fault::UnknownLate] {
        every_write(&fault).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_holds_a_write_does_not_hold_its_caller() {
    for allowed in [20 * MILLI, 100 * MILLI, SECOND, 10 * SECOND, 60 * SECOND] {
        let scene = Scene::new();
        let gate = Gate::new();
        scene.store.inject(PUT, Fault::HeldBefore(gate.clone()));
        let began = Instant::now();
        let call = timeout_at(began + allowed, scene.begin(1, Some(began + allowed)));
        let answer = call.await.expect("it is answered while its caller listens");
        assert_eq!(answer, Err(CallError::StoreOutcomeUnknown));
        let left = (began + allowed).saturating_duration_since(Instant::now());
        let expected = (allowed / 10).clamp(50 * MILLI, 500 * MILLI).min(allowed / 2);
        assert!(left + 2 * MILLI >= expected, "{left:?} of {allowed:?} are left for the answer's way");
        assert!(left <= expected, "and no more: {left:?} of {allowed:?}");
        gate.open();
        let same = scene.start(1).await;
        assert_eq!(
            (same.attempt, scene.kept().await.fence),
            (1, same.fence),
            "the same call learns the truth"
        );
        assert!(matches!(scene.begin(2, None).await, Ok(BeginAnswer::InProgress(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_complete_that_the_store_holds_wakes_who_waits_though_its_caller_has_its_answer() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    let waiter = tokio::spawn({
        let scene = scene.clone();
        async move {
            let (key, begin) = (key("k"), begin(2));
            let (policy, wait, retry) = (&scene.policy, 20 * SECOND, false);
            let call = BeginCall { key: &key, begin: &begin, policy, wait, deadline: None, retry };
            scene.server.begin(&call).await.unwrap().answer
        }
    });
    tokio::time::sleep(SECOND).await;
    let gate = Gate::new();
    scene.store.inject(PUT, Fault::HeldAfter(gate.clone()));
    scene.store.inject(Operation::Get, Fault::HeldBefore(gate.clone()));
    let deadline = Some(Instant::now() + SECOND);
    let completed = scene.server.run(&key("k"), &complete(1, fence), &scene.policy, deadline).await;
    assert_eq!(completed, Err(CallError::StoreOutcomeUnknown));
    let began = Instant::now();
    gate.open();
    assert!(matches!(waiter.await.unwrap(), BeginAnswer::Replayed(_)));
    assert!(began.elapsed() < SECOND, "woken, not timed out");
    assert!(scene.run(complete(1, fence)).await.unwrap().repeated, "and the same call learns it");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_begun_in_time_is_not_unknown() {
    let scene = Scene::new();
    assert_eq!(scene.begin(1, Some(Instant::now())).await, Err(CallError::StoreUnavailable));
    let gone = Some(Instant::now());
    let complete = complete(1, Fence::new(1).unwrap());
    let completed = scene.server.run(&key("k"), &complete, &scene.policy, gone).await;
    assert_eq!(completed, Err(CallError::StoreUnavailable));
    assert_eq!(scene.calls.snapshot(), [], "the store was not asked");

    // One call holds the turn, for longer than the next one has.
    let gate = Gate::new();
    scene.store.inject(PUT, Fault::HeldBefore(gate.clone()));
    let first = tokio::spawn({
        let scene = scene.clone();
        async move { scene.begin(1, None).await }
    });
    gate.arrival().await;
    let deadline = Instant::now() + SECOND;
    assert_eq!(scene.begin(2, Some(deadline)).await, Err(CallError::StoreUnavailable), "it had no turn");
    assert!(Instant::now() < deadline);
    gate.open();
    started(first.await.unwrap());
    assert_eq!(scene.ended(PUT), 1, "the first call's alone");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_the_store_holds_leaves_nothing_unknown() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    scene.store.inject(Operation::Get, Fault::HeldBefore(Gate::new()));
    let deadline = Instant::now() + SECOND;
    assert_eq!(scene.begin(2, Some(deadline)).await, Err(CallError::StoreUnavailable));
    assert!(Instant::now() < deadline);
    scene.store.inject(Operation::Get, Fault::HeldBefore(Gate::new()));
    let stale = complete(2, fence);
    let refused = scene.server.run(&key("k"), &stale, &scene.policy, Some(Instant::now() + SECOND)).await;
    assert_eq!(refused, Err(CallError::StoreUnavailable), "nobody is stopped on a guess");
    assert_eq!(scene.kept().await.fence, fence);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_is_not_sent_again() {
    let scene = Scene::new();
    scene.store.inject(PUT, Fault::Unavailable);
    assert_eq!(scene.begin(1, None).await, Err(CallError::StoreUnavailable));
    assert_eq!(scene.ended(PUT), 1);
    assert_eq!(scene.start(1).await.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn once_unknown_a_call_stays_unknown_though_its_next_write_is_refused() {
    // The first write's answer is lost; sent again, it meets a rival's record; the write that is decided on that is
    // refused. Whether the first was done in between, nobody can say.
    let scene = Scene::new();
    let gate = Gate::new();
    scene.store.inject(PUT, Fault::UnknownNotDone);
    scene.store.inject(PUT, Fault::HeldBefore(gate.clone()));
    scene.store.inject(PUT, Fault::Unavailable);
    let call = tokio::spawn({
        let scene = scene.clone();
        async move { scene.begin(1, None).await }
    });
    gate.arrival().await;
    let rival = started(scene.begin_on(&scene.elsewhere, 9, None).await);
    scene.elsewhere.run(&key("k"), &release(9, rival.fence), &scene.policy, None).await.unwrap();
    gate.open();
    assert_eq!(call.await.unwrap(), Err(CallError::StoreOutcomeUnknown));
    assert_eq!(scene.store.remaining(PUT), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_write_that_a_rival_overtook_is_decided_again() {
    let scene = Scene::new();
    let gate = Gate::new();
    scene.store.inject(PUT, Fault::UnknownNotDone);
    scene.store.inject(PUT, Fault::HeldBefore(gate.clone()));
    let call = tokio::spawn({
        let scene = scene.clone();
        async move { scene.begin(1, None).await }
    });
    gate.arrival().await;
    let rival = started(scene.begin_on(&scene.elsewhere, 9, None).await);
    gate.open();
    let answer = call.await.unwrap();
    assert!(matches!(answer, Ok(BeginAnswer::InProgress(_))), "{answer:?}");
    assert_eq!(scene.kept().await.fence, rival.fence, "one owner");
}

#[tokio::test(start_paused = true)]
async fn settling_ends_by_the_callers_deadline() {
    for (allowed, within) in [(SECOND, SECOND), (60 * SECOND, 11 * SECOND)] {
        let scene = Scene::new();
        scene.store.inject_times(PUT, Fault::UnknownNotDone, 1000);
        let began = Instant::now();
        assert_eq!(scene.begin(1, Some(began + allowed)).await, Err(CallError::StoreOutcomeUnknown));
        assert!(began.elapsed() < within, "{:?} of {allowed:?}", began.elapsed());
        let sent = scene.ended(PUT);
        assert!(
            (5..60).contains(&sent),
            "sent again with growing pauses: {sent} times in {:?}",
            began.elapsed()
        );
    }
}
