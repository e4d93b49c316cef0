//! A kill loses nothing of the page cache, so it cannot show a missing sync. The system calls can: no
//! acknowledgement, read or conflict leaves before the sync that covers its write, and none tells of what the kernel
//! refused.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Counts, Process, Work, check, fill_journal, marker};
use crate::support;

const TRACED: &str = "trace=write,writev,pwrite64,copy_file_range,ftruncate,fsync,fdatasync,rename,renameat,renameat2,\
                      openat,mkdir,mkdirat,unlink,unlinkat";
/// How much of a write strace shows. The engine's buffer is smaller, and a larger record has its marker near the front.
const SHOWN: &str = "32768";

/// One run of the child under strace.
struct Run {
    _directory: TempDir,
    trace: Trace,
    told: Told,
    counts: Counts,
}

/// Runs the child to its end; everything that it acknowledged must be there afterwards.
fn run(work: Work, injection: Option<&Injection>) -> Run {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let data = directory.path().join("data");
    if work.rotating {
        fill_journal(&data);
    }
    let log = directory.path().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", SHOWN, "-e", TRACED, "-e", "signal=none", "-o"]).arg(&log);
    if let Some(injection) = injection {
        let Injection { calls, error, when, delay } = injection;
        let delay = delay.map(|delay| format!(":delay_enter={}", delay.as_micros())).unwrap_or_default();
        strace.arg("-e").arg(format!("inject={calls}:error={error}{delay}:when={when}"));
    }
    let mut process = Process::start(&data, work, Some(strace));
    process.finish();
    let Counts { acknowledged, seen, .. } = process.counts;
    let due = work.writers * work.writes.unwrap_or(0);
    assert!(acknowledged == due || (work.rotating && acknowledged > due), "all of its work is done");
    assert_eq!(seen, 3 * acknowledged, "by a read, a serial read and a conflict");
    check(&data, work.writers, &process.acknowledged);
    let trace = Trace::parse(&fs::read_to_string(&log).expect("strace wrote a log"));
    let told = trace.told();
    assert_eq!((told.acknowledged, told.seen), (acknowledged, seen), "the trace has all that was said");
    Run { _directory: directory, trace, told, counts: process.counts }
}

/// An error that the kernel is made to give.
#[derive(Clone, Copy, Debug)]
struct Injection {
    calls: &'static str,
    error: &'static str,
    /// At which call of each thread.
    when: usize,
    /// How long the call takes before it gives it.
    delay: Option<Duration>,
}

const SYNCS: &str = "fsync,fdatasync";
/// The child speaks by writev, so that these are the store's own.
const WRITES: &str = "write,pwrite64,copy_file_range";

/// The calls of a run, in the order of the log.
struct Trace {
    calls: Vec<Call>,
}

/// A call that ended well or not; a line of the log each for its beginning and its end, or one for both.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    arguments: String,
    began: usize,
    ended: usize,
    failed: bool,
}

impl Trace {
    fn parse(log: &str) -> Self {
        let mut calls: Vec<Call> = Vec::new();
        let mut unfinished: HashMap<&str, Call> = HashMap::new();
        for (line, text) in log.lines().enumerate() {
            let Some((thread, text)) = text.split_once(' ') else { continue };
            let text = text.trim_start();
            if let Some(rest) = text.strip_prefix("<... ") {
                let Some(mut call) = unfinished.remove(thread) else { continue };
                let (_, rest) = rest.split_once("resumed>").expect("a resumed call");
                call.arguments.push_str(rest);
                call.ended = line;
                call.failed = has_failed(rest);
                calls.push(call);
                continue;
            }
            let Some((name, arguments)) = text.split_once('(') else { continue };
            let call = Call {
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                began: line,
                ended: line,
                failed: has_failed(arguments),
            };
            if text.ends_with("<unfinished ...>") {
                unfinished.insert(thread, call);
            } else {
                calls.push(call);
            }
        }
        calls.sort_by_key(|call| call.ended);
        Self { calls }
    }

    fn told(&self) -> Told {
        let mut durable = Durable::default();
        let mut told = Told::default();
        for (began, kind, marker) in self.calls.iter().filter_map(Call::telling).collect::<Vec<_>>() {
            durable.advance(self, began);
            *(if kind == "ACK" { &mut told.acknowledged } else { &mut told.seen }) += 1;
            if !durable.holds(&marker) {
                told.early.push(format!("{kind} {marker}"));
            }
        }
        told
    }

    fn count(&self, which: impl Fn(&Call) -> bool) -> usize {
        self.calls.iter().filter(|call| which(call)).count()
    }
}

