//! Whether the committer is at work, and for how long it has been at the same step.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Since when the committer has been at its step; at none where it waits for requests.
#[derive(Debug, Default)]
pub(in crate::storage::embedded) struct Pulse(Mutex<Option<Instant>>);

impl Pulse {
    /// A step begins.
    pub(in crate::storage::embedded) fn work(&self) {
        self.set(Some(Instant::now()));
    }

    /// There is nothing to do.
    pub(in crate::storage::embedded) fn rest(&self) {
        self.set(None);
    }

    /// How long the step has taken so far.
    pub(in crate::storage::embedded) fn busy_for(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Where the committer is. Tests hold it there, or make it panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "test-support"), allow(unreachable_pub, reason = "only tests are told"))]
pub enum Step {
    /// Nobody asks for anything.
    Idle,
    /// It has taken what waited, and done nothing with it.
    Gathered,
    /// It has committed, or failed to, and answered nobody.
    Committed,
    /// The engine took no more writes, and is about to be reopened.
    Reopening,
}
