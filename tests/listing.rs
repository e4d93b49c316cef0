//! List asks for the narrowest scope that answers, so that stores which list less still answer what they can.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/hinting_store.rs"]
mod hinting_store;

use std::sync::Arc;
use std::time::Duration;

use fixtures::{TestClock, begin, key};
use hinting_store::HintingStore;
use semel::coordinator::{BeginCall, CallError, Coordinator, Listing, ListingFilter, Settings};
use semel::domain::{BeginAnswer, OnLostLease, Policy, PolicyRules};
use semel::storage::memory::MemoryStore;
use semel::storage::{Scope, Store};

/// How many records of each state a store lists whose three keys read as lost, unresolved and in progress.
async fn listed(
    store: Arc<dyn Store>,
    clock: Arc<TestClock>,
) -> Vec<(Option<Listing>, Result<usize, CallError>)> {
    let coordinator = Coordinator::new(store, clock, 1, Settings::default());
    for (name, on_lost_lease) in [
        ("lost", OnLostLease::Rerun),
        ("unresolved", OnLostLease::MarkUnknown),
        ("running", OnLostLease::Rerun),
    ] {
        if name == "running" {
            tokio::time::advance(Duration::from_secs(32)).await;
        }
        let policy = Policy { on_lost_lease, ..Policy::default() };
        let (key, begin, wait, deadline) = (key(name), begin(1), Duration::ZERO, None);
        let call = BeginCall { key: &key, begin: &begin, policy: &policy, wait, deadline, retry: false };
        assert!(matches!(coordinator.begin(&call).await.unwrap().answer, BeginAnswer::Started(_)));
    }
    let states = [
        None,
        Some(Listing::Completed),
        Some(Listing::InProgress),
        Some(Listing::Released),
        Some(Listing::LeaseLost),
        Some(Listing::Unresolved),
    ];
    let mut answers = Vec::new();
    for reading in states {
        let filter = ListingFilter { tenant: key("k").tenant, endpoint: None, reading };
        let page = coordinator.list(&filter, &PolicyRules::default(), 10, None, usize::MAX, |_| 1).await;
        answers.push((reading, page.map(|page| page.records.len())));
    }
    answers
}

#[tokio::test(start_paused = true)]
async fn each_store_answers_the_states_that_it_lists_and_says_which_they_are() {
    let clock = || TestClock::new(Duration::ZERO);
    let only = |listed| Err(CallError::NotListed { listed });
    let whole = [Ok(3), Ok(0), Ok(1), Ok(0), Ok(1), Ok(1)];
    let open = [only(Scope::Open), only(Scope::Open), Ok(1), Ok(0), Ok(1), Ok(1)];
    let none = only(Scope::Unresolved);
    let unresolved = [none, none, none, none, none, Ok(1)];
    for (name, narrow, expected) in [
        ("memory", None, whole),
        ("open", Some(Scope::Open), open),
        ("unresolved", Some(Scope::Unresolved), unresolved),
    ] {
        let clock = clock();
        let store: Arc<dyn Store> = match narrow {
            None => Arc::new(MemoryStore::new()),
            Some(scope) => Arc::new(HintingStore::new(scope, clock.clone())),
        };
        for ((state, found), expected) in listed(store, clock).await.into_iter().zip(expected) {
            assert_eq!(found, expected, "{name}: {state:?}");
        }
    }
    assert!(
        only(Scope::Open)
            .unwrap_err()
            .to_string()
            .contains("IN_PROGRESS, UNRESOLVED, RELEASED and LEASE_LOST")
    );
    assert!(none.unwrap_err().to_string().contains("the state UNRESOLVED"));
}
