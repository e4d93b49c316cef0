//! Small stores, their backups, and stores made of those.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use semel::domain::{Clock, Key, Record};
use semel::storage::backup::{self, Restoration, RestoreError};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Freshness, Store, Versioned, WriteId};
use uuid::Uuid;

pub(crate) const LONGEST: Duration = Duration::from_hours(24);

pub(crate) fn versioned(n: u128, record: Record) -> Versioned {
    Versioned::new(WriteId(Uuid::from_u128(n)), Arc::new(record))
}

/// A store in `directory` that needs little room.
pub(crate) fn open(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(settings(directory)).expect("the store opens")
}

pub(crate) fn settings(directory: &Path) -> Settings {
    Settings { free_space_reserve_bytes: 0, ..Settings::new(directory) }
}

pub(crate) fn back_up(store: &EmbeddedStore, clock: &dyn Clock) -> Vec<u8> {
    let mut bytes = Vec::new();
    let contents = backup::write(store, clock, LONGEST, &mut bytes, || false).expect("a backup");
    assert_eq!(contents.bytes, bytes.len() as u64);
    bytes
}

pub(crate) fn restore(
    backup: &[u8],
    directory: &Path,
    clock: &dyn Clock,
) -> Result<Restoration, RestoreError> {
    backup::restore(backup, &settings(directory), clock, Duration::ZERO)
}

pub(crate) async fn get(store: &EmbeddedStore, key: &Key) -> Option<Versioned> {
    store.get(key, Freshness::Acknowledged).await.expect("the store reads")
}
