//! A backup of a server at work has all that was acknowledged before it.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use semel::proto;
use semel::proto::begin_response::Decision;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use tonic::transport::Channel;

use crate::command_line::{exit, run};
use crate::program::{Program, errors, text};
use crate::server::{self, decision, reason, started};
use crate::support::{count, semel, size};

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
    program.log.wait_for("this store was restored from a backup", 1);
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
