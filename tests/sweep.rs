//! The sweep: what it counts, what it says and how often, and when it lets rows go.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/hinting_store.rs"]
mod hinting_store;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixtures::{TestClock, begin, key, result};
use hinting_store::HintingStore;
use semel::coordinator::{BeginCall, CallError, Coordinator, Listing, ListingFilter, Settings};
use semel::domain::{
    Abort, BeginAnswer, Clock, Complete, Detail, Disposition, Fence, OnLostLease, Policy, PolicyRules,
    PositiveDuration, Renew, Timestamp,
};
use semel::policies::Policies;
use semel::storage::memory::MemoryStore;
use semel::storage::{Freshness, Scope, Store};
use semel::sweep::{Counts, Sweep};
use semel::telemetry::KeyHash;
use tokio_util::sync::CancellationToken;

const HOUR: Duration = Duration::from_hours(1);

/// A clock that a test can push ahead of the monotonic one.
#[derive(Debug)]
struct JumpingClock {
    steady: Arc<TestClock>,
    jumped: Mutex<Duration>,
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        self.steady.now().plus(*self.jumped.lock().unwrap())
    }
}

struct Scene {
    store: Arc<dyn Store>,
    clock: Arc<JumpingClock>,
    coordinator: Coordinator,
    sweep: Sweep,
    policy: Policy,
}

impl Scene {
    fn new() -> Self {
        Self::on(|_| Arc::new(MemoryStore::new()))
    }

    fn on(store: impl FnOnce(Arc<dyn Clock>) -> Arc<dyn Store>) -> Self {
        let policy = Policy { on_lost_lease: OnLostLease::MarkUnknown, ..Policy::default() };
        let clock = Arc::new(JumpingClock {
            steady: TestClock::new(Duration::ZERO),
            jumped: Mutex::new(Duration::ZERO),
        });
        let store = store(clock.clone());
        let coordinator = Coordinator::new(store.clone(), clock.clone(), 1, Settings::default());
        let policies = Arc::new(Policies::new(PolicyRules::new(policy.clone(), Vec::new())));
        let sweep = Sweep::new(store.clone(), policies, clock.clone(), KeyHash::new(b"test"));
        Self { store, clock, coordinator, sweep, policy }
    }

    async fn start(&self, name: &str) -> Fence {
        self.start_as(name, 1).await
    }

    async fn start_as(&self, name: &str, attempt: u128) -> Fence {
        let (key, begin) = (key(name), begin(attempt));
        let call = BeginCall {
            key: &key,
            begin: &begin,
            policy: &self.policy,
            wait: Duration::ZERO,
            deadline: None,
            retry: false,
        };
        match self.coordinator.begin(&call).await.unwrap().answer {
            BeginAnswer::Started(started) => started.fence,
            other => panic!("{other:?}"),
        }
    }

    async fn complete(&self, name: &str) {
        let fence = self.start(name).await;
        self.finish(name, fence).await;
    }

    async fn abort(&self, name: &str, attempt: u128, fence: Fence, disposition: Disposition) {
        let (attempt_id, detail, retry_after) =
            (begin(attempt).attempt_id, Detail::default(), Duration::ZERO);
        let abort = Abort { fence, attempt_id, disposition, detail, retry_after };
        self.coordinator.run(&key(name), &abort, &self.policy, None).await.unwrap();
    }

    async fn renew(&self, name: &str, fence: Fence) {
        let lease = PositiveDuration::new(Duration::from_secs(40)).ok();
        let renew = Renew { fence, attempt_id: begin(1).attempt_id, lease };
        self.coordinator.run(&key(name), &renew, &self.policy, None).await.unwrap();
    }

    async fn finish(&self, name: &str, fence: Fence) {
        let complete =
            Complete { fence, attempt_id: begin(1).attempt_id, result: result("done"), retention: None };
        self.coordinator.run(&key(name), &complete, &self.policy, None).await.unwrap();
    }

