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
use crate::domain::{Interest, Key, Policy, Record, Tenant, Timestamp};

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
    /// What its stores offer.
    fn kind(&self) -> Kind;

    /// An empty store of its own. One that reclaims by TTL takes [`Samples::CLOCK`] for the present, always.
    async fn fresh(&mut self) -> Arc<dyn Store>;

    /// Closes the store, which nobody else holds any more, and opens it again; `None` where this kind of store
    /// does not outlive the process.
    async fn reopen(&mut self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>>;
}

/// What a store offers beside reads and conditional writes. Scenarios that need more are left out, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The widest scope that it scans.
    pub lists: Scope,
    /// How rows go.
    pub reclaims: Reclaims,
}

/// How rows go whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaims {
    /// By [`Store::reclaim`].
    ByCall,
    /// By themselves, some time after `reclaim_at`, and not before a second has passed.
    ByTtl,
}

impl Kind {
    /// A store that lists everything and is told when to reclaim.
    pub const WHOLE: Self = Self { lists: Scope::All, reclaims: Reclaims::ByCall };

    /// The scopes that it scans.
    fn scopes(self) -> Vec<Scope> {
        [Scope::Unresolved, Scope::Open, Scope::All]
            .into_iter()
            .filter(|scope| *scope <= self.lists)
            .collect()
    }

    /// The least scenarios that a store of this kind runs; those that reopen it are extra.
    pub const fn least_scenarios(self) -> usize {
        let listing = match self.lists {
            Scope::All | Scope::Open => 2,
            Scope::Unresolved => 1,
        };
        let reclaiming = match self.reclaims {
            Reclaims::ByCall => 4,
            Reclaims::ByTtl => 2,
        };
        29 + listing + reclaiming
    }
}

/// How much was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Scenarios that were run to the end.
    pub scenarios: usize,
    /// Of these, how many reopened the store.
    pub reopened: usize,
    /// Scenarios that need what this kind of store does not offer.
    pub left_out: Vec<&'static str>,
}

/// The scenarios that reopen a store.
pub const LEAST_REOPENED: usize = 2;

type Records = Vec<(Key, Versioned)>;
type Running<A> = Pin<Box<dyn Future<Output = A> + Send>>;

struct Scenario {
    name: &'static str,
    needs: Needs,
    run: fn(Arc<dyn Store>, Kind) -> Running<()>,
}

/// What a scenario can only be run on.
#[derive(Clone, Copy)]
enum Needs {
    Nothing,
    ListsAll,
    ListsOpen,
    ListsNotAll,
    ReclaimsByCall,
    ReclaimsByTtl,
}

impl Needs {
    fn met_by(self, kind: Kind) -> bool {
        match self {
            Self::Nothing => true,
            Self::ListsAll => kind.lists == Scope::All,
            Self::ListsOpen => kind.lists >= Scope::Open,
            Self::ListsNotAll => kind.lists < Scope::All,
            Self::ReclaimsByCall => kind.reclaims == Reclaims::ByCall,
            Self::ReclaimsByTtl => kind.reclaims == Reclaims::ByTtl,
        }
    }
}

/// Scenarios by what they need; those that differ by kind are told which it is.
macro_rules! scenarios {
    (@run store $module:ident::$name:ident) => { |store, _| Box::pin($module::$name(store)) };
    (@run kind $module:ident::$name:ident) => { |store, kind| Box::pin($module::$name(store, kind)) };
    ($($needs:ident, told the $what:ident: [$($module:ident::$name:ident),+ $(,)?])+) => {
        &[$($(Scenario {
            name: stringify!($name),
            needs: Needs::$needs,
            run: scenarios!(@run $what $module::$name),
        }),+),+]
    };
}

const SCENARIOS: &[Scenario] = scenarios![
    Nothing, told the store: [
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
        conditions::a_conflict_settles_a_write_whose_sender_left,
        conditions::the_store_says_that_it_is_there,
        exactness::every_field_comes_back_exactly,
        exactness::hostile_keys_never_meet,
        exactness::a_result_of_three_mebibytes_comes_back_exactly,
        exactness::conflicts_carry_the_record_exactly,
        scanning::the_unresolved_scan_follows_the_records,
        reclaiming::an_expired_record_is_still_there,
    ]
    Nothing, told the kind: [
        conditions::a_serial_read_settles_a_write_whose_sender_left,
        scanning::an_empty_store_has_an_empty_page,
        scanning::pages_of_every_size_cover_everything,
        scanning::a_tenant_sees_its_own_records_only,
        scanning::a_scan_gives_back_hostile_keys,
        scanning::a_scan_of_a_changing_store_misses_nothing_that_stays,
        random::a_random_history_matches_a_map,
    ]
    ListsOpen, told the store: [scanning::the_open_scan_follows_the_records]
    ListsAll, told the store: [scanning::large_records_fit_in_pages]
    ListsNotAll, told the kind: [scanning::a_wider_scan_is_told_what_is_listed]
    ReclaimsByCall, told the store: [
        reclaiming::nothing_goes_before_its_time,
        reclaiming::the_limit_is_kept,
        reclaiming::the_latest_version_says_when,
        reclaiming::a_write_in_a_race_with_reclamation_is_not_lost,
    ]
    ReclaimsByTtl, told the store: [
        reclaiming::a_call_to_reclaim_does_nothing,
        reclaiming::rows_go_by_themselves_as_the_latest_version_says,
    ]
];

