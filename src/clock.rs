//! The system's clock: the one place where semel asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::{Clock, Timestamp};

/// The wall clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX))
    }
}
