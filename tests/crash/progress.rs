//! A long run that is interrupted goes on where it was: what a piece of it came to stays in a file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;

/// Names of counts, and their values.
pub(crate) type Counts = BTreeMap<String, u64>;

/// What the piece came to, now or when it was done before. `SEMEL_CRASH_PROGRESS` names the file; without it every piece
/// is done.
pub(crate) fn piece(name: &str, work: impl FnOnce() -> Counts) -> Counts {
    let Some(path) = std::env::var_os("SEMEL_CRASH_PROGRESS") else { return work() };
    let before = fs::read_to_string(&path).unwrap_or_default();
    let done = before.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    if let Some(done) = done {
        println!("{name} was done before:{done}");
        let counts = done.split_whitespace().map(|count| count.split_once('=').expect("name=value"));
        return counts.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect();
    }
    let counts = work();
    let line: Vec<_> = counts.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let line = line.join(" ");
    let mut file = File::options().append(true).create(true).open(&path).expect("the file of the progress");
    writeln!(file, "{name}: {line}").expect("it takes a line");
    counts
}

/// Adds them up.
pub(crate) fn add(sum: &mut Counts, counts: Counts) {
    for (name, value) in counts {
        *sum.entry(name).or_default() += value;
    }
}
