//! Many completed records: the server is ready soon, after a crash too, and its memory never exceeds its caches and
//! a fixed rest.

#[path = "support/process.rs"]
mod process;
mod support;

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use process::ServerProcess;
use semel::clock::SystemClock;
use semel::domain::{
    AttemptId, Checkpoints, Clock, Endpoint, Fence, Fingerprint, IdempotencyKey, Kept, Key, Labels,
    OperationResult, Outcome, Phase, Record, Tenant, Timestamp,
};
use semel::proto;
use semel::proto::begin_response::Decision;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Versioned, WriteId};
use tonic::transport::{Channel, Endpoint as Address};
use uuid::Uuid;

const MIB: u64 = 1024 * 1024;
/// The caches that the server is given, and what they add up to.
const CACHES: &[&str] =
    &["--replay-cache-bytes", "32MiB", "--recent-bytes", "32MiB", "--embedded-cache-bytes", "64MiB"];
const CACHE_BYTES: u64 = 128 * MIB;
/// All that is not a cache.
const REST_BYTES: u64 = 256 * MIB;
const RESULT_BYTES: usize = 100;
const LARGE: usize = 200 * 1024;
const DAY: Duration = Duration::from_hours(24);
/// The issue's own size; the time to be ready counts from there on.
const FULL: u64 = 10_000_000;
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How much the journal holds when the server is killed; it is rotated at 64 MB.
const FULL_JOURNAL: u64 = 56 * MIB;

#[test]
fn a_server_with_many_completed_records_is_ready_soon_and_stays_small() {
    let records = support::size("SEMEL_LOAD_RECORDS", 100_000);
    // Under target/, which is on a disk: a temporary directory may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("data");
    load(&data, records);
    let runtime = tokio::runtime::Runtime::new().unwrap();

    let server = ServerProcess::start(&data, CACHES);
    look(&server, records, "when ready");
    let replays = records.min(50_000);
    let replayed = runtime.block_on(all(&server.grpc, 0..replays, move |client, place| {
        is_replayed(client, spread(place, records), RESULT_BYTES)
    }));
    assert_eq!(replayed, replays);
    look(&server, records, &format!("after {replays} replays"));

    let lifecycles = (records / 10).min(100_000);
    let new = records..records + lifecycles;
    let done = runtime.block_on(all(&server.grpc, new.clone(), |client, n| run(client, n, RESULT_BYTES)));
    assert_eq!(done, lifecycles);
    look(&server, records, &format!("after {lifecycles} Begins and Completes"));

    let mut large = new.end..new.end;
    while journal_bytes(&data) < FULL_JOURNAL {
        let next = large.end..large.end + 32;
        assert_eq!(runtime.block_on(all(&server.grpc, next.clone(), |client, n| run(client, n, LARGE))), 32);
        large.end = next.end;
    }
    look(&server, records, &format!("after {} large results", large.end - large.start));
    server.kill();

    let journal = journal_bytes(&data);
    let server = ServerProcess::start(&data, CACHES);
    look(&server, records, &format!("when ready after a kill with {} MiB of journal", journal / MIB));
    let again = runtime.block_on(async {
        let loaded = all(&server.grpc, 0..1_000, move |client, place| {
            is_replayed(client, spread(place, records), RESULT_BYTES)
        });
        let new = all(&server.grpc, new, |client, n| is_replayed(client, n, RESULT_BYTES));
        let large_results = all(&server.grpc, large.clone(), |client, n| is_replayed(client, n, LARGE));
        (loaded.await, new.await, large_results.await)
    });
    assert_eq!(again, (1_000, lifecycles, large.end - large.start), "everything is there after the kill");
    look(&server, records, "after replays of all that");
    assert_eq!(server.terminate().code(), Some(0));
    support::count("load_records", records);
    support::count("load_replays", replayed);
    support::count("load_lifecycles", lifecycles);
}

/// Says how the server is, and checks its bounds.
fn look(server: &ServerProcess, records: u64, when: &str) {
    let (peak, most) = (server.peak_resident_bytes(), CACHE_BYTES + REST_BYTES);
    let ready_after = server.ready_after;
    println!(
        "{records} records, {when}: was ready after {:.2} s, at most {} MiB were resident",
        ready_after.as_secs_f64(),
        peak / MIB
    );
    assert!(peak <= most, "{when}, {} MiB were resident, more than {} MiB", peak / MIB, most / MIB);
    if records >= FULL {
        assert!(ready_after <= READY_WITHIN, "{when}: ready only after {ready_after:?}");
    }
}

/// What the journal files take on disk.
fn journal_bytes(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("engine")).unwrap().map(|entry| entry.unwrap());
    let journals = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "jnl"));
    // One may be gone since it was listed.
    journals.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

