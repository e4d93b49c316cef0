//! Two releases on one store: the one before reads what the next one writes until the format is raised, and nothing
//! that the next one keeps is dropped by a rewrite.

#[path = "support/fixtures.rs"]
mod fixtures;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use fixtures::{TestClock, begin, key, result};
use semel::coordinator::{BeginCall, CallError, Coordinator, Settings};
use semel::domain::{
    Abort, Begin, BeginAnswer, CheckpointName, Command, Complete, Detail, Disposition, Fence, Kept, Key,
    Lookup, Note, OnLostLease, Policy, PositiveDuration, Record, Renew, Resolution, Resolve, SaveCheckpoint,
    Timestamp,
};
use semel::storage::conformance::Samples;
use semel::storage::record_codec::{Codec, DecodeError, FormatVersion, UnknownFormat};
use semel::storage::{Expected, Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write, WriteId};
use uuid::Uuid;

const WRITE_ID: WriteId = WriteId(Uuid::from_u128(7));
const PROBE: Option<u64> = Some(0x5e3e_1001);

/// A server of the next release, before the format is raised.
fn next_as_before() -> Codec {
    Codec::NEXT.writing(FormatVersion::LATEST).unwrap()
}

fn made(record: &Record) -> Versioned {
    Versioned::new(WRITE_ID, Arc::new(record.clone()))
}

fn probed(record: &Record) -> Option<Record> {
    match record {
        Record::Kept(kept) => Some(Record::Kept(Kept { probe: PROBE, ..kept.clone() })),
        Record::Forgotten(_) => None,
    }
}

#[test]
fn the_next_release_writes_what_the_one_before_reads_until_it_is_told_otherwise() {
    for record in Samples::extremes() {
        let bytes = next_as_before().encode(&made(&record));
        assert_eq!(bytes, Codec::LATEST.encode(&made(&record)), "byte for byte");
        let raised = Codec::NEXT.encode(&made(&record));
        assert_eq!(raised[0], FormatVersion::NEXT.get());
        for bytes in [bytes, raised] {
            assert_eq!(*Codec::NEXT.decode(&bytes).unwrap().record, record, "and reads both");
        }
    }
}

#[test]
fn the_release_before_refuses_the_next_ones_records() {
    let error = DecodeError::LaterFormat { found: FormatVersion::NEXT, latest: FormatVersion::LATEST };
    for record in Samples::extremes() {
        let bytes = Codec::NEXT.encode(&made(&record));
        assert_eq!(Codec::LATEST.decode(&bytes), Err(error.clone()));
        assert_eq!(Codec::LATEST.decode_head(&bytes), Err(error.clone()));
    }
}

#[test]
fn a_later_field_is_kept_whatever_format_is_to_be_written() {
    for record in Samples::extremes().iter().filter_map(probed) {
        for codec in [next_as_before(), Codec::NEXT] {
            let bytes = codec.encode(&made(&record));
            assert_eq!(bytes[0], FormatVersion::NEXT.get());
            assert_eq!(*codec.decode(&bytes).unwrap().record, record);
        }
    }
}

#[test]
fn a_format_that_nobody_here_knows_is_not_written() {
    let asked = FormatVersion::NEXT;
    let error = Codec::LATEST.writing(asked).unwrap_err();
    assert_eq!(error, UnknownFormat { asked, latest: FormatVersion::LATEST });
    assert_eq!(
        error.to_string(),
        "records are to be written in format version 3, and this semel writes versions 1 to 2"
    );
    assert_eq!(FormatVersion::new(0), None);
    assert_eq!(FormatVersion::new(1), Some(FormatVersion::FIRST));
}

/// What several servers share: bytes by key.
type Rows = Arc<Mutex<BTreeMap<Key, Vec<u8>>>>;

/// One server's door to the rows.
#[derive(Debug)]
struct Bytes {
    rows: Rows,
    codec: Codec,
}

