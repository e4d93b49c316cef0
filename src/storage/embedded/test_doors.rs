//! Ways to break the store that only tests have: what finds the break must be seen to find it.

use std::sync::atomic::Ordering;

use fjall::{UserKey, UserValue};
use tokio::sync::oneshot;

use super::committer::{Next, Request};
use super::{EmbeddedStore, encoded, lost};
use crate::domain::Key;
use crate::storage::{StoreError, Versioned};

impl EmbeddedStore {
    /// Stores `bytes`, which need not be a record, where the record `current` would be; the indexes are as for it.
    /// They show once the store has been opened again. This blocks, like [`Self::load`].
    pub fn plant(&self, key: &Key, current: &Versioned, bytes: &[u8]) -> Result<(), StoreError> {
        let next = Next { value: UserValue::from(bytes), ..encoded(current.write_id, &current.record) };
        let (reply, answer) = oneshot::channel();
        self.submit(Request::Load { records: vec![(UserKey::from(key.to_bytes()), next)], reply })?;
        answer.blocking_recv().map_err(|_| lost())?
    }

    /// Syncs no commit any more, until the engine is reopened.
    pub fn leave_out_syncs(&self) {
        if let Some(engine) = &*self.shared.slot() {
            engine.without_sync.store(true, Ordering::Relaxed);
        }
    }
}
