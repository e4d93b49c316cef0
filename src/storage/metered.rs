//! Tells what a store is asked, what it answers, and how long that takes.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write, WriteId};
use crate::domain::{Key, Restored, Timestamp};

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

/// A call to a store that has ended.
#[derive(Clone, Copy, Debug)]
pub struct StoreCall {
    /// What was asked.
    pub operation: Operation,
    /// What became of it.
    pub outcome: CallOutcome,
    /// Whether it had to be put in order with the writes of its key: it is a conditional write, or a serial read.
    pub serial: bool,
    /// The write that was sent, where it was one.
    pub write_id: Option<WriteId>,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

/// Is told of every call to a store, once it has ended.
pub trait StoreListener: fmt::Debug + Send + Sync + 'static {
    /// Whether it wants to be told of a call that begins now.
    fn listens(&self) -> bool {
        true
    }

    /// A call has ended, or its caller has left.
    fn called(&self, call: &StoreCall);
}

/// A store whose calls are told to a listener.
#[derive(Debug)]
pub struct Metered<L = Counts> {
    inner: Arc<dyn Store>,
    listener: L,
}

impl<L: StoreListener> Metered<L> {
    /// Tells `listener` of the calls of `inner` from now on.
    pub fn telling(inner: Arc<dyn Store>, listener: L) -> Self {
        Self { inner, listener }
    }

    fn begin(&self, operation: Operation) -> Call<'_> {
        let outcome = CallOutcome::Abandoned;
        let call = StoreCall {
            operation,
            outcome,
            serial: false,
            write_id: None,
            began: Instant::now(),
            took: Duration::ZERO,
        };
        Call { listener: &self.listener, call }
    }
}

impl Metered<Counts> {
    /// Counts the calls of `inner` from now on.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self::telling(inner, Counts::default())
    }

    /// The calls so far with this operation and outcome.
    pub fn calls(&self, operation: Operation, outcome: CallOutcome) -> Calls {
        let cell = &self.listener.0[operation as usize][outcome as usize];
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
}

/// The calls that had one operation and one outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// How many.
    pub count: u64,
    /// How long they took together.
    pub total: Duration,
}

/// Counts calls by operation and outcome.
#[derive(Debug, Default)]
pub struct Counts([[Cell; CallOutcome::ALL.len()]; Operation::ALL.len()]);

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl StoreListener for Counts {
    fn called(&self, call: &StoreCall) {
        let cell = &self.0[call.operation as usize][call.outcome as usize];
        let nanos = u64::try_from(call.took.as_nanos()).unwrap_or(u64::MAX);
        cell.count.fetch_add(1, Ordering::Relaxed);
        cell.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// A call under way; told when it is dropped, so that one that is abandoned is told too.
struct Call<'a> {
    listener: &'a dyn StoreListener,
    call: StoreCall,
}

impl Call<'_> {
    fn serial(mut self, serial: bool) -> Self {
        self.call.serial = serial;
        self
    }

    fn writing(mut self, write: &Write) -> Self {
        self.call.write_id = Some(write.write_id);
        self.serial(true)
    }

    fn end<T>(self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.end_as(answer, |_| CallOutcome::Ok)
    }

    fn end_as<T>(
        mut self,
        answer: Result<T, StoreError>,
        ok: impl FnOnce(&T) -> CallOutcome,
    ) -> Result<T, StoreError> {
        self.call.outcome = answer.as_ref().map_or_else(CallOutcome::of_error, ok);
        answer
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.call.took = self.call.began.elapsed();
        self.listener.called(&self.call);
    }
}

/// What a method of [`Store`] returns.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<L: StoreListener> Store for Metered<L> {
    // Of the calls that callers wait for the store's own future is handed on where nobody listens: nothing is allocated.
    fn get<'life0, 'life1, 'async_trait>(
        &'life0 self,
        key: &'life1 Key,
        freshness: Freshness,
    ) -> Answer<'async_trait, Option<Versioned>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        if !self.listener.listens() {
            return self.inner.get(key, freshness);
        }
        Box::pin(async move {
            let call = self.begin(Operation::Get).serial(freshness == Freshness::Serial);
            call.end(self.inner.get(key, freshness).await)
        })
    }

    fn compare_and_put<'life0, 'life1, 'async_trait>(
        &'life0 self,
        write: &'life1 Write,
    ) -> Answer<'async_trait, Put>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        if !self.listener.listens() {
            return self.inner.compare_and_put(write);
        }
        Box::pin(async move {
            let call = self.begin(Operation::CompareAndPut).writing(write);
            call.end_as(self.inner.compare_and_put(write).await, |put| match put {
                Put::Applied => CallOutcome::Ok,
                // It was sent before, and did happen.
                Put::Conflict(Some(current)) if current.write_id == write.write_id => CallOutcome::Ok,
                Put::Conflict(_) => CallOutcome::Conflict,
            })
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

    fn restored(&self) -> Option<Restored> {
        self.inner.restored()
    }
}
