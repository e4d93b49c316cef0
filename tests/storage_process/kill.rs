//! SIGKILL under load, again and again: every write that was acknowledged is found, and no fence falls.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use semel::storage::embedded::EmbeddedStore;

use crate::process::{Process, Work, check, settings};
use crate::support;

const WRITERS: u64 = 16;

/// `SEMEL_KILLS`: how often; 200 in full.
pub(crate) fn every_acknowledged_write_survives_sigkill() {
    let kills = support::size("SEMEL_KILLS", 10);
    let mut random = StdRng::seed_from_u64(20);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut steps = HashMap::new();
    let (mut acknowledged, mut under_way) = (0, 0);
    for kill in 0..kills {
        let work = Work::new(WRITERS, None);
        let mut process = Process::start(directory.path(), work, None);
        process.acknowledged.clone_from(&steps);
        process.read_until(random.random_range(1..600));
        process.kill();
        let (now, found) = check(directory.path(), WRITERS, &process.acknowledged);
        for (writer, step) in &steps {
            assert!(now[writer] >= *step, "kill {kill}: the fence of writer {writer} fell");
        }
        acknowledged += process.counts.acknowledged;
        under_way += found.under_way;
        steps = now;
    }
    println!(
        "{kills} kills, {acknowledged} writes acknowledged, all found; {under_way} under way were found too"
    );
    assert!(acknowledged >= kills);
    support::count("kills", kills);
}

/// `SEMEL_KILLS`: how often.
pub(crate) fn a_store_that_is_killed_while_it_opens_opens_again() {
    let kills = support::size("SEMEL_KILLS", 10);
    let mut random = StdRng::seed_from_u64(21);
    let mut acknowledged = 0;
    let mut directory = tempfile::tempdir().expect("a temporary directory");
    for kill in 0..kills {
        if kill % 3 == 0 {
            directory = tempfile::tempdir().expect("a temporary directory");
        }
        let mut process = Process::start(directory.path(), Work::new(WRITERS, None), None);
        // Whatever this hits, it must open: the time is no verdict.
        std::thread::sleep(Duration::from_micros(random.random_range(0..60_000)));
        process.kill();
        acknowledged += process.counts.acknowledged;
        drop(EmbeddedStore::open(settings(directory.path())).expect("the store opens"));
    }
    println!("{kills} kills while opening, {acknowledged} writes acknowledged meanwhile");
}
