//! What every backend must do, as one suite that every backend runs.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use uuid::Uuid;

use super::{Expected, Freshness, Put, Scan, Scope, Store, StoreError, Versioned, Write, WriteId};
use crate::domain::{Key, Policy, Record, Tenant, Timestamp};

mod conditions;
mod exactness;
mod random;
mod reclaiming;
mod samples;
mod scanning;

pub use samples::{Samples, hostile_keys, key};

/// What makes stores for the suite.
#[async_trait]
pub trait Backend: fmt::Debug + Send {
    /// An empty store of its own.
    async fn fresh(&mut self) -> Arc<dyn Store>;

    /// Closes the store, which nobody else holds any more, and opens it again; `None` where this kind of store
    /// does not outlive the process.
    async fn reopen(&mut self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>>;
}

/// How much was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Scenarios that were run to the end.
    pub scenarios: usize,
    /// Of these, how many reopened the store.
    pub reopened: usize,
}

/// The scenarios that any backend runs; those that reopen a store are extra.
pub const LEAST_SCENARIOS: usize = 32;
/// The scenarios that reopen a store.
pub const LEAST_REOPENED: usize = 2;

type Scenario = (&'static str, fn(Arc<dyn Store>) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! scenarios {
    ($($module:ident::$name:ident),+ $(,)?) => {
        &[$((stringify!($name), |store| Box::pin($module::$name(store)))),+]
    };
}

const SCENARIOS: &[Scenario] = scenarios![
    conditions::an_absent_key_reads_as_absent,
    conditions::a_first_write_is_read_back,
    conditions::a_first_write_on_a_present_key_conflicts,
    conditions::a_write_on_the_right_version_is_applied,
    conditions::a_write_on_the_wrong_version_conflicts,
    conditions::a_write_on_an_absent_key_conflicts_with_nothing,
    conditions::the_same_write_sent_twice_is_applied_once,
    conditions::a_write_sent_again_after_its_successor_conflicts,
    conditions::sixty_four_first_writers_have_one_winner,
    conditions::sixty_four_writers_have_one_winner_per_version,
    conditions::sixty_four_copies_of_one_write_are_all_applied,
    conditions::writers_of_different_keys_do_not_meet,
    conditions::a_chain_of_writes_without_waiting_keeps_its_order,
    conditions::a_write_whose_sender_left_is_settled_by_sending_it_again,
    conditions::a_serial_read_settles_a_write_whose_sender_left,
    conditions::a_conflict_settles_a_write_whose_sender_left,
    conditions::the_store_says_that_it_is_there,
    exactness::every_field_comes_back_exactly,
    exactness::hostile_keys_never_meet,
    exactness::a_result_of_three_mebibytes_comes_back_exactly,
    exactness::conflicts_carry_the_record_exactly,
    scanning::an_empty_store_has_an_empty_page,
    scanning::pages_of_every_size_cover_everything,
    scanning::a_tenant_sees_its_own_records_only,
    scanning::the_open_scan_follows_the_records,
    scanning::a_scan_of_a_changing_store_misses_nothing_that_stays,
    scanning::large_records_fit_in_pages,
    reclaiming::an_expired_record_is_still_there,
    reclaiming::nothing_goes_before_its_time,
    reclaiming::the_limit_is_kept,
    reclaiming::the_latest_version_says_when,
    reclaiming::a_write_in_a_race_with_reclamation_is_not_lost,
    random::a_random_history_matches_a_map,
];

const REOPENING: &[Scenario] = scenarios![exactness::fill_for_reopening, random::fill_for_reopening,];

