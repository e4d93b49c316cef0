//! The tests.

use std::path::Path;
use std::sync::Arc;

use semel::domain::Tenant;
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Versioned, WriteId};
use uuid::Uuid;

use crate::crashes::{Outcome, Tally, Wanted, crash, place};
use crate::disk::Disk;
use crate::progress::{Counts, add, piece};
use crate::support;
use crate::told::{FILLER, Told};
use crate::trace::{Call, Trace};
use crate::workload::{MET, Work, data, settings};

/// How many waves of calls are recorded, over two starts.
pub(crate) const WAVES: u64 = 24;
/// Images of a second crash, for each that is crashed again.
const IMAGES_AGAIN: u64 = 60;

/// `SEMEL_CRASH_SEEDS`: recorded runs. `SEMEL_CRASH_IMAGES`: images of each, about. `SEMEL_CRASH_AGAIN`: how many of them
/// are crashed once more in their recovery.
pub(crate) fn every_crash_leaves_what_was_told() {
    let images = support::size("SEMEL_CRASH_IMAGES", 200);
    let again = support::size("SEMEL_CRASH_AGAIN", 2);
    let mut sum = Counts::new();
    for seed in 1..=support::size("SEMEL_CRASH_SEEDS", 1) {
        add(&mut sum, piece(&format!("seed-{seed}"), || one_run(seed, images, again)));
    }
    for (name, count) in sum {
        support::count(&format!("crash_{name}"), count);
    }
}

fn one_run(seed: u64, images: u64, again: u64) -> Counts {
    let root = place();
    let disk = Disk::of(root.path()).expect("it can be read");
    let work = Work::new(seed, WAVES);
    let trace = work.record(root.path());
    let kept = usize::try_from(again).expect("a few");
    let wanted = Wanted { seed, images, enough: 3, kept };
    let outcome = crash(disk, &trace, Told::nothing(0), wanted, Some(root.path()));
    outcome.holds();
    let first = outcome.tally;
    let mut second = Tally::default();
    for (n, (image, told)) in (1..).zip(outcome.kept) {
        let seed = seed * 1000 + n;
        let root = place();
        image.put(root.path()).expect("there is room for an image");
        let disk = Disk::of(root.path()).expect("it can be read");
        let trace = work.after_a_crash(seed, 4).record(root.path());
        let wanted = Wanted { seed, images: IMAGES_AGAIN, enough: 3, kept: 0 };
        let outcome = crash(disk, &trace, told, wanted, Some(root.path()));
        outcome.holds();
        second += outcome.tally;
    }
    let mut counts: Counts = MET.iter().map(|what| ((*what).to_owned(), outcome.told.met[*what])).collect();
    let mut both = first;
    both += second;
    add(
        &mut counts,
        [
            ("images", both.images),
            ("lossy_images", both.lossy),
            ("second_images", second.images),
            ("acknowledged", first.acknowledged),
            ("records", both.found.records),
            ("under_way", both.found.under_way),
            ("granted", both.found.granted),
            ("tables", files_made(&trace, |path| path.parent().is_some_and(|it| it.ends_with("tables")))),
            ("removed", trace.calls.iter().filter(|call| matches!(call, Call::Unlink(_))).count() as u64),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into(),
    );
    println!("seed {seed}: {counts:?}");
    counts
}

impl Outcome {
    fn holds(&self) {
        assert!(self.broken.is_empty(), "{:#?}", self.broken);
    }
}

fn files_made(trace: &Trace, is_one: fn(&Path) -> bool) -> u64 {
    let made = |call: &&Call| matches!(call, Call::Open { path, create: true, .. } if is_one(path));
    trace.calls.iter().filter(made).count() as u64
}

/// `SEMEL_CRASH_ROTATIONS`: images, of a run in which the journal becomes so long that the engine begins another file.
pub(crate) fn a_rotation_of_the_journal_may_be_cut_anywhere() {
    let images = support::size("SEMEL_CRASH_ROTATIONS", 12);
    let counts = piece("rotation", || {
        let root = place();
        let filler = fill_journal(root.path());
        let disk = Disk::of(root.path()).expect("it can be read");
        let trace = Work::new(71, 4).record(root.path());
        let begun = files_made(&trace, |path| path == Path::new("data/engine/1.jnl"));
        assert_eq!(begun, 1, "the journal was rotated while it was recorded");
        let wanted = Wanted { seed: 71, images, enough: 3, kept: 0 };
        let outcome = crash(disk, &trace, Told::nothing(filler), wanted, Some(root.path()));
        outcome.holds();
        println!("a rotation: {:?}", outcome.tally);
        [("rotation_images".to_owned(), outcome.tally.images)].into()
    });
    support::count("crash_rotation_images", counts["rotation_images"]);
}

/// Fills a new store's journal so far that the engine begins another at the next flush; how many records that took.
fn fill_journal(root: &Path) -> usize {
    /// All of one key, so that little of them is flushed.
    const WRITES: u64 = 22;
    let store = EmbeddedStore::open(Settings { write_buffer_bytes: 1 << 30, ..settings(root) });
    let store = store.expect("the store opens");
    for n in 0..WRITES {
        let record = Arc::new(Samples::completed_with(n, vec![b'x'; 3 << 20]));
        let mut filler = key("tenant", 0);
        filler.tenant = Tenant::new(FILLER).expect("short");
        let version = Versioned::new(WriteId(Uuid::from_u64_pair(1, n)), record);
        store.load([(filler, version)]).expect("loaded");
    }
    store.close();
    assert!(!data(root).join("engine/1.jnl").exists(), "the journal is not rotated yet");
    1
}

/// A real store that does not sync.
pub(crate) fn a_store_that_acknowledges_before_its_sync_shows() {
    let root = place();
    let disk = Disk::of(root.path()).expect("it can be read");
    let trace = Work { without_sync: true, ..Work::new(5, 8) }.record(root.path());
    let wanted = Wanted { seed: 5, images: 200, enough: 1, kept: 0 };
    let outcome = crash(disk, &trace, Told::nothing(0), wanted, Some(root.path()));
    println!("without syncs: red after {} images: {:?}", outcome.tally.images, outcome.broken);
    assert!(!outcome.broken.is_empty(), "a store that does not sync passes");
    support::count("crash_breaks_found", 1);
}
