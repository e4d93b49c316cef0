//! What this server remembers of records, so that it need not ask.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::domain::{Kept, Key, Phase, Record};
use crate::storage::Versioned;

/// What a cached record costs beside the bytes that callers sent: keys, hash table, allocations.
const OVERHEAD_BYTES: usize = 512;
/// How many entries the table is laid out for at first; it is the bytes that bound it.
const EXPECTED_ENTRIES: usize = 1024;

/// Completed records, for replays alone. Bounded in bytes and age.
#[derive(Debug)]
pub(super) struct ReplayCache {
    records: Cache<Key, (Versioned, Instant), ByBytes>,
    max_age: Duration,
}

impl ReplayCache {
    pub(super) fn new(max_bytes: u64, max_age: Duration) -> Self {
        Self { records: Cache::with_weighter(EXPECTED_ENTRIES, max_bytes, ByBytes), max_age }
    }

    /// The record, where it is young enough to be replayed.
    pub(super) fn get(&self, key: &Key) -> Option<Arc<Record>> {
        let (current, since) = self.records.get(key)?;
        (since.elapsed() < self.max_age).then_some(current.record)
    }

    /// The record whatever its age: a guess, so that the store is asked by a read and not by a write.
    pub(super) fn last_seen(&self, key: &Key) -> Option<Versioned> {
        self.records.get(key).map(|(current, _)| current)
    }

    pub(super) fn keep(&self, key: &Key, current: &Versioned) {
        self.records.insert(key.clone(), (current.clone(), Instant::now()));
    }

    pub(super) fn forget(&self, key: &Key) {
        self.records.remove(key);
    }
}

/// The last version that this server saw of a record that is not completed: a guess for the next write, which is
/// checked by its condition.
#[derive(Debug)]
pub(super) struct Recent(Cache<Key, Versioned, ByBytes>);

impl Recent {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self(Cache::with_weighter(EXPECTED_ENTRIES, max_bytes, ByBytes))
    }

    pub(super) fn get(&self, key: &Key) -> Option<Versioned> {
        self.0.get(key)
    }

    pub(super) fn keep(&self, key: &Key, current: &Versioned) {
        self.0.insert(key.clone(), current.clone());
    }

    pub(super) fn forget(&self, key: &Key) {
        self.0.remove(key);
    }
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, (Versioned, Instant)> for ByBytes {
    fn weight(&self, key: &Key, (current, _): &(Versioned, Instant)) -> u64 {
        weight(key, &current.record)
    }
}

impl Weighter<Key, Versioned> for ByBytes {
    fn weight(&self, key: &Key, current: &Versioned) -> u64 {
        weight(key, &current.record)
    }
}

fn weight(key: &Key, record: &Record) -> u64 {
    let key_bytes =
        key.tenant.as_str().len() + key.endpoint.as_str().len() + key.idempotency_key.as_str().len();
    let record_bytes = match record {
        Record::Kept(kept) => kept_bytes(kept),
        Record::Forgotten(_) => 0,
    };
    (OVERHEAD_BYTES + key_bytes + record_bytes) as u64
}

fn kept_bytes(kept: &Kept) -> usize {
    let checkpoints: usize =
        kept.checkpoints.as_slice().iter().map(|point| point.name.as_str().len() + point.value.len()).sum();
    let labels: usize = kept.labels.pairs().iter().map(|(name, value)| name.len() + value.len()).sum();
    let result = match &kept.phase {
        Phase::Completed { result, .. } => result.size(),
        Phase::InProgress { .. } | Phase::Released { .. } => kept.detail().len(),
    };
    checkpoints + labels + result
}
