//! Crashes a recorded run wherever it may be crashed, and checks what is left.

use std::collections::HashSet;
use std::ops::AddAssign;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tempfile::TempDir;

use crate::disk::{Disk, Image, Loss};
use crate::told::{Expected, Found, Told, check};
use crate::trace::{Call, Moment, Trace};

/// How many threads open images.
const CHECKERS: usize = 2;
/// In one image of so many the calls go on after the crash.
const GOES_ON: u64 = 4;

/// How many images of a run are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) seed: u64,
    /// About how many.
    pub(crate) images: u64,
    /// A store of which that many images are wrong needs no more of them.
    pub(crate) enough: usize,
    /// Of how many of them the disk and what was told are kept, to be crashed once more.
    pub(crate) kept: usize,
}

/// What a run of images came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Images that differ from each other, or from what was told until then.
    pub(crate) images: u64,
    /// Of which something was lost that was not synced.
    pub(crate) lossy: u64,
    pub(crate) found: Found,
    pub(crate) acknowledged: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.images += other.images;
        self.lossy += other.lossy;
        self.acknowledged += other.acknowledged;
        self.found.records += other.found.records;
        self.found.under_way += other.found.under_way;
        self.found.granted += other.found.granted;
    }
}

/// What crashing a run came to.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// What images broke, and how each came to be.
    pub(crate) broken: Vec<String>,
    /// Disks to be crashed once more, with what had been told.
    pub(crate) kept: Vec<(Image, Told)>,
    /// All that was told in the end.
    pub(crate) told: Told,
}

struct Job {
    image: Image,
    expected: Expected,
    how: String,
    goes_on: bool,
}

/// A place for files that needs no disk, where there is one.
pub(crate) fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a temporary directory")
}

/// Plays `trace` on `disk` and crashes it on the way. `told` is what had been told before. `real`: the trace is as it was
/// recorded, and the process left its files below that path.
pub(crate) fn crash(disk: Disk, trace: &Trace, told: Told, wanted: Wanted, real: Option<&Path>) -> Outcome {
    let (jobs, queue) = sync_channel::<Job>(CHECKERS);
    let queue = Mutex::new(queue);
    let results = Mutex::new((Found::default(), Vec::new()));
    let mut player = Player::new(disk, trace, told, wanted);
    thread::scope(|scope| {
        for _ in 0..CHECKERS {
            scope.spawn(|| check_all(&queue, &results));
        }
        player.play(|job| {
            let broken = results.lock().unwrap_or_else(PoisonError::into_inner).1.len();
            broken < wanted.enough && jobs.send(job).is_ok()
        });
        drop(jobs);
    });
    if let Some(root) = real {
        assert!(player.disk.is_like(root).expect("it can be read"), "the recorder's disk is the real one");
    }
    let (found, broken) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut tally = player.tally;
    tally.found = found;
    tally.acknowledged = player.told.acknowledged;
    Outcome { tally, broken, kept: player.kept, told: player.told }
}

fn check_all(queue: &Mutex<Receiver<Job>>, results: &Mutex<(Found, Vec<String>)>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { image, expected, how, goes_on }) = job else { return };
        let root = place();
        image.put(root.path()).expect("there is room for an image");
        drop(image);
        let checked = check(root.path(), &expected, goes_on);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        match checked {
            Ok(found) => {
                results.0.records += found.records;
                results.0.under_way += found.under_way;
                results.0.granted += found.granted;
            }
            Err(problem) => results.1.push(format!("{how}: {problem}")),
        }
    }
}

struct Player<'a> {
    disk: Disk,
    trace: &'a Trace,
    told: Told,
    wanted: Wanted,
    random: StdRng,
    /// How many images are looked at, of how many.
    share: (u32, u32),
    seen: HashSet<(u64, u64)>,
    tally: Tally,
    kept: Vec<(Image, Told)>,
}

impl<'a> Player<'a> {
    fn new(disk: Disk, trace: &'a Trace, told: Told, wanted: Wanted) -> Self {
        let is_place =
            |&&(moment, call): &&(Moment, usize)| moment == Moment::Ended && changes(&trace.calls[call]);
        let places = trace.events.iter().filter(is_place).count();
        // Up to four images of a place; about three differ.
        let possible = u32::try_from(places * 3).expect("a run of some thousand calls").max(1);
        let share = (u32::try_from(wanted.images).unwrap_or(possible).min(possible), possible);
        let random = StdRng::seed_from_u64(wanted.seed);
        let (seen, tally, kept) = (HashSet::new(), Tally::default(), Vec::new());
        Self { disk, trace, told, wanted, random, share, seen, tally, kept }
    }

    /// Hands over an image of every place, or of as many as are wanted, until it is told that it is enough.
    fn play(&mut self, mut take: impl FnMut(Job) -> bool) {
        let mut enough = false;
        let mut is_new = true;
        for (n, &(moment, call)) in self.trace.events.iter().enumerate() {
            let called = &self.trace.calls[call];
            if moment == Moment::Ended && changes(called) && is_new && !enough {
                // As late as may be: all was told by now that could be told of this disk.
                enough = !self.crash_here(n, &mut take);
                is_new = false;
            }
            if let (Moment::Began, Call::Said(line)) = (moment, called) {
                self.told.hear(line);
                is_new = true;
            }
            is_new |= self.disk.play(self.trace, (moment, call));
        }
        if !enough {
            self.crash_here(self.trace.events.len(), &mut take);
        }
    }

    fn crash_here(&mut self, event: usize, take: &mut impl FnMut(Job) -> bool) -> bool {
        let losses: &[Loss] = if self.disk.has_pending() {
            &[Loss::Nothing, Loss::Everything, Loss::Pieces(512), Loss::Pieces(4096)]
        } else {
            &[Loss::Nothing]
        };
        for &loss in losses {
            if !self.random.random_ratio(self.share.0, self.share.1) {
                continue;
            }
            let image = self.disk.image(loss, &mut self.random);
            if !self.seen.insert((image.digest(), self.told.lines)) {
                continue;
            }
            self.tally.images += 1;
            self.tally.lossy += u64::from(loss != Loss::Nothing);
            let how = format!(
                "seed {}, event {event} of {}, {loss:?} lost",
                self.wanted.seed,
                self.trace.events.len()
            );
            // Spread over the run.
            let every = self.wanted.images / (self.wanted.kept as u64 + 1);
            if self.kept.len() < self.wanted.kept && self.tally.images.is_multiple_of(every) {
                let again = self.disk.image(loss, &mut self.random);
                self.kept.push((again, self.told.clone()));
            }
            let goes_on = self.tally.images.is_multiple_of(GOES_ON);
            if !take(Job { image, expected: self.told.expected(), how, goes_on }) {
                return false;
            }
        }
        true
    }
}

/// Whether the call can change what a crash leaves.
fn changes(call: &Call) -> bool {
    match call {
        Call::Open { create, truncate, .. } => *create || *truncate,
        Call::Write { .. }
        | Call::Copy { .. }
        | Call::SetLength { .. }
        | Call::Rename { .. }
        | Call::Unlink(_)
        | Call::MakeDirectory(_)
        | Call::Sync(_) => true,
        Call::Elsewhere(_) | Call::Duplicate { .. } | Call::Seek { .. } | Call::Said(_) => false,
    }
}
