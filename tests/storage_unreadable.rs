//! Records that this semel cannot read: calls on their keys are refused, and nothing else suffers.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/log.rs"]
mod log;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fixtures::begin;
use semel::coordinator::{self, BeginCall, CallError, Coordinator, Listing, ListingFilter};
use semel::domain::{Clock, Key, Lookup, Policy, PolicyRules, Record, Timestamp};
use semel::policies::Policies;
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::record_codec::{Codec, FormatVersion};
use semel::storage::{Freshness, Scan, Scope, Store, StoreError, Versioned, WriteId};
use semel::sweep::Sweep;
use semel::telemetry::KeyHash;
use uuid::Uuid;

const OPEN: u64 = 40;
/// The moment of the samples: none of them has expired.
const THEN: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

#[derive(Debug)]
struct Then;

impl Clock for Then {
    fn now(&self) -> Timestamp {
        THEN
    }
}

fn open(directory: &Path) -> EmbeddedStore {
    let settings = Settings { free_space_reserve_bytes: 0, ..Settings::new(directory) };
    EmbeddedStore::open(settings).expect("the store opens")
}

fn versioned(n: u64, record: Record) -> Versioned {
    Versioned::new(WriteId(Uuid::from_u64_pair(1, n)), Arc::new(record))
}

/// What damage, or a later semel, leaves where a record was; every kind of it, and the keys that have it.
fn unreadable() -> Vec<(Key, Vec<u8>)> {
    let whole = Codec::LATEST.encode(&versioned(OPEN, Samples::any(3)));
    let mut later = whole.clone();
    later[0] = FormatVersion::LATEST.get() + 1;
    let cut_short = whole[..whole.len() / 2].to_vec();
    // The head, write id, time and openness, is whole, and the record behind it is not there.
    let head_alone = whole[..1 + 9 + 9 + 9 + 2].to_vec();
    let kinds = [later, cut_short, head_alone, vec![0xff; 100], Vec::new()];
    // All over the index: its first and its last key too, and two in a row.
    let keys = ["", "0", "17", "3", "zz"].map(|n| key("t", n));
    keys.into_iter().zip(kinds).collect()
}

/// A store with [`OPEN`] records that wait for a person, and those that cannot be read.
fn damaged(directory: &Path) -> Arc<EmbeddedStore> {
    let store = open(directory);
    let bad = unreadable();
    let good = (0..OPEN).map(|n| (key("t", n), versioned(n, Samples::any(3))));
    store.load(good).expect("loaded");
    for (key, bytes) in &bad {
        store.plant(key, &versioned(OPEN, Samples::any(3)), bytes).expect("planted");
    }
    drop(store);
    Arc::new(open(directory))
}

/// How many of the good records are not overwritten.
fn readable() -> usize {
    let bad = unreadable();
    (0..OPEN).filter(|n| bad.iter().all(|(bad, _)| *bad != key("t", n))).count()
}

#[tokio::test]
async fn calls_on_its_key_are_refused_and_nothing_is_written_over_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_owned();
    let store = tokio::task::spawn_blocking(move || damaged(&path)).await.expect("it opens");
    let settings = coordinator::Settings { settle_within: Duration::ZERO, ..Default::default() };
    let coordinator = Coordinator::new(store.clone(), Arc::new(Then), 1, settings);
    let policy = Policy::default();
    for (key, _) in unreadable() {
        let begin = begin(1);
        let call = BeginCall {
            key: &key,
            begin: &begin,
            policy: &policy,
            wait: Duration::ZERO,
            deadline: None,
            retry: false,
        };
        assert_eq!(coordinator.begin(&call).await, Err(CallError::StoreUnavailable));
        let looked_up = coordinator.run(&key, &Lookup, &policy, None).await;
        assert!(matches!(looked_up, Err(CallError::StoreUnavailable)), "{looked_up:?}");
        for freshness in [Freshness::Acknowledged, Freshness::Serial] {
            assert!(matches!(store.get(&key, freshness).await, Err(StoreError::Unavailable(_))));
        }
    }
    assert_eq!(store.stats().changes, 0);
}

#[tokio::test]
async fn scans_list_and_the_sweep_step_over_it() {
    let log = log::Log::default();
    let _guard = log.capture();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_owned();
    let store = tokio::task::spawn_blocking(move || damaged(&path)).await.expect("it opens");
    let bad = unreadable().len() as u64;

    for (scope, limit) in [(Scope::Open, 1), (Scope::Open, 7), (Scope::All, 1), (Scope::All, 1000)] {
        let before = store.stats().unreadable;
        let (mut found, mut after) = (0, None);
        loop {
            let page = store.scan(&Scan { scope, tenant: None, after, limit }).await.expect("it scans");
            found += page.records.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, readable(), "{scope:?} by {limit}");
        assert_eq!(store.stats().unreadable - before, bad, "{scope:?} by {limit}: each is counted once");
    }

    let rules = PolicyRules::new(Policy::default(), Vec::new());
    let coordinator = Coordinator::new(store.clone(), Arc::new(Then), 1, coordinator::Settings::default());
    let filter =
        ListingFilter { tenant: key("t", 0).tenant, endpoint: None, reading: Some(Listing::Unresolved) };
    let listed = coordinator.list(&filter, &rules, 1000, None, usize::MAX, |_| 1).await.expect("it lists");
    assert_eq!((listed.records.len(), listed.next), (readable(), None));

    let policies = Arc::new(Policies::new(rules));
    let mut sweep = Sweep::new(store.clone(), policies, Arc::new(Then), KeyHash::new(b"test"));
    let counts = sweep.counts();
    sweep.once().await.expect("it sweeps");
    assert_eq!(counts.borrow().map(|counts| counts.unresolved()), Some(readable() as u64));

    let text = log.text();
    assert!(text.contains("cannot be read are left out of a scan"), "{text}");
    assert!(
        text.contains(&format!("format version {}", FormatVersion::LATEST.get() + 1)),
        "the cause is told: {text}"
    );
    assert!(!text.contains("key-"), "no key is logged: {text}");
}

/// One that is due is not dropped, for nobody knows what it holds, and holds up no other.
#[tokio::test]
async fn reclamation_steps_over_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_owned();
    let store = tokio::task::spawn_blocking(move || damaged(&path)).await.expect("it opens");
    let later = THEN.plus(Duration::from_hours(2));
    let head_alone = 1;
    let reclaimed = store.reclaim(later, usize::MAX).await.expect("it reclaims");
    assert_eq!(reclaimed, readable() + head_alone, "a head is enough to know that a row is due");
    assert_eq!(store.reclaim(later, usize::MAX).await.expect("it reclaims"), 0);
}
