//! What integration tests share.

use std::fs::OpenOptions;
use std::io::Write;

/// Reports how often the test did what it is about: `make test` compares the sum of each name with
/// tools/minimum-counts.txt, so that a test that quietly does less goes red.
#[allow(dead_code, reason = "each integration test compiles this module, and not each of them counts")]
pub(crate) fn count(name: &str, value: u64) {
    println!("semel-count: {name} {value}");
    let Some(path) = std::env::var_os("SEMEL_COUNTS_FILE") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("SEMEL_COUNTS_FILE opens");
    // One write, so that the lines of tests that run at once do not mix.
    file.write_all(format!("{name} {value}\n").as_bytes()).expect("SEMEL_COUNTS_FILE takes a line");
}
