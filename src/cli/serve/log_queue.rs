//! The log's way to standard error: one thread writes, and whoever logs never waits for it.
//!
//! Whatever reads standard error may be slow, or stand still. Lines then wait in memory, in their order and up to a
//! bound; past it those are lost first that matter least, and what is lost is counted. Why it is our own:
//! docs/adr/0013.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata, warn};
use tracing_subscriber::fmt::MakeWriter;

use crate::audit;
use crate::telemetry::{DECISION_TARGET, Metrics};

/// How long the end of the server waits for a reader of the log.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether lines were lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long there is silence about lost lines after they were reported.
const REPORT_EVERY: Duration = Duration::from_mins(1);
/// As much memory the writer keeps when there is nothing to write.
const KEPT_BYTES: usize = 64 << 10;

/// What a line is, by how bad it is to lose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What a call came to. The metrics have counted it too.
    Decision,
    /// Everything else.
    Other,
    /// Who did what, where no file takes it.
    Audit,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Decision, Self::Other, Self::Audit];

    fn of(metadata: &Metadata<'_>) -> Self {
        match metadata.target() {
            audit::TARGET => Self::Audit,
            // A bug is no flood.
            DECISION_TARGET if *metadata.level() != Level::ERROR => Self::Decision,
            _ => Self::Other,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Decision => "decision",
            Self::Other => "other",
            Self::Audit => "audit",
        }
    }

    /// With this much waiting, such a line is lost. A flood of one kind leaves room for what matters more.
    const fn most_waiting(self) -> usize {
        match self {
            Self::Decision => 4 << 20,
            Self::Other => 6 << 20,
            Self::Audit => 8 << 20,
        }
    }
}

/// Where log lines wait to be written.
#[derive(Clone, Debug)]
pub(super) struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    more: Condvar,
    /// There is nothing left to write.
    idle: Condvar,
    lost: [AtomicU64; Kind::ALL.len()],
}

#[derive(Debug, Default)]
struct Waiting {
    /// Whole lines, one after the other.
    lines: Vec<u8>,
    /// How many of each kind.
    count: [u64; Kind::ALL.len()],
    /// What the thread took, and has not written yet.
    bytes_under_way: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whoever panicked there had added a whole line or none.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, kind: Kind, line: &[u8]) {
        let mut waiting = self.lock();
        if waiting.lines.len() + waiting.bytes_under_way + line.len() > kind.most_waiting() {
            self.lost[kind as usize].fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_idle = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        waiting.count[kind as usize] += 1;
        drop(waiting);
        if was_idle {
            self.more.notify_one();
        }
    }

    /// Writes what comes, for ever.
    fn write_to(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut waiting = self.lock();
            waiting.bytes_under_way = 0;
            while waiting.lines.is_empty() {
                self.idle.notify_all();
                waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut taken, &mut waiting.lines);
            let count = std::mem::take(&mut waiting.count);
            waiting.bytes_under_way = taken.len();
            drop(waiting);
            // A closed pipe or a full disk: some of these lines may have been written, none is sure to have been.
            if out.write_all(&taken).and_then(|()| out.flush()).is_err() {
                for (lost, count) in self.lost.iter().zip(count) {
                    lost.fetch_add(count, Ordering::Relaxed);
                }
            }
            taken.clear();
            taken.shrink_to(KEPT_BYTES);
        }
    }

    fn lost(&self) -> [u64; Kind::ALL.len()] {
        self.lost.each_ref().map(|lost| lost.load(Ordering::Relaxed))
    }
}

