//! Counts what a store is asked, what it answers, and how long that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write};
use crate::domain::{Key, Timestamp};

/// What a store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Store::get`].
    Get,
    /// [`Store::compare_and_put`].
    CompareAndPut,
    /// [`Store::scan`].
    Scan,
    /// [`Store::reclaim`].
    Reclaim,
    /// [`Store::ping`].
    Ping,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 5] = [Self::Get, Self::CompareAndPut, Self::Scan, Self::Reclaim, Self::Ping];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::CompareAndPut => "compare_and_put",
            Self::Scan => "scan",
            Self::Reclaim => "reclaim",
            Self::Ping => "ping",
        }
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// It was done.
    Ok,
    /// A conditional write found something else there.
    Conflict,
    /// [`StoreError::Unavailable`].
    Unavailable,
    /// [`StoreError::OutcomeUnknown`].
    OutcomeUnknown,
    /// [`StoreError::NotListed`].
    NotListed,
    /// The caller left before the answer came.
    Abandoned,
}

impl CallOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Conflict, Self::Unavailable, Self::OutcomeUnknown, Self::NotListed, Self::Abandoned];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::NotListed => "not_listed",
            Self::Abandoned => "abandoned",
        }
    }

    const fn of_error(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Unavailable,
            StoreError::OutcomeUnknown(_) => Self::OutcomeUnknown,
            StoreError::NotListed { .. } => Self::NotListed,
        }
    }
}

/// The calls that had one operation and one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many.
    pub count: u64,
    /// How long they took together.
    pub total: Duration,
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    nanos: AtomicU64,
}

/// A store, and a count of its calls.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Store>,
    cells: [[Cell; CallOutcome::ALL.len()]; Operation::ALL.len()],
}

impl Metered {
    /// Counts the calls of `inner` from now on.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, cells: Default::default() }
    }

    /// The calls so far with this operation and outcome.
    pub fn calls(&self, operation: Operation, outcome: CallOutcome) -> Calls {
        let cell = &self.cells[operation as usize][outcome as usize];
        Calls {
            count: cell.count.load(Ordering::Relaxed),
            total: Duration::from_nanos(cell.nanos.load(Ordering::Relaxed)),
        }
    }

    /// Everything that was counted so far, what never happened left out.
    pub fn snapshot(&self) -> Vec<(Operation, CallOutcome, Calls)> {
        Operation::ALL
            .into_iter()
            .flat_map(|operation| CallOutcome::ALL.map(|outcome| (operation, outcome)))
            .map(|(operation, outcome)| (operation, outcome, self.calls(operation, outcome)))
            .filter(|(_, _, calls)| calls.count > 0)
            .collect()
    }

    fn begin(&self, operation: Operation) -> Call<'_> {
        Call { metered: self, operation, outcome: CallOutcome::Abandoned, began: Instant::now() }
    }
}

/// A call under way; counted when it is dropped, so that one that is abandoned counts too.
struct Call<'a> {
    metered: &'a Metered,
    operation: Operation,
    outcome: CallOutcome,
    began: Instant,
}

impl Call<'_> {
    fn end<T>(self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.end_as(answer, |_| CallOutcome::Ok)
    }

    fn end_as<T>(
        mut self,
        answer: Result<T, StoreError>,
        ok: impl FnOnce(&T) -> CallOutcome,
    ) -> Result<T, StoreError> {
        self.outcome = answer.as_ref().map_or_else(CallOutcome::of_error, ok);
        answer
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let cell = &self.metered.cells[self.operation as usize][self.outcome as usize];
        let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        cell.count.fetch_add(1, Ordering::Relaxed);
        cell.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Metered {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        let call = self.begin(Operation::Get);
        call.end(self.inner.get(key, freshness).await)
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let call = self.begin(Operation::CompareAndPut);
        call.end_as(self.inner.compare_and_put(write).await, |put| match put {
            Put::Applied => CallOutcome::Ok,
            Put::Conflict(_) => CallOutcome::Conflict,
        })
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        let call = self.begin(Operation::Scan);
        call.end(self.inner.scan(scan).await)
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let call = self.begin(Operation::Reclaim);
        call.end(self.inner.reclaim(now, limit).await)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let call = self.begin(Operation::Ping);
        call.end(self.inner.ping().await)
    }
}
