//! The log of decisions: one line for each, with all that is known of it and nothing that may not be seen.

#[path = "support/program.rs"]
mod program;
#[path = "support/mod.rs"]
mod support;

use program::Program;
use semel::domain::{Endpoint, IdempotencyKey, Key, Tenant};
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
    assert!(server.log.text().contains(&format!("semel.key_hash=\"{}\"", key_hash())));
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
