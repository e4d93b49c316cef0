//! What each layer of a durable Begin costs by itself: `cargo bench --bench hot_path`. Every figure is the median of
//! rounds that take turns, so that a slow minute of the machine falls on all of them alike.
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first thing that goes wrong")]

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use semel::clock::SystemClock;
use semel::coordinator::{BeginCall, Coordinator, Settings};
use semel::domain::{
    AttemptId, Begin, BeginAnswer, Clock, Complete, Endpoint, Fingerprint, IdempotencyKey, Key, Labels,
    OperationResult, Outcome, Policy, Record, Tenant, Timestamp, Transition, decide,
};
use semel::storage::embedded::{EmbeddedStore, Settings as EmbeddedSettings};
use semel::storage::memory::MemoryStore;
use semel::storage::record_codec::Codec;
use semel::storage::{Put, Store, Versioned, Write, WriteId};
use tokio::runtime::Runtime;
use uuid::Uuid;

const ROUNDS: usize = 5;
/// In memory, calls of a round.
const FAST: u64 = 20_000;
/// With a sync, calls of a round, for each writer.
const SYNCED: u64 = 200;
const WRITERS: [usize; 3] = [1, 8, 64];

fn main() {
    // `cargo test --benches` runs this too, to see that it works.
    let (rounds, fast, synced) = if std::env::args().any(|argument| argument == "--bench") {
        (ROUNDS, FAST, SYNCED)
    } else {
        (1, 100, 2)
    };
    let bench = Bench::new(fast, synced);
    let mut measured: Vec<(String, Vec<f64>)> = Vec::new();
    for _ in 0..rounds {
        for (place, (name, micros)) in bench.round().into_iter().enumerate() {
            if measured.len() == place {
                measured.push((name, Vec::new()));
            }
            measured[place].1.push(micros);
        }
    }
    let mut table = format!("{:<58}{:>12}{:>14}\n", "medians", "us each", "per second");
    for (name, mut micros) in measured {
        micros.sort_by(f64::total_cmp);
        let median = micros[micros.len() / 2];
        writeln!(table, "{name:<58}{median:>12.2}{:>14.0}", 1e6 / median).unwrap();
    }
    let stats = bench.embedded.stats();
    writeln!(table, "embedded: {} changes in {} commits", stats.changes, stats.commits).unwrap();
    println!("{table}");
}

struct Bench {
    fast: u64,
    synced: u64,
    policy: Policy,
    runtime: Runtime,
    memory: Coordinator,
    embedded: Arc<EmbeddedStore>,
    durable: Arc<Coordinator>,
    directory: tempfile::TempDir,
    next: AtomicU64,
}

impl Bench {
    fn new(fast: u64, synced: u64) -> Self {
        // Under target/, which is on a disk: a temporary directory may be memory.
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let directory = tempfile::tempdir_in(parent).unwrap();
        let embedded =
            Arc::new(EmbeddedStore::open(EmbeddedSettings::new(directory.path().join("data"))).unwrap());
        let clock = Arc::new(SystemClock);
        Self {
            fast,
            synced,
            policy: Policy::default(),
            runtime: Runtime::new().unwrap(),
            memory: Coordinator::new(Arc::new(MemoryStore::new()), clock.clone(), 1, Settings::default()),
            durable: Arc::new(Coordinator::new(embedded.clone(), clock, 1, Settings::default())),
            embedded,
            directory,
            next: AtomicU64::new(0),
        }
    }

    /// Each thing once: its name, and microseconds for one of it.
    fn round(&self) -> Vec<(String, f64)> {
        let mut measured = Vec::new();
        let mut add = |name: &str, micros: f64| measured.push((name.to_owned(), micros));
        self.pure(&mut add);
        self.in_memory(&mut add);
        add("a 600-byte append and fdatasync, one at a time", self.bare_syncs());
        for writers in WRITERS {
            add(
                &format!("embedded: compare_and_put, {writers} at a time"),
                self.runtime.block_on(self.puts(writers)),
            );
            add(
                &format!("coordinator on embedded: begin, {writers} at a time"),
                self.runtime.block_on(self.begins(writers)),
            );
        }
        measured
    }

    fn pure(&self, add: &mut impl FnMut(&str, f64)) {
        let now = SystemClock.now();
        let record = begun(&begin(1), &self.policy, now);
        let finish = complete(&record, 1);
        let Transition::Change { next: completed, .. } = decide(Some(&record), &finish, &self.policy, now)
        else {
            unreachable!("the owner completes");
        };
        let (first, again) = (begin(1), begin(2));
        add(
            "decide: begin of an absent key",
            self.timed(|_| {
                black_box(decide(None, black_box(&first), &self.policy, now));
            }),
        );
        add(
            "decide: begin of a completed key",
            self.timed(|_| {
                black_box(decide(Some(black_box(&completed)), &again, &self.policy, now));
            }),
        );
        add(
            "decide: complete",
            self.timed(|_| {
                black_box(decide(Some(black_box(&record)), &finish, &self.policy, now));
            }),
        );
        let write_id = WriteId(Uuid::from_u128(7));
        let current = Versioned::new(write_id, Arc::new(completed));
        let bytes = Codec::LATEST.encode(&current);
        add(
            "codec: encode a completed record of 100 bytes",
            self.timed(|_| {
                black_box(Codec::LATEST.encode(black_box(&current)));
            }),
        );
        add(
            "codec: decode it",
            self.timed(|_| {
                black_box(Codec::LATEST.decode(black_box(&bytes)).unwrap());
            }),
        );
    }

