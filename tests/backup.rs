//! Backups of an embedded store, by the command line and a running server, and stores made of them.

#[path = "support/program.rs"]
mod program;
#[path = "support/server.rs"]
mod server;
#[path = "support/small_disk.rs"]
mod small_disk;
mod support;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use program::{Program, errors, text};
use semel::domain::{Clock, Key, Policy, Record, Timestamp};
use semel::proto::begin_response::Decision;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::resolve_record_request::Resolution;
use semel::proto::{self, ResolveRecordRequest};
use semel::storage::backup::archive::ArchiveError;
use semel::storage::backup::{self, BackupError, Restoration, RestoreError, socket};
use semel::storage::conformance::{Samples, hostile_keys, key};
use semel::storage::embedded::{EmbeddedStore, OpenError, Settings};
use semel::storage::{Freshness, Store, Versioned, WriteId};
use server::{Start, TestClock, begin, decision, reason, started};
use small_disk::SmallDisk;
use support::{count, semel, size};
use tonic::transport::Channel;
use uuid::Uuid;

const LONGEST: Duration = Duration::from_hours(24);

fn versioned(n: u128, record: Record) -> Versioned {
    Versioned::new(WriteId(Uuid::from_u128(n)), Arc::new(record))
}

/// A store in `directory` that needs little room.
fn open(directory: &Path) -> EmbeddedStore {
    EmbeddedStore::open(settings(directory)).expect("the store opens")
}

fn settings(directory: &Path) -> Settings {
    Settings { free_space_reserve_bytes: 0, ..Settings::new(directory) }
}

fn back_up(store: &EmbeddedStore, clock: &dyn Clock) -> Vec<u8> {
    let mut bytes = Vec::new();
    let contents = backup::write(store, clock, LONGEST, &mut bytes, || false).expect("a backup");
    assert_eq!(contents.bytes, bytes.len() as u64);
    bytes
}

fn restore(backup: &[u8], directory: &Path, clock: &dyn Clock) -> Result<Restoration, RestoreError> {
    backup::restore(backup, &settings(directory), clock, Duration::ZERO)
}

async fn get(store: &EmbeddedStore, key: &Key) -> Option<Versioned> {
    store.get(key, Freshness::Acknowledged).await.expect("the store reads")
}

fn run(arguments: &[&str]) -> Output {
    semel().args(arguments).stdin(Stdio::null()).output().expect("semel starts")
}

fn exit(output: &Output) -> i32 {
    output.status.code().expect("it exits")
}

/// What a caller was told of its operation.
#[derive(Clone, Debug)]
struct Acknowledged {
    number: u32,
    fence: i64,
}

fn payload(number: u32) -> String {
    format!("{number}:{}", "x".repeat((number % 700) as usize))
}

/// Begins and completes one operation after another, from `first` in steps, until told to stop; leaves each tenth open.
async fn load(
    mut client: IdempotencyServiceClient<Channel>,
    first: u32,
    step: u32,
    stop: Arc<AtomicBool>,
    told: tokio::sync::mpsc::UnboundedSender<Acknowledged>,
) {
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let begin = server::begin(&format!("key-{number}"), number);
        let fence = started(client.begin(begin).await.expect("an answer")).fence;
        if !number.is_multiple_of(10) {
            let complete = server::complete(&format!("key-{number}"), number, fence, &payload(number));
            client.complete(complete).await.expect("an acknowledgement");
        }
        told.send(Acknowledged { number, fence }).expect("the test listens");
        number += step;
    }
}

async fn client(program: &Program) -> IdempotencyServiceClient<Channel> {
    IdempotencyServiceClient::connect(program.url.clone()).await.expect("the server is there")
}

