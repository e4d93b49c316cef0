//! The journal of an embedded store: whatever became of its bytes, the store refuses to open, or it holds what it held after
//! one of its batches, and nothing else.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use semel::domain::{Key, Policy, Record};
use semel::storage::conformance::key;
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Put, Scan, Scope, Store, Versioned, Write, WriteId};
use tempfile::TempDir;
use uuid::Uuid;

use super::input::Input;
use super::records::samples;

/// A store of this process, and what it held after each of its batches.
struct Written {
    /// Its files but for the journal, and where they stand.
    files: Vec<(PathBuf, Vec<u8>)>,
    journal: Vec<u8>,
    states: Vec<Vec<(Key, Record)>>,
}

const JOURNAL: &str = "engine/0.jnl";
/// Parts that are doubled again and again would have no end.
const MOST_BYTES: usize = 256 * 1024;

/// Changes of a good journal, one after the other; each store has an id of its own, so no input can hold a good one.
pub fn run(data: &[u8]) {
    let written = written();
    let mut journal = written.journal.clone();
    let mut input = Input(data);
    while !input.is_empty() && journal.len() < MOST_BYTES {
        change(&mut journal, &mut input);
    }
    let directory = scratch();
    let journal = (Path::new(JOURNAL).to_owned(), journal);
    for (path, bytes) in written.files.iter().chain([&journal]) {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it is in the directory"))
            .expect("a directory can be made");
        std::fs::write(path, bytes).expect("a file can be written");
    }
    let Ok(store) = EmbeddedStore::open(settings(directory.path())) else { return };
    let held = held(&store);
    assert!(written.states.contains(&held), "it holds what it never held: {held:?}");
    assert_eq!(store.index_faults(), Ok(0));
}

fn change(journal: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.byte();
    let mut place = || usize::from(u16::from_le_bytes(input.array())).min(journal.len());
    let (from, to) = (place(), place());
    let (first, last) = (from.min(to), from.max(to));
    match kind % 8 {
        0 => journal.truncate(from),
        1 => journal[first..last].fill(0),
        2 => drop(journal.drain(first..last)),
        // Another part of it, in a place where it was not.
        3 => {
            let part = journal[first..last].to_vec();
            let place = usize::from(u16::from_le_bytes(input.array())).min(journal.len());
            journal.splice(place..place, part);
        }
        4 => {
            let part = journal[first..last].to_vec();
            journal.extend(part);
        }
        5 => {
            let bytes = input.short();
            journal.splice(from..from, bytes.iter().copied());
        }
        6 => {
            for (byte, new) in journal[from..].iter_mut().zip(input.short()) {
                *byte = *new;
            }
        }
        _ => {
            let bit = input.byte();
            if let Some(byte) = journal.get_mut(from) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}

fn written() -> &'static Written {
    static WRITTEN: OnceLock<Written> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let directory = scratch();
        let store = EmbeddedStore::open(settings(directory.path())).expect("a new store opens");
        let mut states = vec![held(&store)];
        let mut before = None;
        for (n, record) in (0_u128..).zip(samples()) {
            // The first key is written twice.
            let (key, known) = (key("t", n.saturating_sub(1)), before.take().filter(|_| n == 1));
            let current = Versioned::new(WriteId(Uuid::from_u128(n)), Arc::new(record));
            let write = Write::new(key, known.as_ref(), current.clone(), &Policy::default());
            assert_eq!(
                block_on(store.compare_and_put(&write)).expect("a write to a new store"),
                Put::Applied
            );
            before = Some(current);
            states.push(held(&store));
        }
        store.close();
        drop(store);
        let mut files = Vec::new();
        collect(directory.path(), directory.path(), &mut files);
        let at = files.iter().position(|(path, _)| path == Path::new(JOURNAL)).expect("it has a journal");
        let (_, mut journal) = files.swap_remove(at);
        let end = journal.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        journal.truncate(end);
        assert!(journal.len() < usize::from(u16::MAX), "places in it have two bytes");
        Written { files, journal, states }
    })
}

fn held(store: &EmbeddedStore) -> Vec<(Key, Record)> {
    let page = block_on(store.scan(&Scan { scope: Scope::All, tenant: None, after: None, limit: 1000 }));
    let records = page.expect("it lists").records.into_iter();
    records.map(|(key, current)| (key, Record::clone(&current.record))).collect()
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(directory).expect("a directory can be read") {
        let path = entry.expect("a directory can be read").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("it is in the directory").to_owned();
            files.push((name, std::fs::read(path).expect("a file can be read")));
        }
    }
}

/// A directory, in memory where that is to be had: thousands of stores are made in it.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory for one store")
}

pub(crate) fn settings(directory: &Path) -> Settings {
    Settings {
        write_buffer_bytes: 64 * 1024,
        cache_bytes: 0,
        free_space_reserve_bytes: 0,
        ..Settings::new(directory)
    }
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// Each kind of change, at places of all kinds.
pub fn seeds() -> Vec<Vec<u8>> {
    let length = u16::try_from(written().journal.len()).unwrap_or(0);
    let mut seeds = vec![Vec::new()];
    for place in [0, 1, 13, length / 3, length / 2, length - 14, length - 1, length] {
        for kind in 0..8_u8 {
            let (first, last) = (place.to_le_bytes(), (length / 2).to_le_bytes());
            seeds.push([&[kind][..], &first, &last, &[3, 1, 2, 3]].concat());
        }
    }
    seeds
}
