//! Copies between stores: what is taken, what is left as it is, and what a store in trouble does to them.

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use program::{errors, text};
use semel::domain::{Clock, Key, Record, Timestamp};
use semel::storage::conformance::{Samples, hostile_keys, key};
use semel::storage::copy::{Batch, Reader, Tally, copy};
use semel::storage::embedded::{self, EmbeddedStore};
use semel::storage::fault_injecting::{Fault, FaultInjecting};
use semel::storage::memory::MemoryStore;
use semel::storage::metered::Operation;
use semel::storage::{Expected, Freshness, Put, Store, StoreError, Versioned, Write, WriteId};
use support::semel;
use uuid::Uuid;

/// Some records, a batch at a time, with errors between.
struct Script(Vec<Result<Batch, StoreError>>);

#[async_trait]
impl Reader for Script {
    async fn next(&mut self) -> Result<Option<Batch>, StoreError> {
        if self.0.is_empty() { Ok(None) } else { self.0.remove(0).map(Some) }
    }
}

#[derive(Debug)]
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn versioned(id: u128, record: Record) -> Versioned {
    Versioned::new(WriteId(Uuid::from_u128(id)), Arc::new(record))
}

#[allow(clippy::unnecessary_wraps, reason = "a step of a script, as errors are")]
fn batch(records: Vec<(Key, Versioned)>) -> Result<Batch, StoreError> {
    Ok(Batch { records, unreadable: 0 })
}

async fn run(script: Vec<Result<Batch, StoreError>>, to: &dyn Store) -> Result<Tally, StoreError> {
    copy(&mut Script(script), to, &At(Samples::CLOCK), |_| {}).await
}

async fn there(store: &dyn Store, key: &Key) -> Option<Versioned> {
    store.get(key, Freshness::Acknowledged).await.unwrap()
}

/// Every kind of record under a key of its own.
fn all() -> Vec<(Key, Versioned)> {
    let records = Samples::extremes().into_iter().chain((0..50).map(Samples::any));
    let keys = hostile_keys().into_iter().chain((0..).map(|n| key("more", n)));
    keys.zip(records).zip(1..).map(|((key, record), n)| (key, versioned(n, record))).collect()
}

#[tokio::test]
async fn everything_is_copied_as_it_is_and_known_again() {
    let store = MemoryStore::new();
    let records = all();
    let count = records.len() as u64;
    let mut said = Vec::new();
    let (first, second) = records.split_at(10);
    let mut script =
        Script(vec![batch(first.to_vec()), Ok(Batch { records: second.to_vec(), unreadable: 3 })]);
    let tally =
        copy(&mut script, &store, &At(Samples::CLOCK), |tally| said.push(tally.total())).await.unwrap();
    assert_eq!(tally, Tally { copied: count, unreadable: 3, ..Tally::default() });
    assert_eq!(said, [10, count + 3]);
    for (key, expected) in &records {
        assert_eq!(there(&store, key).await.as_ref(), Some(expected));
    }
    let again = run(vec![batch(records)], &store).await.unwrap();
    assert_eq!(again, Tally { already_there: count, ..Tally::default() });
}

/// `record`, changed so much later than the samples are.
fn later(record: Record, by: u64) -> Record {
    let Record::Kept(kept) = record else { panic!("only kept ones here") };
    let changed_at = kept.changed_at.plus(Duration::from_micros(by));
    Record::Kept(semel::domain::Kept { changed_at, ..kept })
}

#[tokio::test]
async fn what_is_later_there_stays() {
    let (open, done) = (Samples::in_progress, Samples::completed);
    for (name, ours, theirs, taken) in [
        ("a higher fence there", done(1), open(2), false),
        ("a higher fence there, forgotten", done(1), Samples::forgotten(2), false),
        ("a lower fence there", open(2), done(1), true),
        ("it ended here", done(1), open(1), true),
        ("it ended there", later(open(1), 500), done(1), false),
        ("forgotten there", done(1), later(done(1), 5), false),
        ("another end here, later", later(done(1), 5), done(1), true),
        ("both the same", done(1), done(1), false),
        ("renewed here", later(open(1), 5), open(1), true),
        ("renewed there", open(1), later(open(1), 5), false),
    ] {
        let store = MemoryStore::new();
        let key = key("t", 1);
        let (ours, theirs) = (versioned(1, ours), versioned(2, theirs));
        run(vec![batch(vec![(key.clone(), theirs.clone())])], &store).await.unwrap();
        let tally = run(vec![batch(vec![(key.clone(), ours.clone())])], &store).await.unwrap();
        assert_eq!((tally.copied, tally.newer_there), (taken.into(), (!taken).into()), "{name}");
        assert_eq!(there(&store, &key).await, Some(if taken { ours } else { theirs }), "{name}");
    }
}

#[tokio::test]
async fn what_may_be_reclaimed_is_left_out() {
    let store = MemoryStore::new();
    let record = Samples::completed(1);
    let clock = At(record.reclaim_at());
    let mut script = Script(vec![batch(vec![(key("t", 1), versioned(1, record))])]);
    let tally = copy(&mut script, &store, &clock, |_| {}).await.unwrap();
    assert_eq!(tally, Tally { reclaimable: 1, ..Tally::default() });
    assert_eq!(there(&store, &key("t", 1)).await, None);
}