fn retry(number: u32) -> proto::BeginRequest {
    let attempt = 1_000_000 + number;
    proto::BeginRequest { retry: true, ..server::begin(&format!("key-{number}"), attempt) }
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::too_many_lines, reason = "one story, from the load to the restored server")]
async fn a_backup_under_load_has_all_that_was_acknowledged_before_it() {
    const CALLERS: u32 = 8;
    let operations = usize::try_from(size("SEMEL_BACKUP_OPERATIONS", 1_000)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(directory.path(), &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(load(client(&program).await, caller, CALLERS, stop.clone(), told.clone()));
    }
    drop(told);
    let mut before = Vec::new();
    while before.len() < operations {
        before.push(heard.recv().await.expect("callers go on"));
    }
    let file = directory.path().join("backup.semel");
    let data = directory.path().join("data");
    let arguments = ["backup", "--data-dir", data.to_str().unwrap(), "--to", file.to_str().unwrap()];
    let mut backup = semel();
    backup.args(arguments).args(["--output", "json"]);
    let output = tokio::task::spawn_blocking(move || backup.output().unwrap()).await.unwrap();
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    let report: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
    assert!(report["records"].as_u64().unwrap() >= operations as u64, "{report}");
    assert_eq!(report["bytes"], fs::metadata(&file).unwrap().len());
    let mut after = Vec::new();
    while let Ok(acknowledged) = heard.try_recv() {
        after.push(acknowledged);
    }
    // All of these, but for one of each caller, begin when the backup is done.
    let enough = after.len() + operations / 5;
    while after.len() < enough {
        after.push(heard.recv().await.expect("callers go on"));
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(acknowledged) = heard.recv().await {
        after.push(acknowledged);
    }
    while callers.join_next().await.is_some() {}
    // The machine is lost.
    drop(program);

    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let arguments = ["restore", "--from", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let output = run(&[&arguments[..], &["--output", "json"]].concat());
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    let restored: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(restored["records"], report["records"]);
    assert!(restored["made_unresolved"].as_u64().unwrap() >= operations as u64 / 10 - 1, "{restored}");
    let again = run(&arguments);
    assert_eq!(exit(&again), 1);
    assert!(errors(&again).contains("there is a store in"), "{}", errors(&again));

    let program = Program::start(place.path(), &[]);
    assert!(program.log.text().contains("this store was restored from a backup"), "{}", program.log.text());
    let mut calls = client(&program).await;
    for Acknowledged { number, fence } in &before {
        match decision(calls.begin(retry(*number)).await.expect("an answer")) {
            Decision::Replayed(replayed) => {
                assert_ne!(number % 10, 0);
                assert_eq!(replayed.result.unwrap().payload, payload(*number).as_bytes());
                assert_eq!(replayed.fence, *fence);
            }
            Decision::Unresolved(unresolved) => {
                assert_eq!(number % 10, 0, "an acknowledged result is unresolved");
                assert!(unresolved.detail.contains("restored from a backup"), "{unresolved:?}");
            }
            other => panic!("{number}: {other:?}"),
        }
    }
    let mut lost = 0;
    for Acknowledged { number, fence } in &after {
        match calls.begin(retry(*number)).await {
            Ok(answer) => {
                let known = decision(answer);
                let known = matches!(known, Decision::Replayed(_) | Decision::Unresolved(_));
                assert!(known, "{number} ran again");
            }
            Err(status) => {
                assert_eq!(reason(&status), "KEY_EXPIRED");
                // Who says that it was never sent before may run, above every fence of before.
                let begin = proto::BeginRequest { retry: false, ..retry(*number) };
                assert!(started(calls.begin(begin).await.unwrap()).fence > *fence);
                lost += 1;
            }
        }
    }
    assert!(lost > 0, "something came after the backup");
    // The mark is the store's own, and outlives the server.
    assert!(program.stop().success());
    let program = Program::start(place.path(), &[]);
    let refused = client(&program).await.begin(retry(999_999)).await.unwrap_err();
    assert_eq!(reason(&refused), "KEY_EXPIRED");
    count("backed_up_records", before.len() as u64);
    count("records_lost_after_a_backup", lost);
}

#[tokio::test]
async fn a_restored_store_refuses_retries_until_its_mark_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("first"), directory.path().join("second"));
    let clock = TestClock::new();
    let (done, open_fence) = {
        let store = Arc::new(open(&first));
        let mut serving = Start::on(store.clone()).serve().await;
        let mut client = serving.client().await;
        let done = started(client.begin(begin("done", 1)).await.unwrap()).fence;
        client.complete(server::complete("done", 1, done, "charged")).await.unwrap();
        let fence = started(client.begin(begin("open", 2)).await.unwrap()).fence;
        let released = started(client.begin(begin("released", 3)).await.unwrap()).fence;
        let abort = server::abort("released", 3, released, proto::abort_request::Disposition::Release);
        client.abort(abort).await.unwrap();
        let backup = back_up(&store, &*clock);
        serving.stop();
        drop(client);
        serving.ended().await.unwrap();
        // A minute later.
        let later = TestClock::new();
        later.advance(Duration::from_mins(1));
        let (place, clock) = (second.clone(), later.clone());
        let restored = tokio::task::spawn_blocking(move || restore(&backup, &place, &*clock));
        let restored = restored.await.unwrap().unwrap();
        assert_eq!((restored.contents.records, restored.unresolved, restored.fences_ahead), (3, 2, 0));
        assert_eq!(restored.mark.at, later.now());
        assert_eq!(restored.mark.until, later.now().plus(LONGEST));
        (done, fence)
    };

    let server = Start::on(Arc::new(open(&second))).serve().await;
    server.clock.advance(Duration::from_mins(1));
    let (mut client, mut operator) = (server.client().await, server.operator().await);
    let replayed = server::replayed(client.begin(begin("done", 9)).await.unwrap());
    assert_eq!((replayed.fence, replayed.result.unwrap().payload), (done, "charged".into()));
    // What was open is not run again, whoever asks, and its owner is out.
    for (name, attempt) in [("open", 2), ("open", 10), ("released", 3), ("released", 11)] {
        match client.begin(begin(name, attempt)).await {
            Ok(answer) => assert!(matches!(decision(answer), Decision::Unresolved(_)), "{name} {attempt}"),
            Err(status) => assert_eq!((reason(&status).as_str(), attempt < 9), ("ATTEMPT_ENDED", true)),
        }
    }
    let late = client.complete(server::complete("open", 2, open_fence, "late")).await.unwrap_err();
    assert_eq!(reason(&late), "FENCE_LOST");
    // Until an operator says so.
    let look = proto::LookupRequest { key: Some(server::key("open")) };
    let record = client.lookup(look).await.unwrap().into_inner().record.unwrap();
    assert!(record.fence > open_fence);
    let release = ResolveRecordRequest {
        key: Some(server::key("open")),
        fence: record.fence,
        resolution: Some(Resolution::Release(true)),
        ..ResolveRecordRequest::default()
    };
    operator.resolve_record(release).await.unwrap();
    assert!(started(client.begin(begin("open", 12)).await.unwrap()).fence > record.fence);

    // What is not there at all.
    let restored_at = server.clock.now();
    let first_sent = |moment: Timestamp| {
        let moment = Duration::from_micros(moment.as_micros());
        Some(prost_types::Timestamp {
            seconds: moment.as_secs().cast_signed(),
            nanos: moment.subsec_nanos().cast_signed(),
        })
    };
    let as_retry = |name: &str| proto::BeginRequest { retry: true, ..begin(name, 20) };
    let sent_at =
        |name: &str, moment| proto::BeginRequest { first_sent: first_sent(moment), ..begin(name, 21) };
    let just_before = restored_at.minus(Duration::from_micros(1));
    assert_eq!(reason(&client.begin(as_retry("a")).await.unwrap_err()), "KEY_EXPIRED");
    assert_eq!(reason(&client.begin(sent_at("a", just_before)).await.unwrap_err()), "KEY_EXPIRED");
    let batch = proto::BatchBeginRequest { requests: vec![as_retry("a")] };
    let slot = client.batch_begin(batch).await.unwrap().into_inner().items.remove(0);
    assert!(format!("{slot:?}").contains("KEY_EXPIRED"), "{slot:?}");
    started(client.begin(sent_at("b", restored_at)).await.unwrap());
    started(client.begin(begin("c", 22)).await.unwrap());

    // It goes away by itself, when a lost record would be gone under the policy.
    let longest = Policy::default().longest_kept();
    server.clock.advance(longest.checked_sub(Duration::from_micros(1)).unwrap());
    assert_eq!(reason(&client.begin(as_retry("d")).await.unwrap_err()), "KEY_EXPIRED");
    server.clock.advance(Duration::from_micros(1));
    started(client.begin(as_retry("d")).await.unwrap());
}

/// Records of every kind under all sorts of keys.
fn samples() -> Vec<(Key, Versioned)> {
    let records = Samples::extremes().into_iter().chain((0..40).map(Samples::any));
    let keys = hostile_keys().into_iter().chain((0..).map(|n| key("more", n)));
    keys.zip(records).zip(1..).map(|((key, record), n)| (key, versioned(n, record))).collect()
}

#[tokio::test]
async fn what_is_settled_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let records = samples();
    let store = Arc::new(open(&directory.path().join("first")));
    let (loading, all) = (store.clone(), records.clone());
    let loaded = tokio::task::spawn_blocking(move || loading.load(all)).await.unwrap().unwrap();
    let backup = back_up(&store, &*clock);
    let second = directory.path().join("second");
    let restoration = tokio::task::spawn_blocking({
        let (backup, second) = (backup.clone(), second.clone());
        move || restore(&backup, &second, &*TestClock::new())
    });
    let restoration = restoration.await.unwrap().unwrap();
    assert_eq!(restoration.contents.records, loaded);
    assert_eq!(backup::check(&backup[..]).unwrap(), restoration.contents);
    let store = open(&second);
    let (mut same, mut unresolved) = (0, 0);
    for (key, before) in &records {
        let after = get(&store, key).await.expect("it is there");
        let expected = restoration.mark.record(Record::clone(&before.record));
        assert_eq!(*after.record, expected);
        if expected == *before.record {
            assert_eq!(after.write_id, before.write_id);
            same += 1;
        } else {
            assert_ne!(after.write_id, before.write_id);
            assert!(before.record.is_open());
            let above = after.record.fence() > before.record.fence();
            assert!(above || before.record.fence().get() == i64::MAX, "{:?}", before.record.fence());
            unresolved += 1;
        }
    }
    assert!(same > 0 && unresolved == restoration.unresolved && unresolved > 0);
    assert_eq!(store.restored(), Some(restoration.mark));
    assert_eq!(store.index_faults(), Ok(0));
}