impl Bytes {
    fn decode(&self, bytes: &[u8]) -> Result<Versioned, StoreError> {
        self.codec.decode(bytes).map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

#[async_trait]
impl Store for Bytes {
    async fn get(&self, key: &Key, _: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.rows.lock().unwrap().get(key).map(|bytes| self.decode(bytes)).transpose()
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let mut rows = self.rows.lock().unwrap();
        let current = rows.get(&write.key).map(|bytes| self.decode(bytes)).transpose()?;
        let found = current.as_ref().map_or(Expected::Absent, |current| Expected::Version(current.write_id));
        if found != write.expected {
            return Ok(Put::Conflict(current));
        }
        rows.insert(write.key.clone(), self.codec.encode(&write.made()));
        Ok(Put::Applied)
    }

    async fn scan(&self, _: &Scan) -> Result<Page, StoreError> {
        unreachable!("nobody lists")
    }

    async fn reclaim(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        unreachable!("nobody reclaims")
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Server {
    store: Arc<Bytes>,
    coordinator: Coordinator,
    policy: Policy,
}

impl Server {
    fn new(rows: &Rows, codec: Codec, seed: u64) -> Self {
        let store = Arc::new(Bytes { rows: rows.clone(), codec });
        let clock = TestClock::new(Duration::ZERO);
        let coordinator = Coordinator::new(store.clone(), clock, seed, Settings::default());
        let policy = Policy { on_lost_lease: OnLostLease::MarkUnknown, ..Policy::default() };
        Self { store, coordinator, policy }
    }

    async fn begin(&self, begin: &Begin) -> Result<Fence, CallError> {
        let (wait, deadline, retry) = (Duration::ZERO, None, true);
        let call = BeginCall { key: &key("k"), begin, policy: &self.policy, wait, deadline, retry };
        match self.coordinator.begin(&call).await?.answer {
            BeginAnswer::Started(started) => Ok(started.fence),
            other => panic!("{other:?}"),
        }
    }

    async fn run<C: Command>(&self, command: C) -> C::Answer {
        self.coordinator.run(&key("k"), &command, &self.policy, None).await.unwrap()
    }

    async fn kept(&self) -> Kept {
        self.run(Lookup).await
    }
}

fn abort(begin: &Begin, fence: Fence, disposition: Disposition) -> Abort {
    let (detail, retry_after) = (Detail::default(), Duration::ZERO);
    Abort { fence, attempt_id: begin.attempt_id, disposition, detail, retry_after }
}

/// Every kind of change, each by the next of `servers`; `check` looks after each of them.
async fn whole_life(servers: [&Server; 2], check: impl AsyncFn(&str)) {
    let (first, second) = (begin(1), begin(2));
    let [one, other] = servers;
    let fence = one.kept().await.fence;
    let lease = PositiveDuration::new(Duration::from_mins(1)).ok();
    other.run(Renew { fence, attempt_id: first.attempt_id, lease }).await;
    check("Renew").await;
    let (name, value) = (CheckpointName::new("charged").unwrap(), b"ch_1"[..].into());
    one.run(SaveCheckpoint { fence, attempt_id: first.attempt_id, name, value }).await;
    check("SaveCheckpoint").await;
    other.run(abort(&first, fence, Disposition::Release)).await;
    check("Abort RELEASE").await;
    let fence = one.begin(&second).await.unwrap();
    check("a takeover").await;
    other.run(abort(&second, fence, Disposition::OutcomeUnknown)).await;
    check("Abort OUTCOME_UNKNOWN").await;
    let note = Note::new("seen at the bank".to_owned()).unwrap();
    one.run(Resolve { fence, resolution: Resolution::Release, note, force: false }).await;
    check("Resolve").await;
    let third = begin(3);
    let fence = other.begin(&third).await.unwrap();
    let (result, attempt_id) = (result("done"), third.attempt_id);
    one.run(Complete { fence, attempt_id, result, retention: None }).await;
    check("Complete").await;
}

#[tokio::test(start_paused = true)]
async fn servers_of_two_releases_work_side_by_side_before_the_format_is_raised() {
    for [first, second] in [[Codec::LATEST, next_as_before()], [next_as_before(), Codec::LATEST]] {
        let rows = Rows::default();
        let [one, other] = &[Server::new(&rows, first, 1), Server::new(&rows, second, 2)];
        one.begin(&begin(1)).await.unwrap();
        whole_life([one, other], async |change| {
            assert_eq!(one.kept().await, other.kept().await, "both read the same after {change}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn no_rewrite_drops_a_later_field_though_one_server_has_not_heard_of_the_raise() {
    for [first, second] in [[Codec::NEXT, next_as_before()], [next_as_before(), Codec::NEXT]] {
        let rows = Rows::default();
        let before = Server::new(&rows, Codec::LATEST, 3);
        let [one, other] = &[Server::new(&rows, first, 1), Server::new(&rows, second, 2)];
        one.begin(&begin(1)).await.unwrap();
        // The next release's own feature comes to set its field.
        let store = &one.store;
        let current = store.get(&key("k"), Freshness::Serial).await.unwrap().unwrap();
        let record = Arc::new(probed(&current.record).expect("an attempt"));
        let write =
            Write::new(key("k"), Some(&current), Versioned::new(WRITE_ID, record), &Policy::default());
        assert_eq!(store.compare_and_put(&write).await.unwrap(), Put::Applied);
        whole_life([one, other], async |change| {
            for server in [one, other] {
                assert_eq!(server.kept().await.probe, PROBE, "dropped by {change}");
            }
            let refused = before.coordinator.run(&key("k"), &Lookup, &before.policy, None).await;
            assert_eq!(
                refused,
                Err(CallError::StoreUnavailable),
                "the release before keeps off after {change}"
            );
        })
        .await;
    }
}
