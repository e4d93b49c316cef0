//! A server's clock that jumps.

use std::sync::atomic::{AtomicI64, Ordering};

use semel::domain::{Clock, Timestamp};

use super::history::wall;

/// The system's clock, and so many microseconds ahead of it.
#[derive(Debug, Default)]
pub(crate) struct Jumping(AtomicI64);

impl Jumping {
    pub(crate) fn ahead(micros: i64) -> Self {
        Self(AtomicI64::new(micros))
    }

    pub(crate) fn jump_to(&self, ahead: i64) {
        self.0.store(ahead, Ordering::SeqCst);
    }
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(wall().saturating_add_signed(self.0.load(Ordering::SeqCst)))
    }
}
