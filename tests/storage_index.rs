//! What the store touches and what it costs: counted, never timed.

use std::collections::BTreeSet;
use std::sync::Arc;

use semel::coordinator::{self, Coordinator, Listing, ListingFilter};
use semel::domain::{Clock, Key, Policy, PolicyRules, Record, Tenant, Timestamp};
use semel::policies::Policies;
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, Settings, Stats};
use semel::storage::{Freshness, Put, Store, Versioned, Write, WriteId};
use semel::sweep::Sweep;
use semel::telemetry::KeyHash;
use uuid::Uuid;

mod support;

fn versioned(n: u64, step: u64, record: Record) -> Versioned {
    Versioned::new(WriteId(Uuid::from_u64_pair(step, n)), Arc::new(record))
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
        index_entries: after.index_entries - before.index_entries,
        unreadable: after.unreadable - before.unreadable,
        reclaim_passes: after.reclaim_passes - before.reclaim_passes,
        recent_hits: after.recent_hits - before.recent_hits,
        reopened: after.reopened - before.reopened,
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
    check_list_and_sweep(store, &expected, "after the load").await;
    check_list_and_sweep(Arc::new(open(&directory)), &expected, "after a restart").await;
    support::count("index_records", completed);
}

/// The moment of the samples: none of them has expired.
#[derive(Debug)]
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000)
    }
}

/// Lists what is unresolved, and sweeps, as the server does; neither comes upon a completed record, nor upon an
/// entry of the index that one has left behind.
async fn check_list_and_sweep(store: Arc<EmbeddedStore>, expected: &BTreeSet<String>, when: &str) {
    let open = expected.len() as u64;
    let touched = |what: &str, before: Stats| {
        let touched = added(before, store.stats());
        println!("{when}, {what}: {touched:?}, about {} entries in the index", store.open_index_size());
        assert_eq!(touched.records_read, open, "{when}, {what}: no completed record was read");
        assert_eq!(touched.index_entries, open, "{when}, {what}: the index holds open records only");
    };
    let coordinator = Coordinator::new(store.clone(), Arc::new(Then), 1, coordinator::Settings::default());
    let rules = PolicyRules::new(Policy::default(), Vec::new());

    let before = store.stats();
    assert!(unresolved(&coordinator, &rules).await == *expected, "{when}: every open record");
    touched("List", before);

    let before = store.stats();
    let policies = Arc::new(Policies::new(rules));
    let mut sweep = Sweep::new(store.clone(), policies, Arc::new(Then), KeyHash::new(b"test"));
    let counts = sweep.counts();
    sweep.once().await.expect("it sweeps");
    assert_eq!(counts.borrow().map(|counts| counts.unresolved()), Some(open), "{when}");
    touched("sweep", before);
}

/// The keys that List gives, page by page.
async fn unresolved(coordinator: &Coordinator, rules: &PolicyRules) -> BTreeSet<String> {
    let filter = ListingFilter {
        tenant: Tenant::new("t").expect("valid"),
        endpoint: None,
        reading: Some(Listing::Unresolved),
    };
    let (mut keys, mut after) = (BTreeSet::new(), None);
    loop {
        let page =
            coordinator.list(&filter, rules, 30, after, usize::MAX, |_| 1).await.expect("the store lists");
        keys.extend(page.records.into_iter().map(|listed| listed.key.idempotency_key.as_str().to_owned()));
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}

/// A row that is dropped leaves a removal in its place until the engine compacts it away, so each look from the
/// beginning of the index costs more than the one before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reclamation_goes_on_where_the_call_before_ended() {
    const ROWS: u64 = 5_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(open(&directory));
    // These are due at that very moment.
    let row = |n, at| (key("t", n), versioned(n, 1, Samples::expiring(Samples::forgotten(n), at)));
    load(&store, (0..ROWS).map(|n| row(n, Timestamp::from_micros(1_000 + n))).collect()).await;
    let later = Timestamp::from_micros(1_000_000);

    let before = store.stats();
    for _ in 0..4 {
        assert_eq!(store.reclaim(later, 1_000).await.expect("it reclaims"), 1_000);
    }
    assert_eq!(added(before, store.stats()).reclaim_passes, 1, "only the first began at the beginning");
    // Rows that are due before that place are not forgotten.
    load(&store, (ROWS..ROWS + 10).map(|n| row(n, Timestamp::from_micros(n - ROWS))).collect()).await;
    assert_eq!(store.reclaim(later, 2_000).await.expect("it reclaims"), 1_010);
    assert_eq!(added(before, store.stats()).reclaim_passes, 2, "and the last looked for those");

    // Nor are they where the clock went back in between.
    load(&store, (0..20).map(|n| row(n, Timestamp::from_micros(10 * n))).collect()).await;
    assert_eq!(store.reclaim(later, 10).await.expect("it reclaims"), 10);
    let earlier = Timestamp::from_micros(20);
    load(&store, (100..110).map(|n| row(n, Timestamp::from_micros(10))).collect()).await;
    assert_eq!(store.reclaim(earlier, 100).await.expect("it reclaims"), 10, "those of the last load");
    assert_eq!(store.reclaim(later, 100).await.expect("it reclaims"), 10, "the rest of those before");
}

async fn load(store: &Arc<EmbeddedStore>, records: Vec<(Key, Versioned)>) {
    let (store, wanted) = (Arc::clone(store), records.len() as u64);
    let loaded = tokio::task::spawn_blocking(move || store.load(records)).await.expect("it ends well");
    assert_eq!(loaded.expect("loaded"), wanted);
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