/// Runs every scenario, each on a store of its own, and fails with the name of the one that failed.
pub async fn run(backend: &mut dyn Backend) -> Report {
    let mut report = Report { scenarios: 0, reopened: 0 };
    for (name, scenario) in SCENARIOS {
        let store = backend.fresh().await;
        named(name, scenario(store)).await;
        report.scenarios += 1;
    }
    for (name, fill) in REOPENING {
        let store = backend.fresh().await;
        named(name, fill(Arc::clone(&store))).await;
        let before = contents(&*store).await;
        let open = scan_all(&*store, Scope::Open, None, 7).await;
        let Some(store) = backend.reopen(store).await else { continue };
        named(name, async {
            assert_eq!(contents(&*store).await, before, "everything is there after reopening");
            assert_eq!(scan_all(&*store, Scope::Open, None, 7).await, open, "the index of open records too");
            for (key, current) in &before {
                assert_eq!(read(&*store, key).await.as_ref(), Some(current));
                still_conditional(&*store, key, current).await;
            }
            let (_, last) = before.iter().max_by_key(|(_, c)| c.record.reclaim_at()).expect("some records");
            let due = store.reclaim(last.record.reclaim_at(), usize::MAX).await.expect("reclaims");
            assert_eq!(due, before.len(), "the index of reclamation too");
        })
        .await;
        report.scenarios += 1;
        report.reopened += 1;
    }
    println!(
        "conformance of {backend:?}: {} scenarios, {} of them reopened",
        report.scenarios, report.reopened
    );
    assert!(report.scenarios >= LEAST_SCENARIOS, "at least {LEAST_SCENARIOS} scenarios must run");
    report
}

async fn named(name: &str, scenario: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(scenario).catch_unwind().await {
        eprintln!("conformance scenario that failed: {name}");
        std::panic::resume_unwind(panic);
    }
}

/// A record that is there refuses a first write and a wrong version, with itself.
async fn still_conditional(store: &dyn Store, key: &Key, current: &Versioned) {
    for expected in [Expected::Absent, Expected::Version(write_id())] {
        let write = Write { expected, ..write_of(key, None, current.record.clone()) };
        assert_eq!(put(store, &write).await, Put::Conflict(Some(current.clone())));
    }
    let again = Write { write_id: current.write_id, ..write_of(key, None, current.record.clone()) };
    assert_eq!(put(store, &again).await, Put::Applied, "the write that made it, sent again");
}

fn write_id() -> WriteId {
    WriteId(Uuid::new_v4())
}

/// The write that puts `next` in the place of `before`, under the default policy.
fn write_of(key: &Key, before: Option<&Versioned>, next: Arc<Record>) -> Write {
    let next = Versioned { write_id: write_id(), record: next };
    Write::new(key.clone(), before, next, &Policy::default())
}

fn first(key: &Key, record: Record) -> Write {
    write_of(key, None, Arc::new(record))
}

fn after(before: &Write, record: Record) -> Write {
    write_of(&before.key, Some(&made_by(before)), Arc::new(record))
}

/// What is there once `write` was applied.
fn made_by(write: &Write) -> Versioned {
    Versioned { write_id: write.write_id, record: write.next.clone() }
}

async fn put(store: &dyn Store, write: &Write) -> Put {
    settled(store, write).await.expect("the store takes the write")
}

/// Sends a write until its outcome is known.
async fn settled(store: &dyn Store, write: &Write) -> Result<Put, StoreError> {
    loop {
        match store.compare_and_put(write).await {
            Err(StoreError::OutcomeUnknown(_)) => tokio::task::yield_now().await,
            other => return other,
        }
    }
}

async fn apply(store: &dyn Store, write: &Write) {
    assert_eq!(put(store, write).await, Put::Applied);
}

async fn read(store: &dyn Store, key: &Key) -> Option<Versioned> {
    store.get(key, Freshness::Acknowledged).await.expect("the store reads")
}

async fn read_serial(store: &dyn Store, key: &Key) -> Option<Versioned> {
    store.get(key, Freshness::Serial).await.expect("the store reads")
}

/// All pages of a scan, by key. Within them no key comes twice with different records, as nothing changes.
async fn scan_all(
    store: &dyn Store,
    scope: Scope,
    tenant: Option<&Tenant>,
    limit: usize,
) -> Vec<(Key, Versioned)> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let scan = Scan { scope, tenant: tenant.cloned(), after, limit };
        let page = store.scan(&scan).await.expect("the store scans");
        assert!(page.records.len() <= limit, "a page holds at most {limit} records");
        records.extend(page.records);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    records.sort_by(|(a, _), (b, _)| a.cmp(b));
    records.dedup();
    records
}

async fn contents(store: &dyn Store) -> Vec<(Key, Versioned)> {
    scan_all(store, Scope::All, None, 100).await
}

const fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}
