//! Bytes on disk that are not what was written: a torn journal opens, a damaged one refuses, and a damaged table is
//! an error, never an absent record.

#[path = "support/log.rs"]
mod log;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use semel::domain::{Key, Policy, Record, Timestamp};
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, JournalError, OpenError, Part, Settings};
use semel::storage::{Expected, Freshness, Put, Scan, Scope, Store, StoreError, Versioned, Write, WriteId};
use tempfile::TempDir;
use uuid::Uuid;

const BATCHES: u64 = 12;

fn settings(directory: &Path) -> Settings {
    Settings {
        write_buffer_bytes: 64 * 1024,
        cache_bytes: 0,
        free_space_reserve_bytes: 0,
        ..Settings::new(directory)
    }
}

fn open(directory: &Path) -> Result<EmbeddedStore, OpenError> {
    EmbeddedStore::open(settings(directory))
}

fn marker(n: u64) -> String {
    format!("<batch {n}>")
}

fn current(n: u64) -> Versioned {
    let record = Samples::completed_with(n, marker(n) + &"x".repeat(200));
    Versioned::new(WriteId(Uuid::from_u64_pair(1, n)), Arc::new(record))
}

/// A directory whose journal holds [`BATCHES`] batches of one write each, and the journal's bytes.
fn written() -> (TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path()).expect("the store opens");
    block_on(async {
        for n in 0..BATCHES {
            let write = Write::new(key("t", n), None, current(n), &Policy::default());
            assert_eq!(store.compare_and_put(&write).await.expect("written"), Put::Applied);
        }
    });
    assert_eq!(store.stats().commits, BATCHES, "one batch each");
    drop(store);
    let bytes = fs::read(journal(directory.path())).expect("the journal is there");
    (directory, bytes)
}

fn journal(directory: &Path) -> PathBuf {
    directory.join("engine").join("0.jnl")
}

/// Where each batch begins, by its marker, and the end. The first bytes of a batch are its kind, 1, and the number of
/// its items, 3: a record, its entry in the index, and the mark.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let find = |n| bytes.windows(marker(n).len()).position(|window| window == marker(n).as_bytes());
    let start = |n| {
        let at = find(n).expect("every batch is in the journal");
        bytes[..at].windows(5).rposition(|window| window == [1, 5, 0, 0, 0]).expect("it has a beginning")
    };
    (0..BATCHES).map(start).chain([bytes.len()]).collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// How many of the first batches are there; there must be no others.
fn intact(store: &EmbeddedStore) -> u64 {
    block_on(async {
        let mut count = 0;
        for n in 0..BATCHES {
            let found = store.get(&key("t", n), Freshness::Acknowledged).await.expect("the store reads");
            match found {
                Some(found) => {
                    assert_eq!((found, count), (current(n), n), "the batches before it are there");
                    count += 1;
                }
                None => assert!(count <= n),
            }
        }
        count
    })
}

/// Opens the directory with another journal.
fn open_with(directory: &TempDir, bytes: &[u8]) -> Result<EmbeddedStore, OpenError> {
    fs::write(journal(directory.path()), bytes).expect("written");
    open(directory.path())
}

