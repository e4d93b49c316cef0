//! Doors for this project's own tests.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Keyspace, UserKey, UserValue};
use tokio::sync::oneshot;

use super::committer::pulse::Step;
use super::engine::Engine;
use super::request::{Next, Request};
use super::{EmbeddedStore, encoded, lost};
use crate::domain::Key;
use crate::storage::{StoreError, Versioned};

type Told = Arc<dyn Fn(Step) + Send + Sync>;

/// Whom the committer tells where it is.
#[derive(Default)]
pub(super) struct Hook(Mutex<Option<Told>>);

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}

impl Hook {
    pub(super) fn reached(&self, step: Step) {
        // Not called under the lock: it may block, or panic.
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(told) = told {
            told(step);
        }
    }
}

/// One of the places where the engine keeps what belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The records.
    Records,
    /// The index of the open ones.
    Open,
    /// The index by reclaim time.
    Reclaim,
}

impl Part {
    const fn of(self, engine: &Engine) -> &Keyspace {
        match self {
            Self::Records => &engine.records,
            Self::Open => &engine.open,
            Self::Reclaim => &engine.reclaim,
        }
    }
}

impl EmbeddedStore {
    /// Stores `bytes`, which need not be a record, where the record `current` would be; the indexes are as for it.
    /// They show once the store has been opened again. This blocks, like [`Self::load`].
    pub fn plant(&self, key: &Key, current: &Versioned, bytes: &[u8]) -> Result<(), StoreError> {
        let next = Next { value: UserValue::from(bytes), ..encoded(current.clone()) };
        let (reply, answer) = oneshot::channel();
        self.queue.send(Request::Load { records: vec![(UserKey::from(key.to_bytes()), next)], reply })?;
        answer.blocking_recv().map_err(|_| lost())?
    }

    /// Syncs no commit any more, until the engine is reopened.
    pub fn leave_out_syncs(&self) {
        if let Some(engine) = &*self.shared.slot() {
            engine.without_sync.store(true, Ordering::Relaxed);
        }
    }

    /// Has `told` called by the committer at each of its steps, in place of who was told before.
    pub fn on_step(&self, told: impl Fn(Step) + Send + Sync + 'static) {
        *self.shared.hook.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(told));
    }

    /// Writes what a part holds in memory to tables, as the engine does when that is much. Nothing else may be
    /// under way. This blocks.
    pub fn flush(&self, part: Part) -> Result<(), String> {
        let slot = self.shared.slot();
        let engine = slot.as_ref().ok_or("the engine is not open")?;
        part.of(engine).rotate_memtable_and_wait().map_err(|error| format!("{error:?}"))
    }

    /// How many tables of a part were flushed and not merged with others yet.
    pub fn unmerged(&self, part: Part) -> usize {
        self.shared.slot().as_ref().map_or(0, |engine| part.of(engine).l0_table_count())
    }

    /// How many entries the indexes lack or have too much, by the records.
    pub fn index_faults(&self) -> Result<u64, String> {
        let slot = self.shared.slot();
        let engine = slot.as_ref().ok_or("the engine is not open")?;
        let mut faults = 0;
        engine.for_each_fault(|_| faults += 1)?;
        Ok(faults)
    }
}