#[test]
fn no_damage_passes_for_a_backup() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = open(&directory.path().join("first"));
    store.load((0..3).map(|n| (key("t", n), versioned(n.into(), Samples::any(n))))).unwrap();
    let backup = back_up(&store, &*clock);
    assert_eq!(backup::check(&backup[..]).unwrap().records, 3);
    let mut damages = 0;
    for length in 0..backup.len() {
        let error = backup::check(&backup[..length]).unwrap_err();
        let cut = matches!(error, RestoreError::Archive(ArchiveError::CutShort { bytes }) if bytes == length as u64);
        assert!(cut || (length == 0 && error.to_string().contains("no backup")), "{length}: {error}");
        damages += 1;
    }
    for place in 0..backup.len() {
        for bit in 0..8 {
            let mut flipped = backup.clone();
            flipped[place] ^= 1 << bit;
            let error = backup::check(&flipped[..]).expect_err("it is damaged").to_string();
            assert!(!error.is_empty());
            damages += 1;
        }
    }
    let more = [&backup[..], b"more"].concat();
    assert!(matches!(
        backup::check(&more[..]),
        Err(RestoreError::Archive(ArchiveError::MoreAfterTheEnd { bytes })) if bytes == backup.len() as u64
    ));
    count("damaged_backups", damages);

    // None of that leaves a store behind.
    for (name, bytes) in
        [("cut", &backup[..backup.len() - 1]), ("more", &more[..]), ("text", b"not a backup")]
    {
        let place = directory.path().join(name);
        assert!(restore(bytes, &place, &*clock).is_err(), "{name}");
        assert!(!EmbeddedStore::is_in(&place), "{name}");
        assert!(!place.join("restoring").exists(), "{name}");
        let file = directory.path().join(format!("{name}.semel"));
        fs::write(&file, bytes).unwrap();
        for flags in [&["--check"][..], &["--data-dir", place.to_str().unwrap()]] {
            let output = run(&[&["restore", "--from", file.to_str().unwrap()], flags].concat());
            assert_eq!((exit(&output), text(&output).as_str()), (1, ""), "{}", errors(&output));
        }
        assert!(!EmbeddedStore::is_in(&place), "{name}");
        restore(&backup, &place, &*clock).expect("the directory is as good as before");
    }
}

