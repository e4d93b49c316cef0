//! Rows: how long they stay, what they cost, and what becomes of damaged ones.

use std::time::Duration;

use semel::domain::{Policy, Reading, Record, Timestamp, UnresolvedReason};
use semel::storage::conformance::{Samples, key};
use semel::storage::{Expected, Freshness, Put, Scope, Store, StoreError, Write};
use tokio::runtime::Runtime;

use crate::cluster::Cluster;
use crate::database::{Database, SetClock, listed, mark_unknown, put, read, settled, write};
use crate::support;

const NOW: u64 = 1_800_000_000_000_000;
const TTLS: &str = "SELECT TTL(write_id), TTL(record) FROM KS.record";

/// A record whose row may go this long after [`NOW`]. Its fence's moment is not what keeps it.
fn reclaimed_in(record: Record, after: Duration) -> Record {
    // Expiry, and an hour's grace.
    let hour = Duration::from_hours(1);
    let record = Samples::expiring(record, Timestamp::from_micros(NOW).plus(after).minus(hour));
    let Record::Kept(mut kept) = record else { panic!("these are kept") };
    kept.fence = semel::domain::Fence::new(1).expect("positive");
    kept.retention = Duration::ZERO;
    let record = Record::Kept(kept);
    assert_eq!(record.reclaim_at(), Timestamp::from_micros(NOW).plus(after));
    record
}

/// Both columns go at once, at the last write's time, be it before an earlier one's; then the key is as if it had
/// never been.
pub(crate) fn a_row_goes_after_its_ttl(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let store = database.store(&SetClock::at(NOW)).await;
        let key = key("t", 1);
        let rerun = Policy::default();

        let longer = reclaimed_in(Samples::in_progress(1), Duration::from_secs(1000));
        let first = put(&*store, &key, None, longer, &rerun).await;
        let ttls = database.ask::<(i32, i32)>(TTLS).await;
        assert!(ttls.len() == 1 && ttls[0].0 == ttls[0].1 && (900..=1000).contains(&ttls[0].0), "{ttls:?}");

        let shorter = reclaimed_in(Samples::completed(1), Duration::from_millis(1500));
        let second = put(&*store, &key, Some(&first), shorter, &rerun).await;
        // It may be gone by now: on a slow machine.
        let left = database.ask::<(i32, i32)>(TTLS).await;
        assert!(left.iter().all(|(id, record)| id == record && *id <= 2), "{left:?}");
        database.until::<(i32, i32)>(TTLS, &[]).await;
        assert!(database.ask::<(String,)>("SELECT key FROM KS.record").await.is_empty(), "no row of nulls");
        assert_eq!(read(&*store, &key).await, None);
        assert_eq!(store.get(&key, Freshness::Serial).await.expect("reads"), None);

        let late = write(&key, Some(&second), Samples::completed(2), &rerun);
        assert_eq!(settled(&*store, &late).await.expect("writes"), Put::Conflict(None));
        let again = put(&*store, &key, None, Samples::in_progress(3), &rerun).await;
        assert_eq!(read(&*store, &key).await, Some(again));

        // What is over already, and what is further off than the database's last moment.
        for (n, due) in [(2, Timestamp::from_micros(0)), (3, Timestamp::from_micros(u64::MAX))] {
            let key = semel::storage::conformance::key("t", n);
            let record = Samples::expiring(Samples::completed(n), due);
            put(&*store, &key, None, record, &rerun).await;
        }
    });
}

/// The only requests that a write makes, as the driver counts them.
pub(crate) fn a_write_costs_one_transaction(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let store = database.store(&SetClock::at(NOW)).await;
        let (rerun, unknown) = (Policy::default(), mark_unknown());
        let mut costs = Vec::new();
        for n in 0..50 {
            let key = key("t", n);
            let mut before = store.requests();
            let mut cost = || {
                let now = store.requests();
                std::mem::replace(&mut before, now).abs_diff(now)
            };
            let begun = put(&*store, &key, None, Samples::in_progress(n), &rerun).await;
            let begin = cost();
            let taken = put(&*store, &key, Some(&begun), Samples::in_progress(n + 1), &rerun).await;
            let take_over = cost();
            put(&*store, &key, Some(&taken), Samples::completed(n), &rerun).await;
            let complete = cost();
            read(&*store, &key).await;
            costs.push([begin, take_over, complete, cost()]);
        }
        assert!(costs.iter().all(|cost| *cost == [1, 1, 1, 1]), "{costs:?}");
        assert!(database.ask::<(i64,)>("SELECT fence FROM KS.hint").await.is_empty(), "no hint is due");

        // One that may end unresolved: a hint first, and once an hour the note that its partition is in use.
        let begin = |n| {
            let Record::Kept(mut kept) = Samples::in_progress(n) else { panic!("it is kept") };
            if let semel::domain::Phase::InProgress { on_lost_lease, .. } = &mut kept.phase {
                *on_lost_lease = semel::domain::OnLostLease::MarkUnknown;
            }
            Record::Kept(kept)
        };
        let mut before = store.requests();
        let mut costs = Vec::new();
        for n in 100..120 {
            put(&*store, &key("t", n), None, begin(n), &unknown).await;
            let now = store.requests();
            costs.push(now - before);
            before = now;
        }
        assert!(costs[0] == 3 && costs[1..].iter().all(|cost| *cost == 2), "{costs:?}");
        support::count("cassandra_counted_writes", 50 * 3 + 20);
    });
}

