//! The process that is recorded: this binary started again. Callers begin, complete, save, abort, lose leases and take
//! over on a real coordinator and the embedded store; each write is said before it is sent, and each answer when it is
//! there, so that the trace holds both in their order among the file operations.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{IoSlice, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use semel::coordinator::{BeginCall, Coordinator, Settings as CoordinatorSettings};
use semel::domain::{
    Abort, AttemptId, Begin, BeginAnswer, CheckpointName, Clock, Complete, Detail, Disposition, Endpoint,
    Fence, Forget, IdempotencyKey, Key, Labels, Note, OnLostLease, OperationResult, Outcome, Policy, Renew,
    Resolution, Resolve, SaveCheckpoint, Tenant, Timestamp,
};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::record_codec::Codec;
use semel::storage::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write};
use uuid::Uuid;

use crate::trace::{SAID, TRACED, Trace};

const ROOT: &str = "SEMEL_TEST_CRASH_ROOT";
const SEED: &str = "SEMEL_TEST_CRASH_SEED";
const WAVES: &str = "SEMEL_TEST_CRASH_WAVES";
const START: &str = "SEMEL_TEST_CRASH_START";
const WITHOUT_SYNC: &str = "SEMEL_TEST_CRASH_WITHOUT_SYNC";

/// How many keys there are.
pub(crate) const KEYS: u64 = 24;
const SECOND: Duration = Duration::from_secs(1);

/// What the process is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) seed: u64,
    /// How often all callers make a call, over all keys.
    pub(crate) waves: u64,
    /// What the clock says at first.
    pub(crate) start: Timestamp,
    /// Whether the store leaves its syncs out.
    pub(crate) without_sync: bool,
}

impl Work {
    pub(crate) const fn new(seed: u64, waves: u64) -> Self {
        Self { seed, waves, start: Timestamp::from_micros(1_800_000_000_000_000), without_sync: false }
    }

    /// The same at a restart, later than the clock of a first run can have come, whose reclamations go on by up to twelve
    /// hours: fences are promised for clocks that go back by less than the grace.
    pub(crate) const fn after_a_crash(self, seed: u64, waves: u64) -> Self {
        Self { seed, waves, start: Timestamp::from_micros(1_800_050_000_000_000), ..self }
    }

    /// Does it in a process of its own on the data directory in `root`, and returns what it did.
    pub(crate) fn record(self, root: &Path) -> Trace {
        let log = tempfile::NamedTempFile::new().expect("a file for the log");
        let mut strace = Command::new("strace");
        strace
            .args(["-f", "-xx", "-s", "100000000", "-e", TRACED, "-e", "signal=none", "-o"])
            .arg(log.path());
        strace.arg(std::env::current_exe().expect("the path of this test"));
        strace.env(ROOT, root).env(SEED, self.seed.to_string()).env(WAVES, self.waves.to_string());
        strace.env(START, self.start.as_micros().to_string());
        if self.without_sync {
            strace.env(WITHOUT_SYNC, "1");
        }
        let output = strace.stdin(Stdio::null()).stdout(Stdio::null()).output().expect("strace starts");
        assert!(output.status.success(), "{self:?}: {}", String::from_utf8_lossy(&output.stderr));
        Trace::parse(&std::fs::read_to_string(log.path()).expect("strace wrote a log"), root)
    }
}

/// Where the store is below the root.
pub(crate) fn data(root: &Path) -> PathBuf {
    root.join("data")
}

/// Memtables so small that they are flushed and merged all the time.
pub(crate) fn settings(root: &Path) -> Settings {
    Settings {
        write_buffer_bytes: 16 * 1024,
        cache_bytes: 1024 * 1024,
        free_space_reserve_bytes: 0,
        ..Settings::new(data(root))
    }
}

/// A clock that is set.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicU64);

