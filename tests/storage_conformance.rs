//! Every backend, and every wrapper, against the one suite.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use semel::domain::{Clock, Timestamp};
use semel::storage::conformance::{Backend, Kind, LEAST_REOPENED, Reclaims, Report, Samples};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::fault_injecting::FaultInjecting;
use semel::storage::memory::MemoryStore;
use semel::storage::metered::{CallOutcome, Metered, Operation};
use semel::storage::sealed::{KeyId, Keyring, Keyrings, Sealing};
use semel::storage::{Scope, Store};
use tempfile::TempDir;

use hinting_store::HintingStore;

#[path = "support/hinting_store.rs"]
mod hinting_store;
mod support;

async fn run(backend: &mut dyn Backend) -> Report {
    let report = semel::storage::conformance::run(backend).await;
    support::count("storage_scenarios", report.scenarios as u64);
    report
}

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Backend for Memory {
    fn kind(&self) -> Kind {
        Kind::WHOLE
    }

    async fn fresh(&mut self) -> Arc<dyn Store> {
        Arc::new(MemoryStore::new())
    }

    async fn reopen(&mut self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }
}

#[derive(Debug, Default)]
struct InMetered(Vec<Arc<Metered>>);

#[async_trait]
impl Backend for InMetered {
    fn kind(&self) -> Kind {
        Kind::WHOLE
    }

    async fn fresh(&mut self) -> Arc<dyn Store> {
        let store = Arc::new(Metered::new(Arc::new(MemoryStore::new())));
        self.0.push(Arc::clone(&store));
        store
    }

    async fn reopen(&mut self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }
}

#[derive(Debug)]
struct InFaultInjecting;

#[async_trait]
impl Backend for InFaultInjecting {
    fn kind(&self) -> Kind {
        Kind::WHOLE
    }

    async fn fresh(&mut self) -> Arc<dyn Store> {
        Arc::new(FaultInjecting::new(Arc::new(MemoryStore::new())))
    }

    async fn reopen(&mut self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }
}

/// A store as a cluster has it: hints instead of an index, rows that go by themselves.
#[derive(Debug)]
struct Hinting(Scope);

#[derive(Debug)]
struct StandingClock;

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Samples::CLOCK
    }
}

#[async_trait]
impl Backend for Hinting {
    fn kind(&self) -> Kind {
        Kind { lists: self.0, reclaims: Reclaims::ByTtl }
    }

    async fn fresh(&mut self) -> Arc<dyn Store> {
        Arc::new(HintingStore::new(self.0, Arc::new(StandingClock)))
    }

    async fn reopen(&mut self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }
}

/// Each store in a directory of its own. With `small_buffers`, memtables are flushed and compacted all the time,
/// and no record is kept in memory.
#[derive(Debug)]
struct Embedded {
    root: TempDir,
    count: usize,
    small_buffers: bool,
}

impl Embedded {
    fn new(small_buffers: bool) -> Self {
        Self { root: TempDir::new().expect("a temporary directory"), count: 0, small_buffers }
    }

    fn open(&self) -> Arc<dyn Store> {
        let directory: PathBuf = self.root.path().join(self.count.to_string());
        let mut settings = Settings { free_space_reserve_bytes: 0, ..Settings::new(directory) };
        if self.small_buffers {
            settings.cache_bytes = 0;
            settings.write_buffer_bytes = 4096;
        }
        Arc::new(EmbeddedStore::open(settings).expect("the store opens"))
    }
}

#[async_trait]
impl Backend for Embedded {
    fn kind(&self) -> Kind {
        Kind::WHOLE
    }

    async fn fresh(&mut self) -> Arc<dyn Store> {
        self.count += 1;
        self.open()
    }

    async fn reopen(&mut self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        assert_eq!(Arc::strong_count(&store), 1, "nobody else holds the store");
        drop(store);
        Some(self.open())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    let report = run(&mut Memory).await;
    assert_eq!(report.reopened, 0);
    assert_eq!(
        report.left_out,
        [
            "a_wider_scan_is_told_what_is_listed",
            "a_call_to_reclaim_does_nothing",
            "rows_go_by_themselves_as_the_latest_version_says",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_lists_less_and_reclaims_by_itself() {
    let mut left_out = vec![
        "large_records_fit_in_pages",
        "nothing_goes_before_its_time",
        "the_limit_is_kept",
        "the_latest_version_says_when",
        "a_write_in_a_race_with_reclamation_is_not_lost",
    ];
    assert_eq!(run(&mut Hinting(Scope::Open)).await.left_out, left_out);
    left_out.insert(0, "the_open_scan_follows_the_records");
    assert_eq!(run(&mut Hinting(Scope::Unresolved)).await.left_out, left_out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metered() {
    let mut backend = InMetered::default();
    run(&mut backend).await;
    let total = |operation, outcome| backend.0.iter().map(|m| m.calls(operation, outcome).count).sum::<u64>();
    for (operation, outcome) in [
        (Operation::Get, CallOutcome::Ok),
        (Operation::CompareAndPut, CallOutcome::Ok),
        (Operation::CompareAndPut, CallOutcome::Conflict),
        (Operation::Scan, CallOutcome::Ok),
        (Operation::Reclaim, CallOutcome::Ok),
        (Operation::Ping, CallOutcome::Ok),
    ] {
        assert!(total(operation, outcome) > 0, "{operation:?} {outcome:?} was counted");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fault_injecting() {
    run(&mut InFaultInjecting).await;
}

/// Encrypted, on a disk.
#[derive(Debug)]
struct Sealed {
    embedded: Embedded,
    keyrings: Arc<Keyrings>,
}

impl Sealed {
    fn new() -> Self {
        let id = KeyId::new("2026-11").expect("valid");
        let keyring = Keyring::new([(id.clone(), [7; 32])], Some(id), []);
        Self { embedded: Embedded::new(false), keyrings: Arc::new(Keyrings::new(keyring)) }
    }

    fn sealing(&self, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Sealing::new(inner, self.keyrings.clone()))
    }
}

#[async_trait]
impl Backend for Sealed {
    fn kind(&self) -> Kind {
        self.embedded.kind()
    }

    async fn fresh(&mut self) -> Arc<dyn Store> {
        let inner = self.embedded.fresh().await;
        self.sealing(inner)
    }

    async fn reopen(&mut self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        let inner = self.embedded.reopen(store).await?;
        Some(self.sealing(inner))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealed() {
    assert!(run(&mut Sealed::new()).await.reopened >= LEAST_REOPENED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    let report = run(&mut Embedded::new(false)).await;
    assert!(
        report.reopened >= LEAST_REOPENED
            && report.scenarios >= Kind::WHOLE.least_scenarios() + LEAST_REOPENED
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_that_flushes_all_the_time() {
    let report = run(&mut Embedded::new(true)).await;
    assert!(report.reopened >= LEAST_REOPENED);
}
