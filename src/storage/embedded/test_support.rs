//! Doors for this project's own tests.

use super::EmbeddedStore;

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

impl EmbeddedStore {
    /// Writes what a part holds in memory to tables, as the engine does when that is much. Nothing else may be
    /// under way.
    pub fn flush(&self, part: Part) -> Result<(), String> {
        let slot = self.shared.slot();
        let engine = slot.as_ref().ok_or("the engine is not open")?;
        let keyspace = match part {
            Part::Records => &engine.records,
            Part::Open => &engine.open,
            Part::Reclaim => &engine.reclaim,
        };
        keyspace.rotate_memtable_and_wait().map_err(|error| format!("{error:?}"))
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
