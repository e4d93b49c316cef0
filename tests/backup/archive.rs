//! A backup is whole and of one instant, or is none.

use std::cell::Cell;
use std::fs;

use semel::storage::backup::archive::ArchiveError;
use semel::storage::backup::{self, BackupError, RestoreError};
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::EmbeddedStore;

use crate::command_line::{exit, run};
use crate::program::{errors, text};
use crate::server::TestClock;
use crate::stores::{LONGEST, back_up, get, open, restore, versioned};
use crate::support::count;

#[test]
fn no_damage_passes_for_a_backup() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = open(&directory.path().join("first"));
    store.load((0..3).map(|n| (key("t", n), versioned(n.into(), Samples::any(n))))).unwrap();
    let backup = back_up(&store, &*clock);
    assert_eq!(backup::check(&backup[..]).unwrap().records, 3);
    let mut damages = 0;
    for length in 0..backup.len() {
        let error = backup::check(&backup[..length]).unwrap_err();
        let cut = matches!(error, RestoreError::Archive(ArchiveError::CutShort { bytes }) if bytes == length as u64);
        assert!(cut || (length == 0 && error.to_string().contains("no backup")), "{length}: {error}");
        damages += 1;
    }
    for place in 0..backup.len() {
        for bit in 0..8 {
            let mut flipped = backup.clone();
            flipped[place] ^= 1 << bit;
            let error = backup::check(&flipped[..]).expect_err("it is damaged").to_string();
            assert!(!error.is_empty());
            damages += 1;
        }
    }
    let more = [&backup[..], b"more"].concat();
    assert!(matches!(
        backup::check(&more[..]),
        Err(RestoreError::Archive(ArchiveError::MoreAfterTheEnd { bytes })) if bytes == backup.len() as u64
    ));
    count("damaged_backups", damages);

    // None of that leaves a store behind.
    for (name, bytes) in
        [("cut", &backup[..backup.len() - 1]), ("more", &more[..]), ("text", b"not a backup")]
    {
        let place = directory.path().join(name);
        assert!(restore(bytes, &place, &*clock).is_err(), "{name}");
        assert!(!EmbeddedStore::is_in(&place), "{name}");
        assert!(!place.join("restoring").exists(), "{name}");
        let file = directory.path().join(format!("{name}.semel"));
        fs::write(&file, bytes).unwrap();
        for flags in [&["--check"][..], &["--data-dir", place.to_str().unwrap()]] {
            let output = run(&[&["restore", "--from", file.to_str().unwrap()], flags].concat());
            assert_eq!((exit(&output), text(&output).as_str()), (1, ""), "{}", errors(&output));
        }
        assert!(!EmbeddedStore::is_in(&place), "{name}");
        restore(&backup, &place, &*clock).expect("the directory is as good as before");
    }
}

#[test]
fn a_backup_is_of_one_instant_while_writes_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = open(&directory.path().join("first"));
    let record = |n: u64, payload: u8| Samples::completed_with(n, vec![payload; 20_000]);
    let old: Vec<_> = (0..200).map(|n| (key("t", n), versioned(n.into(), record(n, 1)))).collect();
    store.load(old.clone()).unwrap();
    let written = Cell::new(0);
    let mut backup = Vec::new();
    // Between any two batches everything is overwritten, and there is more.
    let overwrite = || {
        let round = written.get() + 1;
        written.set(round);
        let new = (0..400_u64).map(|n| (key("t", n), versioned(u128::from(1000 * round + n), record(n, 2))));
        store.load(new).unwrap();
        false
    };
    backup::write(&store, &*clock, LONGEST, &mut backup, overwrite).unwrap();
    assert!(written.get() > 2, "the backup has several batches");
    let second = directory.path().join("second");
    assert_eq!(restore(&backup, &second, &*clock).unwrap().contents.records, 200);
    let store = open(&second);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (key, before) in old {
        assert!(runtime.block_on(get(&store, &key)) == Some(before));
    }
}

#[test]
fn a_backup_that_cannot_be_finished_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let fill = |store: &EmbeddedStore| {
        let record = |n: u64| Samples::completed_with(n, vec![1; 20_000]);
        store.load((0..200).map(|n| (key("t", n), versioned(n.into(), record(n))))).unwrap();
    };
    let store = open(&directory.path().join("first"));
    fill(&store);
    let mut bytes = Vec::new();
    let close = || {
        store.close();
        false
    };
    let closed = backup::write(&store, &*clock, LONGEST, &mut bytes, close).unwrap_err();
    assert!(matches!(closed, BackupError::Store(_)), "{closed}");
    let read = backup::check(&bytes[..]).unwrap_err().to_string();
    assert!(read.contains("given up") && read.contains("since the snapshot was taken"), "{read}");

    let store = open(&directory.path().join("second"));
    fill(&store);
    let mut bytes = Vec::new();
    let stopped = backup::write(&store, &*clock, LONGEST, &mut bytes, || true).unwrap_err();
    assert!(matches!(stopped, BackupError::Stopping), "{stopped}");
    assert!(backup::check(&bytes[..]).unwrap_err().to_string().contains("the server stops"));
}
