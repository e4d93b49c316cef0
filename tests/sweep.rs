//! The sweep: what it counts, what it says and how often, and when it lets rows go.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/hinting_store.rs"]
mod hinting_store;
#[path = "support/log.rs"]
mod log;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fixtures::{TestClock, begin, key, result};
use hinting_store::HintingStore;
use semel::coordinator::{BeginCall, CallError, Coordinator, Listing, ListingFilter, Settings};
use semel::domain::{
    Abort, BeginAnswer, Clock, Complete, Detail, Disposition, Fence, Key, OnLostLease, Policy, PolicyRules,
    PositiveDuration, Renew, Timestamp,
};
use semel::policies::Policies;
use semel::storage::memory::MemoryStore;
use semel::storage::{Freshness, Page, Put, Scan, Scope, Store, StoreError, Versioned, Write};
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

/// A store during whose calls the clock may jump, and whose scans may fail.
#[derive(Debug)]
struct TroubledStore {
    inner: MemoryStore,
    clock: Arc<JumpingClock>,
    /// How far the clock jumps ahead while the next portion of rows is reclaimed.
    jump: Mutex<Duration>,
    scans_fail: AtomicBool,
}

#[async_trait]
impl Store for TroubledStore {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.inner.get(key, freshness).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        self.inner.compare_and_put(write).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        if self.scans_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("scans fail".to_owned()));
        }
        self.inner.scan(scan).await
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let reclaimed = self.inner.reclaim(now, limit).await;
        *self.clock.jumped.lock().unwrap() += std::mem::take(&mut *self.jump.lock().unwrap());
        reclaimed
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
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

    fn on(store: impl FnOnce(Arc<JumpingClock>) -> Arc<dyn Store>) -> Self {
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

    /// A scene, and its store as one that makes trouble.
    fn troubled() -> (Self, Arc<TroubledStore>) {
        let mut troubled = None;
        let scene = Self::on(|clock| {
            let store = Arc::new(TroubledStore {
                inner: MemoryStore::new(),
                clock,
                jump: Mutex::new(Duration::ZERO),
                scans_fail: AtomicBool::new(false),
            });
            troubled = Some(store.clone());
            store
        });
        (scene, troubled.expect("the store was made"))
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

#[tokio::test(start_paused = true)]
async fn counts_what_is_open_and_says_each_unresolved_key_once() {
    let log = log::Log::default();
    let _guard = log.capture();
    let mut scene = Scene::new();
    let counts = scene.sweep.counts();
    assert_eq!(*counts.borrow(), None, "nothing is claimed before the first sweep");
    for name in ["secret-order-1", "secret-order-2"] {
        scene.start(name).await;
    }
    scene.complete("secret-order-3").await;
    scene.sweep.once().await.unwrap();
    assert_eq!(*counts.borrow(), Some(Counts { open: Some(2), ..Counts::default() }));
    assert_eq!(log.text(), "");

    tokio::time::advance(Duration::from_secs(32)).await;
    scene.start("secret-order-4").await;
    for _ in 0..3 {
        scene.sweep.once().await.unwrap();
    }
    assert_eq!(*counts.borrow(), Some(Counts { open: Some(3), outcome_unknown: 2, attempts_exhausted: 0 }));
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
    assert_eq!(*counts.borrow(), Some(Counts { open: None, ..Counts::default() }), "absent, not 0");
    scene.start("lost").await;
    scene.complete("done").await;
    scene.sweep.once().await.unwrap();
    assert_eq!(
        *counts.borrow(),
        Some(Counts { open: None, ..Counts::default() }),
        "a lease that runs is not unresolved"
    );
    tokio::time::advance(Duration::from_secs(32)).await;
    scene.sweep.once().await.unwrap();
    assert_eq!(*counts.borrow(), Some(Counts { open: None, outcome_unknown: 1, attempts_exhausted: 0 }));

    let scene = &mut Scene::on(|clock| Arc::new(HintingStore::new(Scope::Open, clock)));
    scene.start("running").await;
    scene.complete("done").await;
    scene.sweep.once().await.unwrap();
    assert_eq!(*scene.sweep.counts().borrow(), Some(Counts { open: Some(1), ..Counts::default() }));
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_server_began_is_counted_logged_and_listed_as_unresolved_within_90_seconds() {
    let log = log::Log::default();
    let _guard = log.capture();
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
    assert_eq!(*counts.borrow(), Some(Counts { open: None, outcome_unknown: 1, attempts_exhausted: 0 }));
    assert_eq!(log.text().matches("a key is unresolved").count(), 1, "{}", log.text());
    let filter = |reading| ListingFilter { tenant: key("k").tenant, endpoint: None, reading };
    let rules = PolicyRules::new(policy, Vec::new());
    let list = async |reading| survivor.list(&filter(reading), &rules, 10, None, usize::MAX, |_| 1).await;
    let page = list(Some(Listing::Unresolved)).await.unwrap();
    let found: Vec<_> = page.records.iter().map(|listed| (listed.key.clone(), listed.kept.fence)).collect();
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
        let counts = sweep.counts().borrow().expect("it swept");
        assert_eq!((counts.open, counts.unresolved()), (None, unresolved), "{policy:?}");
    }
}

/// What a sweep reclaims, it reclaims in portions.
#[tokio::test(start_paused = true)]
async fn no_row_goes_by_a_clock_that_jumps_in_the_middle_of_a_sweep() {
    let (mut scene, troubled) = Scene::troubled();
    for n in 0..2_500 {
        scene.complete(&format!("old-{n}")).await;
    }
    tokio::time::advance(25 * HOUR + Duration::from_mins(1)).await;
    scene.complete("young").await;
    // The guard of the clock has seen both clocks go on alike.
    *troubled.jump.lock().unwrap() = 48 * HOUR;
    scene.sweep.once().await.unwrap();
    assert!(scene.is_there("young").await, "by the clock before the jump it is a day away from its time");
    let mut left = 0;
    for n in 0..2_500 {
        left += u32::from(scene.is_there(&format!("old-{n}")).await);
    }
    assert_eq!(left, 1_500, "the portion before the jump went, and none after it");

    // The clock is set right again: what was due goes an hour later, what was not stays.
    *scene.clock.jumped.lock().unwrap() = Duration::ZERO;
    scene.sweep.once().await.unwrap();
    tokio::time::advance(Duration::from_mins(59)).await;
    scene.sweep.once().await.unwrap();
    assert!(scene.is_there("old-0").await || scene.is_there("old-2499").await);
    tokio::time::advance(Duration::from_mins(1)).await;
    scene.sweep.once().await.unwrap();
    assert!(scene.is_there("young").await);
    assert!(!scene.is_there("old-0").await && !scene.is_there("old-2499").await);
}

#[tokio::test(start_paused = true)]
async fn rows_go_even_where_nothing_can_be_counted() {
    let (mut scene, troubled) = Scene::troubled();
    scene.complete("old").await;
    tokio::time::advance(25 * HOUR + Duration::from_mins(1)).await;
    troubled.scans_fail.store(true, Ordering::SeqCst);
    let counts = scene.sweep.counts();
    let told = scene.sweep.once().await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "what went wrong is told: {told:?}");
    assert_eq!(*counts.borrow(), None, "nothing is claimed");
    assert!(!scene.is_there("old").await);
}
