//! What the process told anybody up to a moment, and whether a store that was opened after a crash keeps it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use semel::coordinator::{BeginCall, Coordinator, Settings as CoordinatorSettings};
use semel::domain::{AttemptId, BeginAnswer, Key, Phase, Record, Timestamp};
use semel::storage::embedded::EmbeddedStore;
use semel::storage::record_codec::Codec;
use semel::storage::{Freshness, Scan, Scope, Store as _, Versioned, WriteId};
use uuid::Uuid;

use crate::workload::{KEYS, SetClock, begin, key, policy, settings};

/// What a key may hold. None: no record.
type Version = Option<Versioned>;

/// What was told of one key.
#[derive(Clone, Debug)]
struct KeyTold {
    /// What it may hold after a crash, oldest first: the first was told, the others were under way.
    may_be: Vec<Version>,
    /// Every version that it ever had, or nearly.
    ever: HashSet<Option<WriteId>>,
    /// The greatest fence that anybody was told.
    fence: i64,
}

/// What was told until a moment.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    keys: BTreeMap<String, KeyTold>,
    /// How many records of [`FILLER`] there are.
    filler: usize,
    /// How many lines there were.
    pub(crate) lines: u64,
    pub(crate) acknowledged: u64,
    /// What callers met, by their own count.
    pub(crate) met: HashMap<String, u64>,
}

/// What a store must hold.
pub(crate) struct Expected {
    /// What each key may hold, and the fence above which the next must be.
    keys: Vec<(Vec<Version>, i64)>,
    /// How many records of [`FILLER`] there are.
    filler: usize,
}

/// The tenant of records that were there before the recorded run, and stay as they are.
pub(crate) const FILLER: &str = "filler";

/// What was found in a store that kept what was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    /// Records that were what they should be.
    pub(crate) records: u64,
    /// Of which a crash left what nobody had been told yet.
    pub(crate) under_way: u64,
    /// Fences granted afterwards, each above every earlier one.
    pub(crate) granted: u64,
}

impl Told {
    /// Nothing, but for that many records of [`FILLER`].
    pub(crate) fn nothing(filler: usize) -> Self {
        let nothing = KeyTold { may_be: vec![None], ever: HashSet::from([None]), fence: 0 };
        let keys = (0..KEYS).map(|n| (key(n).idempotency_key.as_str().to_owned(), nothing.clone())).collect();
        Self { keys, filler, lines: 0, acknowledged: 0, met: HashMap::new() }
    }

    /// Takes a line in.
    pub(crate) fn hear(&mut self, line: &str) {
        self.lines += 1;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["PUT", key, id, record] => {
                let version =
                    Codec::LATEST.decode(&unhex(record)).expect("what was to be written is a record");
                assert_eq!(version.write_id, write_id(id));
                let told = self.keys.get_mut(key).expect("a known key");
                if told.ever.insert(Some(version.write_id)) {
                    told.may_be.push(Some(version));
                }
            }
            ["ACK", key, id] => {
                self.acknowledged += 1;
                self.keys.get_mut(key).expect("a known key").settle(Some(write_id(id)));
            }
            ["SAW", key, id] => {
                let version = (id != "-").then(|| write_id(id));
                self.keys.get_mut(key).expect("a known key").settle(version);
            }
            ["RECLAIM", now] => {
                let now = time(now);
                for told in self.keys.values_mut() {
                    if told.may_be.iter().flatten().any(|version| version.record.reclaim_at() <= now) {
                        told.may_be.push(None);
                    }
                }
            }
            ["RECLAIMED", _] => {
                for told in self.keys.values_mut().filter(|told| told.may_be.last() == Some(&None)) {
                    told.may_be = vec![None];
                }
            }
            ["MET", what, times] => {
                *self.met.entry(what.to_owned()).or_default() += times.parse::<u64>().expect("a number");
            }
            _ => panic!("the child said {line}"),
        }
    }

    pub(crate) fn expected(&self) -> Expected {
        let of = |n| {
            let told: &KeyTold = &self.keys[key(n).idempotency_key.as_str()];
            (told.may_be.clone(), told.fence)
        };
        Expected { keys: (0..KEYS).map(of).collect(), filler: self.filler }
    }
}

impl KeyTold {
    /// Somebody was told that this is what the key holds, or held a moment ago.
    fn settle(&mut self, version: Option<WriteId>) {
        let id_of = |version: &Version| version.as_ref().map(|version| version.write_id);
        match self.may_be.iter().rposition(|it| id_of(it) == version) {
            Some(at) => {
                self.may_be.drain(..at);
                if let Some(told) = &self.may_be[0] {
                    let fence = told.record.fence().get();
                    assert!(fence >= self.fence, "the fence of a key fell while nothing crashed");
                    self.fence = fence;
                }
            }
            // Who looked was slow to tell.
            None => assert!(self.ever.contains(&version), "somebody saw what nobody wrote: {version:?}"),
        }
    }
}

/// Opens the store in `root` and compares; what is wrong with it otherwise. With `goes_on`, calls go on afterwards: fences
/// rise, and what is acknowledged then is there after one more start.
pub(crate) fn check(root: &Path, expected: &Expected, goes_on: bool) -> Result<Found, String> {
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(compare(root, expected, goes_on))
    }));
    checked.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

