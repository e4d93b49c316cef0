//! The log of decisions: one line for each, with all that is known of it and nothing that may not be seen.

#[path = "support/program.rs"]
mod program;
#[path = "support/samples.rs"]
mod samples;
#[path = "support/mod.rs"]
mod support;

use std::time::Duration;

use program::{Heard, Program};
use samples::Samples;
use semel::domain::{Endpoint, IdempotencyKey, Key, Tenant};
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::telemetry::KeyHash;
use serde_json::{Value, json};

const SECRET: &str = "the secret of this test";
const KEY: &str = "canary-key";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A server on memory with these settings of telemetry.
fn serve(settings: &[(&str, &str)]) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = support::semel();
    command.current_dir(directory.path()).env("SEMEL_KEY_HASH_SECRET", SECRET);
    for (name, value) in settings {
        command.env(name, value);
    }
    command.args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--store", "memory"]);
    (Program::run(command), directory)
}

/// Begins `KEY`, with what else is said.
fn begin(server: &Program, more: &[&str]) -> Value {
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let begin = ["begin", "--endpoint", "jobs/Nightly", "--key", KEY, "--traceparent", &traceparent];
    server.json(&[&begin, more].concat()).1
}

fn complete(server: &Program, begun: &Value) {
    let (fence, attempt_id) = (begun["fence"].to_string(), begun["attempt_id"].as_str().unwrap().to_owned());
    let complete = ["complete", "--endpoint", "jobs/Nightly", "--key", KEY, "--payload", "canary-payload"];
    let output = server.call(&[&complete, &["--fence", &fence, "--attempt-id", &attempt_id][..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", program::errors(&output));
}

/// The lines of decisions so far, once there are as many, without what differs from run to run.
fn decisions(server: &Program, count: usize) -> Vec<Value> {
    server.log.wait_for("\"semel.decision\"", count);
    let text = server.log.text();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.filter(|line| line["target"] == "semel::decision").collect();
    assert_eq!(lines.len(), count, "{text}");
    for line in text.lines() {
        assert!(!line.contains("canary"), "{line}");
    }
    lines
}

fn key_hash() -> String {
    let key = Key {
        tenant: Tenant::new("default").unwrap(),
        endpoint: Endpoint::new("jobs/Nightly").unwrap(),
        idempotency_key: IdempotencyKey::new(KEY).unwrap(),
    };
    KeyHash::new(SECRET.as_bytes()).name(&key)
}

#[test]
fn a_line_has_all_that_is_known_of_a_decision() {
    let (server, _directory) =
        serve(&[("SEMEL_LOG_FORMAT", "json"), ("SEMEL_TELEMETRY_CORRELATION_LABEL", "order")]);
    let labels = ["--label", "order=4711", "--label", "note=canary-label"];
    let begun = begin(&server, &[&labels[..], &["--fingerprint", &"01".repeat(32)]].concat());
    complete(&server, &begun);
    begin(&server, &[]);
    begin(&server, &["--fingerprint", &"02".repeat(32)]);
    let lines = decisions(&server, 4);
    let expected = |level: &str, message: &str, fields: &Value| {
        let decision = message.rsplit(' ').next();
        let mut line = json!({
            "level": level,
            "target": "semel::decision",
            "message": message,
            "semel.tenant": "default",
            "semel.endpoint": "jobs/Nightly",
            "semel.key_hash": key_hash(),
            "semel.decision": decision,
        });
        line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        line
    };
    let fence = &begun["fence"];
    let found = json!({"semel.attempt": 1, "semel.fence": fence});
    let with = |more: Value| {
        let mut fields = found.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        fields
    };
    let lines: Vec<Value> = lines
        .into_iter()
        .map(|mut line| {
            assert!(line.as_object_mut().unwrap().remove("timestamp").is_some());
            line
        })
        .collect();
    assert_eq!(
        lines[0],
        expected("INFO", "Begin: started", &with(json!({"semel.correlation": "4711", "trace_id": TRACE})))
    );
    // The owner's call says nothing of the order, but the record does.
    assert_eq!(
        lines[1],
        expected("INFO", "Complete: completed", &with(json!({"semel.correlation": "4711"})))
    );
    assert_eq!(lines[2], expected("INFO", "Begin: replayed", &with(json!({"trace_id": TRACE}))));
    assert_eq!(
        lines[3],
        expected("WARN", "Begin: mismatch", &json!({"trace_id": TRACE, "reason": "FINGERPRINT_MISMATCH"}))
    );
    assert!(server.stop().success());
}

#[test]
fn replays_are_sampled_and_nothing_else_is() {
    let (server, _directory) =
        serve(&[("SEMEL_LOG_FORMAT", "json"), ("SEMEL_TELEMETRY_REPLAY_LOG_RATIO", "0.25")]);
    let begun = begin(&server, &[]);
    for _ in 0..3 {
        begin(&server, &[]);
    }
    complete(&server, &begun);
    for _ in 0..8 {
        assert_eq!(begin(&server, &[])["decision"], "replayed");
    }
    let lines = decisions(&server, 7);
    let with = |word: &str| lines.iter().filter(|line| line["semel.decision"] == word).count();
    assert_eq!([with("started"), with("in_progress"), with("completed"), with("replayed")], [1, 3, 1, 2]);
    assert!(server.stop().success());
}

#[test]
fn people_can_read_the_lines_and_switch_them_off() {
    let (server, _directory) = serve(&[]);
    begin(&server, &[]);
    server.log.wait_for("INFO semel::decision: Begin: started semel.tenant=\"default\"", 1);
    server.log.wait_for(&format!("semel.key_hash=\"{}\"", key_hash()), 1);
    assert!(server.stop().success());
    for settings in
        [("SEMEL_TELEMETRY_DECISION_LOG", "false"), ("SEMEL_LOG_LEVEL", "info,semel::decision=warn")]
    {
        let (mut server, _directory) = serve(&[settings]);
        begin(&server, &[]);
        server.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(server.wait().success());
        server.log.wait_for("stopped", 1);
        assert!(!server.log.text().contains("semel.decision"), "{}", server.log.text());
    }
}

/// A terminal that was stopped, a log shipper that hangs.
#[test]
fn a_log_that_nobody_reads_stalls_no_call_and_what_is_lost_of_it_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = support::semel();
        command.current_dir(directory.path()).args(["serve", "--listen", "127.0.0.1:0", "--ops-listen"]);
        command.args(["127.0.0.1:0", "--store", "memory", "--log-format", "json"]);
        Program::run_unheard(command)
    };
    let lost = |server: &Program| {
        Samples::read(&server.get("/metrics").1).of(r#"semel_log_lines_lost_total{kind="decision"}"#)
    };
    let (server, unread) = serve();
    assert_eq!(lost(&server), 0);
    let mut decisions = 0;
    while lost(&server) == 0 {
        decisions += begin_many(&server, decisions);
    }
    decisions += begin_many(&server, decisions);
    // Once it is read again, it says what is missing, and nothing else is.
    let log = Heard::listen(unread);
    log.wait_for("log lines were lost since the start", 1);
    let lost_then = lost(&server);
    decisions += begin_many(&server, decisions);
    log.wait_for("semel.decision", usize::try_from(decisions - lost_then).unwrap());
    assert_eq!(lost(&server), lost_then);
    assert!(server.stop().success());
    log.wait_for("\"message\":\"stopped\"", 1);
    let text = log.text();
    let is_decision = |line: &&str| line.contains("\"target\":\"semel::decision\"");
    assert_eq!(text.lines().filter(is_decision).count() as u64, decisions - lost_then);
    let whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    assert!(text.lines().all(whole), "no line is torn");
    let told: Vec<_> = text.lines().filter(|line| line.contains("log lines were lost")).collect();
    assert!(
        told.last().unwrap().contains(&format!("\"decision\":{lost_then},\"other\":0,\"audit\":0")),
        "{told:?}"
    );

    // What still waits when a server is told to stop is written before it ends, as long as somebody reads.
    let (mut server, unread) = serve();
    let decisions = begin_many(&server, 0) + begin_many(&server, 1000);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let log = Heard::listen(unread);
    assert!(server.wait().success());
    log.wait_for("\"message\":\"stopped\"", 1);
    assert_eq!(log.text().lines().filter(is_decision).count() as u64, decisions);

    // Nor does a server that is told to stop wait for a reader.
    let (server, _unread) = serve();
    let mut decisions = 0;
    while lost(&server) == 0 {
        decisions += begin_many(&server, decisions);
    }
    assert!(server.stop().success());
}

/// Begins a thousand more keys, in one call that is answered.
fn begin_many(server: &Program, before: u64) -> u64 {
    const ITEMS: u64 = 1000;
    let requests = (before..before + ITEMS).map(|number| proto::BeginRequest {
        key: Some(proto::Key {
            tenant: "shop".into(),
            endpoint: "POST /charges".into(),
            idempotency_key: number.to_string(),
        }),
        attempt_id: "00000000-0000-4000-8000-000000000001".into(),
        ..proto::BeginRequest::default()
    });
    let batch = proto::BatchBeginRequest { requests: requests.collect() };
    let url = server.url.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let mut client = IdempotencyServiceClient::connect(url).await.unwrap();
        tokio::time::timeout(Duration::from_mins(2), client.batch_begin(batch)).await
    });
    let items = answer.expect("the call is answered, whoever reads the log").unwrap().into_inner().items;
    assert_eq!(items.len() as u64, ITEMS);
    ITEMS
}
