//! What can be listed, and what it leaves behind.

use std::collections::BTreeSet;
use std::time::Duration;

use semel::domain::{Fence, Key, OnLostLease, Phase, Policy, Record};
use semel::storage::conformance::{Samples, key};
use semel::storage::scylla::{Listing, Settings};
use semel::storage::{Scan, Scope, Store, StoreError, Versioned};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::database::{Database, SetClock, listed, mark_unknown, put, read, write};
use crate::support;

/// Where the samples are, in time.
const NOW: u64 = 1_800_000_000_000_000;
const HOUR: u64 = 3_600_000_000;
const HINTS: &str = "SELECT fence FROM KS.hint";
const PARTITIONS: &str = "SELECT bucket FROM KS.hint_bucket";

/// An attempt whose loss leaves an unknown outcome, begun `micros` after [`NOW`].
fn unknown_if_lost(micros: u64) -> Record {
    let Record::Kept(mut kept) = Samples::in_progress(1) else { panic!("it is kept") };
    let moment = NOW + micros;
    kept.fence = Fence::new(i64::try_from(moment).expect("small")).expect("positive");
    kept.changed_at = semel::domain::Timestamp::from_micros(moment);
    if let Phase::InProgress { on_lost_lease, .. } = &mut kept.phase {
        *on_lost_lease = OnLostLease::MarkUnknown;
    }
    Record::Kept(kept)
}

fn set(keys: impl IntoIterator<Item = Key>) -> BTreeSet<Key> {
    keys.into_iter().collect()
}

/// Those that may end unresolved, over hours and tenants, in pages of any size; nothing else.
pub(crate) fn what_may_end_unresolved_is_listed(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let store = database.store(&SetClock::at(NOW)).await;
        let (rerun, unknown) = (Policy::default(), mark_unknown());
        let mut expected = BTreeSet::new();
        for (tenant, hours) in [("a", 0..4), ("b", 2..6)] {
            for hour in hours {
                for n in 0..5 {
                    let key = key(tenant, 100 * hour + n);
                    put(&*store, &key, None, unknown_if_lost(hour * HOUR + n), &unknown).await;
                    expected.insert(key);
                }
            }
        }
        for n in 1000..1010 {
            put(&*store, &key("a", n), None, Samples::in_progress(n), &rerun).await;
            put(&*store, &key("b", n), None, Samples::completed(n), &rerun).await;
        }
        for limit in [1, 3, 5, 7, 39, 40, 1000] {
            let found = listed(&*store, Scope::Unresolved, limit).await;
            assert_eq!(found.len(), expected.len(), "each once, in pages of {limit}");
            assert_eq!(set(found), expected, "in pages of {limit}");
        }
        for tenant in ["a", "b", "nobody"] {
            let tenant = semel::domain::Tenant::new(tenant).expect("valid");
            let scan =
                Scan { scope: Scope::Unresolved, tenant: Some(tenant.clone()), after: None, limit: 1000 };
            let page = store.scan(&scan).await.expect("scans");
            let own = expected.iter().filter(|key| key.tenant == tenant).cloned();
            assert_eq!(set(page.records.into_iter().map(|(key, _)| key)), set(own));
        }
        for scope in [Scope::Open, Scope::All] {
            let scan = Scan { scope, tenant: None, after: None, limit: 1 };
            let refused = store.scan(&scan).await;
            assert!(
                matches!(refused, Err(StoreError::NotListed { listed: Scope::Unresolved })),
                "{refused:?}"
            );
        }
        support::count("cassandra_listed", expected.len() as u64);
    });
}

/// With `listing = open`, whatever is open.
pub(crate) fn what_is_open_is_listed_where_it_is_asked_for(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let settings = Settings { listing: Listing::Open, ..database.settings.clone() };
        let store = database.store_with(settings, &SetClock::at(NOW)).await;
        let rerun = Policy::default();
        let mut open = BTreeSet::new();
        for n in 0..30 {
            let key = key("t", n);
            let begun = put(&*store, &key, None, Samples::in_progress(n), &rerun).await;
            match n % 3 {
                0 => _ = put(&*store, &key, Some(&begun), Samples::completed(n), &rerun).await,
                1 => {
                    // Samples of a release.
                    put(&*store, &key, Some(&begun), Samples::any(5 * n + 2), &rerun).await;
                    open.insert(key);
                }
                _ => _ = open.insert(key),
            }
        }
        for scope in [Scope::Open, Scope::Unresolved] {
            assert_eq!(set(listed(&*store, scope, 4).await), open);
        }
        let all = store.scan(&Scan { scope: Scope::All, tenant: None, after: None, limit: 1 }).await;
        assert!(matches!(all, Err(StoreError::NotListed { listed: Scope::Open })), "{all:?}");
    });
}

/// The hint of a Begin is there before its transaction: where it cannot be written, nothing is.
pub(crate) fn a_hint_is_written_before_its_record(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let store = database.store(&SetClock::at(NOW)).await;
        let (rerun, unknown) = (Policy::default(), mark_unknown());
        let before = put(&*store, &key("t", 1), None, Samples::in_progress(1), &rerun).await;
        database.execute("DROP TABLE KS.hint").await;
        for (n, before) in [(1, Some(&before)), (2, None)] {
            let write = write(&key("t", n), before, unknown_if_lost(n), &unknown);
            let refused = store.compare_and_put(&write).await;
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
            assert_eq!(read(&*store, &key("t", n)).await.as_ref(), before, "nothing was written");
        }
        put(&*store, &key("t", 3), None, Samples::in_progress(3), &rerun).await;
    });
}

