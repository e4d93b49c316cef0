//! Losses of power. A real process works on the embedded store while strace records what it does to its files and what
//! it tells its callers; then every state that a loss of power may leave on the disk is made and opened, and must hold
//! what had been told. docs/RELIABILITY.md says more.
//!
//! The same binary is the recorded process, so this has a harness of its own: arguments that do not begin with `-`
//! choose tests by a part of their name.

use std::panic::catch_unwind;
use std::process::ExitCode;

mod breaks;
mod crashes;
mod disk;
mod power;
mod progress;
#[path = "../support/mod.rs"]
mod support;
mod told;
mod trace;
mod workload;

const TESTS: &[(&str, fn())] = &[
    ("every_crash_leaves_what_was_told", power::every_crash_leaves_what_was_told),
    ("a_rotation_of_the_journal_may_be_cut_anywhere", power::a_rotation_of_the_journal_may_be_cut_anywhere),
    (
        "a_store_that_acknowledges_before_its_sync_shows",
        power::a_store_that_acknowledges_before_its_sync_shows,
    ),
    ("planted_breaks_show", power::planted_breaks_show),
];

fn main() -> ExitCode {
    if workload::work_as_child() {
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        for (name, _) in TESTS {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let left_out = TESTS.len() - passed - failed;
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {left_out} filtered out"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