#[test]
fn a_torn_tail_opens_without_the_last_batch_and_takes_writes() {
    let (directory, bytes) = written();
    let starts = starts(&bytes);
    let last = starts[starts.len() - 2];
    assert_eq!(intact(&open_with(&directory, &bytes).expect("it opens whole")), BATCHES);
    let mut opened = 0;
    for end in [last, last + 1, last + 5, last + 100, bytes.len() - 5, bytes.len() - 1] {
        for padding in [0, 10_000] {
            let mut torn = bytes[..end].to_vec();
            torn.resize(end + padding, 0);
            let store = open_with(&directory, &torn).unwrap_or_else(|error| panic!("cut at {end}: {error}"));
            assert_eq!(intact(&store), BATCHES - 1);
            let last = current(BATCHES - 1);
            let write = Write::new(key("t", BATCHES - 1), None, last, &Policy::default());
            assert_eq!(block_on(store.compare_and_put(&write)).expect("written"), Put::Applied);
            drop(store);
            assert_eq!(intact(&open(directory.path()).expect("it opens again")), BATCHES);
            opened += 1;
        }
    }
    println!("{opened} torn tails opened");
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_refused_with_file_and_offset() {
    let (directory, bytes) = written();
    let starts = starts(&bytes);
    let mut refused = 0;
    for batch in starts.windows(2).take(starts.len() - 2) {
        let (start, end) = (batch[0], batch[1]);
        // Its kind, count, sequence number, an item's lengths, key and value, the checksum, the end mark.
        let places = [0, 1, 5, 6, 12, 23, 25, 29, 40, 80, (end - start) / 2];
        let places = places.into_iter().map(|at| start + at).chain([end - 13, end - 8, end - 1]);
        for at in places {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            match open_with(&directory, &flipped) {
                Err(OpenError::Journal(JournalError::Damaged { path, offset, .. })) => {
                    assert_eq!((path, offset), (journal(directory.path()), start), "byte {at}");
                }
                other => panic!("byte {at} of the batch at {start}: {other:?}"),
            }
            let kept = fs::read(journal(directory.path())).expect("still there");
            assert!(kept == flipped, "a refused journal is left as it is");
            refused += 1;
        }
    }
    println!("{refused} flipped bits refused");
    assert!(refused >= (BATCHES - 1) * 14);

    let mut flipped = bytes;
    flipped[starts[3] + 50] ^= 1;
    let error = open_with(&directory, &flipped).expect_err("it is refused").to_string();
    for part in ["0.jnl", &format!("byte {}", starts[3]), "checksum", "restore"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_flipped_bit_in_the_last_batch_costs_that_batch_alone_and_is_logged_as_an_error() {
    let (directory, bytes) = written();
    let starts = starts(&bytes);
    let (start, end) = (starts[starts.len() - 2], bytes.len());
    for at in [start, start + 2, start + 11, start + 25, start + 80, end - 13, end - 8, end - 2] {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x04;
        let (store, log) = logged(|| open_with(&directory, &flipped));
        assert_eq!(intact(&store.unwrap_or_else(|error| panic!("byte {at}: {error}"))), BATCHES - 1);
        let line =
            log.lines().find(|line| line.contains("ERROR")).unwrap_or_else(|| panic!("byte {at}: {log}"));
        for part in ["0.jnl", &format!("offset={start}"), "acknowledged"] {
            assert!(line.contains(part), "byte {at}: {line}");
        }
    }
    let torn = &bytes[..end - 20];
    let (store, log) = logged(|| open_with(&directory, torn));
    assert_eq!(intact(&store.expect("it opens")), BATCHES - 1);
    assert!(log.contains("WARN") && !log.contains("ERROR"), "a torn tail is expected after a crash: {log}");
}

/// What is logged on this thread meanwhile.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    let log = log::Log::default();
    let guard = log.capture();
    let result = work();
    drop(guard);
    (result, log.text())
}

/// A store whose last batch is damaged in the journal, after parts of it were flushed to tables.
struct Lost {
    directory: TempDir,
    /// What was acknowledged and must be there, by the number in its key: all but what the last batch changed.
    kept: Vec<(u64, Versioned)>,
}

/// What the last batch does.
#[derive(Clone, Copy, Debug)]
enum Last {
    Begins,
    Completes,
    BeginsAnew,
    Reclaims,
}

fn put(store: &EmbeddedStore, n: u64, expected: Expected, record: Record) -> Versioned {
    let next = Versioned::new(WriteId(Uuid::new_v4()), Arc::new(record));
    let write = Write { expected, ..Write::new(key("t", n), None, next.clone(), &Policy::default()) };
    assert_eq!(block_on(store.compare_and_put(&write)).expect("written"), Put::Applied);
    next
}

/// Where a journal's last batch ends, whatever the file is padded with.
fn written_length(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).expect("it holds batches") + 1
}

/// Flips a bit of the checksum of the last batch.
fn damage_the_end(directory: &Path) {
    let mut bytes = fs::read(journal(directory)).expect("the journal");
    let end = written_length(&bytes);
    bytes[end - 10] ^= 0x40;
    fs::write(journal(directory), bytes).expect("written");
}

impl Lost {
    fn make(last: Last, flushed: &[Part]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = open(directory.path()).expect("the store opens");
        let due = Timestamp::from_micros(1_000_000);
        let records = [
            Samples::in_progress(0),
            Samples::completed(1),
            Samples::in_progress(2),
            Samples::completed(3),
            Samples::expiring(Samples::completed(4), due),
        ];
        let mut kept: Vec<_> =
            (0..).zip(records).map(|(n, record)| (n, put(&store, n, Expected::Absent, record))).collect();
        let version = |n: usize| Expected::Version(kept[n].1.write_id);
        let touched = match last {
            Last::Begins => {
                put(&store, 5, Expected::Absent, Samples::in_progress(5));
                5
            }
            Last::Completes => {
                put(&store, 2, version(2), Samples::completed(2));
                2
            }
            Last::BeginsAnew => {
                put(&store, 3, version(3), Samples::in_progress(3));
                3
            }
            Last::Reclaims => {
                let at = kept[4].1.record.reclaim_at();
                assert_eq!(block_on(store.reclaim(at, 10)).expect("reclaimed"), 1);
                4
            }
        };
        kept.retain(|(n, _)| *n != touched);
        for part in flushed {
            store.flush(*part).expect("flushed");
        }
        drop(store);
        damage_the_end(directory.path());
        Self { directory, kept }
    }

    /// What must be there is there, and the indexes say what the records say.
    fn open_and_check(&self) -> EmbeddedStore {
        let store = open(self.directory.path()).expect("it opens");
        for (n, expected) in &self.kept {
            let found = block_on(store.get(&key("t", n), Freshness::Serial)).expect("it reads");
            assert_eq!(found.as_ref(), Some(expected), "record {n}");
        }
        assert_eq!(store.index_faults(), Ok(0));
        let keys = |scope| {
            let scan = Scan { scope, tenant: None, after: None, limit: 1000 };
            let page = block_on(store.scan(&scan)).expect("it scans");
            let listed = |it: &(Key, Versioned)| scope == Scope::Open || it.1.record.is_open();
            page.records.into_iter().filter(listed).map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(Scope::Open), keys(Scope::All));
        store
    }
}

#[test]
fn a_damaged_last_batch_costs_itself_alone_whatever_of_it_was_flushed() {
    let mut cases = 0;
    for last in [Last::Begins, Last::Completes, Last::BeginsAnew, Last::Reclaims] {
        for flushed in [
            &[][..],
            &[Part::Records],
            &[Part::Open],
            &[Part::Reclaim],
            &[Part::Records, Part::Open],
            &[Part::Records, Part::Reclaim],
            &[Part::Open, Part::Reclaim],
            &[Part::Records, Part::Open, Part::Reclaim],
        ] {
            println!("{last:?}, flushed {flushed:?}");
            let mut lost = Lost::make(last, flushed);
            drop(lost.open_and_check());
            // The order of batches is the same whatever they do.
            let rounds = if matches!(last, Last::Begins) { 3 } else { 1 };
            for batches in 1..=rounds {
                let (store, log) = logged(|| lost.open_and_check());
                assert!(!log.contains("ERROR") && !log.contains("WARN"), "nothing more is lost: {log}");
                for n in 0..batches {
                    let n = 100 * batches + n;
                    lost.kept.push((n, put(&store, n, Expected::Absent, Samples::in_progress(n))));
                }
            }
            drop(lost.open_and_check());
            cases += 1;
        }
    }
    println!("{cases} last batches lost");
}

#[test]
fn a_second_loss_after_a_first_that_was_flushed_is_put_right_too() {
    // The lost batch's ordinal is given again: the marks differ all the same.
    let mut lost = Lost::make(Last::Begins, &[Part::Records, Part::Open, Part::Reclaim]);
    let store = lost.open_and_check();
    lost.kept.retain(|(n, _)| *n != 2);
    let found = block_on(store.get(&key("t", 2), Freshness::Serial)).expect("it reads").expect("it is there");
    put(&store, 2, Expected::Version(found.write_id), Samples::completed(2));
    store.flush(Part::Records).expect("flushed");
    drop(store);
    damage_the_end(lost.directory.path());
    drop(lost.open_and_check());
}

#[test]
fn a_journal_that_ends_long_before_the_tables_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path()).expect("the store opens");
    put(&store, 0, Expected::Absent, Samples::in_progress(0));
    let one = fs::read(journal(directory.path())).expect("the journal");
    for n in 1..3 {
        put(&store, n, Expected::Absent, Samples::in_progress(n));
    }
    store.flush(Part::Records).expect("flushed");
    drop(store);
    let error = open_with(&directory, &one).expect_err("two batches are gone").to_string();
    assert!(error.contains("part of the journal is missing") && error.contains("batch 2"), "{error}");
}

