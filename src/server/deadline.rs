//! When a call has to be answered: at its caller's deadline or at the server's own bound, whichever is first, less
//! what the answer takes to get there.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use tokio::time::{Instant, timeout_at};

use crate::coordinator::CallError;

/// What is kept back for the answer, at least and at most, where a call has twice as long. The coordinator, which knows
/// what it wrote, keeps back as much by itself: what is bounded here is a call that goes on all the same.
const LEAST_LEFT: Duration = Duration::from_millis(50);
const MOST_LEFT: Duration = Duration::from_millis(500);

/// Looked for in every request, as the name of call.rs.
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The moment at which a call is of no use any more, and the one before it by which it has to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    ends: Instant,
    answer_by: Instant,
}

impl Deadline {
    /// For a request that arrives now.
    pub(super) fn of_headers(headers: &HeaderMap, request_timeout: Duration) -> Self {
        let by_caller = headers.get(&GRPC_TIMEOUT).and_then(|value| grpc_timeout(value.as_bytes()));
        Self::after(by_caller.map_or(request_timeout, |timeout| timeout.min(request_timeout)))
    }

    /// A tenth is kept back, within bounds, and never more than half.
    fn after(length: Duration) -> Self {
        let kept_back = (length / 10).clamp(LEAST_LEFT, MOST_LEFT).min(length / 2);
        let now = Instant::now();
        Self { ends: now + length, answer_by: now + length.saturating_sub(kept_back) }
    }

    /// When nobody listens any more.
    pub(super) const fn ends(self) -> Instant {
        self.ends
    }

    /// The answer of `call`, which may write, and which is told [`Self::ends`]. Nothing is written where there is
    /// no time left for it; if `call` goes on past its time all the same, then because of a write.
    pub(super) async fn writing<A>(
        self,
        call: impl Future<Output = Result<A, CallError>>,
    ) -> Result<A, CallError> {
        if Instant::now() >= self.answer_by {
            return Err(CallError::StoreUnavailable);
        }
        let at_the_latest = self.answer_by + (self.ends - self.answer_by) / 2;
        timeout_at(at_the_latest, call).await.unwrap_or(Err(CallError::StoreOutcomeUnknown))
    }

    /// The answer of `call`, which writes nothing.
    pub(super) async fn reading<A>(
        self,
        call: impl Future<Output = Result<A, CallError>>,
    ) -> Result<A, CallError> {
        timeout_at(self.answer_by, call).await.unwrap_or(Err(CallError::StoreUnavailable))
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

    use tokio::time::Instant;

    use super::{Deadline, grpc_timeout};
    use crate::coordinator::CallError;

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

    #[tokio::test(start_paused = true)]
    async fn keeps_time_back_for_the_answer() {
        for (length, answer_by) in
            [(0, 0), (1, 0), (60, 30), (100, 50), (300, 250), (2_000, 1_800), (60_000, 59_500)]
        {
            let began = Instant::now();
            let deadline = Deadline::after(Duration::from_millis(length));
            assert_eq!((deadline.ends() - began).as_millis(), length.into());
            assert_eq!((deadline.answer_by - began).as_millis(), answer_by, "{length}");
        }
    }

    /// Whatever a call does, its caller is told while it still listens; and what has no time left is not begun.
    #[tokio::test(start_paused = true)]
    async fn answers_before_its_caller_goes() {
        let began = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(2));
        let stuck = std::future::pending::<Result<(), CallError>>;
        assert_eq!(deadline.reading(stuck()).await, Err(CallError::StoreUnavailable));
        assert!(began.elapsed() < Duration::from_millis(1_810), "{:?}", began.elapsed());
        assert_eq!(
            deadline.writing(async { panic!("begun") }).await,
            Err::<(), _>(CallError::StoreUnavailable)
        );

        let began = Instant::now();
        let deadline = Deadline::after(Duration::from_secs(2));
        assert_eq!(deadline.writing(stuck()).await, Err(CallError::StoreOutcomeUnknown));
        assert!(began.elapsed() < Duration::from_millis(1_950), "{:?}", began.elapsed());
    }
}
