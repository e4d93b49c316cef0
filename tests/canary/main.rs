//! What callers write, and every secret of the server, is in no log, no trace, no metric, no error and no panic: unique
//! strings are planted wherever callers and operators can put one, a real server at its most talkative is taken down
//! every path, and everything that it let out is searched, in each form that a text takes in passing. What it sent as
//! telemetry is read back from a real collector.

#[path = "../support/authority.rs"]
mod authority;
mod caller;
#[path = "../support/collector.rs"]
mod collector;
mod credentials;
mod failures;
mod planted;
#[path = "../support/program.rs"]
mod program;
#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/scripted_store.rs"]
mod scripted_store;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use caller::Caller;
use collector::Collector;
use nix::sys::signal::Signal;
use planted::Planted;
use program::{Heard, Program, errors};
use semel::proto;
use support::semel;

const POLICY: &str = r#"
[[rule]]
endpoint = "unknown/*"
on_lost_lease = "mark_unknown"

[[rule]]
endpoint = "strict"
fingerprint_required = true
max_result_bytes = "10B"

[[rule]]
endpoint = "narrow"
max_open_keys = 1

[[rule]]
endpoint = "slow"
requests_per_second = 0.001
"#;

/// A key file with a key of this id and another one.
fn encryption_keys(planted: &Planted, id: &str) -> String {
    let key = || {
        // 32 bytes, of which 24 are planted.
        let bytes = planted.plant("an encryption key") + "12345678";
        STANDARD_NO_PAD.encode(bytes) + "="
    };
    format!("current = \"{id}\"\n[keys]\n{id} = \"{}\"\nold = \"{}\"\n", key(), key())
}

/// A server at its most talkative, whose every file holds something unique that is secret.
fn serve(directory: &Path, planted: &Planted, format: &str, (protocol, endpoint): (&str, String)) -> Program {
    std::fs::write(directory.join("keys.toml"), encryption_keys(planted, "k")).unwrap();
    std::fs::write(directory.join("hash"), planted.plant("the secret of key hashes")).unwrap();
    std::fs::write(directory.join("policy.toml"), POLICY).unwrap();
    let mut command = semel();
    command
        .current_dir(directory)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .env("SEMEL_SCYLLA_PASSWORD", planted.plant("a password"))
        .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--log-level", "trace"])
        .args(["--log-format", format, "--data-dir", "data", "--policy", "policy.toml"])
        .args(["--key-hash-secret-file", "hash", "--encryption-key-file", "keys.toml"]);
    Program::run(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_secret_is_let_out_nowhere() {
    let planted = Planted::default();
    let mut paths = 0;
    for (format, protocol) in [("human", "grpc"), ("json", "http/protobuf")] {
        let directory = tempfile::tempdir().unwrap();
        let collector = Collector::start();
        let endpoint = if protocol == "grpc" { collector.grpc() } else { collector.http() };
        let server = serve(directory.path(), &planted, format, (protocol, endpoint));
        let grpc = server.url.trim_start_matches("http://").to_owned();
        let mut caller = Caller::connect(&server.url, planted.clone()).await;
        caller.begin_paths().await;
        caller.argument_paths().await;
        caller.owner_paths().await;
        caller.operator_paths().await;
        caller.transport_paths(&grpc).await;
        // Files that are refused, with what must not be shown of them.
        let key_file = directory.path().join("keys.toml");
        let bad = format!(
            "current = \"{}\"\n[keys]\nk = \"{}\"\n{}",
            planted.plant("a bad id"),
            planted.plant("a bad key"),
            planted.plant("bad TOML")
        );
        std::fs::write(&key_file, bad).unwrap();
        server.signal(Signal::SIGHUP);
        server.log.wait_for("is refused", 1);
        caller.paths += 1;
        let check = semel()
            .current_dir(directory.path())
            .args(["config", "check", "--encryption-key-file", "keys.toml"])
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(3));
        records_that_no_key_opens(&mut caller, &server, (&planted, &key_file)).await;

        let shown: String =
            ["/metrics", "/debug", "/livez", "/readyz"].map(|path| server.get(path).1).concat();
        assert!(shown.contains("semel_decisions_total"), "there are metrics");
        let (log, stdout) = (server.log.clone(), server.stdout.clone());
        assert!(server.stop().success());
        let (log, stdout) = (Heard::text(&log), Heard::text(&stdout));
        for level in ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"] {
            assert!(log.contains(level), "nothing was logged at {level}");
        }
        let mut found = sent_to(collector, &planted);
        for (name, output) in [
            ("the log", &*log),
            ("standard output", &stdout),
            ("the operations port", &shown),
            ("an error", &caller.errors),
            ("`semel config check`", &errors(&check)),
        ] {
            found.extend(planted.found_in(name, output.as_bytes()));
        }
        assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
        paths += caller.paths;
    }
    support::count("canaries", planted.count());
    support::count("canary_paths", paths);
}

/// What the store itself cannot give: a record whose key is gone, for everyone who asks for it.
async fn records_that_no_key_opens(
    caller: &mut Caller,
    server: &Program,
    (planted, key_file): (&Planted, &Path),
) {
    std::fs::write(key_file, encryption_keys(planted, "k")).unwrap();
    server.signal(Signal::SIGHUP);
    server.log.wait_for("the key file has changed", 1);
    let key = caller.key("rerun/any");
    let fence = caller.started(caller.begin_of(&key, 1)).await;
    std::fs::write(key_file, encryption_keys(planted, "other")).unwrap();
    server.signal(Signal::SIGHUP);
    server.log.wait_for("the key file has changed", 2);
    let answer = caller.client.begin(caller.begin_of(&key, 2)).await;
    caller.fails("STORE_UNAVAILABLE", answer);
    let answer = caller.client.complete(caller.complete_of(&key, 1, fence)).await;
    caller.fails("STORE_UNAVAILABLE", answer);
    let answer = caller.client.lookup(proto::LookupRequest { key: Some(key) }).await;
    caller.fails("STORE_UNAVAILABLE", answer);
}

/// What is found in all that a collector was sent, once that has come to its end.
fn sent_to(collector: Collector, planted: &Planted) -> Vec<String> {
    let sent = collector.stop();
    let (traces, metrics) = (sent("traces.jsonl"), sent("metrics.jsonl"));
    assert!(traces.contains("semel.decision") && metrics.contains("semel.decisions"), "both have arrived");
    let mut found = planted.found_in("a trace", traces.as_bytes());
    found.extend(planted.found_in("a metric", metrics.as_bytes()));
    found
}
