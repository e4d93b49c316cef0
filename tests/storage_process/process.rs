//! A store in a process of its own, to be killed, traced and given errors: the test binary started again. It writes
//! known records and says one line, with one system call, for each write that was acknowledged.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Lines, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use semel::domain::{Detail, Fence, Kept, Key, Note, Phase, Policy, Record, Timestamp};
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Freshness, Put, Scan, Scope, Store, StoreError, Versioned, Write, WriteId};
use uuid::Uuid;

const DIRECTORY: &str = "SEMEL_TEST_STORE_DIRECTORY";
const WRITES: &str = "SEMEL_TEST_STORE_WRITES";
const WRITERS: &str = "SEMEL_TEST_STORE_WRITERS";

/// What the child is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// How many writers, each with a key of its own.
    pub(crate) writers: u64,
    /// How many writes each; for ever where absent.
    pub(crate) writes: Option<u64>,
}

/// Memtables so small that flushes and compactions happen all the time.
pub(crate) fn settings(directory: &Path) -> Settings {
    Settings {
        write_buffer_bytes: 64 * 1024,
        cache_bytes: 1024 * 1024,
        free_space_reserve_bytes: 0,
        ..Settings::new(directory)
    }
}

/// The key of a writer.
pub(crate) fn key_of(writer: u64) -> Key {
    key("tenant", writer)
}

/// A text that only this write's record holds.
pub(crate) fn marker(writer: u64, step: u64) -> String {
    format!("mark-{writer}-{step};")
}

fn write_id(writer: u64, step: u64) -> WriteId {
    WriteId(Uuid::from_u64_pair(writer + 1, step))
}

/// What a writer's record is after its `step`th write. The fence is the step.
pub(crate) fn current(writer: u64, step: u64) -> Versioned {
    let marker = marker(writer, step);
    let record = match step % 3 {
        0 => Samples::any(2),
        // Now and then more than the engine's write buffer of 8 KiB.
        _ => Samples::completed_with(
            step,
            marker.clone() + &"x".repeat(if step.is_multiple_of(7) { 20_000 } else { 100 }),
        ),
    };
    let Record::Kept(kept) = record else { panic!("these are kept") };
    let phase = match kept.phase {
        Phase::Released { pause_until, .. } => Phase::Released {
            pause_until,
            detail: Detail::new(marker).expect("short"),
            resolution: Some(Note::default()),
        },
        other => other,
    };
    let fence = Fence::new(i64::try_from(step).expect("small")).expect("steps begin at 1");
    let record = Record::Kept(Kept { fence, phase, changed_at: Timestamp::from_micros(step), ..kept });
    Versioned { write_id: write_id(writer, step), record: Arc::new(record) }
}

/// The step at which a writer's record is, which must be exactly what that step wrote.
pub(crate) fn step_of(writer: u64, found: Option<&Versioned>) -> u64 {
    let Some(found) = found else { return 0 };
    let step = u64::try_from(found.record.fence().get()).expect("positive");
    assert!(
        *found == current(writer, step),
        "writer {writer}: the record of step {step} is not what was written"
    );
    step
}

/// The work of the child process; false where this is not one.
pub(crate) fn work_as_child() -> bool {
    let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return false };
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (writers, writes) = (number(WRITERS).unwrap_or(1), number(WRITES));
    let store = Arc::new(open_patiently(&directory));
    // Without a driver for sockets, the runtime itself makes no system call that writes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let writers = (0..writers).map(|writer| write(Arc::clone(&store), writer, writes));
        futures_util::future::join_all(writers).await;
    });
    drop(runtime);
    drop(store);
    say("DONE");
    true
}

/// A start may fail while an error is injected into it; then it is made again, as a supervisor would.
fn open_patiently(directory: &Path) -> EmbeddedStore {
    for attempt in 0.. {
        match EmbeddedStore::open(settings(directory)) {
            Ok(store) => return store,
            Err(error) if attempt < 5 => say(&format!("REFUSED {error}")),
            Err(error) => panic!("the store does not open: {error}"),
        }
    }
    unreachable!("it returned or panicked")
}