/// Whatever a caller writes is in the journal as it is, and can be left behind by a crash after what cannot be read.
#[test]
fn a_payload_that_is_a_journal_of_another_store_never_keeps_the_store_from_opening() {
    let (_elsewhere, batches) = written();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path()).expect("the store opens");
    let first = put(&store, 0, Expected::Absent, Samples::completed(0));
    let begins = fs::read(journal(directory.path())).expect("the journal");
    let begins = begins.iter().rposition(|&byte| byte != 0).expect("it holds a batch") + 1;
    let end = batches.iter().rposition(|&byte| byte != 0).expect("it holds batches") + 1;
    put(&store, 1, Expected::Absent, Samples::completed_with(1, batches[..end].to_vec()));
    drop(store);
    let bytes = fs::read(journal(directory.path())).expect("the journal");
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("it holds batches") + 1;
    let step = (end - begins) / 150;
    let mut opened = 0;
    for cut in (begins + 1..end).step_by(step) {
        let store =
            open_with(&directory, &bytes[..cut]).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        let found = block_on(store.get(&key("t", 0), Freshness::Serial)).expect("it reads");
        assert_eq!(found.as_ref(), Some(&first));
        assert_eq!(block_on(store.get(&key("t", 1), Freshness::Serial)).expect("it reads"), None);
        opened += 1;
    }
    println!("{opened} torn tails with batches in a payload opened");
    assert!(opened >= 150);
    drop(open_with(&directory, &bytes).expect("it opens whole"));
}