/// Settled attempts take their hints with them, and a listing gets past the tombstones of many.
pub(crate) fn settled_attempts_leave_no_hints(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let store = database.store(&SetClock::at(NOW)).await;
        let unknown = mark_unknown();
        let stays = key("t", "stays");
        put(&*store, &stays, None, unknown_if_lost(HOUR - 1), &unknown).await;
        // The node refuses to read past 500 tombstones: tests/cassandra/main.rs says so to it.
        let settled = 1200;
        for n in 0..settled {
            let key = key("t", n);
            let begun = put(&*store, &key, None, unknown_if_lost(n * 1_000_000), &unknown).await;
            let Record::Kept(kept) = &*begun.record else { panic!("it is kept") };
            let Record::Kept(done) = Samples::completed(n) else { panic!("it is kept") };
            let done = Record::Kept(semel::domain::Kept { fence: kept.fence, ..done });
            put(&*store, &key, Some(&begun), done, &unknown).await;
        }
        assert!(!database.is_answered(HINTS).await, "the node does refuse");
        assert_eq!(listed(&*store, Scope::Unresolved, 100).await, [stays]);
        support::count("cassandra_hints_dropped", settled);
    });
}

/// A hint whose write never happened goes, but not before that write can no longer happen; an empty hour is struck off.
pub(crate) fn stale_hints_and_empty_hours_go(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let clock = SetClock::at(NOW);
        let store = database.store(&clock).await;
        let unknown = mark_unknown();
        let key = key("t", 1);
        let begun = put(&*store, &key, None, unknown_if_lost(0), &unknown).await;
        // The hint of this is written; the transaction is refused.
        let late = write(&key, None, unknown_if_lost(1), &unknown);
        store.compare_and_put(&late).await.expect("answers");
        let fences = |offsets: &[i64]| {
            let now = i64::try_from(NOW).expect("small");
            offsets.iter().map(|offset| (now + offset,)).collect::<Vec<_>>()
        };
        assert_eq!(database.ask::<(i64,)>(HINTS).await, fences(&[0, 1]));
        let all = async || listed(&*store, Scope::Unresolved, 100).await;
        assert_eq!(all().await, std::slice::from_ref(&key));
        clock.advance(Duration::from_mins(9));
        assert_eq!(all().await, std::slice::from_ref(&key));
        assert_eq!(database.ask::<(i64,)>(HINTS).await, fences(&[0, 1]), "its write may be on its way");
        clock.advance(Duration::from_mins(2));
        assert_eq!(all().await, std::slice::from_ref(&key));
        database.until(HINTS, &fences(&[0])).await;

        // A takeover in a later hour has a hint of its own; the one before is stale then.
        put(&*store, &key, Some(&begun), unknown_if_lost(HOUR), &unknown).await;
        assert_eq!(all().await, std::slice::from_ref(&key));
        let later = i64::try_from(HOUR).expect("small");
        assert_eq!(database.ask::<(i64,)>(HINTS).await.len(), 2, "a scan may be past the new one");
        clock.advance(Duration::from_mins(64));
        assert_eq!(all().await, std::slice::from_ref(&key));
        database.until(HINTS, &fences(&[later])).await;
        let hour = i64::try_from(NOW / HOUR).expect("small");
        database.until(PARTITIONS, &[(hour,), (hour + 1,)]).await;
        assert_eq!(all().await, std::slice::from_ref(&key));
        assert_eq!(database.ask::<(i64,)>(PARTITIONS).await.len(), 2, "the hour is not long over");
        clock.advance(Duration::from_hours(2));
        assert_eq!(all().await, std::slice::from_ref(&key));
        database.until(PARTITIONS, &[(hour + 1,)]).await;

        // Noted again, should an attempt of that hour need it.
        let Record::Kept(kept) = unknown_if_lost(2) else { panic!("it is kept") };
        let other = semel::storage::conformance::key("t", 2);
        put(&*store, &other, None, Record::Kept(kept), &unknown).await;
        assert_eq!(set(all().await), set([key, other]));
    });
}

/// While keys are taken over all the time, a scan misses none.
pub(crate) fn a_scan_misses_nothing_that_is_taken_over(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let store = database.store(&SetClock::at(NOW)).await;
        let unknown = mark_unknown();
        let mut current: Vec<(Key, Versioned)> = Vec::new();
        for n in 0..20 {
            let key = key("t", n);
            let begun = put(&*store, &key, None, unknown_if_lost(n), &unknown).await;
            current.push((key, begun));
        }
        let keys = set(current.iter().map(|(key, _)| key.clone()));
        let mut moment = 1000;
        let take_over = async {
            for _ in 0..15 {
                for (key, before) in &mut current {
                    moment += 1;
                    *before = put(&*store, key, Some(before), unknown_if_lost(moment), &unknown).await;
                }
            }
        };
        let scan = async {
            for limit in [1, 2, 3, 7, 30, 1, 2] {
                let found = set(listed(&*store, Scope::Unresolved, limit).await);
                assert!(keys.is_subset(&found), "pages of {limit}");
            }
        };
        tokio::join!(take_over, scan);
    });
}
