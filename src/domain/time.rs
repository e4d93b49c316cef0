//! Moments and lengths of time, in whole microseconds.

use std::time::Duration;

use super::reason::{Reason, Violation};

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `micros` microseconds after 1970 began.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970 began.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// This moment and `length` more; the end of time when that is past it.
    #[must_use]
    pub fn plus(self, length: Duration) -> Self {
        Self(self.0.saturating_add(micros(length)))
    }

    /// This moment less `length`; 1970 when that is before it.
    #[must_use]
    pub fn minus(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(micros(length)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

/// Where the present moment comes from. Everything that decides takes it as an argument.
pub trait Clock: std::fmt::Debug + Send + Sync + 'static {
    /// The present moment, by this clock.
    fn now(&self) -> Timestamp;
}

/// A length of time greater than zero, in whole microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveDuration(Duration);

impl PositiveDuration {
    /// `length`, rounded up to a whole microsecond.
    pub fn new(length: Duration) -> Result<Self, Violation> {
        if length.is_zero() {
            return Err(Violation::new(
                Reason::InvalidDuration,
                "is zero; leave it out for the policy's value, or send more than zero",
            ));
        }
        let rounded = length.as_nanos().div_ceil(1_000);
        Ok(Self(Duration::from_micros(u64::try_from(rounded).unwrap_or(u64::MAX))))
    }

    /// The length.
    pub const fn get(self) -> Duration {
        self.0
    }
}
