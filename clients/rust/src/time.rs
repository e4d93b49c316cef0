//! Lengths and points of time, as the contract writes them.

use std::time::{Duration, SystemTime};

/// A length of time that a message holds; none, or a negative one, is zero.
pub(crate) fn duration(written: Option<prost_types::Duration>) -> Duration {
    written.and_then(|written| written.try_into().ok()).unwrap_or_default()
}

/// A length of time for a message; one too long for it is as long as can be written.
pub(crate) fn written(length: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    length.try_into().unwrap_or(longest)
}

/// A point in time that a message holds.
pub(crate) fn time(written: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    written?.try_into().ok()
}