/// Stores that many completed records.
fn load(data: &Path, records: u64) {
    let started = Instant::now();
    let store = EmbeddedStore::open(Settings::new(data)).unwrap();
    let now = SystemClock.now();
    let loaded = store.load((0..records).map(|number| (key(number), completed(number, now)))).unwrap();
    assert_eq!(loaded, records);
    store.close();
    println!("{records} records loaded in {:.1} s", started.elapsed().as_secs_f64());
}

/// Keys far apart, each once: steps of a large prime.
fn spread(place: u64, records: u64) -> u64 {
    (place * 2_147_483_647) % records
}

/// Does `call` for each number, 32 at a time; gives how many were right.
async fn all<F: Future<Output = bool> + Send + 'static>(
    server: &str,
    numbers: Range<u64>,
    call: impl Fn(IdempotencyServiceClient<Channel>, u64) -> F + Copy + Send + 'static,
) -> u64 {
    const AT_A_TIME: usize = 32;
    let channel = Address::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..AT_A_TIME {
        let client = IdempotencyServiceClient::new(channel.clone());
        let numbers = numbers.clone().skip(caller).step_by(AT_A_TIME);
        callers.spawn(async move {
            let mut right = 0;
            for number in numbers {
                right += u64::from(call(client.clone(), number).await);
            }
            right
        });
    }
    callers.join_all().await.into_iter().sum()
}

fn proto_key(number: u64) -> proto::Key {
    let Key { tenant, endpoint, idempotency_key } = key(number);
    proto::Key {
        tenant: tenant.as_str().to_owned(),
        endpoint: endpoint.as_str().to_owned(),
        idempotency_key: idempotency_key.as_str().to_owned(),
    }
}

/// A Begin with an attempt of its own.
fn begin(number: u64, attempt: u128) -> proto::BeginRequest {
    proto::BeginRequest {
        key: Some(proto_key(number)),
        attempt_id: Uuid::from_u128(u128::from(number) | attempt << 100).to_string(),
        fingerprint: fingerprint(number).to_vec().into(),
        ..proto::BeginRequest::default()
    }
}

/// Begins and completes a new key.
async fn run(mut client: IdempotencyServiceClient<Channel>, number: u64, result_bytes: usize) -> bool {
    let request = begin(number, 1);
    let attempt_id = request.attempt_id.clone();
    let Some(Decision::Started(started)) = client.begin(request).await.unwrap().into_inner().decision else {
        return false;
    };
    let result = proto::Result {
        outcome: proto::result::Outcome::Success.into(),
        payload: payload(number, result_bytes).into(),
        ..proto::Result::default()
    };
    let complete = proto::CompleteRequest {
        key: Some(proto_key(number)),
        fence: started.fence,
        attempt_id,
        result: Some(result),
        ..proto::CompleteRequest::default()
    };
    client.complete(complete).await.is_ok()
}

async fn is_replayed(
    mut client: IdempotencyServiceClient<Channel>,
    number: u64,
    result_bytes: usize,
) -> bool {
    match client.begin(begin(number, 2)).await.unwrap().into_inner().decision {
        Some(Decision::Replayed(replayed)) => {
            replayed.result.unwrap().payload == payload(number, result_bytes)
        }
        other => panic!("record {number} is not replayed: {other:?}"),
    }
}

fn key(number: u64) -> Key {
    Key {
        tenant: Tenant::new("default").unwrap(),
        endpoint: Endpoint::new("payments.v1.Payments/Charge").unwrap(),
        // As UUIDs are: spread over the whole range of keys.
        idempotency_key: IdempotencyKey::new(
            &Uuid::from_u128(
                u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number),
            )
            .to_string(),
        )
        .unwrap(),
    }
}

fn fingerprint(number: u64) -> [u8; 32] {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    digest
}

fn payload(number: u64, bytes: usize) -> Vec<u8> {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().into_iter().cycle().take(bytes).collect()
}

fn completed(number: u64, now: Timestamp) -> Versioned {
    let result = OperationResult {
        outcome: Outcome::Success,
        code: 200,
        content_type: "application/json".to_owned(),
        headers: Vec::new(),
        payload: payload(number, RESULT_BYTES).into(),
        payload_omitted: false,
    };
    let kept = Kept {
        fence: Fence::new(1_700_000_000_000_000).unwrap(),
        attempt: 1,
        attempt_id: AttemptId::from_uuid(Uuid::from_u128(u128::from(number))),
        attempts_before_budget: 0,
        fingerprint: Some(Fingerprint::new(&fingerprint(number)).unwrap()),
        first_seen_at: now,
        changed_at: now,
        expires_at: now.plus(DAY),
        retention: DAY,
        checkpoints: Checkpoints::default(),
        labels: Labels::default(),
        traceparent: None,
        probe: None,
        phase: Phase::Completed { result: Arc::new(result), resolution: None },
    };
    let write_id = WriteId(Uuid::from_u128(u128::from(number) + 1));
    Versioned::new(write_id, Arc::new(Record::Kept(kept)))
}
