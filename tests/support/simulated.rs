//! A server without its sockets: a coordinator on a store whose calls take virtual time and are counted. Include it
//! beside `fixtures` and `timed_store`.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::sync::Arc;
use std::time::Duration;

use semel::coordinator::{BeginCall, Begun, CallError, Coordinator, Poll, Settings};
use semel::domain::{
    Abort, AttemptId, Begin, BeginAnswer, Command, Complete, Completed, Detail, Disposition, Fence, Kept,
    Lookup, Policy, Started,
};
use semel::storage::Store;
use semel::storage::memory::MemoryStore;
use tokio::time::Instant;
use uuid::Uuid;

use crate::fixtures::{TestClock, begin, key, result};
use crate::timed_store::{Faults, TimedStore};

pub(crate) const MILLI: Duration = Duration::from_millis(1);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A coordinator on a memory store whose calls take a millisecond.
pub(crate) struct Server {
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) store: Arc<TimedStore>,
    pub(crate) policy: Policy,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(Settings::default(), Faults::default())
    }

    pub(crate) fn with(settings: Settings, faults: Faults) -> Self {
        Self::on(Arc::new(MemoryStore::new()), 1, Duration::ZERO, settings, faults)
    }

    pub(crate) fn on(
        memory: Arc<dyn Store>,
        seed: u64,
        ahead: Duration,
        settings: Settings,
        faults: Faults,
    ) -> Self {
        let store = TimedStore::new(memory, MILLI, seed, faults);
        let coordinator = Arc::new(Coordinator::new(store.clone(), TestClock::new(ahead), seed, settings));
        Self { coordinator, store, policy: Policy::default() }
    }

    /// `count` servers on one `store`, as they poll where others write too.
    pub(crate) fn several(count: u64, store: &Arc<dyn Store>) -> Vec<Self> {
        let poll = Some(Poll { first: 50 * MILLI, longest: SECOND });
        let settings = Settings { poll, ..Settings::default() };
        let on = |n| Self::on(store.clone(), n, Duration::ZERO, settings.clone(), Faults::default());
        (0..count).map(on).collect()
    }

    pub(crate) async fn begin(&self, name: &str, begin: &Begin) -> Result<BeginAnswer, CallError> {
        Ok(self.begin_waiting(name, begin, Duration::ZERO, None).await?.answer)
    }

    pub(crate) async fn begin_waiting(
        &self,
        name: &str,
        begin: &Begin,
        wait: Duration,
        deadline: Option<Instant>,
    ) -> Result<Begun, CallError> {
        let key = key(name);
        let call = BeginCall { key: &key, begin, policy: &self.policy, wait, deadline, retry: false };
        self.coordinator.begin(&call).await
    }

    /// A Begin whose caller knows it to be a retry, or suspects that the key is known.
    pub(crate) async fn begin_again(&self, name: &str, begin: &Begin) -> Result<BeginAnswer, CallError> {
        let key = key(name);
        let (wait, deadline) = (Duration::ZERO, None);
        let call = BeginCall { key: &key, begin, policy: &self.policy, wait, deadline, retry: true };
        Ok(self.coordinator.begin(&call).await?.answer)
    }

    pub(crate) async fn run<C: Command>(&self, name: &str, command: &C) -> Result<C::Answer, CallError> {
        self.run_by(name, command, None).await
    }

    pub(crate) async fn run_by<C: Command>(
        &self,
        name: &str,
        command: &C,
        deadline: Option<Instant>,
    ) -> Result<C::Answer, CallError> {
        self.coordinator.run(&key(name), command, &self.policy, deadline).await
    }

    pub(crate) async fn start(&self, name: &str, attempt: u128) -> Started {
        match self.begin(name, &begin(attempt)).await.unwrap() {
            BeginAnswer::Started(started) => started,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn complete(
        &self,
        name: &str,
        attempt: u128,
        fence: Fence,
        payload: &str,
    ) -> Result<Completed, CallError> {
        let complete = Complete {
            fence,
            attempt_id: AttemptId::from_uuid(Uuid::from_u128(attempt)),
            result: result(payload),
            retention: None,
        };
        self.run(name, &complete).await
    }

    pub(crate) async fn release(&self, name: &str, attempt: u128, fence: Fence) {
        let abort = Abort {
            fence,
            attempt_id: AttemptId::from_uuid(Uuid::from_u128(attempt)),
            disposition: Disposition::Release,
            detail: Detail::default(),
            retry_after: Duration::ZERO,
        };
        self.run(name, &abort).await.unwrap();
    }

    pub(crate) async fn lookup(&self, name: &str) -> Result<Kept, CallError> {
        self.run(name, &Lookup).await
    }

    /// Store calls (reads, writes) that `work` costs.
    pub(crate) async fn cost<A>(&self, work: impl Future<Output = A>) -> (A, (usize, usize)) {
        let before = self.store.calls();
        let answer = work.await;
        let after = self.store.calls();
        (answer, (after.0 - before.0, after.1 - before.1))
    }

    pub(crate) fn share(&self) -> Self {
        Self { coordinator: self.coordinator.clone(), store: self.store.clone(), policy: self.policy.clone() }
    }
}

/// Lets every task that can run do so, without time passing.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
