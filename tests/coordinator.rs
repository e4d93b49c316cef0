//! The coordinator through its public door, in one thread, with time standing still.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/timed_store.rs"]
mod timed_store;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fixtures::{TestClock, begin, key, result};
use semel::coordinator::{BeginCall, CallError, Coordinator, Poll, Settings, in_key_order};
use semel::domain::{
    Abort, Begin, BeginAnswer, CheckpointName, Clock, Complete, Detail, Disposition, Fence, Fingerprint,
    Forget, Phase, Policy, PositiveDuration, Refusal, Renew, SaveCheckpoint, Timestamp,
};
use semel::storage::Store;
use semel::storage::memory::MemoryStore;
use simulated::{MILLI, SECOND, Server, settle};
use timed_store::{Faults, TimedStore};
use tokio::task::JoinSet;
use tokio::time::Instant;

fn renew(fence: Fence) -> Renew {
    let lease = PositiveDuration::new(50 * SECOND).ok();
    Renew { fence, attempt_id: begin(0).attempt_id, lease }
}

fn save(fence: Fence) -> SaveCheckpoint {
    let (name, value) = (CheckpointName::new("charged").unwrap(), b"ch_1"[..].into());
    SaveCheckpoint { fence, attempt_id: begin(0).attempt_id, name, value }
}