async fn compare(root: &Path, expected: &Expected, goes_on: bool) -> Result<Found, String> {
    let store = open(root)?;
    let mut found = Found::default();
    let mut now = Vec::new();
    for (n, (may_be, _)) in (0..).zip(&expected.keys) {
        let version = store.get(&key(n), Freshness::Acknowledged).await.map_err(|error| error.to_string())?;
        let Some(at) = may_be.iter().position(|it| *it == version) else {
            return Err(format!(
                "key {n} holds {}, and it may hold {}",
                describe(&version),
                may_be.iter().map(describe).collect::<Vec<_>>().join(", or ")
            ));
        };
        found.records += u64::from(version.is_some());
        found.under_way += u64::from(at > 0);
        now.push(version);
    }
    compare_scans(&store, &now, expected.filler).await?;
    match store.index_faults() {
        Ok(0) => {}
        faults => return Err(format!("the indexes and the records disagree: {faults:?}")),
    }
    if goes_on {
        let store = Arc::new(store);
        found.granted = go_on(&store, expected, &mut now).await?;
        store.close();
        drop(store);
        let store = open(root)?;
        for (n, version) in (0..).zip(&now) {
            let again =
                store.get(&key(n), Freshness::Acknowledged).await.map_err(|error| error.to_string())?;
            if again != *version {
                return Err(format!(
                    "key {n}: {} is not what was there before the next start",
                    describe(&again)
                ));
            }
        }
    }
    Ok(found)
}

fn open(root: &Path) -> Result<EmbeddedStore, String> {
    EmbeddedStore::open(settings(root)).map_err(|error| format!("it does not open: {error}"))
}

/// Nothing is listed that was not told or under way.
async fn compare_scans(store: &EmbeddedStore, now: &[Version], filler: usize) -> Result<(), String> {
    for scope in [Scope::All, Scope::Open] {
        let mut listed = HashMap::new();
        let mut after = None;
        loop {
            let scan = Scan { scope, tenant: None, after, limit: 100 };
            let page = store.scan(&scan).await.map_err(|error| error.to_string())?;
            listed.extend(page.records);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let before = listed.len();
        listed.retain(|key: &Key, _| key.tenant.as_str() != FILLER);
        if scope == Scope::All && before - listed.len() != filler {
            return Err(format!("{} of {filler} records from before are left", before - listed.len()));
        }
        let due = (0..).zip(now).filter_map(|(n, version)| Some((key(n), version.clone()?)));
        let due: HashMap<_, _> =
            due.filter(|(_, version)| scope == Scope::All || version.record.is_open()).collect();
        if listed != due {
            return Err(format!(
                "a scan of {scope:?} lists {} records, and {} are there",
                listed.len(),
                due.len()
            ));
        }
    }
    Ok(())
}

/// Begins every key; how many fences were granted.
async fn go_on(store: &Arc<EmbeddedStore>, expected: &Expected, now: &mut [Version]) -> Result<u64, String> {
    // When every lease is over.
    let clock = SetClock::at(Timestamp::from_micros(1_800_100_000_000_000));
    let coordinator = Coordinator::new(store.clone(), clock, 1, CoordinatorSettings::default());
    let mut granted = 0;
    for (n, (_, fence)) in (0..).zip(&expected.keys) {
        let (key, policy) = (key(n), policy(n));
        let begin = begin(AttemptId::from_uuid(Uuid::from_u64_pair(u64::MAX, n)));
        let wait = Duration::ZERO;
        let call =
            BeginCall { key: &key, begin: &begin, policy: &policy, wait, deadline: None, retry: false };
        match coordinator.begin(&call).await.map(|begun| begun.answer) {
            Ok(BeginAnswer::Started(started)) => {
                if started.fence.get() <= *fence {
                    return Err(format!("key {n}: fence {} was granted after {fence}", started.fence.get()));
                }
                granted += 1;
            }
            Ok(_) => {}
            Err(error) => return Err(format!("key {n}: a Begin was refused: {error}")),
        }
        let version = store.get(&key, Freshness::Serial).await;
        now[usize::try_from(n).expect("few")] = version.map_err(|error| error.to_string())?;
    }
    Ok(granted)
}

fn describe(version: &Version) -> String {
    let Some(version) = version else { return "nothing".to_owned() };
    let what = match &*version.record {
        Record::Kept(kept) => match kept.phase {
            Phase::Completed { .. } => "a result",
            Phase::Released { .. } => "a release",
            Phase::InProgress { .. } => "an attempt",
        },
        Record::Forgotten(_) => "a bare fence",
    };
    format!("{what} of fence {} ({})", version.record.fence().get(), version.write_id.0.simple())
}

fn write_id(text: &str) -> WriteId {
    WriteId(Uuid::try_parse(text).expect("a write id"))
}

fn time(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse().expect("a time"))
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).expect("text");
            u8::from_str_radix(pair, 16).expect("hexadecimal")
        })
        .collect()
}
