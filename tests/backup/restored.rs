//! What a restored store holds, and what its mark refuses.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;

use semel::domain::{Clock, Key, Policy, Record, Timestamp};
use semel::proto::begin_response::Decision;
use semel::proto::resolve_record_request::Resolution;
use semel::proto::{self, ResolveRecordRequest};
use semel::storage::backup::{self, RestoreError};
use semel::storage::conformance::{Samples, hostile_keys, key};
use semel::storage::embedded::{EmbeddedStore, OpenError};
use semel::storage::{Store, Versioned};

use crate::command_line::{exit, run};
use crate::program::errors;
use crate::server::{self, Start, TestClock, begin, decision, reason, started};
use crate::stores::{LONGEST, back_up, get, open, restore, settings, versioned};

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
