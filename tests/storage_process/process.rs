//! A store in a process of its own, to be killed, traced and given errors: the test binary started again. It writes
//! known records, and says one line, with one system call, for each write that was acknowledged and for each that
//! somebody saw.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice, Lines, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use semel::domain::{Detail, Fence, Kept, Key, Note, Phase, Policy, Record, Timestamp};
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Freshness, Put, Scan, Scope, Store, StoreError, Versioned, Write, WriteId};
use uuid::Uuid;

const DIRECTORY: &str = "SEMEL_TEST_STORE_DIRECTORY";
const WRITES: &str = "SEMEL_TEST_STORE_WRITES";
const WRITERS: &str = "SEMEL_TEST_STORE_WRITERS";
const ROTATING: &str = "SEMEL_TEST_STORE_ROTATING";
const WITHOUT_SYNC: &str = "SEMEL_TEST_STORE_WITHOUT_SYNC";

/// What the child is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// How many writers, each with a key of its own.
    pub(crate) writers: u64,
    /// How many writes each; for ever where absent.
    pub(crate) writes: Option<u64>,
    /// Whether they count from when the journal was rotated, or that failed.
    pub(crate) rotating: bool,
    /// Whether the store leaves its syncs out.
    pub(crate) without_sync: bool,
}

impl Work {
    pub(crate) const fn new(writers: u64, writes: Option<u64>) -> Self {
        Self { writers, writes, rotating: false, without_sync: false }
    }
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
    Versioned::new(write_id(writer, step), Arc::new(record))
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
    if number(WITHOUT_SYNC).is_some() {
        store.leave_out_syncs();
    }
    let rotated = number(ROTATING).map(|_| journal(&directory, 1));
    // Without a driver for sockets, the runtime itself makes no system call that writes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let writers = (0..writers).map(|writer| write(&store, writer, writes, rotated.as_deref()));
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

/// Writes one step after the other; each is watched by everybody who might see it too early.
async fn write(store: &EmbeddedStore, writer: u64, writes: Option<u64>, rotated: Option<&Path>) {
    let found = store.get(&key_of(writer), Freshness::Acknowledged).await.expect("the store reads");
    let mut step = step_of(writer, found.as_ref());
    let mut left = writes.unwrap_or(u64::MAX);
    let mut failed = false;
    while left > 0 {
        if failed || rotated.is_none_or(Path::exists) {
            left -= 1;
        }
        let before = (step > 0).then(|| current(writer, step));
        step += 1;
        let next = current(writer, step);
        let write = Write::new(key_of(writer), before.as_ref(), next, &Policy::default());
        let (failures, (), (), ()) = tokio::join!(
            settle(store, writer, step, &write),
            watch(store, writer, step, Look::Read),
            watch(store, writer, step, Look::SerialRead),
            watch(store, writer, step, Look::Conflict),
        );
        failed |= failures > 0;
    }
}

/// Sends the write until it is applied; how often it failed before. A write that was refused is not there.
async fn settle(store: &EmbeddedStore, writer: u64, step: u64, write: &Write) -> u64 {
    let mut unknown = false;
    for failures in 0.. {
        match store.compare_and_put(write).await {
            Ok(Put::Applied) => {
                say(&format!("ACK {writer} {step}"));
                return failures;
            }
            Ok(Put::Conflict(_)) => panic!("writer {writer} is alone with its key"),
            Err(StoreError::NotListed { .. }) => panic!("no answer to a write"),
            Err(error @ (StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_))) => {
                say(&format!("FAILED {writer} {step} {error}"));
                unknown |= matches!(error, StoreError::OutcomeUnknown(_));
                let found = read_patiently(store, writer).await;
                let there = step_of(writer, found.as_ref());
                assert!(
                    unknown || there < step,
                    "writer {writer}: {there} is there, and was refused: {error}"
                );
            }
        }
    }
    unreachable!("it returned or panicked")
}