/// What the child told of its writes.
#[derive(Default)]
struct Told {
    acknowledged: u64,
    seen: u64,
    /// What was told of a write that no sync covered yet.
    early: Vec<String>,
}

/// `… ) = -1 EIO …`; strace pads before the equals sign.
fn has_failed(end: &str) -> bool {
    let result = end.rsplit_once(')').and_then(|(_, result)| result.trim_start().strip_prefix('='));
    let result = result.or_else(|| end.rsplit_once(") = ").map(|(_, result)| result));
    result.is_none_or(|result| result.trim_start().starts_with('-'))
}

impl Call {
    fn is_sync(&self) -> bool {
        self.name == "fsync" || self.name == "fdatasync"
    }

    fn is_write(&self) -> bool {
        WRITES.split(',').any(|name| name == self.name)
    }

    /// The file of its descriptor, which strace writes as `7</path>`.
    fn path(&self) -> &str {
        let path = self.arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        path.map_or("", |(path, _)| path)
    }

    /// The texts among its arguments: the paths, of a call that takes some.
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.arguments.split('"').skip(1).step_by(2)
    }

    /// The name that it gives to a journal file or a directory.
    fn names(&self) -> Option<&str> {
        let name = self.texts().last()?;
        let is_new = match self.name.as_str() {
            "mkdir" | "mkdirat" => true,
            "openat" => self.arguments.contains("O_CREAT") && is_journal(name),
            _ => self.name.starts_with("rename"),
        };
        is_new.then_some(name)
    }

    fn is_injected(&self) -> bool {
        self.arguments.contains("(INJECTED)")
    }

    /// Where it began, whether it acknowledges a write or says that it was seen, and that write's marker.
    fn telling(&self) -> Option<(usize, &str, String)> {
        if self.name != "writev" {
            return None;
        }
        let at = self.arguments.find("ACK ").or_else(|| self.arguments.find("SAW "))?;
        let (kind, rest) = self.arguments[at..].split_once(' ')?;
        let (writer, rest) = rest.split_once(' ')?;
        let (step, _) = rest.split_once("\\n")?;
        Some((self.began, kind, marker(writer.parse().ok()?, step.parse().ok()?)))
    }
}

/// What of the journal is on disk at a moment of a trace.
#[derive(Default)]
struct Durable {
    /// The next call to look at, in the order in which calls ended.
    next: usize,
    /// What was written to each journal file, in order: the end of the call, and the bytes as strace shows them.
    written: BTreeMap<String, Vec<(usize, String)>>,
    /// All of each file that a sync covered.
    synced: BTreeMap<String, String>,
    /// Journal files and directories whose name no sync of their directory covered yet.
    unnamed: BTreeMap<String, Name>,
}

/// A name that was given.
struct Name {
    /// Where the call ended that gave it.
    given: usize,
    /// Whether a file had it before, which is found if the new one is not, with all that was in the new one then.
    replaces: bool,
}

impl Durable {
    /// Takes in every call that ended before the line.
    fn advance(&mut self, trace: &Trace, line: usize) {
        while let Some(call) = trace.calls.get(self.next).filter(|call| call.ended < line) {
            self.next += 1;
            if call.failed {
                continue;
            }
            if call.is_write() && is_journal(call.path()) {
                let bytes = call.arguments.split_once('"').map_or("", |(_, rest)| rest);
                let bytes = bytes.rsplit_once('"').map_or("", |(bytes, _)| bytes);
                let written = self.written.entry(call.path().to_owned()).or_default();
                written.push((call.ended, bytes.to_owned()));
            } else if call.is_sync() {
                self.sync(call.path(), call.began);
                self.sync_names(call.path(), call.began);
            } else if let Some(name) = call.names() {
                // The check of the journal copied the file and synced the copy before it took the file's name.
                let copy = call.texts().find(|text| has_extension(text, "copy"));
                if copy.is_some_and(|copy| self.synced.contains_key(copy)) {
                    self.sync(name, call.began);
                }
                let name = name.to_owned();
                self.unnamed.insert(name, Name { given: call.ended, replaces: copy.is_some() });
            }
        }
    }

    /// A sync covers the writes that had ended when it began.
    fn sync(&mut self, path: &str, began: usize) {
        if self.unnamed.get(path).is_some_and(|name| name.replaces) {
            return;
        }
        let written = self.written.get(path).map_or(&[][..], Vec::as_slice);
        let covered = written.iter().filter(|(ended, _)| *ended < began).map(|(_, bytes)| bytes.as_str());
        self.synced.insert(path.to_owned(), covered.collect());
    }

