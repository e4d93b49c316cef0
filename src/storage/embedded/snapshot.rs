//! All records as of one instant, while writes go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fjall::UserKey;

use super::engine::RecordsAt;
use super::{CODEC, EmbeddedStore, Shared};
use crate::storage::StoreError;

/// The most bytes in a batch of records, but for a last one that is larger.
const BATCH_BYTES: usize = 1024 * 1024;

/// A record of a snapshot: the key and the record, as the store keeps them.
pub(crate) type StoredRecord = (Vec<u8>, Vec<u8>);

/// Every record that was acknowledged before it was taken, as it was then. While it is there the engine keeps what has
/// been overwritten since, so it is not to be kept for long.
pub struct Snapshot {
    shared: Arc<Shared>,
    records: RecordsAt,
    /// How often the engine had been reopened: another one does not know the snapshot.
    reopened: u64,
    after: Option<UserKey>,
    at_the_end: bool,
}

/// Some records of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct StoredBatch {
    pub(crate) records: Vec<StoredRecord>,
    /// How many were left out, since they cannot be read.
    pub(crate) unreadable: u64,
}

impl EmbeddedStore {
    /// All records as they are now.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let shared = Arc::clone(&self.shared);
        let slot = shared.slot();
        let engine =
            slot.as_ref().ok_or_else(|| StoreError::Unavailable("the engine is not open".to_owned()))?;
        let (records, reopened) = (engine.records_now(), shared.stats.reopened.load(Ordering::Relaxed));
        drop(slot);
        Ok(Snapshot { shared, records, reopened, after: None, at_the_end: false })
    }
}

impl Snapshot {
    /// The next records; none at the end. This blocks.
    pub(crate) fn next_batch(&mut self) -> Result<Option<StoredBatch>, StoreError> {
        if self.at_the_end {
            return Ok(None);
        }
        let slot = self.shared.slot();
        let engine = slot
            .as_ref()
            .filter(|_| self.shared.stats.reopened.load(Ordering::Relaxed) == self.reopened)
            .ok_or_else(|| {
                StoreError::Unavailable(
                    "the engine was closed or reopened since the snapshot was taken".to_owned(),
                )
            })?;
        let mut batch = StoredBatch::default();
        let mut bytes = 0;
        let mut first_problem = None;
        self.at_the_end = true;
        let after = self.after.clone();
        for entry in engine.records_at(&self.records, after.as_deref()) {
            let (key, value) = entry.map_err(StoreError::Unavailable)?;
            match CODEC.decode(&value) {
                Ok(_) => batch.records.push((key.to_vec(), value.to_vec())),
                Err(error) => {
                    batch.unreadable += 1;
                    first_problem.get_or_insert(error);
                }
            }
            bytes += key.len() + value.len();
            self.after = Some(key);
            if bytes >= BATCH_BYTES {
                self.at_the_end = false;
                break;
            }
        }
        if let Some(problem) = first_problem {
            let records = batch.unreadable;
            tracing::error!(records, %problem, "records that cannot be read are left out of a backup");
        }
        Ok(Some(batch))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}
