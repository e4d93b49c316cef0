//! Bytes on disk that are not what was written: a torn journal opens, a damaged one refuses, and a damaged table is
//! an error, never an absent record.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use semel::domain::{Key, Policy};
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, JournalError, OpenError, Settings};
use semel::storage::{Freshness, Put, Store, StoreError, Versioned, Write, WriteId};
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
    Versioned { write_id: WriteId(Uuid::from_u64_pair(1, n)), record: Arc::new(record) }
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
        bytes[..at].windows(5).rposition(|window| window == [1, 3, 0, 0, 0]).expect("it has a beginning")
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
    let buffer = tempfile::NamedTempFile::new().expect("a temporary file");
    let writer = buffer.reopen().expect("the same file");
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(std::sync::Mutex::new(writer)).finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    (result, fs::read_to_string(buffer.path()).expect("the log"))
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
