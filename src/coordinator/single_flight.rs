//! One store call at a time for each key, shared by everyone who was there when it began.
//!
//! A lane lives as long as somebody asks about its key. Callers take turns on it. A store call's finding may
//! answer every caller that arrived before that call began; each is decided on its own, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::runtime::Handle;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::domain::Key;
use crate::storage::{Store, Versioned, Write};

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
    seen: Mutex<Option<Seen>>,
    changed: Arc<Notify>,
}

/// The lanes of all keys that somebody is asking about.
#[derive(Debug, Default)]
pub(super) struct Lanes(DashMap<Key, Arc<Lane>>);

impl Lanes {
    /// Joins the lane of `key` until the guard is dropped.
    pub(super) fn enter(&self, key: &Key) -> LaneGuard<'_> {
        let lane = self.0.entry(key.clone()).or_default();
        lane.users.fetch_add(1, Ordering::Relaxed);
        LaneGuard { lanes: self, lane: lane.clone(), key: key.clone() }
    }
}

/// A caller's place in a lane.
#[derive(Debug)]
pub(super) struct LaneGuard<'a> {
    lanes: &'a Lanes,
    lane: Arc<Lane>,
    key: Key,
}

impl LaneGuard<'_> {
    /// Notes that a caller is here now; store calls that begin later may answer it.
    pub(super) fn arrive(&self) -> u64 {
        self.lane.order.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Waits for this caller's turn.
    pub(super) async fn turn(&self) -> Flight<'_> {
        Flight { lane: &self.lane, seen: self.lane.seen.lock().await }
    }
}

impl Drop for LaneGuard<'_> {
    fn drop(&mut self) {
        // Counted under the map's lock for this key, where joining is counted too.
        self.lanes.0.remove_if(&self.key, |_, lane| lane.users.fetch_sub(1, Ordering::Relaxed) == 1);
    }
}

/// A caller's turn: nobody else of this process calls the store for the key meanwhile.
#[derive(Debug)]
pub(super) struct Flight<'a> {
    lane: &'a Lane,
    seen: MutexGuard<'a, Option<Seen>>,
}

impl Flight<'_> {
    /// What the last store call found, or the guess.
    pub(super) fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// Whether what was seen may answer a caller that arrived then.
    pub(super) fn is_fresh(&self, arrived: u64) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.began > arrived)
    }

    /// Notes that a store call begins now.
    pub(super) fn begin_store_call(&self) -> u64 {
        self.lane.order.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Starts from a record that this server wrote some time ago.
    pub(super) fn guess(&mut self, current: Option<Versioned>) {
        *self.seen = Some(Seen { current, ..Seen::default() });
    }

    /// Keeps what a store call found or made, and wakes everyone who waits where that is something else than before:
    /// it answers them too.
    pub(super) fn saw(&mut self, seen: Seen) {
        let version = |seen: &Seen| seen.current.as_ref().map(|current| current.write_id);
        let before = self.seen.replace(seen);
        if before.as_ref().map(version) != self.seen.as_ref().map(version) {
            self.lane.changed.notify_waiters();
        }
    }

    /// Forgets what was seen: a write may have changed it. Who waits looks again.
    pub(super) fn lost_sight(&mut self) {
        *self.seen = None;
        self.lane.changed.notify_waiters();
    }

    /// What wakes everyone who waits for a change of this key.
    pub(super) fn wake(&self) -> Arc<Notify> {
        self.lane.changed.clone()
    }

    /// Ends at the next change of this key, counted from this call.
    pub(super) fn changed(&self) -> OwnedNotified {
        self.lane.changed.clone().notified_owned()
    }
}

/// A write whose caller may go away before the store answers.
///
/// The write may still happen then. So it is sent once more, which waits for the first, and whoever waits for the
/// key is woken to look.
#[derive(Debug)]
pub(super) struct InFlight {
    store: Arc<dyn Store>,
    write: Write,
    wake: Arc<Notify>,
    answered: bool,
}

impl InFlight {
    pub(super) fn new(store: Arc<dyn Store>, write: Write, wake: Arc<Notify>) -> Self {
        Self { store, write, wake, answered: false }
    }

    pub(super) fn write(&self) -> &Write {
        &self.write
    }

    /// The caller is still there and takes care of what the store said.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let (store, write, wake) = (self.store.clone(), self.write.clone(), self.wake.clone());
        runtime.spawn(async move {
            // Whatever the store says now, nobody is left to be told; who waits decides on what is there.
            let _ = store.compare_and_put(&write).await;
            wake.notify_waiters();
        });
    }
}
