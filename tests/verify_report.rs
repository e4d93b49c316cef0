//! `make verify-report` tells what passed on this commit from what did on another, failed, or was not run.

use std::path::Path;
use std::process::Command;

fn report(records: &Path) -> String {
    let output = Command::new("tools/verify-report").env("PROVE_RECORDS", records).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Keeps a run of `part` on `commit` that ended with `status`, as tools/prove does; `last` are the lines of its last stages.
fn keep(records: &Path, part: &str, commit: &str, status: &str, last: &str) {
    let file = |name: &str, text: String| {
        let path = records.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let kept = Command::new("tools/verify-report")
        .args(["keep", status, part])
        .env("PROVE_RECORDS", records)
        .env("PROVE_COMMIT", commit)
        .env("PROVE_STAGES", file("stages", format!("build 10 0\n{last}\n")))
        .env("PROVE_SETTINGS", file("settings", "SEMEL_SEEDS=7\nSEMEL_SEEDS=7\n".to_owned()))
        .env("SEMEL_COUNTS_FILE", file("counts", "histories 3\nhistories 4\nowners 2\n".to_owned()))
        .status()
        .unwrap();
    assert!(kept.success());
}

#[test]
fn the_report_tells_fresh_from_stale_failed_and_not_run() {
    let commit = Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
    let commit = String::from_utf8(commit.stdout).unwrap();
    let commit = commit.trim();
    let records = tempfile::tempdir().unwrap();
    let whole = "tests 32 0\ncounts 0 0";
    keep(records.path(), "simulation", commit, "0", whole);
    keep(records.path(), "model", "0123456789abcdef", "0", whole);
    keep(records.path(), "crash", commit, "1", "tests 32 1");
    keep(records.path(), "planted", &format!("{commit}+changes"), "0", whole);
    // Its stages passed, and what they counted was too little.
    keep(records.path(), "core", commit, "1", "tests 32 0\ncounts 0 1");
    // It was ended from outside, which bash may call a success.
    keep(records.path(), "fuzz", commit, "0", "tests 32 0");

    let report = report(records.path());
    let verdict = |part: &str| {
        let row = report.lines().find(|line| line.starts_with(&format!("| {part} |")));
        row.unwrap_or_else(|| panic!("no row of {part} in\n{report}")).split(" | ").nth(1).unwrap().to_owned()
    };
    let verdicts = ["simulation", "model", "crash", "planted", "core", "fuzz", "deploy"].map(verdict);
    assert_eq!(verdicts, ["passed", "stale", "FAILED", "stale", "FAILED", "FAILED", "not run"]);
    let row = report.lines().find(|line| line.starts_with("| simulation |")).unwrap();
    for told in [&commit[..12], "| 42 |", "SEMEL_SEEDS=7", "histories 7, owners 2"] {
        assert!(row.contains(told), "{told} is not in {row}");
    }
    assert!(report.ends_with("not run\n"), "{report}");
}
