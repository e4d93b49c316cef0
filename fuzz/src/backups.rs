//! Backups: refused, or whole; and what is whole becomes a store that holds what it says.

use std::sync::Arc;
use std::time::Duration;

use semel::domain::{Clock, Policy, Timestamp};
use semel::storage::conformance::key;
use semel::storage::embedded::EmbeddedStore;
use semel::storage::{Scan, Scope, Store, Versioned, Write, WriteId, backup};
use tempfile::TempDir;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::input::Input;
use super::journals::{block_on, scratch, settings};
use super::records::samples;

const START: &[u8] = b"semel backup\r\n\x1a\n\x01";
const HEAD_BYTES: usize = 12;

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_900_000_000_000_000)
    }
}

/// A first byte that says what the rest is: a backup as it stands, or its frames, each behind its length in two bytes, which
/// are given the right checksums.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let archive = if input.byte() % 2 == 0 {
        input.0.to_vec()
    } else {
        let mut archive = START.to_vec();
        let mut frames = 0;
        while !input.is_empty() {
            let length = usize::from(u16::from_le_bytes(input.array()));
            let body = input.bytes(length);
            archive.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
            archive.extend_from_slice(&xxh3_64_with_seed(body, frames).to_le_bytes());
            archive.extend_from_slice(body);
            frames += 1;
        }
        archive
    };
    let Ok(contents) = backup::check(&*archive) else { return };
    assert_eq!(contents.bytes, archive.len() as u64, "it did not end where it ends");
    let directory = scratch();
    match backup::restore(&*archive, &settings(directory.path()), &Fixed, Duration::from_hours(1)) {
        Ok(restoration) => {
            assert_eq!(restoration.contents, contents);
            let held = held(&directory);
            // A backup that somebody made may hold a key twice.
            assert!(
                held <= contents.records && (held > 0) == (contents.records > 0),
                "{held} of {contents:?}"
            );
        }
        Err(_) => assert!(
            EmbeddedStore::open(settings(directory.path())).is_ok(),
            "nothing is in the way of a store"
        ),
    }
}

fn held(directory: &TempDir) -> u64 {
    let store = EmbeddedStore::open(settings(directory.path())).expect("a store that was just made opens");
    let page = block_on(store.scan(&Scan { scope: Scope::All, tenant: None, after: None, limit: 10_000 }));
    page.expect("it lists").records.len() as u64
}

/// A backup of a small store, as it stands, cut short, and as its frames.
pub fn seeds() -> Vec<Vec<u8>> {
    let directory = scratch();
    let store = EmbeddedStore::open(settings(directory.path())).expect("a new store opens");
    let mut seeds = Vec::new();
    for (n, record) in (0_u128..).zip(samples()) {
        let mut archive = Vec::new();
        backup::write(&store, &Fixed, Duration::from_hours(1), &mut archive, || false)
            .expect("memory takes a backup");
        let mut frames = vec![1];
        let mut rest = &archive[START.len()..];
        while let Some((head, after)) = rest.split_at_checked(HEAD_BYTES) {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
            let (body, after) = after.split_at(usize::try_from(length).expect("a small frame"));
            frames.extend_from_slice(&u16::try_from(body.len()).expect("a small frame").to_le_bytes());
            frames.extend_from_slice(body);
            rest = after;
        }
        if n % 2 == 0 {
            seeds.push([&[0][..], &archive].concat());
            seeds.push([&[0][..], &archive[..archive.len() - 1]].concat());
        }
        seeds.push(frames);
        let current = Versioned::new(WriteId(Uuid::from_u128(n)), Arc::new(record));
        let write = Write::new(key("t", n), None, current, &Policy::default());
        block_on(store.compare_and_put(&write)).expect("a write to a new store");
    }
    seeds
}