    /// A sync of a directory covers the names that had been given in it when it began.
    fn sync_names(&mut self, directory: &str, began: usize) {
        let is_in = |name: &str| Path::new(name).parent() == Some(Path::new(directory));
        self.unnamed.retain(|name, Name { given, .. }| *given >= began || !is_in(name));
    }

    /// Whether a synced file holds the marker, and would be found: a file whose name is not on disk is lost whole.
    fn holds(&self, marker: &str) -> bool {
        let is_lost = |name: &str| self.unnamed.get(name).is_some_and(|name| !name.replaces);
        let is_found = |path: &str| !Path::new(path).ancestors().filter_map(Path::to_str).any(is_lost);
        self.synced.iter().any(|(path, bytes)| is_found(path) && bytes.contains(marker))
    }
}

const SMALL: Work = Work::new(8, Some(40));

fn is_journal(path: &str) -> bool {
    has_extension(path, "jnl")
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

pub(crate) fn nothing_is_told_before_its_sync() {
    let Run { told, trace, .. } = run(SMALL, None);
    let syncs = trace.count(|call| call.name == "fdatasync" && is_journal(call.path()));
    println!(
        "{} acknowledgements and {} reads and conflicts, each after its sync; {syncs} syncs of the journal",
        told.acknowledged, told.seen
    );
    assert_eq!((told.acknowledged, told.seen, told.early), (320, 960, vec![]));
    assert!(syncs < 320, "one sync covers several writes");
    for name in ["/data", "/data/engine"] {
        assert!(
            trace.count(|call| call.names().is_some_and(|new| new.ends_with(name))) > 0,
            "{name} was made"
        );
    }
    support::count("traced_answers", told.acknowledged + told.seen);
}

/// What the test above would say of a store that does not sync.
pub(crate) fn a_missing_sync_shows() {
    let Run { told, .. } = run(Work { without_sync: true, ..SMALL }, None);
    println!("without syncs: {} of {} answers are early", told.early.len(), told.acknowledged + told.seen);
    for kind in ["ACK", "SAW"] {
        assert!(told.early.iter().any(|early| early.starts_with(kind)), "{kind}");
    }
}

const ROTATING: Work = Work { rotating: true, ..Work::new(4, Some(12)) };

pub(crate) fn nothing_is_told_before_its_sync_when_the_journal_is_rotated() {
    let Run { told, trace, .. } = run(ROTATING, None);
    let syncs =
        |number| trace.count(|call| call.name == "fdatasync" && call.path().ends_with(&journal_name(number)));
    println!(
        "{} acknowledgements and {} reads and conflicts around a rotation of the journal; {} syncs before, {} after",
        told.acknowledged,
        told.seen,
        syncs(0),
        syncs(1)
    );
    assert_eq!(told.early, Vec::<String>::new());
    assert!(syncs(0) > 0 && syncs(1) > 0, "the journal was rotated");
    let made = trace.count(|call| call.names().is_some_and(|new| new.ends_with(&journal_name(1))));
    assert_eq!(made, 1, "a journal file was made while it was watched");
}

fn journal_name(number: u32) -> String {
    format!("/engine/{number}.jnl")
}

/// A rotation syncs the old file, makes the new one, gives it a length and syncs it, and syncs the directory. It is
/// the first that the engine's worker does, so each of these calls is the one of its thread that is counted here.
pub(crate) fn no_refused_rotation_is_acknowledged() {
    const MOST_TRIES: u32 = 100;
    let mut injected = 0;
    for (calls, error, when, refused) in [
        ("fsync", "EIO", 1, journal_name(0)),
        ("ftruncate", "ENOSPC", 1, journal_name(1)),
        ("fsync", "EIO", 2, journal_name(1)),
        ("fsync", "EIO", 3, "/engine".to_owned()),
    ] {
        let is_name = refused == "/engine";
        // Meanwhile a batch comes to wait for the engine's lock.
        let delay = is_name.then_some(Duration::from_millis(200));
        let injection = Injection { calls, error, when, delay };
        let work = Work { writes: Some(3), ..ROTATING };
        // Whether that batch or the end of the engine comes first is the machine's choice.
        let mut runs = (0..MOST_TRIES).map(|_| run(work, Some(&injection)));
        let run = runs.find(|run| !is_name || came_between(&run.trace));
        let run = run.expect("a batch meets the file whose name is not synced");
        // The engine shows a batch to readers before the store makes sure of a new file's name: docs/adr/0003.
        let is_shown_early = |early: &str| is_name && early.starts_with("SAW");
        let early: Vec<_> = run.told.early.iter().filter(|early| !is_shown_early(early)).collect();
        assert!(early.is_empty(), "{injection:?}: {early:?}");
        let here = run.trace.count(|call| call.is_injected() && call.path().ends_with(&refused));
        assert!(here > 0, "{injection:?} met {refused}");
        injected += run.trace.count(Call::is_injected);
        println!(
            "{injection:?}: {here} times at {refused}, {} writes failed, {} were acknowledged",
            run.counts.failed, run.told.acknowledged
        );
    }
    support::count("rotation_errors", injected as u64);
}

/// Whether a batch was written to the new file after the sync of its name was refused, and before the store is opened
/// again, which copies the file first.
fn came_between(trace: &Trace) -> bool {
    let refused = trace.calls.iter().position(|call| call.is_injected() && call.path().ends_with("/engine"));
    let later = trace.calls.iter().skip(refused.map_or(usize::MAX, |at| at + 1));
    let is_copy = |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "copy");
    let mut until_copied = later.take_while(|call| !call.texts().any(is_copy));
    until_copied.any(|call| call.is_write() && call.path().ends_with(&journal_name(1)))
}

