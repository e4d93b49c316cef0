//! A real server process on the embedded store keeps its promises under load, as far as `semel bench` can see.

#[path = "support/process.rs"]
mod process;
mod support;

use process::ServerProcess;
use serde_json::Value;

/// Runs bench with 64 in flight against a new server, and gives what it reports; it must have passed.
fn bench(arguments: &[&str]) -> Value {
    // Under target/, which is on a disk: a temporary directory may be memory.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = ServerProcess::start(&directory.path().join("data"), &[]);
    let output = support::semel()
        .args(["bench", "--server", &server.grpc, "--concurrency", "64", "--output", "json"])
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(server.terminate().code(), Some(0));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path} in {report:#}"))
}

#[test]
fn no_promise_is_broken_under_load() {
    let lifecycles = support::size("SEMEL_LIFECYCLES", 20_000);
    let report = bench(&["--lifecycles", &lifecycles.to_string(), "--duplicates", "0.3", "--compare-noop"]);
    println!("{report:#}");
    assert_eq!(number(&report, "/lifecycles"), lifecycles);
    assert_eq!(number(&report, "/answers/completed"), lifecycles);
    assert_eq!(number(&report, "/violations_found"), 0);
    assert_eq!(number(&report, "/comparison/violations_found"), 0);
    let callers = number(&report, "/callers");
    let (concurrent, sequential) =
        (number(&report, "/duplicates/concurrent"), number(&report, "/duplicates/sequential"));
    assert!((concurrent + sequential).abs_diff(callers * 3 / 10) <= callers / 100, "{report:#}");
    // Whoever came after the completion was replayed; of the others, some met the attempt under way.
    let (replayed, in_progress) =
        (number(&report, "/answers/replayed"), number(&report, "/answers/in_progress"));
    assert!(replayed >= sequential, "{report:#}");
    assert!(in_progress >= lifecycles / 100, "{report:#}");
    support::count("bench_lifecycles", lifecycles);
    support::count("bench_replays", replayed);
    support::count("bench_in_progress", in_progress);
}

/// Keys that are given up and begun again, renewed, waited for, with results of many sizes.
#[test]
fn no_promise_is_broken_when_owners_give_up_and_callers_wait() {
    let report = bench(&[
        "--lifecycles",
        "2000",
        "--duplicates",
        "0.6",
        "--concurrent",
        "0.8",
        "--skew",
        "1.5",
        "--abort-share",
        "0.3",
        "--renew-share",
        "0.3",
        "--wait",
        "5s",
        "--payload-bytes",
        "0..20000",
        "--connections",
        "4",
    ]);
    for (path, least) in [("/answers/aborted", 400), ("/answers/renewed", 400), ("/answers/replayed", 1_000)]
    {
        assert!(number(&report, path) >= least, "{path}: {report:#}");
    }
    assert_eq!(number(&report, "/lifecycles"), 2_000);
}

#[test]
fn no_promise_is_broken_in_an_open_loop() {
    let report = bench(&["--duration", "2s", "--rate", "300", "--duplicates", "0.3"]);
    assert!(number(&report, "/lifecycles") > 0, "{report:#}");
    assert_eq!(number(&report, "/violations_found"), 0);
}
