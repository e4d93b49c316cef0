//! How far a coordinator may go.

use std::sync::Arc;
use std::time::Duration;

use crate::storage::Write;

/// Is told what becomes of records. It is asked while a caller waits, so it must not take long.
pub trait Observer: std::fmt::Debug + Send + Sync + 'static {
    /// The store has acknowledged `write`.
    fn applied(&self, write: &Write);
}

/// How far a coordinator may go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most Begins that may be held at a time.
    pub max_waiters: usize,
    /// The most bytes of completed records kept for replays.
    pub replay_cache_bytes: u64,
    /// The longest that a completed record is replayed without asking the store.
    pub replay_cache_max_age: Duration,
    /// The most bytes of records kept because this server wrote them last, to save a read before the next write.
    pub recent_bytes: u64,
    /// How long an unknown write is sent again before it is reported as such.
    pub settle_within: Duration,
    /// Is told of every write that changed a record.
    pub observer: Option<Arc<dyn Observer>>,
    /// How often a held Begin asks the store, where others than this coordinator write to it.
    pub poll: Option<Poll>,
}

/// A pause that doubles from `first` to `longest`.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Poll {
    /// For servers that share a database.
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(1) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_waiters: 10_000,
            replay_cache_bytes: 32 << 20,
            replay_cache_max_age: Duration::from_secs(30),
            recent_bytes: 32 << 20,
            settle_within: Duration::from_secs(10),
            observer: None,
            poll: None,
        }
    }
}
