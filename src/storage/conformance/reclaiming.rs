//! Reclamation: nothing goes before its time, and what has gone is gone from every index.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::samples::{Samples, key};
use super::{after, apply, at, contents, first, made_by, put, read, scan_all};
use crate::domain::{Key, Record, Timestamp};
use crate::storage::{Put, Scope, Store};

const EXPIRY: Timestamp = at(5_000_000_000_000);

fn reclaim_at(record: &Record) -> u64 {
    record.reclaim_at().as_micros()
}

pub(super) async fn an_expired_record_is_still_there(store: Arc<dyn Store>) {
    let write = first(&key("t", 1), Samples::expiring(Samples::completed(1), at(1)));
    apply(&*store, &write).await;
    assert!(write.next.live(EXPIRY).is_none(), "it reads as absent");
    assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)), "the store knows it all the same");
    let begin = first(&write.key, Samples::in_progress(2));
    assert_eq!(put(&*store, &begin).await, Put::Conflict(Some(made_by(&write))), "so its fence counts");
    apply(&*store, &after(&write, Samples::in_progress(2))).await;
}

pub(super) async fn nothing_goes_before_its_time(store: Arc<dyn Store>) {
    for n in 0..5 {
        let write = first(&key("t", n), Samples::expiring(Samples::any(n), EXPIRY));
        apply(&*store, &write).await;
        let due = reclaim_at(&write.next);
        assert_eq!(store.reclaim(at(0), 100).await.expect("reclaims"), 0);
        assert_eq!(store.reclaim(at(due - 1), 100).await.expect("reclaims"), 0, "kind {n}: a moment early");
        assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
        assert_eq!(store.reclaim(at(due), 100).await.expect("reclaims"), 1, "kind {n}: on time");
        assert_eq!(read(&*store, &write.key).await, None);
        assert_eq!(contents(&*store).await, []);
        assert_eq!(scan_all(&*store, Scope::Open, None, 10).await, []);
        assert_eq!(store.reclaim(at(u64::MAX), 100).await.expect("reclaims"), 0, "once");
        apply(&*store, &first(&write.key, Samples::expiring(Samples::completed(n), EXPIRY))).await;
        assert_eq!(store.reclaim(at(u64::MAX), 100).await.expect("reclaims"), 1, "the new row too");
    }
}

pub(super) async fn the_limit_is_kept(store: Arc<dyn Store>) {
    let writes: Vec<_> = (0..600)
        .map(|n| {
            let expiry = at(EXPIRY.as_micros() + n);
            first(&key("t", n), Samples::expiring(Samples::completed(n), expiry))
        })
        .collect();
    futures_util::future::join_all(writes.iter().map(|write| apply(&*store, write))).await;
    let rest = first(&key("t", "later"), Samples::expiring(Samples::completed(1), at(u64::MAX / 2)));
    apply(&*store, &rest).await;
    let now = at(u64::MAX / 4);
    assert_eq!(store.reclaim(now, 0).await.expect("reclaims"), 0);
    assert_eq!(store.reclaim(now, 1).await.expect("reclaims"), 1);
    assert_eq!(store.reclaim(now, 300).await.expect("reclaims"), 300);
    assert_eq!(store.reclaim(now, 1000).await.expect("reclaims"), 299);
    assert_eq!(store.reclaim(now, 1000).await.expect("reclaims"), 0);
    assert_eq!(contents(&*store).await, [(rest.key.clone(), made_by(&rest))]);
}

pub(super) async fn the_latest_version_says_when(store: Arc<dyn Store>) {
    let hour = 3_600_000_000;
    // Later, earlier, and back again, across kinds.
    let mut write = first(&key("t", 1), Samples::expiring(Samples::in_progress(1), EXPIRY));
    apply(&*store, &write).await;
    let later = at(EXPIRY.as_micros() + 10 * hour);
    write = after(&write, Samples::expiring(Samples::completed(1), later));
    apply(&*store, &write).await;
    let first_due = at(EXPIRY.as_micros() + hour);
    assert_eq!(store.reclaim(first_due, 10).await.expect("reclaims"), 0, "it lives longer now");
    assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
    write = after(&write, Samples::expiring(Samples::any(2), at(1)));
    apply(&*store, &write).await;
    write = after(&write, Samples::expiring(Samples::forgotten(2), later));
    apply(&*store, &write).await;
    assert_eq!(store.reclaim(at(later.as_micros() - 1), 10).await.expect("reclaims"), 0);
    assert_eq!(store.reclaim(later, 10).await.expect("reclaims"), 1);
}

pub(super) async fn a_write_in_a_race_with_reclamation_is_not_lost(store: Arc<dyn Store>) {
    // A record that is due is replaced by one that is not, while reclamation runs.
    for n in 0..50 {
        let due = first(&key("t", n), Samples::expiring(Samples::completed(n), EXPIRY));
        apply(&*store, &due).await;
        let next = after(&due, Samples::expiring(Samples::in_progress(n), at(u64::MAX / 2)));
        let (answer, reclaimed) = tokio::join!(put(&*store, &next), store.reclaim(at(u64::MAX / 4), 1000));
        let reclaimed = reclaimed.expect("reclaims");
        match answer {
            Put::Applied => {
                assert_eq!(reclaimed, 0, "what was replaced is not reclaimed");
                assert_eq!(read(&*store, &next.key).await, Some(made_by(&next)));
            }
            Put::Conflict(current) => {
                assert_eq!((current, reclaimed), (None, 1), "it was reclaimed first");
                assert_eq!(read(&*store, &next.key).await, None);
            }
        }
    }
}

pub(super) async fn a_call_to_reclaim_does_nothing(store: Arc<dyn Store>) {
    let write = first(&key("t", 1), Samples::completed(1));
    apply(&*store, &write).await;
    assert_eq!(store.reclaim(at(u64::MAX), 100).await.expect("it answers"), 0);
    assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
}

/// A row that may go so many seconds after [`Samples::CLOCK`].
fn due_in(seconds: u64) -> Record {
    Samples::expiring(Samples::forgotten(1), Samples::CLOCK.plus(Duration::from_secs(seconds)))
}

async fn gone(store: &dyn Store, key: &Key) {
    let watch = async {
        while read(store, key).await.is_some() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_mins(2), watch).await.expect("the row goes by itself");
}

pub(super) async fn rows_go_by_themselves_as_the_latest_version_says(store: Arc<dyn Store>) {
    let days = Samples::completed(1);
    // What is due already goes too, and leaves nothing behind.
    let due = first(&key("t", "due"), due_in(0));
    apply(&*store, &due).await;
    gone(&*store, &due.key).await;
    assert_eq!(put(&*store, &after(&due, days.clone())).await, Put::Conflict(None));
    apply(&*store, &first(&due.key, days.clone())).await;
    // The time that counts is the last write's, whether it is shorter than the one before or longer.
    let shortened = first(&key("t", "shortened"), days.clone());
    apply(&*store, &shortened).await;
    apply(&*store, &after(&shortened, due_in(1))).await;
    let prolonged = loop {
        let short = first(&key("t", "prolonged"), due_in(2));
        apply(&*store, &short).await;
        let prolonged = after(&short, days.clone());
        // On a slow machine the row may be gone before it is prolonged.
        if put(&*store, &prolonged).await == Put::Applied {
            break prolonged;
        }
    };
    let witness = first(&key("t", "witness"), due_in(4));
    apply(&*store, &witness).await;
    gone(&*store, &shortened.key).await;
    gone(&*store, &witness.key).await;
    assert_eq!(read(&*store, &prolonged.key).await, Some(made_by(&prolonged)));
}
