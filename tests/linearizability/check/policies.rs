//! Policies that change while callers are at work.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::rngs::StdRng;
use semel::domain::{OnLostLease, Policy};

use crate::program::Program;

const IN_FORCE: &str = "the policy file has changed and is in force";

/// A policy of these histories, as text and as it is understood.
pub(crate) fn drawn(random: &mut StdRng, clock_skew_allowance: Duration) -> (String, Policy) {
    let max_attempts = random.random_range(0..2) * 3;
    let (word, on_lost_lease) = if random.random_range(0..4) == 0 {
        ("mark_unknown", OnLostLease::MarkUnknown)
    } else {
        ("rerun", OnLostLease::Rerun)
    };
    // Its number makes each text another.
    let number: u32 = random.random();
    let text = format!("# {number}\n[defaults]\nmax_attempts = {max_attempts}\non_lost_lease = \"{word}\"\n");
    let policy = Policy { max_attempts, on_lost_lease, clock_skew_allowance, ..Policy::default() };
    (text, policy)
}

/// Puts another text into the policy file of a server, and waits until it is in force.
pub(crate) fn put_in_force(server: &Program, file: &Path, text: &str) {
    let seen = server.log.text().matches(IN_FORCE).count();
    // Replaced in one step: the server also looks by itself.
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, file).expect("a file");
    server.signal(Signal::SIGHUP);
    server.log.wait_for(IN_FORCE, seen + 1);
}
