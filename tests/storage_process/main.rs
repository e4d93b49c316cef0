//! The embedded store in processes of their own: killed, traced, and given errors by the kernel.
//!
//! The same binary is the child process, in which the standard test harness would write where errors are injected.
//! So this has a harness of its own: arguments that do not begin with `-` choose tests by a part of their name.

use std::panic::catch_unwind;
use std::process::ExitCode;

mod kill;
mod process;
mod strace;
#[path = "../support/mod.rs"]
mod support;

const TESTS: &[(&str, fn())] = &[
    ("every_acknowledged_write_survives_sigkill", kill::every_acknowledged_write_survives_sigkill),
    (
        "a_store_that_is_killed_while_it_opens_opens_again",
        kill::a_store_that_is_killed_while_it_opens_opens_again,
    ),
    ("nothing_is_told_before_its_sync", strace::nothing_is_told_before_its_sync),
    ("a_missing_sync_shows", strace::a_missing_sync_shows),
    (
        "nothing_is_told_before_its_sync_when_the_journal_is_rotated",
        strace::nothing_is_told_before_its_sync_when_the_journal_is_rotated,
    ),
    ("no_refused_rotation_is_acknowledged", strace::no_refused_rotation_is_acknowledged),
    ("no_refused_name_is_acknowledged", strace::no_refused_name_is_acknowledged),
    ("no_refused_sync_is_acknowledged", strace::no_refused_sync_is_acknowledged),
    ("no_refused_write_is_acknowledged", strace::no_refused_write_is_acknowledged),
];

fn main() -> ExitCode {
    if process::work_as_child() {
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