    fn in_memory(&self, add: &mut impl FnMut(&str, f64)) {
        let first = self.next.fetch_add(self.fast, Ordering::Relaxed);
        let begin_all = |attempt: u64| {
            self.timed(|place| {
                let answer =
                    self.runtime.block_on(begin_call(&self.memory, first + place, attempt, &self.policy));
                match answer {
                    BeginAnswer::Started(started) if attempt == 1 => drop(black_box(started)),
                    BeginAnswer::Replayed(replayed) if attempt == 2 => drop(black_box(replayed)),
                    other => panic!("{other:?}"),
                }
            })
        };
        add("coordinator on memory: begin of a fresh key", begin_all(1));
        add(
            "coordinator on memory: complete",
            self.timed(|place| {
                let key = key(first + place);
                let answer = self.runtime.block_on(async {
                    let BeginAnswer::Started(started) =
                        begin_call(&self.memory, first + place, 1, &self.policy).await
                    else {
                        panic!("its own attempt is told Started again");
                    };
                    let command = Complete { fence: started.fence, ..complete_of(1) };
                    self.memory.run(&key, &command, &self.policy, None).await
                });
                black_box(answer.unwrap());
            }),
        );
        add("coordinator on memory: begin of a completed key", begin_all(2));
    }

    /// What the disk alone takes.
    fn bare_syncs(&self) -> f64 {
        let path = self.directory.path().join("bare");
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        let start = Instant::now();
        for _ in 0..self.synced {
            file.write_all(&[7; 600]).unwrap();
            file.sync_data().unwrap();
        }
        micros(start.elapsed(), self.synced)
    }

    async fn puts(&self, writers: usize) -> f64 {
        let record = Arc::new(begun(&begin(1), &self.policy, SystemClock.now()));
        self.writers(writers, |number| {
            let (store, record) = (self.embedded.clone(), record.clone());
            async move {
                let write_id = WriteId(Uuid::from_u128(u128::from(number) + 1));
                let write =
                    Write::new(key(number), None, Versioned::new(write_id, record), &Policy::default());
                assert_eq!(store.compare_and_put(&write).await.unwrap(), Put::Applied);
            }
        })
        .await
    }

    async fn begins(&self, writers: usize) -> f64 {
        self.writers(writers, |number| {
            let (durable, policy) = (self.durable.clone(), self.policy.clone());
            async move {
                let answer = begin_call(&durable, number, 1, &policy).await;
                assert!(matches!(answer, BeginAnswer::Started(_)), "{answer:?}");
            }
        })
        .await
    }

    /// Microseconds for one of many, each on a fresh key, `writers` of them at a time.
    async fn writers<F: Future<Output = ()> + Send + 'static>(
        &self,
        writers: usize,
        work: impl Fn(u64) -> F,
    ) -> f64 {
        let start = Instant::now();
        let mut all = Vec::new();
        for _ in 0..writers {
            let first = self.next.fetch_add(self.synced, Ordering::Relaxed);
            let calls: Vec<F> = (first..first + self.synced).map(&work).collect();
            all.push(tokio::spawn(async move {
                for call in calls {
                    call.await;
                }
            }));
        }
        for writer in all {
            writer.await.unwrap();
        }
        micros(start.elapsed(), self.synced * writers as u64)
    }

    fn timed(&self, mut work: impl FnMut(u64)) -> f64 {
        let start = Instant::now();
        (0..self.fast).for_each(&mut work);
        micros(start.elapsed(), self.fast)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of a benchmark are below 2^53")]
fn micros(elapsed: Duration, count: u64) -> f64 {
    elapsed.as_secs_f64() * 1e6 / count as f64
}

fn key(number: u64) -> Key {
    Key {
        tenant: Tenant::new("default").unwrap(),
        endpoint: Endpoint::new("semel.bench").unwrap(),
        idempotency_key: IdempotencyKey::new(&format!("bench-0123456789abcdef-{number}")).unwrap(),
    }
}

fn attempt_id(attempt: u64) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(u128::from(attempt)))
}

fn begin(attempt: u64) -> Begin {
    Begin {
        attempt_id: attempt_id(attempt),
        fingerprint: Some(Fingerprint::new(&[7; 32]).unwrap()),
        lease: None,
        retention: None,
        first_sent: None,
        labels: Labels::default(),
        traceparent: None,
        may_open: true,
    }
}

async fn begin_call(coordinator: &Coordinator, number: u64, attempt: u64, policy: &Policy) -> BeginAnswer {
    let (key, begin) = (key(number), begin(attempt));
    let call =
        BeginCall { key: &key, begin: &begin, policy, wait: Duration::ZERO, deadline: None, retry: false };
    coordinator.begin(&call).await.unwrap().answer
}

fn begun(begin: &Begin, policy: &Policy, now: Timestamp) -> Record {
    match decide(None, begin, policy, now) {
        Transition::Change { next, .. } => next,
        Transition::Unchanged(answer) => unreachable!("an absent key is granted: {answer:?}"),
    }
}

fn complete(record: &Record, attempt: u64) -> Complete {
    Complete { fence: record.fence(), ..complete_of(attempt) }
}

fn complete_of(attempt: u64) -> Complete {
    let result = OperationResult {
        outcome: Outcome::Success,
        code: 200,
        content_type: "application/octet-stream".to_owned(),
        headers: Vec::new(),
        payload: vec![7; 100].into(),
        payload_omitted: false,
    };
    Complete {
        fence: semel::domain::Fence::new(1).unwrap(),
        attempt_id: attempt_id(attempt),
        result: Arc::new(result),
        retention: None,
    }
}
