//! Scans: every record that stays comes, in pages of any size, whatever else changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::samples::{Samples, hostile_keys, key};
use super::{after, apply, first, made_by, scan_all};
use crate::domain::{Key, Policy, Tenant};
use crate::storage::{Scan, Scope, Store, Versioned, Write};

pub(super) async fn an_empty_store_has_an_empty_page(store: Arc<dyn Store>) {
    for scope in [Scope::Open, Scope::All] {
        for limit in [1, 100] {
            let page =
                store.scan(&Scan { scope, tenant: None, after: None, limit }).await.expect("the store scans");
            assert!(page.records.is_empty() && page.next.is_none());
        }
    }
}

async fn fill(store: &dyn Store, keys: impl IntoIterator<Item = Key>) -> Vec<(Key, Versioned)> {
    let mut expected = Vec::new();
    for (n, key) in (0..).zip(keys) {
        let write = first(&key, Samples::any(n));
        apply(store, &write).await;
        expected.push((key, made_by(&write)));
    }
    expected.sort_by(|(a, _), (b, _)| a.cmp(b));
    expected
}

fn open(records: &[(Key, Versioned)]) -> Vec<(Key, Versioned)> {
    records.iter().filter(|(_, current)| current.record.is_open()).cloned().collect()
}

pub(super) async fn pages_of_every_size_cover_everything(store: Arc<dyn Store>) {
    let expected = fill(&*store, (0..23).map(|n| key("t", n))).await;
    for limit in 1..=expected.len() + 1 {
        assert_eq!(scan_all(&*store, Scope::All, None, limit).await, expected, "pages of {limit}");
        assert_eq!(scan_all(&*store, Scope::Open, None, limit).await, open(&expected), "pages of {limit}");
    }
}

pub(super) async fn a_tenant_sees_its_own_records_only(store: Arc<dyn Store>) {
    // Names that begin with one another, and whose lengths look like parts of a name.
    let names = ["a", "aa", "aaa", "b", "\u{1}a", "a\0", "é", "\u{10ffff}"];
    let keys = names.iter().flat_map(|tenant| (0..5).map(move |n| key(tenant, n))).chain(hostile_keys());
    let keys: BTreeSet<_> = keys.collect();
    let expected = fill(&*store, keys).await;
    let tenants: BTreeSet<_> = expected.iter().map(|(key, _)| key.tenant.clone()).collect();
    for tenant in tenants {
        let own: Vec<_> = expected.iter().filter(|(key, _)| key.tenant == tenant).cloned().collect();
        for limit in [1, 2, 3, 100] {
            assert_eq!(scan_all(&*store, Scope::All, Some(&tenant), limit).await, own);
            assert_eq!(scan_all(&*store, Scope::Open, Some(&tenant), limit).await, open(&own));
        }
    }
    let nobody = Tenant::new("nobody").expect("a valid tenant");
    assert_eq!(scan_all(&*store, Scope::All, Some(&nobody), 3).await, []);
}

pub(super) async fn the_open_scan_follows_the_records(store: Arc<dyn Store>) {
    let is_listed = async |write: &Write| {
        let open = scan_all(&*store, Scope::Open, None, 10).await;
        let all = scan_all(&*store, Scope::All, None, 10).await;
        assert_eq!(all, [(write.key.clone(), made_by(write))]);
        if !open.is_empty() {
            assert_eq!(open, all, "an open record is listed as it is");
        }
        !open.is_empty()
    };
    let mut write = first(&key("t", 1), Samples::in_progress(1));
    apply(&*store, &write).await;
    assert!(is_listed(&write).await, "an attempt is open");
    for round in 0..3 {
        write = after(&write, Samples::completed(round));
        apply(&*store, &write).await;
        assert!(!is_listed(&write).await, "a completed one is not");
        write = after(&write, Samples::any(3));
        apply(&*store, &write).await;
        assert!(is_listed(&write).await, "one that was given up is");
        write = after(&write, Samples::forgotten(round));
        apply(&*store, &write).await;
        assert!(!is_listed(&write).await, "a forgotten one is not");
        write = after(&write, Samples::any(2));
        apply(&*store, &write).await;
        assert!(is_listed(&write).await, "a released one is");
    }
}

pub(super) async fn a_scan_of_a_changing_store_misses_nothing_that_stays(store: Arc<dyn Store>) {
    // Even numbers stay open and change all the time; odd ones come and go.
    let mut stayers = Vec::new();
    let mut comers = Vec::new();
    for n in 0..40 {
        let write = first(&key("t", n), Samples::in_progress(n));
        apply(&*store, &write).await;
        if n % 2 == 0 { stayers.push(write) } else { comers.push(write) }
    }
    let keys: BTreeSet<_> = stayers.iter().map(|write| write.key.clone()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let changer = tokio::spawn({
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        async move {
            let mut n = 1000;
            while !stop.load(Ordering::Relaxed) {
                for write in &mut stayers {
                    n += 5;
                    *write = after(write, Samples::in_progress(n));
                    apply(&*store, write).await;
                }
                for write in &mut comers {
                    n += 1;
                    *write = after(write, Samples::any(n));
                    apply(&*store, write).await;
                }
                tokio::task::yield_now().await;
            }
        }
    });
    for limit in [1, 2, 7, 19, 100] {
        for scope in [Scope::Open, Scope::All] {
            let seen: BTreeSet<_> =
                scan_all(&*store, scope, None, limit).await.into_iter().map(|(key, _)| key).collect();
            assert!(keys.is_subset(&seen), "pages of {limit}, {scope:?}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    changer.await.expect("the changer ends well");
}

pub(super) async fn large_records_fit_in_pages(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for n in 0..8 {
        let payload = vec![u8::try_from(n).expect("small"); Policy::RESULT_BYTES_LIMIT];
        let write = first(&key("t", n), Samples::completed_with(n, payload));
        apply(&*store, &write).await;
        expected.push((write.key.clone(), made_by(&write)));
    }
    assert!(scan_all(&*store, Scope::All, None, 1000).await == expected);
}