type Fill = fn(Arc<dyn Store>) -> Running<Records>;

const REOPENING: &[(&str, Fill)] = &[
    ("fill_with_exactness", |store| Box::pin(exactness::fill_for_reopening(store))),
    ("fill_at_random", |store| Box::pin(random::fill_for_reopening(store))),
];

/// Runs every scenario that fits the backend's kind, each on a store of its own, and fails with the name of the one
/// that failed.
pub async fn run(backend: &mut dyn Backend) -> Report {
    let kind = backend.kind();
    let mut report = Report { scenarios: 0, reopened: 0, left_out: Vec::new() };
    for Scenario { name, needs, run } in SCENARIOS {
        if !needs.met_by(kind) {
            report.left_out.push(name);
            continue;
        }
        let store = backend.fresh().await;
        named(name, run(store, kind)).await;
        report.scenarios += 1;
    }
    for (name, fill) in REOPENING {
        let store = backend.fresh().await;
        let before = named(name, fill(Arc::clone(&store))).await;
        let Some(store) = backend.reopen(store).await else { continue };
        named(name, reopened(&*store, kind, &before)).await;
        report.scenarios += 1;
        report.reopened += 1;
    }
    println!(
        "conformance of {backend:?}: {} scenarios, {} of them reopened; left out: {:?}",
        report.scenarios, report.reopened, report.left_out
    );
    let least = kind.least_scenarios();
    assert!(report.scenarios >= least, "at least {least} scenarios must run");
    report
}

/// Everything is there, in every index, and as conditional as before.
async fn reopened(store: &dyn Store, kind: Kind, before: &Records) {
    for scope in kind.scopes() {
        check_scan(store, scope, None, 7, before).await;
    }
    for (key, current) in before {
        assert_eq!(read(store, key).await.as_ref(), Some(current));
        still_conditional(store, key, current).await;
    }
    if kind.reclaims == Reclaims::ByCall {
        let (_, last) = before.iter().max_by_key(|(_, c)| c.record.reclaim_at()).expect("some records");
        let due = store.reclaim(last.record.reclaim_at(), usize::MAX).await.expect("reclaims");
        assert_eq!(due, before.len(), "the index of reclamation too");
    }
}

async fn named<A>(name: &str, scenario: impl Future<Output = A>) -> A {
    match AssertUnwindSafe(scenario).catch_unwind().await {
        Ok(answer) => answer,
        Err(panic) => {
            eprintln!("conformance scenario that failed: {name}");
            std::panic::resume_unwind(panic);
        }
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
    let next = Versioned::new(write_id(), next);
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
    write.made()
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
async fn scan_all(store: &dyn Store, scope: Scope, tenant: Option<&Tenant>, limit: usize) -> Records {
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

/// A scan in pages of `limit` gives what it must of `records`, which are all that `tenant` has, and nothing that it must
/// not.
async fn check_scan(
    store: &dyn Store,
    scope: Scope,
    tenant: Option<&Tenant>,
    limit: usize,
    records: &[(Key, Versioned)],
) {
    let of = |wanted: fn(&Record) -> bool| -> Records {
        let mut records: Records = records.iter().filter(|(_, c)| wanted(&c.record)).cloned().collect();
        records.sort_by(|(a, _), (b, _)| a.cmp(b));
        records
    };
    let found = scan_all(store, scope, tenant, limit).await;
    match scope {
        Scope::All => assert_eq!(found, of(|_| true), "pages of {limit}"),
        Scope::Open => assert_eq!(found, of(Record::is_open), "pages of {limit}"),
        Scope::Unresolved => {
            let open = of(Record::is_open);
            assert!(found.iter().all(|record| open.contains(record)), "pages of {limit}: {found:?}");
            for record in of(|record| record.interest(&Policy::default()) == Interest::MayEndUnresolved) {
                assert!(found.contains(&record), "pages of {limit} lack {record:?}");
            }
        }
    }
}

async fn contents(store: &dyn Store) -> Records {
    scan_all(store, Scope::All, None, 100).await
}

const fn at(micros: u64) -> Timestamp {
    Timestamp::from_micros(micros)
}
