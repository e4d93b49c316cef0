//! Records move from an embedded store to a database and back: nothing is lost, doubled, or set back.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use semel::clock::SystemClock;
use semel::coordinator::{BeginCall, CallError, Coordinator, Settings};
use semel::domain::{
    Abort, Begin, BeginAnswer, Complete, Detail, Disposition, Fence, Forget, Key, OperationResult, Outcome,
    Policy, PositiveDuration, Record,
};
use semel::storage::conformance::key;
use semel::storage::copy::{EmbeddedReader, copy};
use semel::storage::embedded::{self, EmbeddedStore};
use semel::storage::scylla::{self, ScyllaStore};
use semel::storage::{Freshness, Put, Scope, Store, StoreError, Versioned, Write};
use serde_json::Value;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::between::{Between, Writes};
use crate::callers::PATIENCE;
use crate::cluster::Cluster;
use crate::database::{Database, listed, mark_unknown};
use crate::fixtures;
use crate::support;

const FROM: &str = "SEMEL_TEST_COPIES_FROM";
const TO: &str = "SEMEL_TEST_COPIES_TO";
const WRITES: &str = "SEMEL_TEST_COPIES_WRITES";
const AT_ONCE: usize = 64;

/// Kills its process after so many writes, while others are under way.
#[derive(Debug)]
struct Dying {
    inner: ScyllaStore,
    left: AtomicU64,
}

#[async_trait]
impl Writes for Dying {
    fn store(&self) -> &dyn Store {
        &self.inner
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let answer = self.inner.compare_and_put(write).await;
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            kill(Pid::this(), Signal::SIGKILL).expect("it kills itself");
        }
        answer
    }
}

/// In a child of the test below: copies until it has written as much as it was told, and dies.
pub(crate) fn work_as_child() {
    let Ok(writes) = std::env::var(WRITES) else { return };
    let variable = |name: &str| std::env::var(name).expect("the parent sets it");
    let (nodes, keyspace) = (variable(TO), variable("SEMEL_TEST_COPIES_KEYSPACE"));
    let settings = scylla::Settings::new(nodes.split(',').map(str::to_owned).collect(), keyspace);
    Runtime::new().expect("a runtime").block_on(async {
        let from = open(Path::new(&variable(FROM)));
        let inner = ScyllaStore::connect(settings, Arc::new(SystemClock)).await.expect("the store opens");
        let to = Between(Dying { inner, left: AtomicU64::new(writes.parse().expect("a number")) });
        copy(&mut EmbeddedReader::new(&from), &to, &SystemClock, |_| {}).await.expect("it copies");
        unreachable!("it outlived {writes} writes");
    });
}

fn open(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(embedded::Settings::new(directory)).expect("the embedded store opens")
}

fn coordinator(store: Arc<dyn Store>) -> Coordinator {
    // Equal seeds make equal write ids, and by its write id the copy knows what is there already.
    Coordinator::new(store, Arc::new(SystemClock), rand::random(), Settings::default())
}

fn named(number: u64) -> Key {
    key(if number.is_multiple_of(2) { "even" } else { "odd" }, number)
}

/// Payloads of all sizes and bytes, each of one number alone.
fn payload(number: u64) -> Vec<u8> {
    let length = usize::try_from(number % 700).expect("small");
    number.to_be_bytes().into_iter().chain((0..=u8::MAX).cycle().take(length)).collect()
}

async fn begin(coordinator: &Coordinator, key: &Key, policy: &Policy) -> BeginAnswer {
    let lease = PositiveDuration::new(Duration::from_millis(1)).ok();
    let begin = Begin { lease, ..fixtures::begin(Uuid::new_v4().as_u128()) };
    let (wait, deadline) = (Duration::ZERO, None);
    let call = BeginCall { key, begin: &begin, policy, wait, deadline, retry: true };
    answered(async || coordinator.begin(&call).await).await.answer
}

