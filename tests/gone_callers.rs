//! Calls whose callers go away while the store has their write: nobody who waits for the key misses what became of it,
//! and nobody owns a key without knowing.

#[path = "support/committing_store.rs"]
mod committing_store;
#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/timed_store.rs"]
mod timed_store;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use committing_store::CommittingStore;
use fixtures::{TestClock, begin, key, result};
use semel::coordinator::{BeginCall, CallError, Coordinator, Settings};
use semel::domain::{
    BeginAnswer, Command, Complete, Fence, Forget, Kept, Lookup, Policy, PositiveDuration, Refusal, Renew,
    Started,
};
use semel::storage::fault_injecting::{Fault, FaultInjecting, Gate};
use semel::storage::metered::{CallOutcome, Metered, Operation};
use simulated::{SECOND, settle};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const GET: Operation = Operation::Get;
const PUT: Operation = Operation::CompareAndPut;
/// Whoever waits looks again at its end, anyhow.
const LEASE: Duration = Duration::from_mins(2);
const WAIT: Duration = Duration::from_mins(1);
const SOON: Duration = SECOND;

/// A server on a store that commits when it is told to, and whose calls fail as they are told to.
struct Scene {
    commits: Arc<CommittingStore>,
    faults: Arc<FaultInjecting>,
    calls: Arc<Metered>,
    server: Coordinator,
    policy: Policy,
}

impl Scene {
    fn new() -> Arc<Self> {
        let commits = Arc::new(CommittingStore::new());
        let faults = Arc::new(FaultInjecting::new(commits.clone()));
        let calls = Arc::new(Metered::new(faults.clone()));
        let clock = TestClock::new(Duration::ZERO);
        let server = Coordinator::new(calls.clone(), clock, 1, Settings::default());
        let policy = Policy { lease: LEASE, max_wait: WAIT, ..Policy::default() };
        Arc::new(Self { commits, faults, calls, server, policy })
    }

    /// Calls of the store that ended so far, whatever became of them.
    fn ended(&self, operation: Operation) -> u64 {
        let of_kind = |(what, ..): &(Operation, _, _)| *what == operation;
        self.calls.snapshot().iter().filter(|call| of_kind(call)).map(|(.., calls)| calls.count).sum()
    }

    async fn begin(&self, attempt: u128, wait: Duration) -> Result<BeginAnswer, CallError> {
        let (key, begin) = (key("k"), begin(attempt));
        let (policy, deadline, retry) = (&self.policy, None, false);
        let call = BeginCall { key: &key, begin: &begin, policy, wait, deadline, retry };
        Ok(self.server.begin(&call).await?.answer)
    }

    async fn start(&self, attempt: u128) -> Started {
        match self.begin(attempt, Duration::ZERO).await {
            Ok(BeginAnswer::Started(started)) => started,
            other => panic!("{other:?}"),
        }
    }

    async fn run<C: Command>(&self, command: C) -> Result<C::Answer, CallError> {
        self.server.run(&key("k"), &command, &self.policy, None).await
    }

    async fn lookup(&self) -> Result<Kept, CallError> {
        self.run(Lookup).await
    }

    /// Begins in a task of its own, and waits.
    fn waiter(self: &Arc<Self>, attempt: u128) -> JoinHandle<(BeginAnswer, Instant)> {
        let scene = self.clone();
        tokio::spawn(async move { (scene.begin(attempt, WAIT).await.unwrap(), Instant::now()) })
    }

    /// Runs a command in a task of its own.
    fn call<C>(self: &Arc<Self>, command: C) -> JoinHandle<Result<C::Answer, CallError>>
    where
        C: Command + Send + Sync + 'static,
        C::Answer: Send,
    {
        let scene = self.clone();
        tokio::spawn(async move { scene.run(command).await })
    }

    /// Runs a command whose caller leaves while the store holds its write.
    async fn left_behind<C>(self: &Arc<Self>, command: C)
    where
        C: Command + Send + Sync + 'static,
        C::Answer: Send + Debug,
    {
        self.commits.hold();
        let call = self.call(command);
        settle().await;
        leave(call).await;
    }
}

/// The caller goes away.
async fn leave<A: Debug>(call: JoinHandle<A>) {
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
}

fn complete(attempt: u128, fence: Fence) -> Complete {
    Complete { fence, attempt_id: begin(attempt).attempt_id, result: result("done"), retention: None }
}

