//! Scans: every record that stays comes, in pages of any size, whatever else changes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::samples::{Samples, hostile_keys, key};
use super::{Kind, Records, after, apply, check_scan, first, made_by, scan_all};
use crate::domain::{Key, Policy, Tenant};
use crate::storage::{Scan, Scope, Store, StoreError, Write};

pub(super) async fn an_empty_store_has_an_empty_page(store: Arc<dyn Store>, kind: Kind) {
    for scope in kind.scopes() {
        for limit in [1, 100] {
            let page =
                store.scan(&Scan { scope, tenant: None, after: None, limit }).await.expect("the store scans");
            assert!(page.records.is_empty() && page.next.is_none());
        }
    }
}

pub(super) async fn a_wider_scan_is_told_what_is_listed(store: Arc<dyn Store>, kind: Kind) {
    fill(&*store, (0..5).map(|n| key("t", n))).await;
    for scope in [Scope::Open, Scope::All].into_iter().filter(|scope| *scope > kind.lists) {
        let answer = store.scan(&Scan { scope, tenant: None, after: None, limit: 10 }).await;
        assert!(
            matches!(answer, Err(StoreError::NotListed { listed }) if listed == kind.lists),
            "{scope:?} records: {answer:?}"
        );
    }
}

async fn fill(store: &dyn Store, keys: impl IntoIterator<Item = Key>) -> Records {
    let mut expected = Vec::new();
    for (n, key) in (0..).zip(keys) {
        let write = first(&key, Samples::any(n));
        apply(store, &write).await;
        expected.push((key, made_by(&write)));
    }
    expected
}

pub(super) async fn pages_of_every_size_cover_everything(store: Arc<dyn Store>, kind: Kind) {
    let expected = fill(&*store, (0..23).map(|n| key("t", n))).await;
    for limit in 1..=expected.len() + 1 {
        for scope in kind.scopes() {
            check_scan(&*store, scope, None, limit, &expected).await;
        }
    }
}

pub(super) async fn a_scan_gives_back_hostile_keys(store: Arc<dyn Store>, kind: Kind) {
    let mut expected = Records::new();
    for (n, key) in (0..).zip(hostile_keys()) {
        let write = first(&key, Samples::unresolved(n));
        apply(&*store, &write).await;
        expected.push((key, made_by(&write)));
    }
    for scope in kind.scopes() {
        check_scan(&*store, scope, None, 10, &expected).await;
    }
}

pub(super) async fn a_tenant_sees_its_own_records_only(store: Arc<dyn Store>, kind: Kind) {
    // Names that begin with one another, and whose lengths look like parts of a name.
    let names = ["a", "aa", "aaa", "b", "\u{1}a", "a\0", "é", "\u{10ffff}"];
    let keys = names.iter().flat_map(|tenant| (0..5).map(move |n| key(tenant, n))).chain(hostile_keys());
    let keys: BTreeSet<_> = keys.collect();
    let expected = fill(&*store, keys).await;
    let tenants: BTreeSet<_> = expected.iter().map(|(key, _)| key.tenant.clone()).collect();
    for tenant in tenants {
        let own: Records = expected.iter().filter(|(key, _)| key.tenant == tenant).cloned().collect();
        for limit in [1, 2, 3, 100] {
            for scope in kind.scopes() {
                check_scan(&*store, scope, Some(&tenant), limit, &own).await;
            }
        }
    }
    let nobody = Tenant::new("nobody").expect("a valid tenant");
    for scope in kind.scopes() {
        assert_eq!(scan_all(&*store, scope, Some(&nobody), 3).await, []);
    }
}

pub(super) async fn the_unresolved_scan_follows_the_records(store: Arc<dyn Store>) {
    let is_listed = async |write: &Write| {
        let found = scan_all(&*store, Scope::Unresolved, None, 10).await;
        assert!(found.is_empty() || found == [(write.key.clone(), made_by(write))], "listed as it is");
        !found.is_empty()
    };
    let mut write = first(&key("t", 1), Samples::unresolved(1));
    apply(&*store, &write).await;
    assert!(is_listed(&write).await, "an attempt whose loss would leave it unresolved is listed");
    write = after(&write, Samples::unresolved(1));
    apply(&*store, &write).await;
    assert!(is_listed(&write).await, "and after a change of the same attempt");
    for round in 0..3 {
        write = after(&write, Samples::completed(round));
        apply(&*store, &write).await;
        assert!(!is_listed(&write).await, "a completed one is not");
        // One that may be taken over may be listed, or not.
        write = after(&write, Samples::in_progress(round + 10));
        apply(&*store, &write).await;
        is_listed(&write).await;
        write = after(&write, Samples::unresolved(round + 20));
        apply(&*store, &write).await;
        assert!(is_listed(&write).await, "the next attempt is");
        write = after(&write, Samples::forgotten(round + 20));
        apply(&*store, &write).await;
        assert!(!is_listed(&write).await, "a forgotten one is not");
        write = after(&write, Samples::unresolved(round + 30));
        apply(&*store, &write).await;
        assert!(is_listed(&write).await, "and the one after it is");
    }
}

pub(super) async fn the_open_scan_follows_the_records(store: Arc<dyn Store>) {
    let is_listed = async |write: &Write| {
        let open = scan_all(&*store, Scope::Open, None, 10).await;
        assert!(open.is_empty() || open == [(write.key.clone(), made_by(write))], "listed as it is");
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

pub(super) async fn a_scan_of_a_changing_store_misses_nothing_that_stays(store: Arc<dyn Store>, kind: Kind) {
    // Even numbers stay open and change all the time; odd ones come and go.
    let mut stayers = Vec::new();
    let mut comers = Vec::new();
    for n in 0..40 {
        let write = first(&key("t", n), Samples::unresolved(n));
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
                    *write = after(write, Samples::unresolved(n));
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
        for scope in kind.scopes() {
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