/// One column gone by hand: the record is put back, or in its place one that says that nobody knows.
pub(crate) fn a_damaged_row_is_repaired(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let clock = SetClock::at(NOW + 60_000_000);
        let store = database.store(&clock).await;
        let policy = Policy::default();
        let record_gone =
            "UPDATE KS.record SET record = null WHERE tenant = 't' AND endpoint = 'e' AND key = 'K'";
        let id_gone =
            "UPDATE KS.record SET write_id = null WHERE tenant = 't' AND endpoint = 'e' AND key = 'K'";
        let here = |statement: &str, key: &semel::domain::Key| {
            statement
                .replace("'t'", &format!("'{}'", key.tenant.as_str()))
                .replace("'e'", &format!("'{}'", key.endpoint.as_str()))
                .replace("'K'", &format!("'{}'", key.idempotency_key.as_str()))
        };
        let mut repaired = 0;
        for n in 0..4 {
            // Met by a plain read, by a serial one, by the owner's write, and by somebody's first write.
            let key = key("t", n);
            let before = put(&*store, &key, None, Samples::in_progress(n), &policy).await;
            database.execute(&here(record_gone, &key)).await;
            let owners = write(&key, Some(&before), Samples::completed(n), &policy);
            let found = match n {
                0 => read(&*store, &key).await,
                1 => store.get(&key, Freshness::Serial).await.expect("reads"),
                2 => conflict(&*store, &owners).await,
                _ => conflict(&*store, &Write { expected: Expected::Absent, ..owners.clone() }).await,
            };
            let found = found.expect("it is not absent: something happened here");
            let kept =
                found.record.live(Timestamp::from_micros(NOW + 60_000_001)).expect("it has not expired");
            assert!(matches!(
                kept.read(&policy, Timestamp::from_micros(NOW + 60_000_001)),
                Reading::Unresolved { reason: UnresolvedReason::OutcomeUnknown, .. }
            ));
            assert!(found.record.fence() > before.record.fence(), "its owner is locked out");
            assert_eq!(conflict(&*store, &owners).await, Some(found.clone()), "once");
            assert_eq!(read(&*store, &key).await, Some(found), "once");
            repaired += 1;

            // Without its write id, it gets back what it was.
            let key = semel::storage::conformance::key("t", 10 + n);
            let before = put(&*store, &key, None, Samples::completed(n), &policy).await;
            database.execute(&here(id_gone, &key)).await;
            let next = write(&key, Some(&before), Samples::forgotten(n), &policy);
            let found = match n {
                0 => read(&*store, &key).await,
                1 => store.get(&key, Freshness::Serial).await.expect("reads"),
                2 => conflict(&*store, &next).await,
                _ => conflict(&*store, &Write { expected: Expected::Absent, ..next.clone() }).await,
            };
            assert_eq!(found, Some(before.clone()));
            assert_eq!(
                settled(&*store, &next).await.expect("writes"),
                Put::Applied,
                "and goes on from there"
            );
            repaired += 1;
        }
        assert_eq!(
            listed(&*store, Scope::Unresolved, 100).await.len(),
            4,
            "an operator finds those without a record"
        );
        support::count("cassandra_repaired_rows", repaired);
    });
}

async fn conflict(store: &dyn Store, write: &Write) -> Option<semel::storage::Versioned> {
    match settled(store, write).await.expect("the store answers") {
        Put::Conflict(current) => current,
        Put::Applied => panic!("nothing was as the write expects"),
    }
}

/// Bytes that are no record are refused, each time, and nothing is done to them.
pub(crate) fn an_unreadable_record_is_refused(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        let database = Database::new(cluster).await;
        let store = database.store(&SetClock::at(NOW)).await;
        let policy = Policy::default();
        let key = key("t", 1);
        let before = put(&*store, &key, None, Samples::in_progress(1), &policy).await;
        let where_it_is = format!(
            "WHERE tenant = '{}' AND endpoint = '{}' AND key = '{}'",
            key.tenant.as_str(),
            key.endpoint.as_str(),
            key.idempotency_key.as_str()
        );
        let other_id = "11111111-1111-1111-1111-111111111111";
        for set in
            ["record = 0x01ffff".to_owned(), "record = 0x630000".to_owned(), format!("write_id = {other_id}")]
        {
            database.execute(&format!("UPDATE KS.record SET {set} {where_it_is}")).await;
            let now = database.ask::<(uuid::Uuid, Vec<u8>)>("SELECT write_id, record FROM KS.record").await;
            for _ in 0..2 {
                let refused = store.get(&key, Freshness::Acknowledged).await;
                let Err(StoreError::Unavailable(text)) = refused else { panic!("{refused:?}") };
                assert!(text.contains("refused") && !text.contains(key.idempotency_key.as_str()), "{text}");
                let first = write(&key, None, Samples::in_progress(2), &policy);
                assert!(matches!(store.compare_and_put(&first).await, Err(StoreError::Unavailable(_))));
            }
            let after = database.ask::<(uuid::Uuid, Vec<u8>)>("SELECT write_id, record FROM KS.record").await;
            assert_eq!(after, now, "it is left as it is");
            // As it was, for the next one.
            database
                .execute(&format!("UPDATE KS.record SET write_id = {} {where_it_is}", before.write_id.0))
                .await;
        }
    });
}
