//! What the store touches and what it costs: counted, never timed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use semel::domain::{Policy, Record};
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, Settings, Stats};
use semel::storage::{Freshness, Put, Scan, Scope, Store, Versioned, Write, WriteId};
use uuid::Uuid;

mod support;

fn versioned(n: u64, step: u64, record: Record) -> Versioned {
    Versioned { write_id: WriteId(Uuid::from_u64_pair(step, n)), record: Arc::new(record) }
}

fn open(directory: &tempfile::TempDir) -> EmbeddedStore {
    let settings = Settings { free_space_reserve_bytes: 0, ..Settings::new(directory.path()) };
    EmbeddedStore::open(settings).expect("the store opens")
}

/// What the work added to the store's counts.
fn added(before: Stats, after: Stats) -> Stats {
    Stats {
        commits: after.commits - before.commits,
        changes: after.changes - before.changes,
        records_read: after.records_read - before.records_read,
        recent_hits: after.recent_hits - before.recent_hits,
        reopened: after.reopened - before.reopened,
    }
}

async fn open_records(store: &EmbeddedStore) -> BTreeSet<String> {
    let (mut keys, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store
            .scan(&Scan { scope: Scope::Open, tenant: None, after, limit: 30 })
            .await
            .expect("the store scans");
        for (key, current) in page.records {
            assert!(current.record.is_open());
            keys.insert(key.idempotency_key.as_str().to_owned());
        }
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}

/// `SEMEL_INDEX_RECORDS`: how many completed records; 1,000,000 in full. Each was open before, so that the index
/// of open records held it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_open_scan_touches_no_completed_record() {
    const OPEN: u64 = 100;
    let completed = support::size("SEMEL_INDEX_RECORDS", 50_000);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(open(&directory));
    let every = completed / OPEN;
    let is_open = move |n: u64| n.is_multiple_of(every) && n / every < OPEN;
    let loader = Arc::clone(&store);
    let filled = tokio::task::spawn_blocking(move || {
        // In portions, as they would come: begun, then completed.
        let mut total = 0;
        for from in (0..completed + OPEN).step_by(10_000) {
            let portion = from..(from + 10_000).min(completed + OPEN);
            let begun = portion.clone().map(|n| (key("t", n), versioned(n, 1, Samples::any(3))));
            total += loader.load(begun).expect("loaded");
            let settled = portion.filter(|n| !is_open(*n));
            let settled = settled.map(|n| (key("t", n), versioned(n, 2, Samples::completed(n))));
            total += loader.load(settled).expect("loaded");
        }
        total
    })
    .await
    .expect("the loader ends well");
    assert_eq!(filled, 2 * (completed + OPEN) - OPEN);
    let expected: BTreeSet<_> =
        (0..completed + OPEN).filter(|n| is_open(*n)).map(|n| format!("key-{n}")).collect();
    assert_eq!(expected.len() as u64, OPEN);
    check_open_scan(&store, &expected, "after the load").await;
    drop(store);
    check_open_scan(&open(&directory), &expected, "after a restart").await;
    support::count("index_records", completed);
}

async fn check_open_scan(store: &EmbeddedStore, expected: &BTreeSet<String>, when: &str) {
    let before = store.stats();
    let began = Instant::now();
    assert!(open_records(store).await == *expected, "{when}: every open record");
    let took = began.elapsed();
    let touched = added(before, store.stats());
    println!("{when}: {touched:?} in {took:?}, {} entries in the index", store.open_index_size());
    assert_eq!(touched.records_read, expected.len() as u64, "{when}: no completed record was read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_share_a_sync_and_a_lone_one_has_its_own() {
    const WRITES: u64 = 512;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory);
    let write =
        |n| Write::new(key("t", n), None, versioned(n, 1, Samples::in_progress(n)), &Policy::default());
    let before = store.stats();
    assert_eq!(store.compare_and_put(&write(WRITES)).await.expect("written"), Put::Applied);
    assert_eq!(added(before, store.stats()).commits, 1);

    let before = store.stats();
    let writes: Vec<_> = (0..WRITES).map(write).collect();
    let answers =
        futures_util::future::join_all(writes.iter().map(|write| store.compare_and_put(write))).await;
    assert!(answers.into_iter().all(|answer| matches!(answer, Ok(Put::Applied))));
    let Stats { commits, changes, .. } = added(before, store.stats());
    println!("{WRITES} concurrent writes: {commits} syncs");
    assert_eq!(changes, WRITES);
    assert!(commits < WRITES, "they shared syncs");

    let before = store.stats();
    let conflicts = (0..WRITES).map(|n| Write { write_id: WriteId(Uuid::from_u64_pair(9, n)), ..write(n) });
    for conflict in conflicts {
        assert!(matches!(store.compare_and_put(&conflict).await, Ok(Put::Conflict(Some(_)))));
    }
    assert_eq!(added(before, store.stats()).commits, 0, "what changes nothing needs no sync");
}

#[tokio::test]
async fn what_was_written_lately_is_read_from_memory() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory);
    let write = Write::new(key("t", 1), None, versioned(1, 1, Samples::in_progress(1)), &Policy::default());
    assert_eq!(store.compare_and_put(&write).await.expect("written"), Put::Applied);
    let before = store.stats();
    for _ in 0..10 {
        store.get(&write.key, Freshness::Acknowledged).await.expect("it reads").expect("it is there");
    }
    let Stats { records_read, recent_hits, .. } = added(before, store.stats());
    assert_eq!((records_read, recent_hits), (0, 10));
}
