//! `semel bench` against servers that break one promise each: it names the promise, and fails. Against the same
//! server without a fault it passes.

mod faulty_server;
mod support;

use faulty_server::{Fault, Faulty};
use serde_json::Value;

/// What bench says of a server, and its exit status.
async fn bench(fault: Fault, arguments: &[&str]) -> (Value, Option<i32>) {
    let address = Faulty::serve(fault).await;
    let output = tokio::process::Command::from(support::semel())
        .args(["bench", "--server", &format!("http://{address}"), "--output", "json", "--seed", "1"])
        .args(arguments)
        .output()
        .await
        .unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error} in what bench printed: {}", String::from_utf8_lossy(&output.stderr))
    });
    (report, output.status.code())
}

fn kinds(report: &Value) -> Vec<&str> {
    let violations = report["violations"].as_array().unwrap();
    violations.iter().map(|violation| violation["kind"].as_str().unwrap()).collect()
}

const MIXED: &[&str] =
    &["--lifecycles", "500", "--concurrency", "16", "--duplicates", "0.5", "--abort-share", "0.2"];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_fault_passes() {
    let (report, exit) = bench(Fault::None, MIXED).await;
    assert_eq!((exit, kinds(&report)), (Some(0), vec![]), "{report:#}");
    assert_eq!(report["lifecycles"], 500);
    assert_eq!(report["answers"]["completed"], 500);
    assert_eq!(report["duplicates"]["met"], 0.5);
}

/// Each fault, with the arguments that let it show, is found as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn each_fault_is_named_and_fails_the_run() {
    let takeover = ["--lifecycles", "100", "--concurrency", "16", "--duplicates", "0.7", "--concurrent", "1"];
    let slow = [&takeover[..], &["--work", "40ms"]].concat();
    let faults = [
        (Fault::TwoOwners, "two_owners", MIXED),
        (Fault::RepeatedFence, "repeated_fence", MIXED),
        (Fault::FallingFence, "falling_fence", MIXED),
        (Fault::AlteredPayload, "replay_differs", MIXED),
        (Fault::AnotherFenceReplayed, "replay_differs", MIXED),
        (Fault::ReplayedOutOfNothing, "replay_of_nothing", MIXED),
        (Fault::CompletedStartsAgain, "completed_ran_again", MIXED),
        (Fault::CompletionForgotten, "completion_forgotten", MIXED),
        (Fault::StaleOwnerBelieved, "stale_owner_accepted", &slow[..]),
        (Fault::OwnerRefused, "unexpected_error", MIXED),
        (Fault::Unresolved, "unexpected_answer", MIXED),
        (Fault::Failing, "unexpected_error", MIXED),
    ];
    for (fault, kind, arguments) in faults {
        let (report, exit) = bench(fault, arguments).await;
        assert_eq!(exit, Some(113), "{fault:?}: {report:#}");
        assert!(kinds(&report).contains(&kind), "{fault:?} is not told as {kind}: {report:#}");
        let told = report["violations"].as_array().unwrap();
        let named = told.iter().find(|violation| violation["kind"] == kind).unwrap();
        assert!(named["key"].as_str().unwrap().starts_with("bench-0000000000000001-"), "{named}");
        assert!(!named["details"].as_str().unwrap().is_empty());
    }
    support::count("bench_faults", faults.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_what_was_broken() {
    let address = Faulty::serve(Fault::AlteredPayload).await;
    let output = tokio::process::Command::from(support::semel())
        .args(["bench", "--server", &address.to_string(), "--lifecycles", "200"])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(113), "{text}");
    assert!(text.contains("ReplayDiffers"), "{text}");
    assert!(text.contains("the payload from byte 99 on"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_be_as_asked_fails() {
    // Nobody listens there.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let run = |arguments: &'static [&'static str]| {
        let server = nobody.to_string();
        async move {
            let mut command = tokio::process::Command::from(support::semel());
            let output = command.args(["bench", "--server", &server]).args(arguments).output().await.unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        }
    };
    let (exit, told) = run(&[]).await;
    assert_eq!(exit, Some(110), "{told}");
    assert!(told.contains(&nobody.to_string()), "{told}");
    let (exit, told) = run(&["--duplicates", "1.5", "--connections", "100"]).await;
    assert_eq!(exit, Some(2), "{told}");
    assert!(told.contains("duplicates is 1.5") && told.contains("connections is 100"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_of_an_open_loop_come_at_their_rate_and_are_timed_from_when_they_were_due() {
    // Two at a time, 20 ms each: at 1,000 per second they fall behind at once, and say so.
    let (report, exit) = bench(
        Fault::Slow,
        &["--lifecycles", "40", "--concurrency", "2", "--duplicates", "0", "--rate", "1000"],
    )
    .await;
    assert_eq!(exit, Some(0), "{report:#}");
    assert_eq!(report["open_loop"]["rate_asked"], 1000.0);
    let latency = |name: &str| {
        let latencies = report["latencies"].as_array().unwrap();
        latencies.iter().find(|latency| latency["operation"] == name).unwrap().clone()
    };
    // The last caller was due after 39 ms, and its turn came after 19 others had taken 20 ms each.
    assert!(latency("begin_started")["max_us"].as_f64().unwrap() > 300_000.0, "{report:#}");
    assert!(latency("lateness")["max_us"].as_f64().unwrap() > 300_000.0, "{report:#}");
}
