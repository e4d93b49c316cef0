//! One store call at a time for each key, shared by everyone who was there when it began.
//!
//! A lane lives as long as somebody asks about its key. Callers take turns on it. A store call's finding may
//! answer every caller that arrived before that call began; each is decided on its own, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

use crate::domain::{Kept, Key, Phase, Record};
use crate::storage::Versioned;

/// What a store call found.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The record, if there was one.
    pub(super) current: Option<Versioned>,
    /// The call's place among arrivals and calls of this lane; 0 for a guess.
    pub(super) began: u64,
    /// Whether it also settled writes whose outcome was unknown.
    pub(super) serial: bool,
}

#[derive(Debug, Default)]
struct Lane {
    users: AtomicUsize,
    /// Orders arrivals and the beginnings of store calls.
    order: AtomicU64,
    state: Mutex<State>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    /// What the last store call found; a mere guess once a write was sent after it.
    seen: Option<Seen>,
    /// When the last write was sent, as long as nobody knows what became of it.
    unsettled: Option<Instant>,
    /// Somebody asks what became of it, whoever else leaves.
    has_settler: bool,
    /// The last read that the store failed to do, where none worked since; else 0.
    failed_read: u64,
    /// The same of writes.
    failed_write: u64,
}

/// The lanes of all keys that somebody is asking about.
#[derive(Debug, Default)]
pub(super) struct Lanes(DashMap<Key, Arc<Lane>>);

impl Lanes {
    /// Joins the lane of `key` until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, key: &Key) -> LaneGuard {
        let lane = self.0.entry(key.clone()).or_default();
        lane.users.fetch_add(1, Ordering::Relaxed);
        LaneGuard { lanes: self.clone(), lane: lane.clone(), key: key.clone() }
    }
}

/// A caller's place in a lane.
#[derive(Debug)]
pub(super) struct LaneGuard {
    lanes: Arc<Lanes>,
    lane: Arc<Lane>,
    key: Key,
}

impl LaneGuard {
    /// Notes that a caller is here now; store calls that begin later may answer it.
    pub(super) fn arrive(&self) -> u64 {
        self.lane.order.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Waits for this caller's turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn { place: self, state: self.lane.state.lock().await }
    }

    /// Whether nobody else asks about the key.
    pub(super) fn is_alone(&self) -> bool {
        self.lane.users.load(Ordering::Relaxed) == 1
    }
}

impl Drop for LaneGuard {
    fn drop(&mut self) {
        // Counted under the map's lock for this key, where joining is counted too.
        self.lanes.0.remove_if(&self.key, |_, lane| lane.users.fetch_sub(1, Ordering::Relaxed) == 1);
    }
}

/// A caller's turn: nobody else of this process calls the store for the key meanwhile.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    place: &'a LaneGuard,
    state: MutexGuard<'a, State>,
}

impl<'a> Turn<'a> {
    /// The place of the caller whose turn it is.
    pub(super) const fn place(&self) -> &'a LaneGuard {
        self.place
    }

    pub(super) const fn key(&self) -> &'a Key {
        &self.place.key
    }

    /// Another place in the same lane, for somebody who goes on when this caller has left.
    pub(super) fn another_place(&self) -> LaneGuard {
        self.place.lanes.enter(&self.place.key)
    }

    /// What the last store call found, or the guess.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.state.seen.as_ref()
    }

    /// Whether what was seen may answer a caller that arrived then.
    pub(super) fn is_fresh(&self, arrived: u64) -> bool {
        self.seen().is_some_and(|seen| seen.began > arrived)
    }

    /// Starts from a record that this server wrote some time ago.
    pub(super) fn guess(&mut self, current: Option<Versioned>) {
        self.state.seen = Some(Seen { current, ..Seen::default() });
    }

    /// Notes that a store call begins now.
    pub(super) fn begin_store_call(&self) -> u64 {
        self.place.arrive()
    }

    /// Keeps what a read found.
    pub(super) fn read(&mut self, seen: Seen) {
        self.state.failed_read = 0;
        self.saw(seen);
    }

    /// Keeps what a write made, or met.
    pub(super) fn wrote(&mut self, current: Option<Versioned>, began: u64) {
        self.state.failed_write = 0;
        self.saw(Seen { current, began, serial: true });
    }

    /// It answers everyone who waits, too: they are woken where it may tell them something new.
    fn saw(&mut self, seen: Seen) {
        if seen.serial {
            self.state.unsettled = None;
        }
        let before = self.state.seen.replace(seen);
        let current = |seen: &Option<Seen>| seen.as_ref().and_then(|seen| seen.current.clone());
        if is_news(current(&before).as_ref(), current(&self.state.seen).as_ref()) {
            self.place.lane.changed.notify_waiters();
        }
    }

    /// A write goes out: from now on what was seen is a guess, and nobody knows what is there.
    pub(super) fn sending(&mut self) {
        if let Some(seen) = &mut self.state.seen {
            (seen.began, seen.serial) = (0, false);
        }
        self.state.unsettled = Some(Instant::now());
    }

    /// Nothing was written after all: what was `seen` before holds, and so does what was unsettled.
    pub(super) fn not_sent(&mut self, seen: Option<Seen>, unsettled: Option<Instant>) {
        self.state.seen = seen;
        self.state.unsettled = unsettled;
    }

    /// Since when nobody knows what became of a write.
    pub(super) fn unsettled(&self) -> Option<Instant> {
        self.state.unsettled
    }

    /// Whether somebody sees to what is unsettled.
    pub(super) fn has_settler(&self) -> bool {
        self.state.has_settler
    }

    /// Notes that somebody sees to what is unsettled, or that they are gone.
    pub(super) fn set_settler(&mut self, there: bool) {
        self.state.has_settler = there;
    }

    /// The store failed to do a read that began then.
    pub(super) fn read_failed(&mut self, began: u64) {
        self.state.failed_read = began;
    }

    /// The store failed to do a write that began then.
    pub(super) fn write_failed(&mut self, began: u64) {
        self.state.failed_write = began;
    }

    /// Whether a caller that queues since then was there when a read failed: it need not ask again.
    pub(super) fn has_failed_read(&self, since: u64) -> bool {
        self.state.failed_read > since
    }

    /// The same of writes.
    pub(super) fn has_failed_write(&self, since: u64) -> bool {
        self.state.failed_write > since
    }

    /// Ends at the next change of this key, counted from this call.
    pub(super) fn changed(&self) -> OwnedNotified {
        self.place.lane.changed.clone().notified_owned()
    }
}

/// Whether a Begin that is held may be told something else now. Not where the attempt it waits for runs on: a longer
/// lease, or one more checkpoint, it finds when its time has come.
fn is_news(before: Option<&Versioned>, now: Option<&Versioned>) -> bool {
    match (before.and_then(running), now.and_then(running)) {
        (Some(before), Some(now)) => before.fence != now.fence,
        _ => before.map(|current| current.write_id) != now.map(|current| current.write_id),
    }
}

fn running(current: &Versioned) -> Option<&Kept> {
    match &*current.record {
        Record::Kept(kept) if matches!(kept.phase, Phase::InProgress { given_up: None, .. }) => Some(kept),
        Record::Kept(_) | Record::Forgotten(_) => None,
    }
}
