//! A disk that is full or cannot be written, and a directory that somebody else has.

#[path = "support/small_disk.rs"]
mod small_disk;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use semel::domain::{Policy, Timestamp};
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{DirectoryError, EmbeddedStore, OpenError, Part, Settings};
use semel::storage::{Freshness, Put, Scan, Scope, Store, StoreError, Versioned, Write, WriteId};
use small_disk::SmallDisk;
use uuid::Uuid;

const MIB: u64 = 1024 * 1024;

fn write_of(n: u64, payload: usize) -> Write {
    let payload = vec![u8::try_from(n % 251).expect("small"); payload];
    let next =
        Versioned::new(WriteId(Uuid::from_u64_pair(1, n)), Arc::new(Samples::completed_with(n, payload)));
    Write::new(key("t", n), None, next, &Policy::default())
}

async fn is_there(store: &EmbeddedStore, write: &Write) {
    let expected = write.made();
    let found = store.get(&write.key, Freshness::Acknowledged).await.expect("the store reads");
    assert!(found == Some(expected), "{:?}", write.write_id);
}

async fn count(store: &EmbeddedStore) -> usize {
    let (mut count, mut after) = (0, None);
    loop {
        let scan = Scan { scope: Scope::All, tenant: None, after, limit: 1000 };
        let page = store.scan(&scan).await.expect("the store scans");
        count += page.records.len();
        after = page.next;
        if after.is_none() {
            return count;
        }
    }
}

/// Sends a write until it is applied; fails after a time that only a hang can take.
async fn until_applied(store: &EmbeddedStore, write: &Write) {
    let applied = async {
        while !matches!(store.compare_and_put(write).await, Ok(Put::Applied)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), applied).await.expect("writes resume by themselves");
}

/// Waits for what happens by itself; fails after a time that only a hang can take.
async fn until(happened: impl Fn() -> bool) {
    let happened = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), happened).await.expect("it happens by itself");
}

async fn until_well(store: &EmbeddedStore) {
    let well = async {
        while store.ping().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), well).await.expect("the store is well by itself");
}

