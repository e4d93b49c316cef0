//! The sweep: what it counts, what it says and how often, and when it lets rows go.

#[path = "support/fixtures.rs"]
mod fixtures;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixtures::{TestClock, begin, key, result};
use semel::coordinator::{BeginCall, Coordinator, Settings};
use semel::domain::{BeginAnswer, Clock, Complete, Fence, OnLostLease, Policy, PolicyRules, Timestamp};
use semel::policies::Policies;
use semel::storage::memory::MemoryStore;
use semel::storage::{Freshness, Store};
use semel::sweep::{Counts, Sweep};
use semel::telemetry::KeyHash;

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
    store: Arc<MemoryStore>,
    clock: Arc<JumpingClock>,
    coordinator: Coordinator,
    sweep: Sweep,
    policy: Policy,
}

impl Scene {
    fn new() -> Self {
        let policy = Policy { on_lost_lease: OnLostLease::MarkUnknown, ..Policy::default() };
        let store = Arc::new(MemoryStore::new());
        let clock = Arc::new(JumpingClock {
            steady: TestClock::new(Duration::ZERO),
            jumped: Mutex::new(Duration::ZERO),
        });
        let coordinator = Coordinator::new(store.clone(), clock.clone(), 1, Settings::default());
        let policies = Arc::new(Policies::new(PolicyRules::new(policy.clone(), Vec::new())));
        let sweep = Sweep::new(store.clone(), policies, clock.clone(), KeyHash::new(b"test"));
        Self { store, clock, coordinator, sweep, policy }
    }

    async fn start(&self, name: &str) -> Fence {
        let (key, begin) = (key(name), begin(1));
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
