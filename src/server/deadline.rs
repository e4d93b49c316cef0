//! When a call has to be answered: at its caller's deadline or at the server's own bound, whichever is first.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::{Instant, timeout_at};

use crate::coordinator::CallError;

/// The moment by which a call has to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// For a request that arrives now.
    pub(super) fn of_headers(headers: &HeaderMap, request_timeout: Duration) -> Self {
        let by_caller = headers.get("grpc-timeout").and_then(|value| grpc_timeout(value.as_bytes()));
        Self(Instant::now() + by_caller.map_or(request_timeout, |timeout| timeout.min(request_timeout)))
    }

    /// As it was set when the request arrived.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Self {
        // Every request comes through dispatch.rs, which sets it.
        *request.extensions().get().expect("no request without a deadline")
    }

    pub(super) const fn instant(self) -> Instant {
        self.0
    }

    /// The answer of `call`, which may write: after the deadline nobody knows whether it did.
    pub(super) async fn writing<A>(
        self,
        call: impl Future<Output = Result<A, CallError>>,
    ) -> Result<A, CallError> {
        timeout_at(self.0, call).await.unwrap_or(Err(CallError::StoreOutcomeUnknown))
    }

    /// The answer of `call`, which writes nothing.
    pub(super) async fn reading<A>(
        self,
        call: impl Future<Output = Result<A, CallError>>,
    ) -> Result<A, CallError> {
        timeout_at(self.0, call).await.unwrap_or(Err(CallError::StoreUnavailable))
    }
}

/// Up to eight digits and a unit, as gRPC over HTTP/2 has it; what is malformed is as if it were not there.
fn grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(value * 3600)),
        b'M' => Some(Duration::from_secs(value * 60)),
        b'S' => Some(Duration::from_secs(value)),
        b'm' => Some(Duration::from_millis(value)),
        b'u' => Some(Duration::from_micros(value)),
        b'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::grpc_timeout;

    #[test]
    fn reads_what_grpc_allows_and_nothing_else() {
        for (text, length) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("3S", Duration::from_secs(3)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("0u", Duration::ZERO),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(grpc_timeout(text.as_bytes()), Some(length), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1S ", "\u{661}S"] {
            assert_eq!(grpc_timeout(text.as_bytes()), None, "{text}");
        }
    }
}