impl SetClock {
    pub(crate) fn at(start: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(start.as_micros())))
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_micros()).expect("short"), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// The work of the child process; false where this is not one.
pub(crate) fn work_as_child() -> bool {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return false };
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let mut random = StdRng::seed_from_u64(number(SEED).expect("a seed"));
    let waves = number(WAVES).expect("a number of waves");
    let clock = SetClock::at(Timestamp::from_micros(number(START).expect("a time")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let mut callers: Vec<_> = (0..KEYS).map(Caller::new).collect();
    // Twice, so that what a start does is recorded with something in the store, too.
    for part in [waves.div_ceil(2), waves / 2] {
        let store = EmbeddedStore::open(settings(&root)).expect("the store opens");
        if number(WITHOUT_SYNC).is_some() {
            store.leave_out_syncs();
        }
        let store = Arc::new(Telling(store));
        let coordinator =
            Coordinator::new(store.clone(), clock.clone(), random.random(), CoordinatorSettings::default());
        runtime.block_on(async {
            for caller in &callers {
                store.look(&caller.key).await;
            }
            for wave in 0..part {
                let calls = callers.iter_mut().filter(|_| random.random_bool(0.7)).collect::<Vec<_>>();
                let dice: Vec<u64> = calls.iter().map(|_| random.random()).collect();
                let calls = calls.into_iter().zip(dice).map(|(caller, dice)| {
                    let (store, coordinator) = (&store, &coordinator);
                    async move {
                        let key = caller.key.clone();
                        let call = caller.call(coordinator, StdRng::seed_from_u64(dice));
                        let watch = async {
                            for _ in 0..2 {
                                tokio::task::yield_now().await;
                                store.look(&key).await;
                            }
                        };
                        tokio::join!(call, watch);
                    }
                });
                futures_util::future::join_all(calls).await;
                clock.advance(SECOND * random.random_range(1..8));
                if wave % 6 == 5 {
                    clock.advance(Duration::from_hours(random.random_range(0..4)));
                    store.reclaim_due(clock.now()).await;
                }
            }
        });
        drop(coordinator);
        store.0.close();
    }
    for (what, count) in MET.iter().zip(&COUNTS) {
        say(&format!("MET {what} {}", count.load(Ordering::Relaxed)));
    }
    true
}

/// What callers met, as the parent is told at the end.
pub(crate) const MET: [&str; 9] = [
    "begins",
    "takeovers",
    "replays",
    "completes",
    "checkpoints",
    "renewals",
    "aborts",
    "operators",
    "reclaimed",
];
static COUNTS: [AtomicU64; MET.len()] = [const { AtomicU64::new(0) }; MET.len()];

fn met(what: &str, times: u64) {
    let place = MET.iter().position(|it| *it == what).expect("it is named above");
    COUNTS[place].fetch_add(times, Ordering::Relaxed);
}

/// One key, and who calls about it, one call at a time.
struct Caller {
    key: Key,
    policy: Policy,
    attempts: u64,
    owned: Option<(AttemptId, Fence)>,
}

pub(crate) fn key(number: u64) -> Key {
    Key {
        tenant: Tenant::new("acme").expect("short"),
        endpoint: Endpoint::new("charge").expect("short"),
        idempotency_key: IdempotencyKey::new(&format!("key-{number}")).expect("short"),
    }
}

/// The policy of a key: every third is not to be run again where its outcome is unknown.
pub(crate) fn policy(number: u64) -> Policy {
    Policy {
        lease: 10 * SECOND,
        retention: 60 * SECOND,
        unresolved_retention: Duration::from_hours(1),
        on_lost_lease: if number.is_multiple_of(3) { OnLostLease::MarkUnknown } else { OnLostLease::Rerun },
        ..Policy::default()
    }
}

pub(crate) fn begin(attempt_id: AttemptId) -> Begin {
    Begin {
        attempt_id,
        fingerprint: None,
        lease: None,
        retention: None,
        first_sent: None,
        labels: Labels::default(),
        traceparent: None,
        may_open: true,
    }
}

impl Caller {
    fn new(number: u64) -> Self {
        Self { key: key(number), policy: policy(number), attempts: 0, owned: None }
    }

    async fn call(&mut self, coordinator: &Coordinator, mut dice: StdRng) {
        let Some((attempt_id, fence)) = self.owned else { return self.begin(coordinator, dice).await };
        let (key, policy) = (&self.key, &self.policy);
        match dice.random_range(0..20) {
            0..8 => {
                let mut payload = vec![0_u8; [20, 300, 3000, 20_000][dice.random_range(0..4)]];
                dice.fill(&mut payload[..]);
                let result = Arc::new(OperationResult {
                    outcome: Outcome::Success,
                    code: 0,
                    content_type: String::new(),
                    headers: Vec::new(),
                    payload: Bytes::from(payload),
                    payload_omitted: false,
                });
                let complete = Complete { fence, attempt_id, result, retention: None };
                let ok = coordinator.run(key, &complete, policy, None).await.is_ok();
                met("completes", u64::from(ok));
                self.owned = None;
            }
            8..12 => {
                let name =
                    CheckpointName::new(&format!("point-{}", dice.random_range(0..40))).expect("short");
                let value = vec![7_u8; dice.random_range(1..600)].into();
                let save = SaveCheckpoint { fence, attempt_id, name, value };
                met("checkpoints", u64::from(coordinator.run(key, &save, policy, None).await.is_ok()));
            }
            12..14 => {
                let renew = Renew { fence, attempt_id, lease: None };
                met("renewals", u64::from(coordinator.run(key, &renew, policy, None).await.is_ok()));
            }
            14..17 => {
                let disposition =
                    if dice.random_bool(0.6) { Disposition::Release } else { Disposition::OutcomeUnknown };
                let detail = Detail::new("gone".to_owned()).expect("short");
                let abort = Abort { fence, attempt_id, disposition, detail, retry_after: Duration::ZERO };
                met("aborts", u64::from(coordinator.run(key, &abort, policy, None).await.is_ok()));
                self.owned = None;
            }
            // It died.
            _ => self.owned = None,
        }
    }

    async fn begin(&mut self, coordinator: &Coordinator, mut dice: StdRng) {
        self.attempts += 1;
        let attempt_id = AttemptId::from_uuid(Uuid::from_u64_pair(dice.random(), self.attempts));
        let begin = begin(attempt_id);
        let call = BeginCall {
            key: &self.key,
            begin: &begin,
            policy: &self.policy,
            wait: Duration::ZERO,
            deadline: None,
            retry: false,
        };
        met("begins", 1);
        match coordinator.begin(&call).await.map(|begun| begun.answer) {
            Ok(BeginAnswer::Started(started)) => {
                met("takeovers", u64::from(started.attempt > 1));
                self.owned = Some((attempt_id, started.fence));
            }
            Ok(BeginAnswer::Replayed(completed)) => {
                met("replays", 1);
                if dice.random_bool(0.2) {
                    let forget = Forget { fence: completed.fence, force: false };
                    met(
                        "operators",
                        u64::from(coordinator.run(&self.key, &forget, &self.policy, None).await.is_ok()),
                    );
                }
            }
            Ok(BeginAnswer::Unresolved(_)) => self.resolve(coordinator).await,
            Ok(BeginAnswer::InProgress(_)) => {}
            Err(error) => panic!("a Begin of {} was refused: {error}", self.key.idempotency_key.as_str()),
        }
    }

    async fn resolve(&self, coordinator: &Coordinator) {
        let looked = coordinator.run(&self.key, &semel::domain::Lookup, &self.policy, None).await;
        let fence = looked.expect("it is unresolved").fence;
        let resolve = Resolve { fence, resolution: Resolution::Release, note: Note::default(), force: false };
        met("operators", u64::from(coordinator.run(&self.key, &resolve, &self.policy, None).await.is_ok()));
    }
}

/// Says what goes through it.
#[derive(Debug)]
struct Telling(EmbeddedStore);

impl Telling {
    /// Says what anybody could see.
    async fn look(&self, key: &Key) {
        let found = self.0.get(key, Freshness::Acknowledged).await.expect("the store reads");
        let version = found.map_or_else(|| "-".to_owned(), |found| found.write_id.0.simple().to_string());
        say(&format!("SAW {} {version}", key.idempotency_key.as_str()));
    }

    async fn reclaim_due(&self, now: Timestamp) {
        say(&format!("RECLAIM {}", now.as_micros()));
        let reclaimed = self.0.reclaim(now, usize::MAX).await.expect("the store reclaims");
        met("reclaimed", reclaimed as u64);
        say(&format!("RECLAIMED {}", now.as_micros()));
    }
}

#[async_trait]
impl Store for Telling {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.0.get(key, freshness).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let id = write.write_id.0.simple();
        let key = write.key.idempotency_key.as_str();
        say(&format!("PUT {key} {id} {}", hex(&Codec::LATEST.encode(&write.made()))));
        let put = self.0.compare_and_put(write).await;
        if let Ok(Put::Applied) = put {
            say(&format!("ACK {key} {id}"));
        }
        put
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.0.scan(scan).await
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.0.reclaim(now, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.ping().await
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// One line, one system call.
fn say(line: &str) {
    static OUT: OnceLock<File> = OnceLock::new();
    let mut out =
        OUT.get_or_init(|| File::options().append(true).open("/dev/stdout").expect("it can be opened again"));
    let line = format!("{SAID}{line}\n");
    let written = out.write_vectored(&[IoSlice::new(line.as_bytes())]).expect("it is taken");
    assert_eq!(written, line.len(), "it is taken whole");
}
