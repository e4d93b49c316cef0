//! How many Begins are held, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// The least that is left of a caller's deadline when its Begin is answered.
const LEAST_LEFT: Duration = Duration::from_millis(50);

/// Counts the Begins that are held.
#[derive(Debug)]
pub(super) struct Waiters(Arc<Semaphore>);

impl Waiters {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))
    }

    /// A place among the held, given back when it is dropped; `None` when all are taken.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

/// The longest that anything here is put off: far enough, and never past the end of the clock's range.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// The moment `length` from now.
pub(super) fn after(length: Duration) -> Instant {
    Instant::now() + length.min(LONGEST)
}

/// When a Begin that arrived at `began` is answered at the latest: before the caller's deadline by a tenth of
/// what remains, and at least by [`LEAST_LEFT`].
pub(super) fn hold_until(began: Instant, wait: Duration, deadline: Option<Instant>) -> Instant {
    let by_wait = began + wait.min(LONGEST);
    let Some(deadline) = deadline else { return by_wait };
    let remains = deadline.saturating_duration_since(began);
    by_wait.min(began + remains.saturating_sub((remains / 10).max(LEAST_LEFT)))
}