#[tokio::test(start_paused = true)]
async fn trouble_is_waited_out_and_unknown_writes_are_settled() {
    let store = FaultInjecting::new(Arc::new(MemoryStore::new()));
    let unavailable = || StoreError::Unavailable("injected".to_owned());
    for fault in [Fault::Unavailable, Fault::UnknownDone, Fault::UnknownNotDone, Fault::UnknownDone] {
        store.inject(Operation::CompareAndPut, fault);
    }
    store.inject_times(Operation::Get, Fault::Unavailable, 5);
    let records: Vec<_> = (0..10).map(|n| (key("t", n), versioned(n.into(), Samples::any(n)))).collect();
    let script = vec![
        Err(unavailable()),
        batch(records[..5].to_vec()),
        Err(unavailable()),
        batch(records[5..].to_vec()),
    ];
    let tally = run(script, &store).await.unwrap();
    assert_eq!(tally, Tally { copied: 10, ..Tally::default() });
    for (key, expected) in &records {
        assert_eq!(there(&store, key).await.as_ref(), Some(expected));
    }
    assert_eq!(store.remaining(Operation::CompareAndPut) + store.remaining(Operation::Get), 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_silent_ends_the_copy() {
    let store = FaultInjecting::new(Arc::new(MemoryStore::new()));
    store.inject_times(Operation::CompareAndPut, Fault::Unavailable, 10_000);
    let script = vec![batch(vec![(key("t", 1), versioned(1, Samples::completed(1)))])];
    let began = tokio::time::Instant::now();
    assert!(matches!(run(script, &store).await, Err(StoreError::Unavailable(_))));
    assert!(began.elapsed() >= Duration::from_mins(1), "it was waited for: {:?}", began.elapsed());
    let script = (0..10_000).map(|_| Err(StoreError::Unavailable("injected".to_owned()))).collect();
    assert!(matches!(run(script, &MemoryStore::new()).await, Err(StoreError::Unavailable(_))));
}

/// Somebody else writes between the read and the write.
#[tokio::test]
async fn a_conflict_is_judged_by_what_is_there() {
    let inner = Arc::new(MemoryStore::new());
    let gate = semel::storage::fault_injecting::Gate::new();
    let store = FaultInjecting::new(inner.clone());
    store.inject(Operation::CompareAndPut, Fault::HeldBefore(gate.clone()));
    let theirs = versioned(2, Samples::completed(5));
    let meanwhile = async {
        gate.arrival().await;
        let next = theirs.clone();
        let put = Write::new(key("t", 1), None, next, &semel::domain::Policy::default());
        assert!(matches!(put.expected, Expected::Absent));
        assert_eq!(inner.compare_and_put(&put).await.unwrap(), Put::Applied);
        gate.open();
    };
    let script = vec![batch(vec![(key("t", 1), versioned(1, Samples::completed(1)))])];
    let (tally, ()) = tokio::join!(run(script, &store), meanwhile);
    assert_eq!(tally.unwrap(), Tally { newer_there: 1, ..Tally::default() });
    assert_eq!(there(&*inner, &key("t", 1)).await, Some(theirs));
}

#[test]
fn the_command_copies_between_directories_and_names_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let (here, other) = (directory.path().join("here"), directory.path().join("other"));
    let place = |path: &Path| format!("embedded:{}", path.display());
    let run = |from: &str, to: &str| {
        let mut command = semel();
        command.current_dir(directory.path()).args(["store", "copy", "--from", from, "--to", to]);
        command.args(["--output", "json"]).output().unwrap()
    };
    let nothing = run(&place(&here), &place(&other));
    assert_eq!(nothing.status.code(), Some(1));
    assert!(errors(&nothing).contains("there is no embedded store in"), "{}", errors(&nothing));
    assert!(!here.exists() && !other.exists(), "nothing is made");

    let open = |path: &Path| EmbeddedStore::open(embedded::Settings::new(path)).unwrap();
    let far = Timestamp::from_micros(u64::MAX / 2);
    let records: Vec<_> = (0..20)
        .map(|n| (key("t", n), versioned(u128::from(n) + 1, Samples::expiring(Samples::any(n), far))))
        .collect();
    open(&here).load(records.clone()).unwrap();
    let copied = run(&place(&here), &place(&other));
    assert_eq!(copied.status.code(), Some(0), "{}", errors(&copied));
    let told: serde_json::Value = serde_json::from_str(&text(&copied)).unwrap();
    assert_eq!((&told["copied"], &told["already_there"]), (&20.into(), &0.into()), "{told}");
    let store = open(&other);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (key, expected) in &records {
        assert_eq!(runtime.block_on(there(&store, key)).as_ref(), Some(expected));
    }
    let in_use = run(&place(&here), &place(&other));
    assert_eq!(in_use.status.code(), Some(1));
    assert!(errors(&in_use).contains("in use by another process"), "{}", errors(&in_use));

    assert_eq!(run(&place(&here), &place(&here)).status.code(), Some(2));
    assert_eq!(run("paper", &place(&here)).status.code(), Some(2));
    let no_database = run(&place(&here), "scylla");
    assert_eq!(no_database.status.code(), Some(3));
    assert!(errors(&no_database).contains("--scylla-nodes"), "{}", errors(&no_database));
}
