//! Many completed records: the server is ready soon, and its memory stays within its caches and a fixed rest.

#[path = "support/process.rs"]
mod process;
mod support;

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
const DAY: Duration = Duration::from_hours(24);
/// The issue's own size; the time to be ready counts from there on.
const FULL: u64 = 10_000_000;
const READY_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_server_with_many_completed_records_is_ready_soon_and_stays_small() {
    let records = support::size("SEMEL_LOAD_RECORDS", 100_000);
    // Under target/, which is on a disk: a temporary directory may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("data");
    load(&data, records);

    let server = ServerProcess::start(&data, CACHES);
    let at_start = server.resident_bytes();
    let replays = records.min(50_000);
    let replayed = tokio::runtime::Runtime::new().unwrap().block_on(replay(&server.grpc, records, replays));
    let after = server.resident_bytes();
    println!(
        "{records} records: ready after {:.2} s; resident {} MiB when ready, {} MiB after {replayed} replays",
        server.ready_after.as_secs_f64(),
        at_start / MIB,
        after / MIB
    );
    assert_eq!(replayed, replays);
    for resident in [at_start, after] {
        let most = CACHE_BYTES + REST_BYTES;
        assert!(resident <= most, "{} MiB are resident, more than {} MiB", resident / MIB, most / MIB);
    }
    if records >= FULL {
        assert!(server.ready_after <= READY_WITHIN, "ready only after {:?}", server.ready_after);
    }
    assert_eq!(server.terminate().code(), Some(0));
    support::count("load_records", records);
    support::count("load_replays", replayed);
}

/// Stores that many completed records.
fn load(data: &std::path::Path, records: u64) {
    let started = Instant::now();
    let store = EmbeddedStore::open(Settings::new(data)).unwrap();
    let now = SystemClock.now();
    let loaded = store.load((0..records).map(|number| (key(number), completed(number, now)))).unwrap();
    assert_eq!(loaded, records);
    store.close();
    println!("{records} records loaded in {:.1} s", started.elapsed().as_secs_f64());
}

/// Begins keys all over the range, 32 at a time; gives how many were replayed with the right result.
async fn replay(server: &str, records: u64, replays: u64) -> u64 {
    const AT_A_TIME: u64 = 32;
    let channel = Address::from_shared(format!("http://{server}")).unwrap().connect().await.unwrap();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..AT_A_TIME {
        let client = IdempotencyServiceClient::new(channel.clone());
        callers.spawn(async move {
            let mut replayed = 0;
            for place in (caller..replays).step_by(usize::try_from(AT_A_TIME).unwrap()) {
                // Steps of a large prime reach keys far apart, each once.
                let number = (place * 2_147_483_647) % records;
                replayed += u64::from(is_replayed(client.clone(), number).await);
            }
            replayed
        });
    }
    callers.join_all().await.into_iter().sum()
}

async fn is_replayed(mut client: IdempotencyServiceClient<Channel>, number: u64) -> bool {
    let Key { tenant, endpoint, idempotency_key } = key(number);
    let request = proto::BeginRequest {
        key: Some(proto::Key {
            tenant: tenant.as_str().to_owned(),
            endpoint: endpoint.as_str().to_owned(),
            idempotency_key: idempotency_key.as_str().to_owned(),
        }),
        attempt_id: Uuid::from_u128(u128::from(number) | 1 << 127).to_string(),
        fingerprint: fingerprint(number).to_vec().into(),
        ..proto::BeginRequest::default()
    };
    match client.begin(request).await.unwrap().into_inner().decision {
        Some(Decision::Replayed(replayed)) => replayed.result.unwrap().payload == payload(number),
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

fn payload(number: u64) -> Vec<u8> {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().into_iter().cycle().take(RESULT_BYTES).collect()
}

fn completed(number: u64, now: Timestamp) -> Versioned {
    let result = OperationResult {
        outcome: Outcome::Success,
        code: 200,
        content_type: "application/json".to_owned(),
        headers: Vec::new(),
        payload: payload(number).into(),
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
    Versioned { write_id, record: Arc::new(Record::Kept(kept)) }
}