async fn write(store: Arc<EmbeddedStore>, writer: u64, writes: Option<u64>) {
    let found = store.get(&key_of(writer), Freshness::Acknowledged).await.expect("the store reads");
    let mut step = step_of(writer, found.as_ref());
    for _ in 0..writes.unwrap_or(u64::MAX) {
        let before = (step > 0).then(|| current(writer, step));
        step += 1;
        let next = current(writer, step);
        let write = Write::new(key_of(writer), before.as_ref(), next, &Policy::default());
        loop {
            match store.compare_and_put(&write).await {
                Ok(Put::Applied) => break,
                Ok(Put::Conflict(_)) => panic!("writer {writer} is alone with its key"),
                Err(StoreError::NotListed { .. }) => panic!("no answer to a write"),
                Err(error @ (StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))) => {
                    say(&format!("FAILED {writer} {step} {error}"));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        say(&format!("ACK {writer} {step}"));
    }
}

/// One line, one system call: a writev, where the store only ever calls write.
fn say(line: &str) {
    let line = format!("{line}\n");
    let mut stdout = File::options().append(true).open("/dev/stdout").expect("it can be opened again");
    let written = stdout.write_vectored(&[IoSlice::new(line.as_bytes())]).expect("the parent reads");
    assert_eq!(written, line.len(), "a pipe takes a short line whole");
}

/// A child under way, and what it said.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The last step of each writer that was acknowledged.
    pub(crate) acknowledged: HashMap<u64, u64>,
    /// How many acknowledgements, refusals of writes, and refusals to open there were.
    pub(crate) counts: Counts,
}

/// What a child said, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
    pub(crate) done: bool,
}

impl Process {
    /// Starts a child, through `wrapper` where one is given.
    pub(crate) fn start(directory: &Path, work: Work, wrapper: Option<Command>) -> Self {
        let binary = std::env::current_exe().expect("the path of this test");
        let mut command = match wrapper {
            Some(mut wrapper) => {
                wrapper.arg(binary);
                wrapper
            }
            None => Command::new(binary),
        };
        command.env(DIRECTORY, directory).env(WRITERS, work.writers.to_string());
        if let Some(writes) = work.writes {
            command.env(WRITES, writes.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines, acknowledged: HashMap::new(), counts: Counts::default() }
    }

    /// Reads the next line; false at the end.
    fn read_line(&mut self) -> bool {
        let Some(Ok(line)) = self.lines.next() else { return false };
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["ACK", writer, step] => {
                let number = |text: &str| text.parse().expect("a number");
                self.acknowledged.insert(number(writer), number(step));
                self.counts.acknowledged += 1;
            }
            ["FAILED", ..] => self.counts.failed += 1,
            ["REFUSED", ..] => self.counts.refused += 1,
            ["DONE"] => self.counts.done = true,
            _ => panic!("the child said {line}"),
        }
        true
    }

    /// Reads until the child has acknowledged that many writes.
    pub(crate) fn read_until(&mut self, acknowledged: u64) {
        while self.counts.acknowledged < acknowledged {
            assert!(self.read_line(), "the child ended early: {}", self.last_words());
        }
    }

    /// Kills the child and reads what it said before.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        while self.read_line() {}
        self.child.wait().expect("it ended");
    }

    /// Reads to the end; the child must have done all its work.
    pub(crate) fn finish(&mut self) {
        while self.read_line() {}
        let words = if self.counts.done { String::new() } else { self.last_words() };
        let status = self.child.wait().expect("it ended");
        assert!(status.success() && self.counts.done, "{status}, {:?}: {words}", self.counts);
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            drop(std::io::Read::read_to_string(&mut BufReader::new(stderr), &mut text));
        }
        text
    }
}

/// What a check of a store found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Writers whose record was checked.
    pub(crate) writers: u64,
    /// Writers whose last write was not acknowledged and yet is there: it was under way.
    pub(crate) under_way: u64,
}

/// Opens the store and checks that everything acknowledged is there, that nothing else is but a write that was
/// under way, and that its indexes agree with its records. Returns the steps at which it is.
pub(crate) fn check(
    directory: &Path,
    writers: u64,
    acknowledged: &HashMap<u64, u64>,
) -> (HashMap<u64, u64>, Found) {
    let store = EmbeddedStore::open(settings(directory)).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut steps = HashMap::new();
        let mut found = Found::default();
        for writer in 0..writers {
            let current = store.get(&key_of(writer), Freshness::Acknowledged).await.expect("the store reads");
            let step = step_of(writer, current.as_ref());
            let known = acknowledged.get(&writer).copied().unwrap_or(0);
            assert!(
                step == known || step == known + 1,
                "writer {writer}: step {known} was acknowledged, and the store is at {step}"
            );
            found.writers += 1;
            found.under_way += u64::from(step > known);
            steps.insert(writer, step);
        }
        let all = scan(&store, Scope::All).await;
        let mut open = all.clone();
        open.retain(|_, current| current.record.is_open());
        assert!(scan(&store, Scope::Open).await == open, "the index of open records agrees with the records");
        (steps, found)
    })
}

async fn scan(store: &EmbeddedStore, scope: Scope) -> HashMap<Key, Versioned> {
    let mut records = HashMap::new();
    let mut after = None;
    loop {
        let page = store.scan(&Scan { scope, tenant: None, after, limit: 7 }).await.expect("the store scans");
        records.extend(page.records);
        after = page.next;
        if after.is_none() {
            return records;
        }
    }
}
