//! Several servers on one store: what a hot key costs it, however many callers wait, and that they hear in time.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/timed_store.rs"]
mod timed_store;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fixtures::begin;
use semel::coordinator::{CallError, Settings};
use semel::domain::{
    Begin, BeginAnswer, CheckpointName, Fence, Key, Policy, PositiveDuration, Renew, SaveCheckpoint,
    Timestamp,
};
use semel::storage::memory::MemoryStore;
use semel::storage::metered::{CallOutcome, Metered, Operation};
use semel::storage::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write, WriteId};
use simulated::{MILLI, SECOND, Server, settle};
use timed_store::Faults;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

struct Cluster {
    metered: Arc<Metered>,
    servers: Vec<Server>,
}

/// What all servers together asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    reads: u64,
    serial_reads: usize,
    writes: u64,
    conflicts: u64,
}

impl Cluster {
    fn new(servers: u64) -> Self {
        let metered = Arc::new(Metered::new(Arc::new(MemoryStore::new())));
        let store: Arc<dyn Store> = metered.clone();
        let mut servers = Server::several(servers, &store);
        for server in &mut servers {
            server.policy = Policy { max_wait: 60 * SECOND, ..Policy::default() };
        }
        Self { metered, servers }
    }

    fn asked(&self) -> Asked {
        let count = |operation, outcome| self.metered.calls(operation, outcome).count;
        let conflicts = count(Operation::CompareAndPut, CallOutcome::Conflict);
        Asked {
            reads: count(Operation::Get, CallOutcome::Ok),
            serial_reads: self.servers.iter().map(|server| server.store.serial_reads()).sum(),
            writes: count(Operation::CompareAndPut, CallOutcome::Ok) + conflicts,
            conflicts,
        }
    }

    /// What was asked since `before`.
    fn since(&self, before: Asked) -> Asked {
        let now = self.asked();
        Asked {
            reads: now.reads - before.reads,
            serial_reads: now.serial_reads - before.serial_reads,
            writes: now.writes - before.writes,
            conflicts: now.conflicts - before.conflicts,
        }
    }

