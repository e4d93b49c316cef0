//! Copies every record from one store to another: bytes, write ids, fences and expiries stay as they are.
//!
//! Running it again is how it goes on after it was killed: a record that is there already is known by its write id, at
//! the price of a read. What the destination has come to since then is never undone.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, sleep};

use super::embedded::EmbeddedStore;
use super::{Cursor, Expected, Freshness, Put, Scan, Scope, Store, StoreError, Versioned, Write};
use crate::domain::{Clock, Interest, Key, Record};

/// How many records are under way at a time.
const AT_ONCE: usize = 64;
/// How many records an embedded store is asked for at a time.
const PAGE: usize = 1000;
/// How long a store that does not answer is asked again before the copy ends.
const PATIENCE: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Reads all records of a store.
#[async_trait]
pub trait Reader: Send {
    /// The next records; none at the end. After an error it goes on where it was.
    async fn next(&mut self) -> Result<Option<Batch>, StoreError>;
}

/// Some records.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those that can be read.
    pub records: Vec<(Key, Versioned)>,
    /// How many cannot; the log has said so.
    pub unreadable: u64,
}

/// What became of the records so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Put in the destination by this run.
    pub copied: u64,
    /// In the destination already, by an earlier run.
    pub already_there: u64,
    /// Left as the destination has them: a higher fence, or a later state of the same attempt.
    pub newer_there: u64,
    /// Left out: expired, and so long ago that not even the fence counts.
    pub reclaimable: u64,
    /// Not copied, since they cannot be read.
    pub unreadable: u64,
}

impl Tally {
    /// All that were met.
    pub const fn total(&self) -> u64 {
        self.copied + self.already_there + self.newer_there + self.reclaimable + self.unreadable
    }
}

/// Copies what `from` reads to `to`, and tells how far it is after each batch.
pub async fn copy(
    from: &mut dyn Reader,
    to: &dyn Store,
    clock: &dyn Clock,
    mut progress: impl FnMut(&Tally),
) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    let mut patience = Patience::new();
    loop {
        let batch = match from.next().await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(tally),
            Err(error) => {
                patience.after(error).await?;
                continue;
            }
        };
        patience = Patience::new();
        tally.unreadable += batch.unreadable;
        let mut placed = stream::iter(batch.records)
            .map(|(key, current)| place(to, key, current, clock))
            .buffer_unordered(AT_ONCE);
        while let Some(placed) = placed.next().await {
            *match placed? {
                Placed::Copied => &mut tally.copied,
                Placed::AlreadyThere => &mut tally.already_there,
                Placed::NewerThere => &mut tally.newer_there,
                Placed::Reclaimable => &mut tally.reclaimable,
            } += 1;
        }
        progress(&tally);
    }
}

/// What became of a record.
enum Placed {
    Copied,
    AlreadyThere,
    NewerThere,
    Reclaimable,
}

async fn place(to: &dyn Store, key: Key, ours: Versioned, clock: &dyn Clock) -> Result<Placed, StoreError> {
    if ours.record.reclaim_at() <= clock.now() {
        return Ok(Placed::Reclaimable);
    }
    let mut patience = Patience::new();
    let mut there = loop {
        match to.get(&key, Freshness::Acknowledged).await {
            Ok(there) => break there,
            Err(error) => patience.after(error).await?,
        }
    };
    let mut sent = false;
    loop {
        let expected = match &there {
            None => Expected::Absent,
            Some(theirs) if theirs.write_id == ours.write_id => {
                return Ok(if sent { Placed::Copied } else { Placed::AlreadyThere });
            }
            Some(theirs) if is_later(&ours.record, &theirs.record) => Expected::Version(theirs.write_id),
            Some(_) => return Ok(Placed::NewerThere),
        };
        let write = Write {
            key: key.clone(),
            expected,
            write_id: ours.write_id,
            next: ours.record.clone(),
            // As it is: it is bound to the key and the write id, which stay, and no key is needed for a copy.
            sealed: ours.sealed.clone(),
            was: Interest::Settled,
            // Which policy will be in force there is not known here. To look at one record too many is no harm.
            becomes: if ours.record.is_open() { Interest::MayEndUnresolved } else { Interest::Settled },
        };
        sent = true;
        let mut patience = Patience::new();
        // The same write again settles what was unknown.
        there = loop {
            match to.compare_and_put(&write).await {
                Ok(Put::Applied) => return Ok(Placed::Copied),
                Ok(Put::Conflict(there)) => break there,
                Err(error) => patience.after(error).await?,
            }
        };
    }
}

/// Whether `ours` is of a later attempt than `theirs`, or a later state of the same one. What is settled there stays: it
/// may have been said to somebody.
fn is_later(ours: &Record, theirs: &Record) -> bool {
    let place = |record: &Record| (record.fence(), !record.is_open(), record.changed_at());
    place(ours) > place(theirs)
}

/// Waits for a store that does not answer, and not for ever.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { until: Instant::now() + PATIENCE, pause: FIRST_PAUSE }
    }

    /// Pauses after `error`, or gives it back where the time is over.
    async fn after(&mut self, error: StoreError) -> Result<(), StoreError> {
        if Instant::now() >= self.until || matches!(error, StoreError::NotListed { .. }) {
            return Err(error);
        }
        sleep(self.pause).await;
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Reads all records of an embedded store.
#[derive(Debug)]
pub struct EmbeddedReader<'a> {
    store: &'a EmbeddedStore,
    after: Option<Cursor>,
    at_the_end: bool,
}

impl<'a> EmbeddedReader<'a> {
    /// From the first record on.
    pub const fn new(store: &'a EmbeddedStore) -> Self {
        Self { store, after: None, at_the_end: false }
    }
}

#[async_trait]
impl Reader for EmbeddedReader<'_> {
    async fn next(&mut self) -> Result<Option<Batch>, StoreError> {
        if self.at_the_end {
            return Ok(None);
        }
        let scan = Scan { scope: Scope::All, tenant: None, after: self.after.clone(), limit: PAGE };
        let before = self.store.stats().unreadable;
        let page = self.store.scan(&scan).await?;
        let unreadable = self.store.stats().unreadable - before;
        self.at_the_end = page.next.is_none();
        self.after = page.next;
        Ok(Some(Batch { records: page.records, unreadable }))
    }
}
