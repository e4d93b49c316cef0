//! Doors for this project's own tests.

use fjall::Keyspace;

use super::EmbeddedStore;
use super::engine::Engine;

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