#[track_caller]
fn replays(answer: &BeginAnswer) {
    assert!(matches!(answer, BeginAnswer::Replayed(r) if r.result.payload == "done"), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn who_waits_hears_what_became_of_the_write_of_a_caller_that_left() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    let waiter = scene.waiter(2);
    settle().await;
    scene.left_behind(complete(1, fence)).await;
    let committed = Instant::now();
    scene.commits.commit().await;
    let (answer, heard) = waiter.await.unwrap();
    replays(&answer);
    assert!(heard - committed < SOON, "woken, not timed out: {:?}", heard - committed);
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_a_caller_that_left_hears_what_became_of_its_write() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    scene.left_behind(complete(1, fence)).await;
    let waiter = scene.waiter(2);
    tokio::time::sleep(SECOND).await;
    assert!(!waiter.is_finished());
    let committed = Instant::now();
    scene.commits.commit().await;
    let (answer, heard) = waiter.await.unwrap();
    replays(&answer);
    assert!(heard - committed < SOON, "woken, not timed out: {:?}", heard - committed);
    assert_eq!(scene.ended(PUT), 2, "what the caller left behind is not sent again");
}

#[tokio::test(start_paused = true)]
async fn who_comes_after_a_caller_that_left_hears_it_from_that_callers_next_try() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    scene.left_behind(complete(1, fence)).await;
    let waiter = scene.waiter(2);
    settle().await;
    let again = scene.call(complete(1, fence));
    settle().await;
    let committed = Instant::now();
    scene.commits.commit().await;
    assert!(again.await.unwrap().unwrap().repeated);
    let (answer, heard) = waiter.await.unwrap();
    replays(&answer);
    assert!(heard - committed < SOON);
}

#[tokio::test(start_paused = true)]
async fn nobody_in_the_queue_takes_what_was_found_before_the_write_for_fresh() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    // While the first read is under way, three more calls arrive: a read, the Complete, and a Begin that waits.
    let gate = Gate::new();
    scene.faults.inject(GET, Fault::HeldBefore(gate.clone()));
    let first = scene.call(Lookup);
    gate.arrival().await;
    let second = scene.call(Lookup);
    settle().await;
    scene.commits.hold();
    let completing = scene.call(complete(1, fence));
    settle().await;
    let waiter = scene.waiter(2);
    settle().await;
    let asking = tokio::spawn({
        let scene = scene.clone();
        async move { scene.begin(3, Duration::ZERO).await.unwrap() }
    });
    settle().await;
    gate.open();
    scene.commits.holds(1).await;
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
    // The write is done, and its caller leaves before it hears so.
    let committed = Instant::now();
    scene.commits.commit().await;
    leave(completing).await;
    replays(&asking.await.unwrap());
    let (answer, heard) = waiter.await.unwrap();
    replays(&answer);
    assert!(heard - committed < SOON, "{:?}", heard - committed);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_began_before_the_write_and_ends_after_it_loses_nothing() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    scene.commits.hold();
    let completing = scene.call(complete(1, fence));
    scene.commits.holds(1).await;
    let gate = Gate::new();
    scene.faults.inject(GET, Fault::HeldAfter(gate.clone()));
    let waiter = scene.waiter(2);
    settle().await;
    // Its turn is next, before that of whoever finds out what became of the write.
    leave(completing).await;
    settle().await;
    assert_eq!(scene.faults.remaining(GET), 0, "it has read, and does not know");
    let committed = Instant::now();
    scene.commits.commit().await;
    settle().await;
    gate.open();
    let (answer, heard) = waiter.await.unwrap();
    replays(&answer);
    assert!(heard - committed < SOON, "{:?}", heard - committed);
}

#[tokio::test(start_paused = true)]
async fn what_stayed_unknown_is_heard_of_when_the_store_knows_it_again() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    let waiter = scene.waiter(2);
    settle().await;
    // The write is done late, and for three seconds no read works either.
    scene.faults.inject_times(PUT, Fault::UnknownLate, 1000);
    let gate = Gate::new();
    scene.faults.inject_times(GET, Fault::Unavailable, 7);
    scene.faults.inject(GET, Fault::HeldBefore(gate.clone()));
    let deadline = Some(Instant::now() + SECOND);
    let completed = scene.server.run(&key("k"), &complete(1, fence), &scene.policy, deadline).await;
    assert_eq!(completed, Err(CallError::StoreOutcomeUnknown));
    let writes = scene.ended(PUT);
    tokio::time::timeout(5 * SECOND, gate.arrival()).await.expect("the store is asked again and again");
    assert!(!waiter.is_finished(), "it goes on waiting: it was told nothing new");
    let known = Instant::now();
    gate.open();
    let (answer, heard) = waiter.await.unwrap();
    replays(&answer);
    assert!(heard - known < SOON);
    assert_eq!(scene.ended(PUT), writes, "nobody sends it for a caller that has its answer");
}

