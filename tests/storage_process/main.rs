//! The embedded store in processes of their own: killed, traced, and given errors by the kernel.
//!
//! The same binary is the child process, in which the standard test harness would write where errors are injected.
//! So this has a harness of its own: `support/plain_harness.rs`.

use std::process::ExitCode;

mod kill;
#[path = "../support/plain_harness.rs"]
mod plain_harness;
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
    ("no_refused_open_is_acknowledged", strace::no_refused_open_is_acknowledged),
    ("no_refused_removal_is_acknowledged", strace::no_refused_removal_is_acknowledged),
    ("no_refused_length_is_acknowledged", strace::no_refused_length_is_acknowledged),
];

fn main() -> ExitCode {
    if process::work_as_child() {
        return ExitCode::SUCCESS;
    }
    plain_harness::run(TESTS)
}