#[test]
fn a_backup_is_of_one_instant_while_writes_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = open(&directory.path().join("first"));
    let record = |n: u64, payload: u8| Samples::completed_with(n, vec![payload; 20_000]);
    let old: Vec<_> = (0..200).map(|n| (key("t", n), versioned(n.into(), record(n, 1)))).collect();
    store.load(old.clone()).unwrap();
    let written = Cell::new(0);
    let mut backup = Vec::new();
    // Between any two batches everything is overwritten, and there is more.
    let overwrite = || {
        let round = written.get() + 1;
        written.set(round);
        let new = (0..400_u64).map(|n| (key("t", n), versioned(u128::from(1000 * round + n), record(n, 2))));
        store.load(new).unwrap();
        false
    };
    backup::write(&store, &*clock, LONGEST, &mut backup, overwrite).unwrap();
    assert!(written.get() > 2, "the backup has several batches");
    let second = directory.path().join("second");
    assert_eq!(restore(&backup, &second, &*clock).unwrap().contents.records, 200);
    let store = open(&second);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (key, before) in old {
        assert!(runtime.block_on(get(&store, &key)) == Some(before));
    }
}

#[test]
fn a_backup_that_cannot_be_finished_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let fill = |store: &EmbeddedStore| {
        let record = |n: u64| Samples::completed_with(n, vec![1; 20_000]);
        store.load((0..200).map(|n| (key("t", n), versioned(n.into(), record(n))))).unwrap();
    };
    let store = open(&directory.path().join("first"));
    fill(&store);
    let mut bytes = Vec::new();
    let close = || {
        store.close();
        false
    };
    let closed = backup::write(&store, &*clock, LONGEST, &mut bytes, close).unwrap_err();
    assert!(matches!(closed, BackupError::Store(_)), "{closed}");
    let read = backup::check(&bytes[..]).unwrap_err().to_string();
    assert!(read.contains("given up") && read.contains("since the snapshot was taken"), "{read}");

    let store = open(&directory.path().join("second"));
    fill(&store);
    let mut bytes = Vec::new();
    let stopped = backup::write(&store, &*clock, LONGEST, &mut bytes, || true).unwrap_err();
    assert!(matches!(stopped, BackupError::Stopping), "{stopped}");
    assert!(backup::check(&bytes[..]).unwrap_err().to_string().contains("the server stops"));
}

