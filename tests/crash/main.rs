//! Losses of power. A real process works on the embedded store while strace records what it does to its files and what
//! it tells its callers; then every state that a loss of power may leave on the disk is made and opened, and must hold
//! what had been told. docs/RELIABILITY.md says more.
//!
//! The same binary is the recorded process, and the one that plants breaks, so this has a harness of its own:
//! `support/plain_harness.rs`.

use std::process::ExitCode;

mod breaks;
mod crashes;
mod disk;
#[path = "../support/plain_harness.rs"]
mod plain_harness;
mod planting;
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
    ("planted_breaks_show", planting::planted_breaks_show),
];

fn main() -> ExitCode {
    if workload::work_as_child() || planting::plant_as_child() {
        return ExitCode::SUCCESS;
    }
    plain_harness::run(TESTS)
}
