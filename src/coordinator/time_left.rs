//! How long a call may take: it is answered before its caller stops listening.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// The longest that anything here is put off: far enough, and never past the end of the clock's range.
const LONGEST: Duration = Duration::from_hours(24 * 365);

/// The least that is left of a caller's deadline when its Begin was held.
const LEAST_LEFT: Duration = Duration::from_millis(50);
/// The most that is kept back for an answer's way to its caller.
const MOST_LEFT: Duration = Duration::from_millis(500);

/// The moment `length` from now.
pub(super) fn after(length: Duration) -> Instant {
    Instant::now() + length.min(LONGEST)
}

/// When a Begin that arrived at `began` is answered at the latest while another attempt runs: before the caller's
/// deadline by a tenth of what remains, and at least by [`LEAST_LEFT`].
pub(super) fn hold_until(began: Instant, wait: Duration, deadline: Option<Instant>) -> Instant {
    let by_wait = began + wait.min(LONGEST);
    let Some(deadline) = deadline else { return by_wait };
    let remains = deadline.saturating_duration_since(began);
    by_wait.min(began + remains.saturating_sub((remains / 10).max(LEAST_LEFT)))
}

/// When a call is answered at the latest, whatever the store does: so much before its caller's deadline that the
/// answer, what is known of its writes included, still arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerBy(Instant);

impl AnswerBy {
    /// For a call that arrives now: a tenth of what remains is left, within bounds, and never more than half.
    pub(super) fn of(deadline: Option<Instant>) -> Self {
        let Some(deadline) = deadline else { return Self(after(LONGEST)) };
        let remains = deadline.saturating_duration_since(Instant::now());
        let left = (remains / 10).clamp(LEAST_LEFT, MOST_LEFT).min(remains / 2);
        Self(deadline - left)
    }

    /// At `moment` itself.
    pub(super) const fn at(moment: Instant) -> Self {
        Self(moment)
    }

    pub(super) const fn instant(self) -> Instant {
        self.0
    }

    /// Whether it is too late to begin anything.
    pub(super) fn is_over(self) -> bool {
        Instant::now() >= self.0
    }

    /// What `work` comes to; `None` when that takes too long.
    pub(super) async fn bound<T>(self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.0, work).await.ok()
    }
}