/// Collects what every thread of this process logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The process's one log: the committer's thread is not the test's.
    fn of_process() -> Self {
        static LOG: std::sync::OnceLock<Log> = std::sync::OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            let writer = log.clone();
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
            log
        })
        .clone()
    }

    fn holds(&self, parts: &[&str]) -> bool {
        let bytes = self.0.lock().expect("no panic").clone();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines().any(|line| parts.iter().all(|part| line.contains(part)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_below_its_reserve_refuses_writes_before_anything_is_written() {
    let log = Log::of_process();
    let disk = SmallDisk::mount("size=64m");
    let settings = Settings {
        write_buffer_bytes: MIB,
        free_space_reserve_bytes: 16 * MIB,
        ..Settings::new(disk.data())
    };
    let store = EmbeddedStore::open(settings).expect("the store opens");
    let writes: Vec<_> = (0..200).map(|n| write_of(n, 20_000)).collect();
    for write in &writes {
        assert_eq!(store.compare_and_put(write).await.expect("written"), Put::Applied);
    }
    disk.fill(12 * MIB);
    let commits = store.stats().commits;
    for n in 1000..1010 {
        match store.compare_and_put(&write_of(n, 100)).await {
            Err(StoreError::Unavailable(cause)) => {
                assert!(cause.contains("bytes free") && cause.contains("make room"), "{cause}");
            }
            other => panic!("a full disk refuses: {other:?}"),
        }
    }
    assert_eq!(store.stats().commits, commits, "nothing was written");
    let data = disk.data().display().to_string();
    assert!(log.holds(&["ERROR", "writes are refused", "bytes free", &data]), "the log has the cause");
    store.ping().await.expect_err("it says that writes do not work");
    for write in &writes {
        is_there(&store, write).await;
        assert!(store.get(&write.key, Freshness::Serial).await.expect("it reads").is_some());
    }
    assert_eq!(count(&store).await, 200);
    let due = writes[0].next.reclaim_at();
    assert_eq!(store.reclaim(due, 10).await.expect("reclamation may use the reserve"), 1);
    disk.fill(4 * MIB);
    store.reclaim(Timestamp::from_micros(u64::MAX), 10).await.expect_err("but half of it only");

    disk.make_room();
    until_well(&store).await;
    assert!(log.holds(&["INFO", "writes are accepted again"]));
    assert_eq!(store.compare_and_put(&write_of(1000, 100)).await.expect("written"), Put::Applied);
    assert_eq!(store.stats().reopened, 0, "there was no need to");
    drop(store);
    let store = EmbeddedStore::open(Settings::new(disk.data())).expect("the store opens");
    for write in &writes[1..] {
        is_there(&store, write).await;
    }
    assert_eq!(count(&store).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_under_writes_loses_nothing_acknowledged_and_recovers_by_itself() {
    let log = Log::of_process();
    let disk = SmallDisk::mount("size=160m");
    // Without a reserve, the engine itself meets the end of the disk.
    let settings =
        Settings { write_buffer_bytes: 2 * MIB, free_space_reserve_bytes: 0, ..Settings::new(disk.data()) };
    let store = EmbeddedStore::open(settings.clone()).expect("the store opens");
    disk.fill(24 * MIB);
    let mut acknowledged = Vec::new();
    let mut n = 0;
    let failed = loop {
        let write = write_of(n, 50_000);
        n += 1;
        assert!(n < 5000, "the disk fills up");
        match store.compare_and_put(&write).await {
            Ok(Put::Applied) => acknowledged.push(write),
            Ok(Put::Conflict(_)) => panic!("the key is new"),
            Err(error) => break (write, error),
        }
    };
    println!("{} writes until the disk was full: {}", acknowledged.len(), failed.1);
    assert!(!acknowledged.is_empty());
    let mut refused = 0;
    for more in 10_000..10_020 {
        match store.compare_and_put(&write_of(more, 50_000)).await {
            Err(StoreError::Unavailable(_)) => refused += 1,
            Err(StoreError::OutcomeUnknown(_)) => {}
            other => panic!("the disk is full: {other:?}"),
        }
    }
    assert!(refused > 0, "once it is known, nothing more is written");
    assert!(log.holds(&["ERROR", "takes no more writes"]));
    // Said there by the commit that failed, or before it by the engine's own worker, whichever met the end first.
    assert!(log.holds(&["ERROR", "No space left on device"]), "the log has the cause");
    for write in &acknowledged {
        is_there(&store, write).await;
    }
    let listed = count(&store).await;
    assert!(listed >= acknowledged.len());

    disk.make_room();
    until_applied(&store, &failed.0).await;
    assert!(store.stats().reopened >= 1);
    assert!(log.holds(&["INFO", "was reopened from disk"]));
    until_well(&store).await;
    acknowledged.push(failed.0);
    for write in &acknowledged {
        is_there(&store, write).await;
    }
    until_applied(&store, &write_of(20_000, 100)).await;
    drop(store);
    let store = EmbeddedStore::open(settings).expect("the store opens");
    for write in &acknowledged {
        is_there(&store, write).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_takes_no_more_files_refuses_writes_and_serves_reads_until_it_does() {
    let log = Log::of_process();
    let disk = SmallDisk::mount("size=256m");
    let settings =
        Settings { write_buffer_bytes: MIB, free_space_reserve_bytes: 0, ..Settings::new(disk.data()) };
    let store = EmbeddedStore::open(settings.clone()).expect("the store opens");
    let mut acknowledged = Vec::new();
    for n in 0..10 {
        let write = write_of(n, 50_000);
        assert_eq!(store.compare_and_put(&write).await.expect("written"), Put::Applied);
        acknowledged.push(write);
    }
    disk.limit_files(true);
    // There is room for bytes. But the engine's next table is a new file, and so is a copy of the journal.
    let mut n = 10;
    let failed = loop {
        let write = write_of(n, 50_000);
        n += 1;
        assert!(n < 2000, "the engine needs a file");
        match store.compare_and_put(&write).await {
            Ok(Put::Applied) => acknowledged.push(write),
            Ok(Put::Conflict(_)) => panic!("the key is new"),
            Err(_) => break write,
        }
    };
    until(|| log.holds(&["ERROR", "takes no more writes"])).await;
    until(|| log.holds(&["WARN", "cannot be reopened yet", "probe.copy", "No space left on device"])).await;
    assert!(disk.free() > 64 * MIB);
    for n in 10_000..10_010 {
        let refused = store.compare_and_put(&write_of(n, 100)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    store.ping().await.expect_err("it says that writes do not work");
    for write in &acknowledged {
        is_there(&store, write).await;
    }
    assert!(count(&store).await >= acknowledged.len());
    assert_eq!(store.stats().reopened, 0);

    disk.limit_files(false);
    until_applied(&store, &failed).await;
    until_well(&store).await;
    acknowledged.push(failed);
    for write in &acknowledged {
        is_there(&store, write).await;
    }
    assert!(store.stats().reopened >= 1);
    assert!(!disk.data().join("engine").join("probe.copy").exists());
    drop(store);
    let store = EmbeddedStore::open(settings).expect("the store opens");
    for write in &acknowledged {
        is_there(&store, write).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_on_a_full_disk_opens_serves_reads_and_takes_writes_once_there_is_room() {
    let log = Log::of_process();
    let disk = SmallDisk::mount("size=64m");
    for reserve in [0, 8 * MIB] {
        let settings = Settings {
            write_buffer_bytes: MIB,
            free_space_reserve_bytes: reserve,
            ..Settings::new(disk.data())
        };
        let store = EmbeddedStore::open(settings.clone()).expect("the store opens");
        let writes: Vec<_> = (reserve..reserve + 50).map(|n| write_of(n, 20_000)).collect();
        for write in &writes {
            assert_eq!(store.compare_and_put(write).await.expect("written"), Put::Applied);
        }
        drop(store);
        disk.fill(0);
        let store = EmbeddedStore::open(settings.clone()).expect("a full disk is no reason not to read");
        assert!(log.holds(&["WARN", "no room to copy the journal", &disk.data().display().to_string()]));
        for write in &writes {
            is_there(&store, write).await;
        }
        // Without a reserve, the disk may be found full by the write itself.
        let more = write_of(reserve + 50, 200_000);
        store.compare_and_put(&more).await.expect_err("the disk is full");
        let refused = store.compare_and_put(&write_of(reserve + 51, 200_000)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        for write in &writes {
            is_there(&store, write).await;
        }

        disk.make_room();
        until_applied(&store, &more).await;
        drop(store);
        let store = EmbeddedStore::open(settings).expect("the store opens");
        for write in writes.iter().chain([&more]) {
            is_there(&store, write).await;
        }
    }
}

/// A journal is given back once every part was flushed past it. Of a part whose last entries were all removals,
/// compaction leaves nothing that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_journal_is_removed_though_the_index_of_open_records_was_compacted_to_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = Settings {
        write_buffer_bytes: 4 * MIB,
        // Or the engine flushes everything itself as soon as there is a second journal.
        journal_bytes: 1024 * MIB,
        free_space_reserve_bytes: 0,
        ..Settings::new(directory.path())
    };
    let store = Arc::new(EmbeddedStore::open(settings).expect("the store opens"));
    let journals = || {
        let files = fs::read_dir(directory.path().join("engine")).expect("the engine's directory");
        let paths = files.map(|file| file.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|it| it == "jnl")).count()
    };
    // The same key each time: tables that share none are not merged, only moved.
    let version = AtomicU64::new(0);
    let open_and_settle = async || {
        for record in [Samples::in_progress(0), Samples::completed(0)] {
            let before = version.fetch_add(1, Ordering::Relaxed);
            let record = Arc::new(record);
            let versioned =
                |version| Versioned::new(WriteId(Uuid::from_u64_pair(3, version)), Arc::clone(&record));
            let replaced = (before > 0).then(|| versioned(before));
            let write = Write::new(key("t", 0), replaced.as_ref(), versioned(before + 1), &Policy::default());
            assert_eq!(store.compare_and_put(&write).await.expect("written"), Put::Applied);
        }
    };
    let flush = async |part| {
        let store = Arc::clone(&store);
        let flushed = tokio::task::spawn_blocking(move || store.flush(part));
        flushed.await.expect("no panic").expect("flushed");
    };
    open_and_settle().await;
    let loader = Arc::clone(&store);
    let loaded = tokio::task::spawn_blocking(move || {
        let records = (1000..2500).map(|n| {
            let Write { key, write_id, next, .. } = write_of(n, 60_000);
            (key, Versioned::new(write_id, next))
        });
        loader.load(records).expect("loaded")
    });
    assert_eq!(loaded.await.expect("no panic"), 1500);
    until(|| journals() == 2).await;
    // The first is moved down; the next four are merged with it, and leave nothing to keep.
    for _ in 1..5 {
        flush(Part::Open).await;
        open_and_settle().await;
    }
    flush(Part::Open).await;
    until(|| store.unmerged(Part::Open) == 0).await;
    for part in [Part::Open, Part::Records, Part::Reclaim] {
        flush(part).await;
    }
    until(|| journals() == 1).await;
}

fn refusal(directory: &Path) -> String {
    let error = EmbeddedStore::open(Settings::new(directory)).expect_err("it cannot be used");
    assert!(matches!(error, OpenError::Directory(_)), "{error:?}");
    error.to_string()
}

#[test]
fn a_directory_that_cannot_be_written_is_refused_by_name() {
    let disk = SmallDisk::mount("size=1m,ro");
    let text = refusal(&disk.data());
    for part in [&*disk.data().display().to_string(), "Read-only file system", "allowed to read and write"] {
        assert!(text.contains(part), "{text}");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("file");
    fs::write(&file, b"").expect("written");
    assert!(refusal(&file).contains(&*file.display().to_string()));
    assert!(refusal(&file.join("below")).contains("Not a directory"));
}

#[test]
fn a_directory_in_use_is_refused_with_its_owner() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = EmbeddedStore::open(Settings::new(directory.path())).expect("the store opens");
    let error = EmbeddedStore::open(Settings::new(directory.path())).expect_err("it is in use");
    assert!(matches!(&error, OpenError::Directory(DirectoryError::Locked { .. })), "{error:?}");
    let text = error.to_string();
    let owner = format!("process {}", std::process::id());
    for part in [&*directory.path().display().to_string(), &owner, "stop that process first"] {
        assert!(text.contains(part), "{text}");
    }
    store.close();
    let again =
        EmbeddedStore::open(Settings::new(directory.path())).expect("it is free as soon as it is closed");
    drop((store, again));
    EmbeddedStore::open(Settings::new(directory.path())).expect("or dropped");
}

#[test]
fn files_that_are_no_store_are_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(EmbeddedStore::open(Settings::new(directory.path())).expect("the store opens"));
    fs::write(directory.path().join("engine").join("version"), b"something else").expect("written");
    let error = EmbeddedStore::open(Settings::new(directory.path())).expect_err("it is no store");
    assert!(error.to_string().contains(&*directory.path().display().to_string()), "{error}");
    fs::remove_file(directory.path().join("engine").join("version")).expect("removed");
    EmbeddedStore::open(Settings::new(directory.path())).expect_err("it is not made anew over what is there");
}

#[tokio::test]
async fn a_closed_store_refuses_everything() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = EmbeddedStore::open(Settings::new(directory.path())).expect("the store opens");
    let write = write_of(1, 10);
    assert_eq!(store.compare_and_put(&write).await.expect("written"), Put::Applied);
    // These are under way when it is closed: each is done, or refused as not done.
    let late: Vec<_> = (100..164).map(|n| write_of(n, 10)).collect();
    let late_answers = futures_util::future::join_all(late.iter().map(|write| store.compare_and_put(write)));
    let (answers, ()) = futures_util::future::join(late_answers, async { store.close() }).await;
    store.close();
    for error in [
        store.compare_and_put(&write).await.expect_err("closed"),
        store.get(&write.key, Freshness::Acknowledged).await.expect_err("closed"),
        store.get(&write.key, Freshness::Serial).await.expect_err("closed"),
        store.ping().await.expect_err("closed"),
        store.reclaim(Timestamp::from_micros(u64::MAX), 1).await.expect_err("closed"),
    ] {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    }
    drop(store);
    let store = EmbeddedStore::open(Settings::new(directory.path())).expect("the store opens");
    is_there(&store, &write).await;
    for (write, answer) in late.iter().zip(answers) {
        match answer {
            Ok(Put::Applied) => is_there(&store, write).await,
            Err(StoreError::Unavailable(_)) => {
                assert_eq!(store.get(&write.key, Freshness::Acknowledged).await.expect("it reads"), None);
            }
            other => panic!("neither done nor refused: {other:?}"),
        }
    }
}