#[tokio::test(start_paused = true)]
async fn a_lifecycle_costs_two_writes_and_its_replay_nothing() {
    let server = Server::new();
    let (started, cost) = server.cost(server.start("k", 1)).await;
    assert_eq!(cost, (0, 1), "a Begin of a new key is one write");
    let (completed, cost) = server.cost(server.complete("k", 1, started.fence, "done")).await;
    assert_eq!(cost, (0, 1), "a Complete on the server that did the Begin is one write");
    assert!(!completed.unwrap().repeated);
    let (replay, cost) = server.cost(server.begin("k", &begin(2))).await;
    assert_eq!(cost, (0, 0), "a replay from the cache costs nothing");
    assert!(matches!(replay.unwrap(), BeginAnswer::Replayed(r) if r.result.payload == "done"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_begins_of_one_key_cost_a_handful_of_store_calls() {
    let server = Server::new();
    let mut calls = JoinSet::new();
    for attempt in 0..1000 {
        let server = server.share();
        calls.spawn(async move { server.begin("hot", &begin(attempt)).await.unwrap() });
    }
    let answers = calls.join_all().await;
    let started = answers.iter().filter(|a| matches!(a, BeginAnswer::Started(_))).count();
    let running = answers.iter().filter(|a| matches!(a, BeginAnswer::InProgress(_))).count();
    assert_eq!((started, running), (1, 999));
    let (reads, writes) = server.store.calls();
    assert!(reads <= 2 && writes <= 2, "{reads} reads and {writes} writes");
}

#[tokio::test(start_paused = true)]
async fn decisions_are_never_shared() {
    let server = Server::new();
    let fingerprint = |text: &str| Some(Fingerprint::new(text.as_bytes()).unwrap());
    let first = Begin { fingerprint: fingerprint("a"), ..begin(0) };
    let started = server.begin("k", &first).await.unwrap();
    let mut calls = JoinSet::new();
    for attempt in 0..300 {
        let server = server.share();
        let begin = match attempt % 3 {
            0 => Begin { fingerprint: fingerprint("a"), ..begin(0) },
            1 => Begin { fingerprint: fingerprint("b"), ..begin(attempt) },
            _ => begin(attempt),
        };
        calls.spawn(async move { (attempt % 3, server.begin("k", &begin).await) });
    }
    let BeginAnswer::Started(started) = started else { panic!("{started:?}") };
    for (kind, answer) in calls.join_all().await {
        match (kind, answer) {
            (0, Ok(BeginAnswer::Started(again))) => assert_eq!(again.fence, started.fence),
            (1, Err(CallError::Refused(Refusal::FingerprintMismatch { original: None })))
            | (2, Ok(BeginAnswer::InProgress(_))) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_never_joins_a_read_that_began_before_it_arrived() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let elsewhere = Server::on(memory.clone(), 1, Duration::ZERO, Settings::default(), Faults::default());
    let store = TimedStore::new(memory, 100 * MILLI, 2, Faults::default());
    let clock = TestClock::new(Duration::ZERO);
    let coordinator = Arc::new(Coordinator::new(store.clone(), clock, 2, Settings::default()));
    let slow = Server { coordinator, store, policy: Policy::default() };
    let early = {
        let slow = slow.share();
        tokio::spawn(async move { slow.lookup("k").await })
    };
    settle().await;
    assert_eq!(slow.store.calls().0, 1, "the early read is under way");
    let started = elsewhere.start("k", 1).await;
    let late = slow.lookup("k").await.unwrap();
    assert_eq!(late.fence, started.fence, "what was acknowledged before the call is seen by it");
    assert_eq!(early.await.unwrap(), Err(CallError::Refused(Refusal::KeyNotFound)));
}

#[tokio::test(start_paused = true)]
async fn waiters_are_woken_by_the_completion_and_cost_nothing_meanwhile() {
    let server = Server::new();
    let started = server.start("k", 0).await;
    let mut waiters = JoinSet::new();
    for attempt in 1..=1000 {
        let server = server.share();
        waiters.spawn(
            async move { server.begin_waiting("k", &begin(attempt), 20 * SECOND, None).await.unwrap() },
        );
    }
    tokio::time::sleep(SECOND).await;
    let (completed, cost) = server
        .cost(async {
            tokio::time::sleep(5 * SECOND).await;
            server.run("k", &renew(started.fence)).await.unwrap();
            tokio::time::sleep(5 * SECOND).await;
            server.run("k", &save(started.fence)).await.unwrap();
            tokio::time::sleep(5 * SECOND).await;
            let completed = server.complete("k", 0, started.fence, "done").await;
            let began = Instant::now();
            for begun in waiters.join_all().await {
                assert!(matches!(begun.answer, BeginAnswer::Replayed(r) if r.result.payload == "done"));
            }
            assert!(began.elapsed() < 10 * MILLI, "woken by the transition, not by a timer");
            completed
        })
        .await;
    completed.unwrap();
    assert_eq!(cost, (0, 3), "the owner's own writes");
}

/// Counts how often it is asked, which every decision does once.
#[derive(Debug)]
struct CountingClock(Arc<TestClock>, AtomicUsize);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.now()
    }
}

#[tokio::test(start_paused = true)]
async fn what_tells_a_waiter_nothing_new_does_not_wake_it() {
    let clock = Arc::new(CountingClock(TestClock::new(Duration::ZERO), AtomicUsize::new(0)));
    let store = TimedStore::new(Arc::new(MemoryStore::new()), MILLI, 1, Faults::default());
    let coordinator = Coordinator::new(store.clone(), clock.clone(), 1, Settings::default());
    let policy = Policy { max_wait: 60 * SECOND, ..Policy::default() };
    let server = Server { coordinator: Arc::new(coordinator), store, policy };
    let fence = server.start("k", 0).await.fence;
    let mut waiters = JoinSet::new();
    for attempt in 1..=1000 {
        let server = server.share();
        waiters.spawn(async move { server.begin_waiting("k", &begin(attempt), 60 * SECOND, None).await });
    }
    tokio::time::sleep(SECOND).await;
    let asked = || clock.1.load(Ordering::Relaxed);
    let before = asked();
    server.run("k", &renew(fence)).await.unwrap();
    server.run("k", &save(fence)).await.unwrap();
    server.store.set_faults(Faults { unavailable: 100, ..Faults::default() });
    let refused = server.complete("k", 0, fence, "done").await;
    assert_eq!(refused, Err(CallError::StoreUnavailable));
    settle().await;
    assert!(asked() - before < 20, "{} decisions for three calls", asked() - before);
    // The lease is longer than they were told first: they find so by themselves, without a store call.
    let ((), cost) = server.cost(tokio::time::sleep(35 * SECOND)).await;
    assert_eq!((waiters.len(), cost), (1000, (0, 0)));
    assert!(waiters.try_join_next().is_none(), "everyone still waits");
    server.store.set_faults(Faults::default());
    server.complete("k", 0, fence, "done").await.unwrap();
    for begun in waiters.join_all().await {
        assert!(matches!(begun.unwrap().answer, BeginAnswer::Replayed(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_over_at_the_end_of_a_pause() {
    for poll in [None, Some(Poll { first: 50 * MILLI, longest: SECOND })] {
        let server = Server::with(Settings { poll, ..Settings::default() }, Faults::default());
        let fence = server.start("k", 1).await.fence;
        let (disposition, detail) = (Disposition::Release, Detail::default());
        let (attempt_id, retry_after) = (begin(1).attempt_id, 5 * SECOND);
        server.run("k", &Abort { fence, attempt_id, disposition, detail, retry_after }).await.unwrap();
        let began = Instant::now();
        let held = server.begin_waiting("k", &begin(2), 2 * SECOND, None).await.unwrap();
        assert!(matches!(held.answer, BeginAnswer::InProgress(running) if running.backing_off()));
        let begun = server.begin_waiting("k", &begin(3), 20 * SECOND, None).await.unwrap();
        assert!(matches!(begun.answer, BeginAnswer::Started(started) if started.attempt == 2));
        let took = began.elapsed();
        assert!(took >= 4990 * MILLI && took < 5100 * MILLI, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_age_of_what_is_cached_counts_from_the_beginning_of_its_read() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let elsewhere = Server::on(memory.clone(), 1, Duration::ZERO, Settings::default(), Faults::default());
    let fence = elsewhere.start("k", 1).await.fence;
    elsewhere.complete("k", 1, fence, "done").await.unwrap();
    let store = TimedStore::new(memory, 20 * SECOND, 2, Faults::default());
    let coordinator = Coordinator::new(store.clone(), TestClock::new(Duration::ZERO), 2, Settings::default());
    let slow = Server { coordinator: Arc::new(coordinator), store, policy: Policy::default() };
    let began = Instant::now();
    assert!(matches!(slow.begin_again("k", &begin(2)).await, Ok(BeginAnswer::Replayed(_))));
    assert!(began.elapsed() >= 10 * SECOND);
    let (_, cost) = slow.cost(slow.begin("k", &begin(3))).await;
    assert_eq!(cost, (0, 0));
    tokio::time::sleep_until(began + 31 * SECOND).await;
    let (_, cost) = slow.cost(slow.begin("k", &begin(4))).await;
    assert_eq!(cost, (1, 0), "it was read more than thirty seconds ago");
}

#[tokio::test(start_paused = true)]
async fn the_largest_result_is_cached_where_a_few_of_them_fit() {
    let server =
        Server::with(Settings { replay_cache_bytes: 8 << 20, ..Settings::default() }, Faults::default());
    let fence = server.start("k", 1).await.fence;
    server.complete("k", 1, fence, &"x".repeat(3 << 20)).await.unwrap();
    let (answer, cost) = server.cost(server.begin("k", &begin(2))).await;
    assert!(matches!(answer, Ok(BeginAnswer::Replayed(r)) if r.result.payload.len() == 3 << 20));
    assert_eq!(cost, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_over_when_the_lease_is_over_and_says_how_long_it_waited() {
    let server = Server::new();
    let first = server.start("k", 1).await;
    let begun = Server { policy: Policy { max_wait: 60 * SECOND, ..Policy::default() }, ..server.share() }
        .begin_waiting("k", &begin(2), 60 * SECOND, None)
        .await
        .unwrap();
    let BeginAnswer::Started(second) = begun.answer else { panic!("{:?}", begun.answer) };
    assert!(second.fence > first.fence);
    assert_eq!(second.attempt, 2);
    assert!(begun.waited > 30 * SECOND && begun.waited < 32 * SECOND, "{:?}", begun.waited);
    assert_eq!(
        server.complete("k", 1, first.fence, "late").await,
        Err(CallError::Refused(Refusal::FenceLost { superseded: true }))
    );
}

#[tokio::test(start_paused = true)]
async fn of_many_waiters_one_takes_over_and_the_others_go_on_waiting() {
    let server = Server::new();
    let started = server.start("k", 0).await;
    let mut waiters = JoinSet::new();
    for attempt in 1..=50 {
        let server = server.share();
        waiters.spawn(async move {
            (attempt, server.begin_waiting("k", &begin(attempt), 20 * SECOND, None).await.unwrap().answer)
        });
    }
    settle().await;
    tokio::time::sleep(SECOND).await;
    server.release("k", 0, started.fence).await;
    let (attempt, BeginAnswer::Started(owner)) = waiters.join_next().await.unwrap().unwrap() else {
        panic!("nobody took over")
    };
    settle().await;
    assert_eq!(waiters.len(), 49);
    server.complete("k", attempt, owner.fence, "by the second").await.unwrap();
    for (_, answer) in waiters.join_all().await {
        assert!(matches!(answer, BeginAnswer::Replayed(r) if r.result.payload == "by the second"));
    }
}

#[tokio::test(start_paused = true)]
async fn waits_end_by_policy_and_before_the_callers_deadline() {
    let mut server = Server::new();
    server.start("k", 1).await;
    for (wait, max_wait, deadline, expected) in [
        (5 * SECOND, 20 * SECOND, None, 5 * SECOND),
        (20 * SECOND, 3 * SECOND, None, 3 * SECOND),
        (20 * SECOND, 20 * SECOND, Some(2 * SECOND), 1800 * MILLI),
        (20 * SECOND, 20 * SECOND, Some(100 * MILLI), 50 * MILLI),
        (20 * SECOND, 20 * SECOND, Some(20 * MILLI), Duration::ZERO),
        (Duration::ZERO, 20 * SECOND, None, Duration::ZERO),
    ] {
        server.policy.max_wait = max_wait;
        let began = Instant::now();
        let deadline = deadline.map(|deadline| began + deadline);
        let begun = server.begin_waiting("k", &begin(2), wait, deadline).await.unwrap();
        assert!(matches!(begun.answer, BeginAnswer::InProgress(_)));
        let held = began.elapsed();
        assert!(held >= expected && held < expected + 5 * MILLI, "held {held:?}, expected {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_caller_went_away_never_becomes_owner() {
    let server = Server::new();
    let started = server.start("k", 1).await;
    let waiter = {
        let server = server.share();
        tokio::spawn(async move { server.begin_waiting("k", &begin(2), 20 * SECOND, None).await })
    };
    tokio::time::sleep(SECOND).await;
    waiter.abort();
    assert!(waiter.await.unwrap_err().is_cancelled());
    let ((), cost) = server
        .cost(async {
            server.release("k", 1, started.fence).await;
            tokio::time::sleep(60 * SECOND).await;
        })
        .await;
    assert_eq!(cost, (0, 1), "the release's own write");
    let kept = server.lookup("k").await.unwrap();
    assert!(matches!(kept.phase, Phase::Released { .. }));
    assert_eq!(kept.attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn at_most_so_many_wait() {
    let server = Server::with(Settings { max_waiters: 3, ..Settings::default() }, Faults::default());
    let started = server.start("k", 0).await;
    let mut waiters = JoinSet::new();
    for attempt in 1..=3 {
        let server = server.share();
        waiters.spawn(async move { server.begin_waiting("k", &begin(attempt), 20 * SECOND, None).await });
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(server.begin_waiting("k", &begin(4), 20 * SECOND, None).await, Err(CallError::TooManyWaiters));
    assert!(server.begin("k", &begin(4)).await.is_ok(), "who does not wait is answered");
    server.complete("k", 0, started.fence, "done").await.unwrap();
    waiters.join_all().await;
    server.start("other", 0).await;
    let begun = server.begin_waiting("other", &begin(5), SECOND, None).await.unwrap();
    assert!(matches!(begun.answer, BeginAnswer::InProgress(_)), "places are given back");
}

#[tokio::test(start_paused = true)]
async fn a_drain_answers_who_waits() {
    let server = Server::new();
    server.start("k", 1).await;
    let waiter = {
        let server = server.share();
        tokio::spawn(async move { server.begin_waiting("k", &begin(2), 20 * SECOND, None).await })
    };
    tokio::time::sleep(SECOND).await;
    let began = Instant::now();
    server.coordinator.drain();
    let begun = waiter.await.unwrap().unwrap();
    assert!(matches!(begun.answer, BeginAnswer::InProgress(_)));
    let begun = server.begin_waiting("k", &begin(3), 20 * SECOND, None).await.unwrap();
    assert!(matches!(begun.answer, BeginAnswer::InProgress(_)));
    assert!(began.elapsed() < 10 * MILLI);
}

#[tokio::test(start_paused = true)]
async fn unknown_outcomes_are_settled_by_the_same_write() {
    for faults in
        [Faults { applied_unsaid: 70, ..Faults::default() }, Faults { lost: 70, ..Faults::default() }]
    {
        let server = Server::with(Settings::default(), faults);
        for n in 0..50 {
            let name = format!("k{n}");
            let started = server.start(&name, 1).await;
            let completed = server.complete(&name, 1, started.fence, "done").await.unwrap();
            assert!(!completed.repeated, "the first Complete, however often it was sent");
            let kept = server.lookup(&name).await.unwrap();
            assert_eq!((kept.fence, kept.attempt), (started.fence, 1));
        }
        let (_, writes) = server.store.calls();
        assert!(writes > 200, "{writes} writes: the faults were met");
    }
}

#[tokio::test(start_paused = true)]
async fn what_stays_unknown_is_said_and_never_as_unavailable() {
    let faults = Faults { applied_unsaid: 100, ..Faults::default() };
    let server = Server::with(Settings { settle_within: SECOND, ..Settings::default() }, faults);
    let began = Instant::now();
    assert_eq!(server.begin("k", &begin(1)).await, Err(CallError::StoreOutcomeUnknown));
    assert!(began.elapsed() < 2 * SECOND);
    let call = {
        let server = server.share();
        tokio::spawn(async move { server.begin("k2", &begin(1)).await })
    };
    tokio::time::sleep(100 * MILLI).await;
    server.store.set_faults(Faults { unavailable: 100, ..Faults::default() });
    assert_eq!(
        call.await.unwrap(),
        Err(CallError::StoreOutcomeUnknown),
        "a later refusal does not make it known"
    );
    assert_eq!(server.begin("k3", &begin(1)).await, Err(CallError::StoreUnavailable));
    server.store.set_faults(Faults::default());
    for name in ["k", "k2", "k3"] {
        assert_eq!(server.start(name, 1).await.attempt, 1, "sent again, the same call learns the truth");
    }
}

#[tokio::test(start_paused = true)]
async fn the_replay_cache_is_bounded_in_age_and_answers_replays_alone() {
    let server = Server::new();
    let fingerprint = Some(Fingerprint::new(b"a").unwrap());
    let first = Begin { fingerprint, ..begin(1) };
    let BeginAnswer::Started(started) = server.begin("k", &first).await.unwrap() else { panic!() };
    server.complete("k", 1, started.fence, "done").await.unwrap();
    let other = Begin { fingerprint: Some(Fingerprint::new(b"b").unwrap()), ..begin(2) };
    let (refused, cost) = server.cost(server.begin("k", &other)).await;
    assert_eq!(refused, Err(CallError::Refused(Refusal::FingerprintMismatch { original: None })));
    assert_ne!(cost, (0, 0), "a refusal never comes from the cache");
    tokio::time::sleep(31 * SECOND).await;
    let (replay, cost) = server.cost(server.begin("k", &begin(3))).await;
    assert!(matches!(replay, Ok(BeginAnswer::Replayed(_))));
    assert_ne!(cost, (0, 0), "the cache's age is bounded");
    let forget = Forget { fence: started.fence, force: false };
    server.coordinator.run(&key("k"), &forget, &server.policy, None).await.unwrap();
    assert!(
        matches!(server.begin("k", &begin(4)).await, Ok(BeginAnswer::Started(s)) if s.fence > started.fence)
    );
}

#[tokio::test(start_paused = true)]
async fn once_a_server_has_seen_that_a_result_is_forgotten_it_replays_it_no_more() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let [server, elsewhere] = &Server::several(2, &store)[..] else { panic!() };
    let started = server.start("k", 1).await;
    server.complete("k", 1, started.fence, "done").await.unwrap();
    elsewhere.run("k", &Forget { fence: started.fence, force: false }).await.unwrap();
    let replay = server.begin("k", &begin(2)).await;
    assert!(matches!(replay, Ok(BeginAnswer::Replayed(_))), "within the cache's age it need not have heard");
    assert_eq!(server.lookup("k").await.unwrap_err(), CallError::Refused(Refusal::KeyNotFound));
    assert!(server.start("k", 3).await.fence > started.fence);
}

#[tokio::test(start_paused = true)]
async fn what_expired_by_another_servers_clock_is_not_replayed_from_the_cache() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let on = |seed, ahead| Server::on(store.clone(), seed, ahead, Settings::default(), Faults::default());
    // Within the allowance of a second.
    let (server, ahead) = (on(1, Duration::ZERO), on(2, 900 * MILLI));
    let started = server.start("k", 1).await;
    let complete = Complete {
        fence: started.fence,
        attempt_id: begin(1).attempt_id,
        result: result("done"),
        retention: PositiveDuration::new(10 * SECOND).ok(),
    };
    server.run("k", &complete).await.unwrap();
    let replay = server.begin("k", &begin(2)).await;
    assert!(matches!(replay, Ok(BeginAnswer::Replayed(_))), "from the cache");
    tokio::time::sleep(9_500 * MILLI).await;
    assert!(ahead.start("k", 3).await.fence > started.fence);
    let running = server.begin("k", &begin(4)).await;
    assert!(matches!(running, Ok(BeginAnswer::InProgress(_))), "{running:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_reads_before_it_writes() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let elsewhere = Server::on(memory.clone(), 1, Duration::ZERO, Settings::default(), Faults::default());
    let server = Server::on(memory, 2, Duration::ZERO, Settings::default(), Faults::default());
    let started = elsewhere.start("k", 1).await;
    elsewhere.complete("k", 1, started.fence, "done").await.unwrap();
    let key = key("k");
    let again = begin(1);
    let call = BeginCall {
        key: &key,
        begin: &again,
        policy: &server.policy,
        wait: Duration::ZERO,
        deadline: None,
        retry: true,
    };
    let (begun, cost) = server.cost(server.coordinator.begin(&call)).await;
    assert!(matches!(begun.unwrap().answer, BeginAnswer::Replayed(_)));
    assert_eq!(cost, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_waiter_learns_what_another_server_did() {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let poll = Some(Poll { first: 50 * MILLI, longest: SECOND });
    let settings = Settings { poll, ..Settings::default() };
    let here = Server::on(memory.clone(), 1, Duration::ZERO, settings.clone(), Faults::default());
    let elsewhere = Server::on(memory, 2, Duration::ZERO, settings, Faults::default());
    let started = elsewhere.start("k", 1).await;
    let waiter = {
        let here = here.share();
        tokio::spawn(async move { here.begin_waiting("k", &begin(2), 20 * SECOND, None).await })
    };
    tokio::time::sleep(10 * SECOND).await;
    let (reads, writes) = here.store.calls();
    // 50 ms, doubling up to a second, each less up to half of it at random.
    assert!(reads <= 25 && writes <= 1, "polling backs off, by reads alone: {reads} reads, {writes} writes");
    elsewhere.complete("k", 1, started.fence, "done").await.unwrap();
    let began = Instant::now();
    let begun = waiter.await.unwrap().unwrap();
    assert!(matches!(begun.answer, BeginAnswer::Replayed(_)));
    assert!(began.elapsed() <= SECOND);
}

#[tokio::test]
async fn batches_keep_the_order_of_items_and_of_each_key() {
    let trace = std::sync::Mutex::new(Vec::new());
    let items = (0..1000_usize).map(|n| ((n % 7 != 6).then_some(n % 7), n));
    let answers = in_key_order(items, |n| {
        let trace = &trace;
        async move {
            tokio::task::yield_now().await;
            trace.lock().unwrap().push(n);
            n * 2
        }
    })
    .await;
    assert_eq!(answers, (0..1000).map(|n| n * 2).collect::<Vec<_>>());
    let trace = trace.into_inner().unwrap();
    for key in 0..6 {
        let of_key: Vec<_> = trace.iter().filter(|n| *n % 7 == key).collect();
        assert!(of_key.is_sorted(), "items of one key run in order");
    }
    assert!(!trace.is_sorted(), "different keys run side by side");
}
