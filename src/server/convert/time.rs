//! Moments and lengths of time.

use std::time::Duration;

use crate::domain::{PositiveDuration, Reason, Timestamp, Violation};

const NANOS_PER_SECOND: i32 = 1_000_000_000;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z, which the contract's timestamps do not go beyond.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

fn invalid(problem: impl Into<String>) -> Violation {
    Violation::new(Reason::InvalidDuration, problem)
}

/// A length of zero or more.
pub(super) fn length(length: prost_types::Duration) -> Result<Duration, Violation> {
    let prost_types::Duration { seconds, nanos } = length;
    let agree = seconds == 0 || nanos == 0 || (seconds < 0) == (nanos < 0);
    if !agree || nanos <= -NANOS_PER_SECOND || nanos >= NANOS_PER_SECOND {
        return Err(invalid(format!(
            "is malformed ({seconds} seconds and {nanos} nanos); nanos must be within 999999999 either way and have \
             the sign of seconds"
        )));
    }
    match (u64::try_from(seconds), u32::try_from(nanos)) {
        (Ok(seconds), Ok(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(invalid(format!("is negative ({seconds} seconds and {nanos} nanos); send zero or more"))),
    }
}

/// A length of more than zero, where one was sent.
pub(super) fn positive_length(
    sent: Option<prost_types::Duration>,
) -> Result<Option<PositiveDuration>, Violation> {
    sent.map(|sent| length(sent).and_then(PositiveDuration::new)).transpose()
}

/// A moment, where one was sent: what is before 1970 is 1970, what is after `now` is `now`.
pub(super) fn past_moment(
    sent: Option<prost_types::Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>, Violation> {
    let Some(prost_types::Timestamp { seconds, nanos }) = sent else { return Ok(None) };
    let nanos = match u64::try_from(nanos) {
        Ok(nanos) if nanos < NANOS_PER_SECOND as u64 => nanos,
        _ => return Err(invalid(format!("is malformed: {nanos} nanos; 0 to 999999999 are allowed"))),
    };
    if !(FIRST_SECOND..=LAST_SECOND).contains(&seconds) {
        return Err(invalid(format!(
            "is {seconds} seconds from 1970; send a moment of the years 0001 to 9999"
        )));
    }
    let micros = u64::try_from(seconds).map_or(0, |seconds| seconds * 1_000_000 + nanos / 1_000);
    Ok(Some(Timestamp::from_micros(micros).min(now)))
}

pub(super) fn proto_duration(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        // Below 10^9, so it fits.
        nanos: length.subsec_nanos().cast_signed(),
    }
}

/// The moment; the last one of 9999 where it is later, since JSON forms of the contract end there.
pub(super) fn proto_timestamp(moment: Timestamp) -> prost_types::Timestamp {
    let micros = moment.as_micros();
    match i64::try_from(micros / 1_000_000) {
        Ok(seconds) if seconds <= LAST_SECOND => prost_types::Timestamp {
            seconds,
            // Below 10^9, so it fits.
            nanos: ((micros % 1_000_000) as u32 * 1_000).cast_signed(),
        },
        _ => prost_types::Timestamp { seconds: LAST_SECOND, nanos: 999_999_000 },
    }
}