impl LogQueue {
    /// A queue that a thread of its own empties into `out`.
    pub(super) fn to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = shared.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || thread.write_to(out))?;
        Ok(Self(shared))
    }

    /// Has `metrics` show how many lines were lost, by kind.
    pub(super) fn show_losses(&self, metrics: &Metrics) {
        let shared = self.0.clone();
        metrics.show_lost_lines(Kind::ALL.map(Kind::as_str), move || shared.lost());
    }

    /// Says in the log that lines were lost, at most once a minute, for as long as it is polled.
    pub(super) async fn report_losses(self) {
        let mut reported = [0; Kind::ALL.len()];
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.report(&mut reported) {
                tokio::time::sleep(REPORT_EVERY).await;
            }
        }
    }

    /// Whether there was something to say that is not in `reported`. The numbers are of the whole run, so that a report
    /// which is lost itself takes nothing along.
    fn report(&self, reported: &mut [u64; Kind::ALL.len()]) -> bool {
        let lost = self.0.lost();
        if lost == *reported {
            return false;
        }
        *reported = lost;
        let [decision, other, audit] = lost;
        warn!(
            decision,
            other,
            audit,
            "log lines were lost since the start, for standard error did not take them; calls are not affected"
        );
        true
    }

    /// Waits until everything is written, but not for a reader that stands still.
    fn flush(&self) {
        let waiting = self.0.lock();
        // What is left after that is lost with the process, as anything is that nobody reads.
        _ = self.0.idle.wait_timeout_while(waiting, FLUSH_WITHIN, |waiting| {
            !waiting.lines.is_empty() || waiting.bytes_under_way > 0
        });
    }
}

/// Flushes the log when it is dropped.
#[derive(Debug)]
pub(super) struct Flushed(pub(super) LogQueue);

impl Flushed {
    pub(super) fn queue(&self) -> LogQueue {
        self.0.clone()
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        self.0.report(&mut [0; Kind::ALL.len()]);
        self.0.flush();
    }
}

/// Takes one line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    shared: &'a Shared,
    kind: Kind,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.shared.add(self.kind, line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { shared: &self.0, kind: Kind::Other }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { shared: &self.0, kind: Kind::of(metadata) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes what is written only when it is let.
    struct Gate {
        open: Receiver<std::io::Result<()>>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.open.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::BrokenPipe.into()))?;
            _ = self.taken.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (LogQueue, Sender<std::io::Result<()>>, Receiver<Vec<u8>>) {
        let ((open, opened), (taken, takes)) = (channel(), channel());
        (LogQueue::to(Gate { open: opened, taken }).unwrap(), open, takes)
    }

    fn add(queue: &LogQueue, kind: Kind, length: usize) {
        queue.0.add(kind, &vec![kind.as_str().as_bytes()[0]; length]);
    }

    #[test]
    fn what_matters_least_is_lost_first_and_counted_and_the_rest_keeps_its_order() {
        const LINE: usize = 1 << 20;
        let (queue, open, taken) = gate();
        // Whether the thread has taken the first line yet or not: what it holds counts as waiting.
        for _ in 0..6 {
            add(&queue, Kind::Decision, LINE);
        }
        assert_eq!(queue.0.lost(), [2, 0, 0]);
        for _ in 0..4 {
            add(&queue, Kind::Other, LINE);
        }
        assert_eq!(queue.0.lost(), [2, 2, 0]);
        for _ in 0..3 {
            add(&queue, Kind::Audit, LINE);
        }
        assert_eq!(queue.0.lost(), [2, 2, 1]);
        let mut written = Vec::new();
        while written.len() < 8 * LINE {
            open.send(Ok(())).unwrap();
            written.extend(taken.recv().unwrap());
        }
        let expected = [b'd', b'd', b'd', b'd', b'o', b'o', b'a', b'a'];
        assert!(written.chunks(LINE).zip(expected).all(|(line, kind)| line.iter().all(|byte| *byte == kind)));
        // There is room again.
        queue.flush();
        add(&queue, Kind::Decision, LINE);
        assert_eq!(queue.0.lost(), [2, 2, 1]);
    }

    #[test]
    fn what_cannot_be_written_is_counted_too() {
        let (queue, open, _taken) = gate();
        add(&queue, Kind::Audit, 10);
        open.send(Err(std::io::ErrorKind::BrokenPipe.into())).unwrap();
        queue.flush();
        assert_eq!(queue.0.lost(), [0, 0, 1]);
    }
}
