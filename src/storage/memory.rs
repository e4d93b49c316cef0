//! Records in memory: for tests and for trying things out. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Cursor, Expected, Freshness, Page, Put, Scan, Scope, Store, StoreError, StoreName, Versioned, Write,
};
use crate::domain::{Key, Timestamp};

/// How this store is named in traces.
pub const NAME: StoreName = StoreName::of_own("memory");

/// The store that forgets everything when it is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: Mutex<BTreeMap<Vec<u8>, (Key, Versioned)>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, (Key, Versioned)>> {
        // No code panics while it holds the lock half-way through a change.
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key, _: Freshness) -> Result<Option<Versioned>, StoreError> {
        Ok(self.records().get(&key.to_bytes()).map(|(_, current)| current.clone()))
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let mut records = self.records();
        let bytes = write.key.to_bytes();
        let current = records.get(&bytes).map(|(_, current)| current);
        if current.is_some_and(|current| current.write_id == write.write_id) {
            return Ok(Put::Applied);
        }
        let holds = match write.expected {
            Expected::Absent => current.is_none(),
            Expected::Version(version) => current.is_some_and(|current| current.write_id == version),
        };
        if !holds {
            return Ok(Put::Conflict(current.cloned()));
        }
        let next = write.made();
        records.insert(bytes, (write.key.clone(), next));
        Ok(Put::Applied)
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        let records = self.records();
        let start = scan.after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(after.0.clone()));
        let mut page = Page { records: Vec::new(), next: None };
        for (bytes, (key, current)) in records.range((start, Bound::Unbounded)) {
            let wanted = (scan.scope == Scope::All || current.record.is_open())
                && scan.tenant.as_ref().is_none_or(|tenant| key.tenant == *tenant);
            if !wanted {
                continue;
            }
            if page.records.len() == scan.limit {
                break;
            }
            page.records.push((key.clone(), current.clone()));
            if page.records.len() == scan.limit {
                page.next = Some(Cursor(bytes.clone()));
            }
        }
        Ok(page)
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut records = self.records();
        let due: Vec<_> = records
            .iter()
            .filter(|(_, (_, current))| current.record.reclaim_at() <= now)
            .map(|(bytes, _)| bytes.clone())
            .take(limit)
            .collect();
        for bytes in &due {
            records.remove(bytes);
        }
        Ok(due.len())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}