/// Sends the same call until a busy node has done it.
async fn answered<A>(call: impl AsyncFn() -> Result<A, CallError>) -> A {
    let sent_again = async {
        loop {
            match call().await {
                Err(CallError::StoreUnavailable | CallError::StoreOutcomeUnknown) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => return other.expect("it is answered"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, sent_again).await.expect("the node is not busy for ever")
}

fn fence(answer: &BeginAnswer) -> Fence {
    let BeginAnswer::Started(started) = answer else { panic!("{answer:?}") };
    started.fence
}

/// A fifth each: under way for ever, completed (two fifths), released, forgotten.
async fn fill(coordinator: &Coordinator, number: u64) {
    let (key, policy) = (named(number), mark_unknown());
    let begin = fixtures::begin(u128::from(number) + 1);
    let attempt_id = begin.attempt_id;
    let (wait, deadline) = (Duration::ZERO, None);
    let call = BeginCall { key: &key, begin: &begin, policy: &policy, wait, deadline, retry: false };
    let fence = fence(&coordinator.begin(&call).await.expect("it is answered").answer);
    if number.is_multiple_of(5) {
        return;
    }
    if number % 5 == 3 {
        let (disposition, detail) = (Disposition::Release, Detail::default());
        let abort = Abort { fence, attempt_id, disposition, detail, retry_after: Duration::ZERO };
        coordinator.run(&key, &abort, &policy, None).await.expect("it is released");
        return;
    }
    let result = Arc::new(OperationResult {
        outcome: Outcome::Success,
        code: 200,
        content_type: "application/octet-stream".to_owned(),
        headers: Vec::new(),
        payload: payload(number).into(),
        payload_omitted: false,
    });
    let complete = Complete { fence, attempt_id, result, retention: None };
    coordinator.run(&key, &complete, &policy, None).await.expect("it is completed");
    if number % 5 == 4 {
        forget(coordinator, &key, fence).await;
    }
}

async fn forget(coordinator: &Coordinator, key: &Key, fence: Fence) {
    let forget = Forget { fence, force: false };
    answered(async || coordinator.run(key, &forget, &mark_unknown(), None).await).await;
}

async fn each<Done: Future<Output = ()>>(records: u64, work: impl Fn(u64) -> Done) {
    stream::iter((0..records).map(work)).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

async fn read(store: &dyn Store, number: u64) -> Versioned {
    let found = store.get(&named(number), Freshness::Acknowledged).await.expect("the store reads");
    found.unwrap_or_else(|| panic!("record {number} is gone"))
}

/// Runs `semel store copy` to its end: copied, already there, newer there.
fn run(database: &Database, from: &str, to: &str) -> (u64, u64, u64) {
    let output = support::semel()
        .args(["store", "copy", "--from", from, "--to", to, "--output", "json"])
        .args(["--scylla-nodes", &database.settings.nodes.join(",")])
        .args(["--scylla-keyspace", &database.settings.keyspace])
        .output()
        .expect("semel starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let number = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{name} in {told}"));
    assert_eq!((number("reclaimable"), number("unreadable")), (0, 0), "{told}");
    assert!(errors.contains("records so far"), "{errors}");
    (number("copied"), number("already_there"), number("newer_there"))
}

pub(crate) fn records_move_there_and_back(cluster: &mut Cluster, runtime: &Runtime) {
    let records = support::size("SEMEL_COPY_RECORDS", 5000);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (here, back) = (directory.path().join("here"), directory.path().join("back"));
    let (from, to_back) = (format!("embedded:{}", here.display()), format!("embedded:{}", back.display()));

    let before: Vec<Versioned> = runtime.block_on(async {
        let store = Arc::new(open(&here));
        let filling = coordinator(store.clone());
        each(records, |number| fill(&filling, number)).await;
        stream::iter(0..records).then(|number| read(&*store, number)).collect().await
    });
    let same = async |store: &dyn Store| {
        each(records, async |number| {
            let expected = &before[usize::try_from(number).expect("small")];
            assert_eq!(&read(store, number).await, expected, "{number}");
        })
        .await;
    };
    let database = runtime.block_on(Database::new(cluster));

    // Killed half-way, with writes under way.
    let mut child = Command::new(std::env::current_exe().expect("this binary has a path"))
        .env(FROM, &here)
        .env(TO, database.settings.nodes.join(","))
        .env("SEMEL_TEST_COPIES_KEYSPACE", &database.settings.keyspace)
        .env(WRITES, (records / 2).to_string())
        .stdout(Stdio::null())
        .spawn()
        .expect("this binary starts");
    let status = child.wait().expect("it ends");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");

    let (copied, already_there, newer_there) = run(&database, &from, "scylla");
    println!("after the kill {already_there} were there already, and {copied} were copied");
    assert_eq!((copied + already_there, newer_there), (records, 0));
    assert!(already_there >= records / 2 && copied > 0, "{already_there} {copied}");
    assert_eq!(run(&database, &from, "scylla"), (0, records, 0), "the third time there is nothing to do");
    assert_eq!(run(&database, "scylla", &to_back), (records, 0, 0));
    assert_eq!(run(&database, "scylla", &to_back), (0, records, 0));
    runtime.block_on(same(&open(&back)));

    runtime.block_on(async {
        let clock = Arc::new(SystemClock);
        let store = ScyllaStore::connect(database.settings.clone(), clock).await.expect("the store opens");
        let store = Arc::new(store);
        same(&*store).await;
        let found = listed(&*store, Scope::Unresolved, 500).await;
        let found: std::collections::HashSet<_> = found.into_iter().collect();
        let missing = (0..records).step_by(5).find(|number| !found.contains(&named(*number)));
        assert_eq!(missing, None, "what may be unresolved is listed");

        let serving = coordinator(store.clone());
        each(records, async |number| {
            let (key, policy) = (named(number), mark_unknown());
            let record = &before[usize::try_from(number).expect("small")].record;
            let answer = begin(&serving, &key, &policy).await;
            match number % 5 {
                // Its lease is not over yet, or nobody knows.
                0 => assert!(
                    matches!(answer, BeginAnswer::Unresolved(_) | BeginAnswer::InProgress(_)),
                    "{answer:?}"
                ),
                1 | 2 => {
                    let BeginAnswer::Replayed(completed) = answer else { panic!("{number}: {answer:?}") };
                    assert_eq!(completed.result.payload, payload(number), "{number}");
                    assert_eq!(completed.fence, record.fence());
                }
                _ => assert!(fence(&answer) > record.fence(), "{number}"),
            }
            if number % 5 == 2 {
                forget(&serving, &key, record.fence()).await;
                assert!(fence(&begin(&serving, &key, &policy).await) > record.fence(), "{number}");
            }
        })
        .await;
    });

    // What went on over there is not set back.
    let (copied, already_there, newer_there) = run(&database, &from, "scylla");
    let moved_on = (0..records).filter(|number| number % 5 >= 2).count() as u64;
    assert_eq!((copied, already_there, newer_there), (0, records - moved_on, moved_on));
    // And over here it is taken.
    assert_eq!(run(&database, "scylla", &to_back), (moved_on, records - moved_on, 0));
    runtime.block_on(async {
        let store = open(&back);
        each(records, async |number| {
            let expected = before[usize::try_from(number).expect("small")].record.fence();
            let found = read(&store, number).await.record;
            assert_eq!(found.fence() > expected, number % 5 >= 2, "{number}");
            assert!(matches!(*found, Record::Kept(_)), "{number}");
        })
        .await;
    });
    support::count("cassandra_copied", records);
}
