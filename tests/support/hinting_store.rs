//! In memory, what a store on a cluster does: it cannot look at every record, so it keeps hints, written and removed by
//! what each write says of itself and verified against the records; and rows go by themselves.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use semel::domain::{Clock, Interest, Key, Timestamp};
use semel::storage::{
    Cursor, Expected, Freshness, Page, Put, Scan, Scope, Store, StoreError, Versioned, Write,
};
use tokio::time::Instant;

/// Where TTLs end on a real one too.
const LONGEST_TTL: Duration = Duration::from_hours(24 * 365);

#[derive(Debug, Default)]
struct Rows {
    records: BTreeMap<Key, (Versioned, Instant)>,
    /// Which attempt of which key to look at.
    hints: BTreeSet<(Vec<u8>, i64)>,
}

#[derive(Debug)]
pub(crate) struct HintingStore {
    listing: Scope,
    clock: Arc<dyn Clock>,
    rows: Mutex<Rows>,
}

impl HintingStore {
    pub(crate) fn new(listing: Scope, clock: Arc<dyn Clock>) -> Self {
        Self { listing, clock, rows: Mutex::default() }
    }

    /// The rows whose time is not over.
    fn rows(&self) -> MutexGuard<'_, Rows> {
        let mut rows = self.rows.lock().unwrap();
        rows.records.retain(|_, (_, ends)| Instant::now() < *ends);
        rows
    }

    fn is_listed(&self, interest: Interest) -> bool {
        interest
            >= if self.listing == Scope::Unresolved { Interest::MayEndUnresolved } else { Interest::Open }
    }
}

#[async_trait]
impl Store for HintingStore {
    async fn get(&self, key: &Key, _: Freshness) -> Result<Option<Versioned>, StoreError> {
        Ok(self.rows().records.get(key).map(|(current, _)| current.clone()))
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let mut rows = self.rows();
        let hint = (write.key.to_bytes(), write.next.fence().get());
        if self.is_listed(write.becomes) && !self.is_listed(write.was) {
            rows.hints.insert(hint.clone());
        }
        let current = rows.records.get(&write.key).map(|(current, _)| current);
        if current.is_some_and(|current| current.write_id == write.write_id) {
            return Ok(Put::Applied);
        }
        if current.map_or(Expected::Absent, |current| Expected::Version(current.write_id)) != write.expected {
            return Ok(Put::Conflict(current.cloned()));
        }
        let ttl = write.next.reclaim_at().since(self.clock.now());
        let ends = Instant::now() + ttl.clamp(Duration::from_secs(1), LONGEST_TTL);
        let next = write.made();
        rows.records.insert(write.key.clone(), (next, ends));
        if self.is_listed(write.was) && !self.is_listed(write.becomes) {
            rows.hints.remove(&hint);
        }
        Ok(Put::Applied)
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        if scan.scope > self.listing {
            return Err(StoreError::NotListed { listed: self.listing });
        }
        let rows = self.rows();
        let start = scan.after.as_ref().map_or(Bound::Unbounded, |after| {
            let (key, fence) = after.0.split_last_chunk::<8>().unwrap();
            Bound::Excluded((key.to_vec(), i64::from_be_bytes(*fence)))
        });
        let mut page = Page { records: Vec::new(), next: None };
        for (bytes, fence) in rows.hints.range((start, Bound::Unbounded)) {
            if page.records.len() == scan.limit {
                return Ok(page);
            }
            let key = Key::from_bytes(bytes).unwrap();
            let mine = scan.tenant.as_ref().is_none_or(|tenant| key.tenant == *tenant);
            let Some((current, _)) = rows.records.get(&key).filter(|_| mine) else { continue };
            if current.record.is_open() && current.record.fence().get() == *fence {
                page.records.push((key, current.clone()));
                page.next = Some(Cursor([bytes.as_slice(), &fence.to_be_bytes()].concat()));
            }
        }
        page.next = None;
        Ok(page)
    }

    async fn reclaim(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