#[test]
fn a_store_without_its_name_or_with_another_format_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    drop(open(directory.path()).expect("the store opens"));
    let file = directory.path().join("engine").join("semel");
    let text = fs::read_to_string(&file).expect("it has a name");
    let refused = |text: Option<&str>, parts: &[&str]| {
        match text {
            Some(text) => fs::write(&file, text).expect("written"),
            None => fs::remove_file(&file).expect("removed"),
        }
        let error = open(directory.path()).expect_err("it is refused").to_string();
        for part in parts.iter().chain([&&*directory.path().display().to_string()]) {
            assert!(error.contains(part), "{part}: {error}");
        }
    };
    refused(Some(&text.replace("format 1", "format 2")), &["format 2", "format 1"]);
    let id = text.find("id ").expect("it holds an id") + 3;
    let other = if text.as_bytes()[id] == b'7' { "8" } else { "7" };
    let flipped = format!("{}{other}{}", &text[..id], &text[id + 1..]);
    refused(Some(&flipped), &["damaged", "backup"]);
    refused(Some(""), &["damaged", "backup"]);
    refused(None, &["missing", "before the first release"]);
    fs::write(&file, text).expect("written");
    open(directory.path()).expect("and opens again");
}

#[test]
fn a_missing_journal_file_is_refused() {
    // Without the first batches the others are out of sequence with nothing before them: take one from the middle.
    let (directory, bytes) = written();
    let starts = starts(&bytes);
    let mut without = bytes[..starts[4]].to_vec();
    without.extend(&bytes[starts[5]..]);
    match open_with(&directory, &without) {
        Err(OpenError::Journal(JournalError::Damaged { offset, what, .. })) => {
            assert_eq!(offset, starts[4], "{what}");
        }
        other => panic!("{other:?}"),
    }
}

/// Its later batches are in sequence, and nothing in it shows that there was one before them.
#[test]
fn a_journal_without_its_beginning_is_refused() {
    let (directory, bytes) = written();
    let starts = starts(&bytes);
    // The last of them is the end.
    for start in &starts[1..starts.len() - 1] {
        let error =
            open_with(&directory, &bytes[*start..]).expect_err("the first batches are gone").to_string();
        assert!(error.contains("a part of the journal is missing"), "from byte {start}: {error}");
    }
    open_with(&directory, &bytes).expect("the whole journal is opened still");
}