#[test]
fn a_record_that_cannot_be_read_is_left_out_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    let record = |n: u64| versioned(n.into(), Samples::any(n));
    store.load((0..5).map(|n| (key("t", n), record(n)))).unwrap();
    store.plant(&key("t", 3), &record(3), b"\x01garbage").unwrap();
    drop(store);
    let file = directory.path().join("backup");
    let output = run(&[
        "backup",
        "--data-dir",
        data.to_str().unwrap(),
        "--to",
        file.to_str().unwrap(),
        "--output",
        "json",
        "--embedded-free-space-reserve-bytes",
        "0B",
    ]);
    assert_eq!(exit(&output), 1, "{}", errors(&output));
    let report: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!((&report["records"], &report["unreadable"]), (&4.into(), &1.into()));
    let output = run(&["restore", "--check", "--from", file.to_str().unwrap()]);
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    assert!(text(&output).contains("4 records"), "{}", text(&output));
}

#[test]
fn a_file_is_never_half_a_backup() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    store
        .load((0..50).map(|n| (key("t", n), versioned(n.into(), Samples::completed_with(n, vec![7; 9000])))))
        .unwrap();
    drop(store);
    let program = Program::start(directory.path(), &[]);
    let data = data.to_str().unwrap();
    let back_up = |to: &Path| program.call(&["backup", "--data-dir", data, "--to", to.to_str().unwrap()]);

    let disk = SmallDisk::mount("size=256k");
    let full = disk.data();
    let output = back_up(&full);
    assert_eq!(exit(&output), 1, "{}", errors(&output));
    assert!(errors(&output).contains("No space left on device"), "{}", errors(&output));
    assert!(!full.exists() && !full.with_extension("partial").exists());
    assert_eq!(fs::read_dir(full.parent().unwrap()).unwrap().count(), 0);

    let whole = directory.path().join("whole");
    let output = back_up(&whole);
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    // It holds what all tenants keep.
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&whole).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let output = back_up(&whole);
    assert_eq!(exit(&output), 2, "{}", errors(&output));
    assert!(errors(&output).contains("is there already"), "{}", errors(&output));

    // Nor is a directory on a full disk half a store.
    let place = full.join("restored");
    let output = run(&["restore", "--from", whole.to_str().unwrap(), "--data-dir", place.to_str().unwrap()]);
    assert_eq!(exit(&output), 1, "{}", errors(&output));
    assert!(errors(&output).contains("nothing was restored"), "{}", errors(&output));
    assert!(!EmbeddedStore::is_in(&place));
}