    async fn is_there(&self, name: &str) -> bool {
        self.store.get(&key(name), Freshness::Acknowledged).await.unwrap().is_some()
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn counts_what_is_open_and_says_each_unresolved_key_once() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut scene = Scene::new();
    let counts = scene.sweep.counts();
    assert_eq!(*counts.borrow(), None, "nothing is claimed before the first sweep");
    for name in ["secret-order-1", "secret-order-2"] {
        scene.start(name).await;
    }
    scene.complete("secret-order-3").await;
    scene.sweep.once().await.unwrap();
    assert_eq!(*counts.borrow(), Some(Counts { open: Some(2), unresolved: 0 }));
    assert_eq!(log.text(), "");

    tokio::time::advance(Duration::from_secs(32)).await;
    scene.start("secret-order-4").await;
    for _ in 0..3 {
        scene.sweep.once().await.unwrap();
    }
    assert_eq!(*counts.borrow(), Some(Counts { open: Some(3), unresolved: 2 }));
    let text = log.text();
    assert_eq!(text.matches("a key is unresolved").count(), 2, "{text}");
    assert!(text.contains("OUTCOME_UNKNOWN") && text.contains("semel.key_hash"), "{text}");
    assert!(!text.contains("secret-order"), "no key is logged: {text}");

    tokio::time::advance(Duration::from_secs(32)).await;
    scene.sweep.once().await.unwrap();
    assert_eq!(log.text().matches("a key is unresolved").count(), 3, "only the new one is said");
}

#[tokio::test(start_paused = true)]
async fn rows_go_an_hour_after_their_expiry_and_never_within_an_hour_of_a_start_or_a_jump() {
    let mut scene = Scene::new();
    scene.complete("old").await;
    scene.sweep.once().await.unwrap();
    let minutes = |n| Duration::from_mins(n);

    // The wall clock jumps two days ahead: by it the row is long due.
    *scene.clock.jumped.lock().unwrap() = 48 * HOUR;
    for _ in 0..59 {
        tokio::time::advance(minutes(1)).await;
        scene.sweep.once().await.unwrap();
        assert!(scene.is_there("old").await, "a jump, and the start, pause reclamation");
    }
    // It jumps back: nothing was lost.
    *scene.clock.jumped.lock().unwrap() = Duration::ZERO;
    tokio::time::advance(minutes(1)).await;
    scene.sweep.once().await.unwrap();
    tokio::time::advance(minutes(59)).await;
    scene.sweep.once().await.unwrap();
    assert!(scene.is_there("old").await);

    tokio::time::advance(22 * HOUR + minutes(59)).await;
    scene.sweep.once().await.unwrap();
    assert!(scene.is_there("old").await, "within the grace after its expiry a row stays");
    tokio::time::advance(minutes(2)).await;
    scene.sweep.once().await.unwrap();
    assert!(!scene.is_there("old").await, "then it goes");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lists_less_has_no_count_of_what_is_open() {
    let scene = &mut Scene::on(|clock| Arc::new(HintingStore::new(Scope::Unresolved, clock)));
    let counts = scene.sweep.counts();
    scene.sweep.once().await.unwrap();
    assert_eq!(*counts.borrow(), Some(Counts { open: None, unresolved: 0 }), "absent, not 0");
    scene.start("lost").await;
    scene.complete("done").await;
    scene.sweep.once().await.unwrap();
    assert_eq!(
        *counts.borrow(),
        Some(Counts { open: None, unresolved: 0 }),
        "a lease that runs is not unresolved"
    );
    tokio::time::advance(Duration::from_secs(32)).await;
    scene.sweep.once().await.unwrap();
    assert_eq!(*counts.borrow(), Some(Counts { open: None, unresolved: 1 }));

    let scene = &mut Scene::on(|clock| Arc::new(HintingStore::new(Scope::Open, clock)));
    scene.start("running").await;
    scene.complete("done").await;
    scene.sweep.once().await.unwrap();
    assert_eq!(*scene.sweep.counts().borrow(), Some(Counts { open: Some(1), unresolved: 0 }));
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_server_began_is_counted_logged_and_listed_as_unresolved_within_90_seconds() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let scene = Scene::on(|clock| Arc::new(HintingStore::new(Scope::Unresolved, clock)));
    let fence = scene.start("secret-order").await;
    let Scene { store, clock, coordinator, sweep, policy } = scene;
    // The server that began it is gone; another one, which never heard of the key, sweeps once a minute.
    drop(coordinator);
    let survivor = Coordinator::new(store, clock, 2, Settings::default());
    let counts = sweep.counts();
    let stop = CancellationToken::new();
    let sweeping = tokio::spawn(sweep.run(stop.clone()));
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(*counts.borrow(), Some(Counts { open: None, unresolved: 1 }));
    assert_eq!(log.text().matches("a key is unresolved").count(), 1, "{}", log.text());
    let filter = |reading| ListingFilter { tenant: key("k").tenant, endpoint: None, reading };
    let rules = PolicyRules::new(policy, Vec::new());
    let list = async |reading| survivor.list(&filter(reading), &rules, 10, None, usize::MAX, |_, _| 1).await;
    let page = list(Some(Listing::Unresolved)).await.unwrap();
    let found: Vec<_> = page.records.iter().map(|(found, kept)| (found.clone(), kept.fence)).collect();
    assert_eq!(found, [(key("secret-order"), fence)]);
    for wider in [None, Some(Listing::InProgress), Some(Listing::Completed)] {
        let error = list(wider).await.unwrap_err();
        assert_eq!(error, CallError::NotListed { listed: Scope::Unresolved });
        assert!(error.to_string().contains("ask for the state UNRESOLVED"), "{error}");
    }
    stop.cancel();
    sweeping.await.unwrap();
}

/// Every way that an attempt may come to be unresolved, and none that it may not, by the hints alone.
#[tokio::test(start_paused = true)]
async fn hints_find_whatever_is_unresolved_and_nothing_that_was_settled() {
    let policies = [
        Policy { on_lost_lease: OnLostLease::MarkUnknown, ..Policy::default() },
        Policy { max_attempts: 2, ..Policy::default() },
    ];
    for policy in policies {
        let mut scene = Scene::on(|clock| Arc::new(HintingStore::new(Scope::Unresolved, clock)));
        scene.policy = policy.clone();
        let policies = Arc::new(Policies::new(PolicyRules::new(policy.clone(), Vec::new())));
        let mut sweep = Sweep::new(scene.store.clone(), policies, scene.clock.clone(), KeyHash::new(b"test"));
        let exhausts = policy.max_attempts > 0;
        for name in ["lost", "released", "given up", "completed", "renewed"] {
            if exhausts {
                let fence = scene.start_as(name, 9).await;
                scene.abort(name, 9, fence, Disposition::Release).await;
            }
            let fence = scene.start(name).await;
            match name {
                "released" => scene.abort(name, 1, fence, Disposition::Release).await,
                "given up" => scene.abort(name, 1, fence, Disposition::OutcomeUnknown).await,
                "completed" => scene.finish(name, fence).await,
                "renewed" => scene.renew(name, fence).await,
                _ => {}
            }
        }
        tokio::time::advance(Duration::from_secs(50)).await;
        sweep.once().await.unwrap();
        // Released under mark_unknown may run again; the last attempt that the budget allows may not.
        let unresolved = if exhausts { 4 } else { 3 };
        assert_eq!(*sweep.counts().borrow(), Some(Counts { open: None, unresolved }), "{policy:?}");
    }
}
