//! The order of a key's owners.

use super::reason::{Reason, Violation};
use super::time::Timestamp;

/// The number that orders the owners of a key: strictly increasing over the key's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(i64);

impl Fence {
    /// Accepts any positive number.
    pub fn new(value: i64) -> Result<Self, Violation> {
        if value <= 0 {
            return Err(Violation::new(
                Reason::InvalidFence,
                format!("is {value}; send the fence that Begin's Started carried"),
            ));
        }
        Ok(Self(value))
    }

    /// The fence as a number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The moment that the fence stands for: the clock when it was granted, or later where one before it was ahead.
    pub const fn moment(self) -> Timestamp {
        Timestamp::from_micros(self.0.unsigned_abs())
    }

    /// The fence of the next owner: above `known`, and never below the clock, so that it rises even after the
    /// row that held the last one was reclaimed.
    pub fn next(known: Option<Self>, now: Timestamp) -> Self {
        let clock = i64::try_from(now.as_micros()).unwrap_or(i64::MAX).max(1);
        Self(known.map_or(clock, |fence| fence.0.saturating_add(1).max(clock)))
    }
}
