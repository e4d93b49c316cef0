//! What this server remembers of records, so that it need not ask.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::time::Instant;

use crate::domain::{Key, Record};
use crate::storage::Versioned;

/// What a key costs beside its texts: three allocations, and its place in the table.
const KEY_BYTES: usize = 192;
/// The least that a part of a cache holds: a record with the largest result fits.
const PART_BYTES: u64 = 4 << 20;
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
        Self { records: cache(max_bytes), max_age }
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

    /// Keeps what a store call found that began at `since`.
    pub(super) fn keep(&self, key: &Key, current: &Versioned, since: Instant) {
        self.records.insert(key.clone(), (current.clone(), since));
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
        Self(cache(max_bytes))
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

/// In parts that have a lock and a share of the bytes each: as many as the bytes are worth, however many cores there are.
fn cache<V: Clone>(max_bytes: u64) -> Cache<Key, V, ByBytes>
where
    ByBytes: Weighter<Key, V>,
{
    let parts = 1 << (max_bytes / PART_BYTES).clamp(1, EXPECTED_ENTRIES as u64).ilog2();
    let options = OptionsBuilder::new()
        .estimated_items_capacity(EXPECTED_ENTRIES)
        .weight_capacity(max_bytes)
        .shards(parts)
        .build()
        .expect("both capacities are given");
    Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, (Versioned, Instant)> for ByBytes {
    fn weight(&self, key: &Key, (current, _): &(Versioned, Instant)) -> u64 {
        weight(key, current)
    }
}

impl Weighter<Key, Versioned> for ByBytes {
    fn weight(&self, key: &Key, current: &Versioned) -> u64 {
        weight(key, current)
    }
}

fn weight(key: &Key, current: &Versioned) -> u64 {
    let texts = key.tenant.as_str().len() + key.endpoint.as_str().len() + key.idempotency_key.as_str().len();
    (KEY_BYTES + texts + current.weight()) as u64
}
