//! What integration tests share.
#![allow(dead_code, reason = "each integration test compiles this module, and uses what it needs of it")]

use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

/// Reports how often the test did what it is about: `make test` compares the sum of each name with
/// tools/minimum-counts.txt, so that a test that quietly does less goes red.
pub(crate) fn count(name: &str, value: u64) {
    println!("semel-count: {name} {value}");
    let Some(path) = std::env::var_os("SEMEL_COUNTS_FILE") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(&path).expect("SEMEL_COUNTS_FILE opens");
    // One write, so that the lines of tests that run at once do not mix.
    file.write_all(format!("{name} {value}\n").as_bytes()).expect("SEMEL_COUNTS_FILE takes a line");
}

/// How large a test is to be: `variable` where it is set (`make verify-help` lists them), else the small form.
pub(crate) fn size(variable: &str, small: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => {
            text.parse().unwrap_or_else(|_| panic!("{variable} is {text}; it must be a whole number"))
        }
        Err(_) => small,
    }
}

/// The built `semel`, without the variables that scale tests and whatever else of semel's is set where the test
/// runs: semel refuses variables that name no setting of its own.
pub(crate) fn semel() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_semel"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("SEMEL_") {
            command.env_remove(variable);
        }
    }
    command
}
