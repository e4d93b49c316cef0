//! Callers who come at their own times, answered or not: the open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Lets callers come at an even rate. Each has a time at which it is due, and keeps it, however late it is served:
/// latencies are counted from there, so that a server that stands still is not forgiven the calls it held up.
#[derive(Debug)]
pub(super) struct Pace {
    start: Instant,
    interval: Duration,
    next: AtomicU64,
    due: Arc<Semaphore>,
    /// Dropped with the pace; that ends its thread.
    _alive: mpsc::Sender<()>,
}

impl Pace {
    /// Begins now. The thread sleeps more precisely than an async timer, which counts whole milliseconds.
    pub(super) fn start(rate: f64) -> Self {
        let (start, interval) = (Instant::now(), Duration::from_secs_f64(rate.recip()));
        let due = Arc::new(Semaphore::new(0));
        let (alive, ended) = mpsc::channel::<()>();
        let released = due.clone();
        spawn_blocking(move || {
            let mut given = 0;
            loop {
                let by_now = callers_by(start.elapsed(), interval);
                released.add_permits(usize::try_from(by_now - given).unwrap_or(0));
                given = by_now;
                let wake = start + time_of(given, interval);
                match ended.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        });
        Self { start, interval, next: AtomicU64::new(0), due, _alive: alive }
    }

    /// Waits for the next caller, and tells when it was due.
    pub(super) async fn next(&self) -> Instant {
        // Never closed; were it, callers would come at once.
        if let Ok(permit) = self.due.acquire().await {
            permit.forget();
        }
        self.start + time_of(self.next.fetch_add(1, Ordering::Relaxed), self.interval)
    }
}

/// When caller `number`, counted from 0, is due.
fn time_of(number: u64, interval: Duration) -> Duration {
    let nanos = u128::from(number) * interval.as_nanos();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// How many callers are due by then.
fn callers_by(elapsed: Duration, interval: Duration) -> u64 {
    let nanos = interval.as_nanos().max(1);
    u64::try_from(elapsed.as_nanos() / nanos + 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_due_exactly_when_its_time_has_come() {
        let interval = Duration::from_micros(300);
        for number in 0..1000 {
            let due = time_of(number, interval);
            assert_eq!(callers_by(due, interval), number + 1);
            let just_before_the_next = due + interval.saturating_sub(Duration::from_nanos(1));
            assert_eq!(callers_by(just_before_the_next, interval), number + 1);
        }
    }

    #[tokio::test]
    async fn callers_come_on_time_or_later_and_never_before() {
        let pace = Pace::start(2_000.0);
        let mut last = None;
        for _ in 0..100 {
            let due = pace.next().await;
            assert!(due <= Instant::now());
            assert!(last.is_none_or(|last| due > last));
            last = Some(due);
        }
        assert_eq!(last, Some(pace.start + time_of(99, pace.interval)));
    }
}
