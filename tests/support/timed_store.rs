//! A store whose calls take (virtual) time, and may go wrong, as a seed says.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use semel::domain::{Key, Restored, Timestamp};
use semel::storage::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write};

/// How often, in percent, a conditional write goes wrong, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// It is refused, and nothing is written.
    pub(crate) unavailable: u32,
    /// It is written, and its caller is not told.
    pub(crate) applied_unsaid: u32,
    /// It is not written, and its caller is not told.
    pub(crate) lost: u32,
}

/// Wraps a store. A read's answer is what was there when the call began.
#[derive(Debug)]
pub(crate) struct TimedStore {
    inner: Arc<dyn Store>,
    takes: Duration,
    faults: Mutex<Faults>,
    random: Mutex<StdRng>,
    reads: AtomicUsize,
    serial_reads: AtomicUsize,
    writes: AtomicUsize,
}

impl TimedStore {
    pub(crate) fn new(inner: Arc<dyn Store>, takes: Duration, seed: u64, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            inner,
            takes,
            faults: Mutex::new(faults),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            reads: AtomicUsize::new(0),
            serial_reads: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
        })
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    /// Reads and writes so far.
    pub(crate) fn calls(&self) -> (usize, usize) {
        (self.reads.load(Ordering::SeqCst), self.writes.load(Ordering::SeqCst))
    }

    /// How many of the reads were serial ones.
    pub(crate) fn serial_reads(&self) -> usize {
        self.serial_reads.load(Ordering::SeqCst)
    }

    async fn pass_time(&self) {
        let part = self.random.lock().unwrap().random_range(0.5..1.0);
        tokio::time::sleep(self.takes.mul_f64(part)).await;
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for TimedStore {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.serial_reads.fetch_add(usize::from(freshness == Freshness::Serial), Ordering::SeqCst);
        let answer = self.inner.get(key, freshness).await;
        self.pass_time().await;
        answer
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        let faults = *self.faults.lock().unwrap();
        let dice = self.random.lock().unwrap().random_range(0..100);
        self.pass_time().await;
        if dice < faults.unavailable {
            return Err(StoreError::Unavailable("refused by the test".to_owned()));
        }
        if dice < faults.unavailable + faults.lost {
            return Err(StoreError::OutcomeUnknown("lost by the test".to_owned()));
        }
        let answer = self.inner.compare_and_put(write).await;
        self.pass_time().await;
        if dice < faults.unavailable + faults.lost + faults.applied_unsaid {
            return Err(StoreError::OutcomeUnknown("left unsaid by the test".to_owned()));
        }
        answer
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.inner.scan(scan).await
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.reclaim(now, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn restored(&self) -> Option<Restored> {
        self.inner.restored()
    }
}