#[tokio::test(start_paused = true)]
async fn what_became_of_a_write_is_asked_as_long_as_somebody_waits_for_the_key() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    let waiter = scene.waiter(2);
    settle().await;
    scene.faults.inject_times(GET, Fault::Unavailable, 1_000_000);
    scene.left_behind(complete(1, fence)).await;
    scene.commits.commit().await;
    tokio::time::sleep(30 * SECOND).await;
    let asked = scene.ended(GET);
    tokio::time::sleep(20 * SECOND).await;
    assert!(scene.ended(GET) > asked, "somebody waits");
    assert!(matches!(waiter.await.unwrap().0, BeginAnswer::InProgress(_)));
    tokio::time::sleep(60 * SECOND).await;
    let asked = scene.ended(GET);
    assert!((15..40).contains(&asked), "{asked}: with growing pauses");
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(scene.ended(GET), asked, "nobody asks for ever about a key that nobody else asks about");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_left_costs_one_read() {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    for n in 1..=20 {
        let lease = PositiveDuration::new(LEASE + n * SECOND).ok();
        scene.left_behind(Renew { fence, attempt_id: begin(1).attempt_id, lease }).await;
        scene.commits.commit().await;
        settle().await;
        assert_eq!((scene.ended(GET), scene.ended(PUT)), (u64::from(n), 1 + u64::from(n)));
    }
}

/// A key that was completed, and whose record is forgotten by a call that hears nothing of it.
async fn forgotten(forget: impl AsyncFnOnce(&Arc<Scene>, Forget)) -> (Arc<Scene>, Fence) {
    let scene = Scene::new();
    let fence = scene.start(1).await.fence;
    scene.run(complete(1, fence)).await.unwrap();
    replays(&scene.begin(2, Duration::ZERO).await.unwrap());
    forget(&scene, Forget { fence, force: false }).await;
    (scene, fence)
}

#[tokio::test(start_paused = true)]
async fn a_result_that_was_forgotten_without_an_answer_is_not_replayed() {
    let (scene, fence) = forgotten(async |scene, forget| {
        scene.faults.inject(PUT, Fault::UnknownDone);
        scene.faults.inject(PUT, Fault::HeldBefore(Gate::new()));
        let deadline = Some(Instant::now() + SECOND);
        let forgot = scene.server.run(&key("k"), &forget, &scene.policy, deadline).await;
        assert_eq!(forgot, Err(CallError::StoreOutcomeUnknown));
    })
    .await;
    assert!(scene.start(3).await.fence > fence);
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_forgetting_was_left_behind_is_not_replayed() {
    let (scene, fence) = forgotten(async |scene, forget| scene.left_behind(forget).await).await;
    // Nothing is forgotten yet: whoever reads it may be told so, but nobody keeps it.
    replays(&scene.begin(3, Duration::ZERO).await.unwrap());
    scene.commits.commit().await;
    assert!(scene.start(4).await.fence > fence);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_left_does_not_become_owner_by_a_write_that_was_lost() {
    let scene = Scene::new();
    scene.faults.inject(PUT, Fault::UnknownNotDone);
    let call = tokio::spawn({
        let scene = scene.clone();
        async move { scene.begin(1, Duration::ZERO).await }
    });
    settle().await;
    assert_eq!(
        (scene.ended(PUT), scene.faults.remaining(PUT)),
        (1, 0),
        "its answer is lost, and it waits to send it again"
    );
    leave(call).await;
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(scene.lookup().await, Err(CallError::Refused(Refusal::KeyNotFound)));
    assert_eq!(scene.ended(PUT), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_and_the_end_of_a_server_end_what_goes_on_without_callers() {
    for drain in [true, false] {
        let scene = Scene::new();
        let fence = scene.start(1).await.fence;
        scene.left_behind(complete(1, fence)).await;
        scene.commits.holds(2).await;
        let calls = scene.calls.clone();
        let abandoned = || calls.calls(GET, CallOutcome::Abandoned).count;
        assert_eq!(abandoned(), 0, "what became of it is asked");
        if drain {
            scene.server.drain();
        } else {
            drop(scene);
        }
        settle().await;
        assert_eq!(abandoned(), 1);
    }
}
