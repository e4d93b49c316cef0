//! Page tokens: anybody can make one, for any place. None shows a tenant what is another's, and none stops the store.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use semel::coordinator::{Listing, ListingFilter};
use semel::domain::{Endpoint, Key, Policy, Reason, Tenant};
use semel::server::test_support as doors;
use semel::storage::conformance::{Samples, key};
use semel::storage::memory::MemoryStore;
use semel::storage::{Cursor, Scan, Scope, Store, Versioned, Write, WriteId};
use uuid::Uuid;

use super::input::{Input, text};

const READINGS: [Option<Listing>; 6] = [
    None,
    Some(Listing::InProgress),
    Some(Listing::Completed),
    Some(Listing::Released),
    Some(Listing::Unresolved),
    Some(Listing::LeaseLost),
];

/// A byte for the filter, and one for what the rest is: a token, or the place that one is made for.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let filter = filter(input.byte());
    let cursor = if input.byte() % 2 == 0 {
        let token = text(input.0);
        match doors::cursor(token, &filter) {
            Ok(cursor) => {
                assert_eq!(doors::page_token(&filter, &cursor), token, "one place has two tokens");
                cursor
            }
            Err(violation) => {
                assert_eq!(violation.reason, Reason::InvalidPage);
                return;
            }
        }
    } else {
        let cursor = Cursor(input.0.to_vec());
        let token = doors::page_token(&filter, &cursor);
        assert_eq!(doors::cursor(&token, &filter).as_ref(), Ok(&cursor));
        let other = ListingFilter { tenant: tenant("somebody else"), ..filter.clone() };
        assert!(doors::cursor(&token, &other).is_err(), "a token is taken for another listing");
        cursor
    };
    let scan = Scan { scope: Scope::All, tenant: Some(filter.tenant.clone()), after: Some(cursor), limit: 3 };
    // The store in memory never waits.
    let page = store().scan(&scan).now_or_never().expect("it is in memory").expect("it lists");
    assert!(page.records.len() <= 3);
    for (key, _) in &page.records {
        assert_eq!(key.tenant, filter.tenant, "another tenant's record is shown");
    }
    let different: BTreeSet<&Key> = page.records.iter().map(|(key, _)| key).collect();
    assert_eq!(different.len(), page.records.len());
}

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).expect("a name within bounds")
}

fn filter(byte: u8) -> ListingFilter {
    let named = tenant(if byte & 1 == 0 { "a" } else { "ab" });
    let endpoint = (byte & 2 == 2).then(|| Endpoint::new("POST /charges").expect("a name within bounds"));
    ListingFilter { tenant: named, endpoint, reading: READINGS[usize::from(byte >> 2) % READINGS.len()] }
}

/// Records of two tenants, and of those whose names are near.
fn store() -> &'static MemoryStore {
    static STORE: OnceLock<MemoryStore> = OnceLock::new();
    STORE.get_or_init(|| {
        let store = MemoryStore::new();
        for tenant in ["a", "ab", "b"] {
            for n in 0..5 {
                let current = Versioned::new(WriteId(Uuid::from_u128(n)), Arc::new(Samples::completed(1)));
                let write = Write::new(key(tenant, n), None, current, &Policy::default());
                store.compare_and_put(&write).now_or_never().expect("it is in memory").expect("it stores");
            }
        }
        store
    })
}

/// Tokens and places of real keys.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![vec![0, 0], vec![0, 1]];
    for filter_byte in 0..8_u8 {
        let place = key("ab", filter_byte).to_bytes();
        let token = doors::page_token(&filter(filter_byte), &Cursor(place.clone()));
        seeds.push([&[filter_byte, 0][..], token.as_bytes()].concat());
        seeds.push([&[filter_byte, 1][..], &place].concat());
    }
    seeds
}