/// Reads until the store answers.
async fn read_patiently(store: &EmbeddedStore, writer: u64) -> Option<Versioned> {
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if let Ok(found) = store.get(&key_of(writer), Freshness::Serial).await {
            return found;
        }
    }
}

/// How somebody else comes to see a record.
#[derive(Clone, Copy, Debug)]
enum Look {
    Read,
    SerialRead,
    /// A write on a version that never was.
    Conflict,
}

/// Looks while the step is written, until it shows, and says so: what anybody saw must last.
async fn watch(store: &EmbeddedStore, writer: u64, step: u64, look: Look) {
    let key = key_of(writer);
    let record = Arc::new(Samples::in_progress(0));
    let [never, refused] = [Uuid::max(), Uuid::nil()].map(|id| Versioned::new(WriteId(id), record.clone()));
    let refused = Write::new(key.clone(), Some(&never), refused, &Policy::default());
    loop {
        let found = match look {
            Look::Read => store.get(&key, Freshness::Acknowledged).await,
            Look::SerialRead => store.get(&key, Freshness::Serial).await,
            Look::Conflict => match store.compare_and_put(&refused).await {
                Ok(Put::Applied) => panic!("writer {writer}: a write on a version that never was is refused"),
                Ok(Put::Conflict(found)) => Ok(found),
                Err(error) => Err(error),
            },
        };
        match found {
            Ok(found) if step_of(writer, found.as_ref()) == step => break,
            Ok(_) => tokio::task::yield_now().await,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    say(&format!("SAW {writer} {step}"));
}

/// The journal file of that number.
pub(crate) fn journal(directory: &Path, number: u32) -> PathBuf {
    directory.join("engine").join(format!("{number}.jnl"))
}

/// Fills a new store's journal so far that the engine rotates it at the next flush, the first thing that its worker
/// does once the store is opened with small memtables.
pub(crate) fn fill_journal(directory: &Path) {
    /// Above this the engine rotates.
    const LONG: u64 = 64_000_000;
    let store = EmbeddedStore::open(Settings { write_buffer_bytes: 1 << 30, ..settings(directory) });
    let store = store.expect("the store opens");
    let filler = |n| {
        let record = Samples::completed_with(n, vec![b'x'; 3 << 20]);
        (key("filler", n), Versioned::new(write_id(1_000_000, n), Arc::new(record)))
    };
    store.load((0..22).map(filler)).expect("loaded");
    drop(store);
    let blocks = std::fs::metadata(journal(directory, 0)).expect("the journal is there").blocks();
    assert!(
        blocks * 512 > LONG && !journal(directory, 1).exists(),
        "the journal is long, and not rotated yet"
    );
}

/// One line, one system call: a writev, where the store only ever calls write.
fn say(line: &str) {
    static STDOUT: OnceLock<File> = OnceLock::new();
    let line = format!("{line}\n");
    // Again, where an error is injected into just this call.
    let open = || File::options().append(true).open("/dev/stdout").ok();
    let mut stdout = STDOUT.get_or_init(|| open().or_else(open).expect("it can be opened again"));
    let written = stdout.write_vectored(&[IoSlice::new(line.as_bytes())]).expect("the parent reads");
    assert_eq!(written, line.len(), "a pipe takes a short line whole");
}

/// A child under way, and what it said.
pub(crate) struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The last step of each writer that was acknowledged or seen.
    pub(crate) acknowledged: HashMap<u64, u64>,
    /// How many lines of each kind there were.
    pub(crate) counts: Counts,
}

/// What a child said, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u64,
    pub(crate) seen: u64,
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
        for (variable, on) in [(ROTATING, work.rotating), (WITHOUT_SYNC, work.without_sync)] {
            if on {
                command.env(variable, "1");
            }
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
            [what @ ("ACK" | "SAW"), writer, step] => {
                let number = |text: &str| text.parse().expect("a number");
                self.acknowledged.insert(number(writer), number(step));
                let count = if what == "ACK" { &mut self.counts.acknowledged } else { &mut self.counts.seen };
                *count += 1;
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