#[test]
fn a_journal_may_begin_after_what_every_table_holds() {
    const FLUSHED: u64 = 3;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path()).expect("the store opens");
    let put_next = |n| drop(put(&store, n, Expected::Absent, Samples::in_progress(n)));
    let length = || written_length(&fs::read(journal(directory.path())).expect("the journal"));
    (0..FLUSHED).for_each(put_next);
    let parts = [Part::Records, Part::Open, Part::Reclaim];
    for part in parts {
        store.flush(part).expect("flushed");
    }
    let flushed = length();
    put_next(FLUSHED);
    let one_more = length();
    put_next(FLUSHED + 1);
    drop(store);
    let bytes = fs::read(journal(directory.path())).expect("the journal");

    let error = open_with(&directory, &bytes[one_more..]).expect_err("a batch is gone").to_string();
    assert!(error.contains("a part of the journal is missing"), "{error}");
    let store = open_with(&directory, &bytes[flushed..]).expect("the tables hold all that came before");
    for n in 0..FLUSHED + 2 {
        let found = block_on(store.get(&key("t", n), Freshness::Acknowledged)).expect("the store reads");
        assert!(found.is_some(), "record {n}");
    }
    assert_eq!(store.index_faults(), Ok(0));
}

#[test]
fn a_damaged_table_is_an_error_and_never_an_absent_record() {
    const RECORDS: u64 = 3000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(directory.path()).expect("the store opens");
    store.load((0..RECORDS).map(|n| (key("t", n), current(n)))).expect("loaded");
    drop(store);
    let (mut errors, mut refusals, mut flips) = (0, 0, 0);
    for table in tables(directory.path()) {
        let bytes = fs::read(&table).expect("a table");
        for place in 0..48 {
            let mut flipped = bytes.clone();
            let at = bytes.len() * (2 * place + 1) / 96;
            flipped[at] ^= 0x20;
            fs::write(&table, &flipped).expect("written");
            flips += 1;
            match open(directory.path()) {
                Ok(store) => errors += check_reads(&store, RECORDS),
                Err(_) => refusals += 1,
            }
        }
        fs::write(&table, &bytes).expect("written");
    }
    let store = open(directory.path()).expect("the store opens");
    assert_eq!(check_reads(&store, RECORDS), 0, "whole again");
    println!(
        "{flips} bits flipped in tables: {errors} reads failed, {refusals} times the store did not open"
    );
    assert!(errors > 0 && flips >= 48);
}

/// Reads everything; each record is right, or its read fails. How many failed.
fn check_reads(store: &EmbeddedStore, records: u64) -> u64 {
    block_on(async {
        let mut errors = 0;
        for n in 0..records {
            match store.get(&key("t", n), Freshness::Acknowledged).await {
                Ok(Some(found)) => assert_eq!(found, current(n)),
                Ok(None) => panic!("record {n} is absent"),
                Err(StoreError::Unavailable(cause)) => {
                    assert!(!names(&key("t", n), &cause), "{cause}");
                    errors += 1;
                }
                Err(error) => panic!("a read is not unknown: {error}"),
            }
        }
        errors
    })
}

fn names(key: &Key, text: &str) -> bool {
    text.contains(key.idempotency_key.as_str())
}

/// The tables of the keyspace that holds the records: the one with the most bytes.
fn tables(directory: &Path) -> Vec<PathBuf> {
    let keyspaces = fs::read_dir(directory.join("engine").join("keyspaces")).expect("keyspaces");
    let mut keyspaces: Vec<(u64, Vec<PathBuf>)> = keyspaces
        .map(|keyspace| {
            let tables = fs::read_dir(keyspace.expect("an entry").path().join("tables")).expect("tables");
            let tables: Vec<_> = tables.map(|table| table.expect("an entry").path()).collect();
            (tables.iter().map(|table| fs::metadata(table).expect("a file").len()).sum(), tables)
        })
        .collect();
    keyspaces.sort();
    let (bytes, tables) = keyspaces.pop().expect("some");
    assert!(bytes > 100_000, "the records were flushed to tables");
    tables
}
