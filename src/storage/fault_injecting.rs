//! A store that fails as it is told: for tests.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::metered::Operation;
use super::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write};
use crate::domain::{Key, Restored, Timestamp};

/// What happens to one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: the call goes through.
    None,
    /// The call is not done, and says so.
    Unavailable,
    /// The call is done, and its answer is lost.
    UnknownDone,
    /// The call is not done, and its answer is lost.
    UnknownNotDone,
    /// The answer is lost, and a conditional write is done later: at [`FaultInjecting::land`], or before the next
    /// serial read. Of any other call it is done now.
    UnknownLate,
    /// The call waits until the gate is opened, and then goes through.
    HeldBefore(Gate),
    /// The call goes through, and its answer waits until the gate is opened.
    HeldAfter(Gate),
}

/// Holds calls until it is opened.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<Semaphore>,
    arrived: Arc<Semaphore>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { open: Arc::new(Semaphore::new(0)), arrived: Arc::new(Semaphore::new(0)) }
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets every call through, now and from now on.
    pub fn open(&self) {
        self.open.close();
    }

    /// Waits until a call that nobody waited for before stands at the gate.
    pub async fn arrival(&self) {
        // The semaphore is never closed.
        if let Ok(permit) = self.arrived.acquire().await {
            permit.forget();
        }
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        // An error means that it was closed, which is how the gate is opened.
        drop(self.open.acquire().await);
    }
}

/// A store whose calls fail by a script: each operation takes its faults in the order in which they were written,
/// and goes through when there are none left.
#[derive(Debug)]
pub struct FaultInjecting {
    inner: Arc<dyn Store>,
    scripts: Mutex<HashMap<Operation, VecDeque<Fault>>>,
    late: Mutex<Vec<Write>>,
}

impl FaultInjecting {
    /// Passes every call on to `inner` until told otherwise.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, scripts: Mutex::default(), late: Mutex::default() }
    }

    /// Adds a fault to the end of an operation's script.
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.inject_times(operation, fault, 1);
    }

    /// Adds the same fault `times` times.
    pub fn inject_times(&self, operation: Operation, fault: Fault, times: usize) {
        lock(&self.scripts).entry(operation).or_default().extend(vec![fault; times]);
    }

    /// How many faults of an operation have not happened yet.
    pub fn remaining(&self, operation: Operation) -> usize {
        lock(&self.scripts).get(&operation).map_or(0, VecDeque::len)
    }

    /// Does the writes that were late, and returns what became of each.
    pub async fn land(&self) -> Vec<Result<Put, StoreError>> {
        let late = std::mem::take(&mut *lock(&self.late));
        let mut answers = Vec::with_capacity(late.len());
        for write in late {
            answers.push(self.inner.compare_and_put(&write).await);
        }
        answers
    }

    fn next(&self, operation: Operation) -> Fault {
        lock(&self.scripts).get_mut(&operation).and_then(VecDeque::pop_front).unwrap_or(Fault::None)
    }

    async fn call<T>(
        &self,
        fault: Fault,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let lost = || StoreError::OutcomeUnknown("injected: the answer is lost".to_owned());
        match fault {
            Fault::None => call.await,
            Fault::Unavailable => Err(StoreError::Unavailable("injected: unavailable".to_owned())),
            Fault::UnknownNotDone => Err(lost()),
            Fault::UnknownDone | Fault::UnknownLate => {
                call.await?;
                Err(lost())
            }
            Fault::HeldBefore(gate) => {
                gate.pass().await;
                call.await
            }
            Fault::HeldAfter(gate) => {
                let answer = call.await;
                gate.pass().await;
                answer
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code panics while it holds one of these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for FaultInjecting {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        let fault = self.next(Operation::Get);
        if freshness == Freshness::Serial {
            self.land().await;
        }
        self.call(fault, self.inner.get(key, freshness)).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let fault = self.next(Operation::CompareAndPut);
        if matches!(fault, Fault::UnknownLate) {
            lock(&self.late).push(write.clone());
            return Err(StoreError::OutcomeUnknown("injected: the write is late".to_owned()));
        }
        self.call(fault, self.inner.compare_and_put(write)).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.call(self.next(Operation::Scan), self.inner.scan(scan)).await
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.call(self.next(Operation::Reclaim), self.inner.reclaim(now, limit)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.call(self.next(Operation::Ping), self.inner.ping()).await
    }

    fn restored(&self) -> Option<Restored> {
        self.inner.restored()
    }
}
