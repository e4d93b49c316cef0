//! What the embedded store can be told.

use std::path::PathBuf;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// Where the store lives and what it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The data directory. One process at a time owns it.
    pub directory: PathBuf,
    /// Memory for what was read or written lately: three quarters for the engine's blocks, a quarter for records.
    pub cache_bytes: u64,
    /// Memory for writes that are in the journal and not yet in tables, for each of the three keyspaces. Up to
    /// three times as much is used while the disk falls behind.
    pub write_buffer_bytes: u64,
    /// Journal on disk above which keyspaces that write little are flushed too, at least
    /// [`Self::LEAST_JOURNAL_BYTES`]. A start reads the journal, so this bounds the time it takes.
    pub journal_bytes: u64,
    /// Writes are refused while the file system has less room than this, so that what was accepted can always be
    /// flushed and compacted. Reclamation may use half of it.
    pub free_space_reserve_bytes: u64,
    /// How many bytes of requests may wait for the disk; what comes on top is refused as unavailable.
    pub waiting_bytes: u64,
    /// A committer that has been at one step for longer than this is taken for stuck: [`ping`] says so.
    ///
    /// [`ping`]: crate::storage::Store::ping
    pub stuck_after: Duration,
}

impl Settings {
    /// The least that `journal_bytes` can be.
    pub const LEAST_JOURNAL_BYTES: u64 = 64 * MIB;

    /// Modest values for everything but the directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            cache_bytes: 64 * MIB,
            write_buffer_bytes: 16 * MIB,
            journal_bytes: Self::LEAST_JOURNAL_BYTES,
            free_space_reserve_bytes: 256 * MIB,
            waiting_bytes: 64 * MIB,
            stuck_after: Duration::from_secs(10),
        }
    }

    pub(super) const fn record_cache_bytes(&self) -> u64 {
        self.cache_bytes / 4
    }

    pub(super) const fn block_cache_bytes(&self) -> u64 {
        self.cache_bytes - self.record_cache_bytes()
    }
}
