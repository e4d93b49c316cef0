//! The planted breaks, one after the other, each of which must show.
//!
//! A process of its own tries them: what the engine synced is damaged here, and it may panic over that in a destructor, too,
//! which ends a process. Then the break has shown, and another process goes on with the next.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::breaks::BREAKS;
use crate::crashes::{Wanted, crash, place};
use crate::disk::Disk;
use crate::power::WAVES;
use crate::support;
use crate::told::Told;
use crate::workload::Work;

/// The break that a process begins with.
const FIRST: &str = "SEMEL_TEST_CRASH_FIRST_BREAK";

fn wanted_breaks() -> usize {
    let wanted = support::size("SEMEL_CRASH_BREAKS", 3);
    usize::try_from(wanted).expect("a few").min(BREAKS.len())
}

/// `SEMEL_CRASH_BREAKS`: how many of the breaks are planted. `SEMEL_CRASH_BREAK_IMAGES`: how many images of each are looked
/// at until one shows it.
pub(crate) fn planted_breaks_show() {
    let breaks = wanted_breaks();
    let (mut next, mut shown, mut missed) = (0, 0, Vec::new());
    while next < breaks {
        let mut errors = tempfile::tempfile().expect("a file for its errors");
        let mut child = Command::new(std::env::current_exe().expect("the path of this test"))
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .stderr(errors.try_clone().expect("the same file"))
            .spawn()
            .expect("it starts once more");
        let told = BufReader::new(child.stdout.take().expect("it is piped"));
        for line in told.lines().map(|line| line.expect("text")) {
            println!("{line}");
            shown += u64::from(line.starts_with("shown: "));
            missed.extend(line.strip_prefix("missed: ").map(str::to_owned));
            next += 1;
        }
        let status = child.wait().expect("it ends");
        if status.success() {
            assert_eq!(next, breaks, "each break has its line");
            break;
        }
        let mut text = String::new();
        errors.rewind().and_then(|()| errors.read_to_string(&mut text)).expect("it can be read");
        let is_the_engines = text.contains("panicked at") && text.contains("/fjall-");
        let aborted = status.signal() == Some(Signal::SIGABRT as i32);
        assert!(aborted && is_the_engines, "{status}:\n{text}");
        println!("shown: {}, by a panic of the engine", BREAKS[next].what());
        shown += 1;
        next += 1;
    }
    support::count("crash_breaks_found", shown);
    assert!(missed.is_empty(), "these breaks pass: {missed:?}");
}

/// Plants breaks, and says a line of each; false where this is not the process for it.
pub(crate) fn plant_as_child() -> bool {
    let Ok(first) = std::env::var(FIRST) else { return false };
    let first = first.parse().expect("a number");
    let images = support::size("SEMEL_CRASH_BREAK_IMAGES", 400);
    let root = place();
    let trace = Work::new(1, WAVES).record(root.path());
    for planted in &BREAKS[first..wanted_breaks()] {
        let (broken, times) = planted.plant(&trace);
        assert!(times > 0, "{} is nowhere in the run", planted.what());
        let empty = place();
        let disk = Disk::of(empty.path()).expect("it can be read");
        let wanted = Wanted { seed: 1, images, enough: 1, kept: 0 };
        let outcome = crash(disk, &broken, Told::nothing(0), wanted, None);
        let verdict = if outcome.broken.is_empty() { "missed" } else { "shown" };
        let (what, looked_at) = (planted.what(), outcome.tally.images);
        println!("{verdict}: {what} ({times} times) after {looked_at} images: {:?}", outcome.broken);
    }
    true
}