#[test]
fn backups_go_through_pipes_and_with_no_server() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    store.load((0..50).map(|n| (key("t", n), versioned(n.into(), Samples::any(n))))).unwrap();
    drop(store);
    let data = data.to_str().unwrap();
    let second = directory.path().join("second");
    let small = ["--embedded-free-space-reserve-bytes", "0B"];
    let pipe = |number: u32, server: &str| {
        let place = second.join(format!("{number}"));
        let mut making = semel()
            .args(["backup", "--data-dir", data, "--to", "-"])
            .args(small)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let backup = making.stdout.take().unwrap();
        let output = semel()
            .args(["restore", "--from", "-", "--data-dir", place.to_str().unwrap()])
            .args(small)
            .stdin(backup)
            .output()
            .unwrap();
        assert!(making.wait().unwrap().success(), "{server}");
        assert_eq!(exit(&output), 0, "{server}: {}", errors(&output));
        assert!(text(&output).contains("50 records"), "{server}: {}", text(&output));
    };
    pipe(1, "none");
    let program = Program::start(directory.path(), &[]);
    pipe(2, "running");
    // The socket is the owner's alone.
    let socket = socket::path(Path::new(data));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(program.stop().success());
    assert!(!socket.exists());
    pipe(3, "stopped");

    let nowhere = directory.path().join("nowhere");
    let output = run(&["backup", "--data-dir", nowhere.to_str().unwrap(), "--to", "x"]);
    assert_eq!(exit(&output), 1);
    assert!(errors(&output).contains("there is no embedded store in"), "{}", errors(&output));
    assert!(!Path::new("x").exists() && !Path::new("x.partial").exists());
    let output = semel().env("SEMEL_STORE", "memory").args(["backup", "--to", "x"]).output().unwrap();
    assert_eq!(exit(&output), 3);
    assert!(errors(&output).contains("only the store embedded has"), "{}", errors(&output));
}