    /// `callers` wait on each server, each with an attempt of its own, for as long as the policy allows.
    fn wait(&self, name: &'static str, callers: u128) -> JoinSet<BeginAnswer> {
        let mut waiting = JoinSet::new();
        for (server, base) in self.servers.iter().zip((1_u128..).map(|n| n * 1_000_000)) {
            for caller in 0..callers {
                let server = server.share();
                waiting.spawn(async move {
                    let begin = begin(base + caller);
                    server.begin_waiting(name, &begin, 60 * SECOND, None).await.unwrap().answer
                });
            }
        }
        waiting
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_lease_runs_waiters_read_a_little_and_write_nothing() {
    for callers in [1, 20, 400] {
        let cluster = Cluster::new(3);
        let fence = cluster.servers[0].start("hot", 1).await.fence;
        let mut waiting = cluster.wait("hot", callers);
        tokio::time::sleep(SECOND).await;
        let before = cluster.asked();
        // The owner comes to a server of the three and renews, for five times the first lease.
        for minute in 0..10 {
            tokio::time::sleep(15 * SECOND).await;
            // Whoever gave up waiting comes again.
            while waiting.try_join_next().is_some() {}
            let renew = Renew { fence, attempt_id: begin(1).attempt_id, lease: None };
            cluster.servers[minute % 3].run("hot", &renew).await.unwrap();
            if minute % 3 == 2 {
                while waiting.join_next().await.is_some_and(|answer| {
                    assert!(matches!(answer.unwrap(), BeginAnswer::InProgress(_)));
                    true
                }) {}
                waiting = cluster.wait("hot", callers);
            }
        }
        let asked = cluster.since(before);
        assert_eq!((asked.serial_reads, asked.conflicts), (0, 0), "{callers} callers: {asked:?}");
        assert_eq!(asked.writes, 10, "the renewals alone");
        // Two reads a second and server at the most, and some more when the waiters come.
        assert!(asked.reads <= 3 * 2 * 300, "{callers} callers: {asked:?}");
    }
}

/// What a key costs in a minute that is taken over whenever its lease, of a second, is over: its owners all crash.
async fn a_minute_of_lost_owners(callers: u128) -> Asked {
    let cluster = Cluster::new(3);
    let mut calling = JoinSet::new();
    let end = Instant::now() + 60 * SECOND;
    for (server, base) in cluster.servers.iter().zip((1_u128..).map(|n| n * 1_000_000)) {
        for caller in 0..callers {
            let server = server.share();
            calling.spawn(async move {
                for attempt in 0.. {
                    let lease = PositiveDuration::new(SECOND).ok();
                    let begin = Begin { lease, ..begin(base + caller * 1000 + attempt) };
                    server.begin_waiting("hot", &begin, 20 * SECOND, None).await.unwrap();
                    if Instant::now() > end {
                        break;
                    }
                }
            });
        }
    }
    calling.join_all().await;
    cluster.asked()
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_costs_a_bounded_number_of_writes_however_many_callers_wait() {
    // A lease of a second and a second of skew: a takeover every two seconds, for which each of the three servers may
    // write once; and a start for which each may.
    let mut costs = Vec::new();
    for callers in [2, 20, 200] {
        let asked = a_minute_of_lost_owners(callers).await;
        assert_eq!(asked.serial_reads, 0, "{callers} callers: {asked:?}");
        assert!(asked.writes >= 30, "{callers} callers: {asked:?}: somebody always takes over");
        assert!(asked.writes <= 3 * 42, "{callers} callers: {asked:?}");
        assert!(asked.conflicts * 4 <= asked.writes, "servers take turns: {callers} callers: {asked:?}");
        costs.push((callers, asked));
    }
    let (first, last) = (costs[0].1, costs[2].1);
    assert!(last.writes <= first.writes * 2, "a hundred times the callers cost the store no more: {costs:?}");
}

#[tokio::test(start_paused = true)]
async fn one_read_tells_everyone_who_waits_on_another_server() {
    let cluster = Cluster::new(2);
    let [here, elsewhere] = &cluster.servers[..] else { panic!("two servers") };
    let fence = elsewhere.start("k", 1).await.fence;
    let mut waiting = JoinSet::new();
    for attempt in 0..500 {
        let here = here.share();
        waiting.spawn(async move {
            let begun = here.begin_waiting("k", &begin(100 + attempt), 50 * SECOND, None).await.unwrap();
            (begun.answer, Instant::now())
        });
    }
    tokio::time::sleep(10 * SECOND).await;
    elsewhere.complete("k", 1, fence, "done").await.unwrap();
    let (completed, before) = (Instant::now(), cluster.asked());
    let answers = waiting.join_all().await;
    let heard: Vec<_> = answers.iter().map(|(_, at)| *at - completed).collect();
    assert!(answers.iter().all(|(answer, _)| matches!(answer, BeginAnswer::Replayed(_))));
    let (first, last) = (heard.iter().min().unwrap(), heard.iter().max().unwrap());
    assert!(*last <= SECOND + 2 * MILLI, "within the longest pause between two reads: {last:?}");
    assert_eq!(first, last, "all at once");
    assert_eq!(cluster.since(before).reads, 1);
}

#[tokio::test(start_paused = true)]
async fn every_waiter_hears_of_a_release_and_one_of_all_servers_takes_over() {
    let cluster = Cluster::new(3);
    let fence = cluster.servers[0].start("k", 1).await.fence;
    let mut waiting = cluster.wait("k", 100);
    tokio::time::sleep(5 * SECOND).await;
    let before = cluster.asked();
    cluster.servers[0].release("k", 1, fence).await;
    let started = waiting.join_next().await.unwrap().unwrap();
    assert!(matches!(started, BeginAnswer::Started(_)), "{started:?}");
    tokio::time::sleep(5 * SECOND).await;
    settle().await;
    assert_eq!(waiting.len(), 299, "the others go on waiting");
    let asked = cluster.since(before);
    assert!(asked.writes <= 1 + 3, "the release, and at most one from each server: {asked:?}");
    assert_eq!(asked.serial_reads, 0);
}

/// A store where somebody else always was there first.
#[derive(Debug)]
struct Contended(MemoryStore);

#[async_trait]
impl Store for Contended {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.0.get(key, freshness).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        if let Some(current) = self.0.get(&write.key, Freshness::Serial).await? {
            let next = Versioned::new(WriteId(Uuid::new_v4()), current.record.clone());
            let rival = Write::new(write.key.clone(), Some(&current), next, &Policy::default());
            self.0.compare_and_put(&rival).await?;
        }
        self.0.compare_and_put(write).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.0.scan(scan).await
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.0.reclaim(now, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_never_wins_backs_off_and_is_known_not_to_be_written() {
    let store = Arc::new(Contended(MemoryStore::new()));
    let server = Server::on(store, 1, Duration::ZERO, Settings::default(), Faults::default());
    let fence = server.start("k", 1).await.fence;
    let deadline = Instant::now() + 10 * SECOND;
    let renew =
        Renew { fence, attempt_id: begin(1).attempt_id, lease: PositiveDuration::new(40 * SECOND).ok() };
    let (answer, (_, writes)) = server.cost(server.run_by("k", &renew, Some(deadline))).await;
    assert_eq!(answer, Err(CallError::StoreUnavailable), "each refusal was definite");
    assert!(Instant::now() < deadline);
    // Pauses grow to an eighth of a second, less up to half of it at random.
    assert!((70..220).contains(&writes), "{writes} writes in ten seconds");
}

/// When each of `servers`, all with the same thing to do at the same moment, had it done; and what it cost.
async fn stampede(servers: u64) -> (Duration, Asked) {
    let cluster = Cluster::new(servers);
    let fence = cluster.servers[0].start("k", 1).await.fence;
    let began = Instant::now();
    let mut saving = JoinSet::new();
    for (n, server) in cluster.servers.iter().enumerate() {
        let server = server.share();
        saving.spawn(async move {
            let (name, value) = (CheckpointName::new(&format!("point {n}")).unwrap(), b"1"[..].into());
            let fence: Fence = fence;
            let save = SaveCheckpoint { fence, attempt_id: begin(1).attempt_id, name, value };
            server.run("k", &save).await.unwrap();
        });
    }
    saving.join_all().await;
    let took = began.elapsed();
    let points = cluster.servers[0].lookup("k").await.unwrap().checkpoints;
    assert_eq!(points.as_slice().len() as u64, servers, "each was written once");
    (took, cluster.asked())
}

#[tokio::test(start_paused = true)]
async fn servers_that_contend_get_through_without_writing_all_the_time() {
    let servers = 40;
    let (took, asked) = stampede(servers).await;
    // Without pauses each write that wins would cost one of every server that is left: 40 * 41 / 2.
    assert!(asked.conflicts < 400, "{asked:?} in {took:?}");
    assert!(took < 2 * SECOND, "{took:?}");
}