/// Directories and names, of a store that is made and opened.
pub(crate) fn no_refused_name_is_acknowledged() {
    let work = Work::new(4, Some(3));
    let mut injected = 0;
    for (calls, error, times) in [("mkdir", "ENOSPC", 3), ("rename", "EIO", 2)] {
        for when in 1..=times {
            let injection = Injection { calls, error, when, delay: None };
            let run = run(work, Some(&injection));
            assert_eq!(run.told.early, Vec::<String>::new(), "{injection:?}");
            let here = run.trace.count(Call::is_injected);
            assert!(here > 0, "{injection:?} met no call");
            injected += here;
            println!("{injection:?}: {here} times, {} starts were refused", run.counts.refused);
        }
    }
    support::count("name_errors", injected as u64);
}

/// `SEMEL_INJECTIONS`: how many calls of each kind are made to fail, spread over the run; 10000 is all.
pub(crate) fn no_refused_sync_is_acknowledged() {
    inject(SYNCS, ["EIO", "ENOSPC"], Call::is_sync);
}

/// `SEMEL_INJECTIONS`: likewise.
pub(crate) fn no_refused_write_is_acknowledged() {
    inject(WRITES, ["EIO", "ENOSPC"], Call::is_write);
}

/// `SEMEL_INJECTIONS`: likewise. Files that are opened or made, those of a table or a list of tables among them.
pub(crate) fn no_refused_open_is_acknowledged() {
    inject("openat", ["EIO", "EMFILE"], |call| call.name == "openat");
}

/// `SEMEL_INJECTIONS`: likewise. What is left of a file that could not be removed is not taken for more than it is.
pub(crate) fn no_refused_removal_is_acknowledged() {
    inject("unlink,unlinkat", ["EIO", "EROFS"], |call| call.name.starts_with("unlink"));
}

/// `SEMEL_INJECTIONS`: likewise.
pub(crate) fn no_refused_length_is_acknowledged() {
    inject("ftruncate", ["EIO", "ENOSPC"], |call| call.name == "ftruncate");
}

fn inject(calls: &'static str, errors: [&'static str; 2], is_one: fn(&Call) -> bool) {
    let work = Work::new(4, Some(12));
    let trace = run(work, None).trace;
    // Before them, the program is loaded: nothing of the store is there yet that could fail.
    let first = trace.calls.iter().position(|call| call.texts().any(|text| text.ends_with("/data")));
    let loading = trace.calls.iter().take(first.unwrap_or(0)).filter(|call| is_one(call)).count();
    // The most that any one thread makes; strace counts by thread.
    let longest = trace.count(is_one) - loading;
    let wanted = usize::try_from(support::size("SEMEL_INJECTIONS", 8)).expect("a small number");
    let mut places: Vec<_> =
        (0..wanted.min(longest)).map(|n| loading + 1 + n * longest / wanted.min(longest)).collect();
    places.dedup();
    let (mut runs, mut failures, mut injected) = (0, 0, 0);
    for when in places {
        for error in errors {
            let injection = Injection { calls, error, when, delay: None };
            let run = run(work, Some(&injection));
            assert_eq!(run.told.early, Vec::<String>::new(), "{injection:?}");
            runs += 1;
            failures += run.counts.failed + run.counts.refused;
            injected += run.trace.count(Call::is_injected);
        }
    }
    println!(
        "{runs} runs of {calls}, {longest} calls long: {injected} errors injected, {failures} answers were errors, \
         no write was acknowledged before it was durable, all were in the end"
    );
    assert!(runs >= wanted.min(longest) && injected >= runs && failures > 0);
    support::count("injected_errors", injected as u64);
}