#[test]
fn one_backup_is_taken_at_a_time_and_none_holds_the_server_up() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    store
        .load(
            (0..200).map(|n| (key("t", n), versioned(n.into(), Samples::completed_with(n, vec![7; 50_000])))),
        )
        .unwrap();
    drop(store);
    let program = Program::start(directory.path(), &[]);
    // It takes nothing, and ten megabytes wait for it.
    let idle = UnixStream::connect(socket::path(&data)).unwrap();
    program.log.wait_for("a backup is being taken", 1);
    let file = directory.path().join("backup");
    let arguments = ["backup", "--data-dir", data.to_str().unwrap(), "--to", file.to_str().unwrap()];
    let output = program.call(&arguments);
    assert_eq!(exit(&output), 110, "{}", errors(&output));
    assert!(errors(&output).contains("another one is being taken"), "{}", errors(&output));
    assert!(!file.exists());
    drop(idle);
    program.log.wait_for("a backup was not taken whole", 1);
    let output = program.call(&arguments);
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    // Told to stop, the server waits for nobody who takes nothing.
    let idle = UnixStream::connect(socket::path(&data)).unwrap();
    program.log.wait_for("a backup is being taken", 3);
    program.signal(Signal::SIGTERM);
    program.log.wait_for("stopped", 1);
    drop(idle);
}

#[test]
fn a_store_whose_mark_is_damaged_is_not_opened_and_none_is_copied_without_its_mark() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&directory.path().join("first"));
    store.load([(key("t", 1), versioned(1, Samples::any(1)))]).unwrap();
    // A backup of now, since the command line's clock is the system's.
    let now = semel::clock::SystemClock;
    let backup = back_up(&store, &now);
    let mark = restore(&backup, &data, &now).unwrap().mark;
    assert_eq!(open(&data).restored(), Some(mark));

    let copy = |flags: &[&str]| {
        let (from, to) =
            (format!("embedded:{}", data.display()), format!("embedded:{}/copy", directory.path().display()));
        run(&[&["store", "copy", "--from", &from, "--to", &to][..], flags].concat())
    };
    let output = copy(&[]);
    assert_eq!(exit(&output), 1);
    assert!(errors(&output).contains("--drop-restored-mark"), "{}", errors(&output));
    let output = copy(&["--drop-restored-mark"]);
    assert_eq!(exit(&output), 0, "{}", errors(&output));

    let file = data.join("engine").join("restored");
    let text = fs::read_to_string(&file).unwrap();
    for place in 0..text.len() {
        let mut damaged = text.clone().into_bytes();
        damaged[place] ^= 1;
        fs::write(&file, damaged).unwrap();
        let error = EmbeddedStore::open(settings(&data)).expect_err("it says what may not run again");
        assert!(matches!(&error, OpenError::Engine { problem, .. } if !problem.is_empty()), "{error}");
    }
    fs::write(&file, text).unwrap();
    assert_eq!(open(&data).restored(), Some(mark));
}

#[test]
fn a_clock_behind_the_backup_restores_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("first"));
    let clock = TestClock::new();
    clock.advance(Duration::from_secs(1));
    let backup = back_up(&store, &*clock);
    let place = directory.path().join("second");
    let error = restore(&backup, &place, &*TestClock::new()).unwrap_err();
    assert!(matches!(error, RestoreError::FromTheFuture { .. }), "{error}");
    assert!(error.to_string().contains("set the clock first"), "{error}");
    assert!(!place.exists());
    // A restore that was killed leaves something behind, which the next one throws away.
    fs::create_dir_all(place.join("restoring").join("engine")).unwrap();
    File::create(place.join("restoring").join("engine").join("half")).unwrap();
    restore(&backup, &place, &*clock).unwrap();
    let there: BTreeSet<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, BTreeSet::from(["engine".into(), "lock".into()]));
}
