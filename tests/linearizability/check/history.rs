//! What callers asked and heard, in the order of the one process that they all live in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use semel::clock::SystemClock;
use semel::domain::{Clock as _, Policy};

use super::calls::{Answer, Call};

/// The system's clock, in microseconds.
pub(crate) fn wall() -> u64 {
    SystemClock.now().as_micros()
}

/// One call. Where no answer came, it may have happened at any later moment, or never.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) caller: u32,
    /// Which server it was sent to.
    pub(crate) server: usize,
    pub(crate) call: Call,
    /// Its place among all calls and answers.
    pub(crate) sent: u64,
    /// The system's clock when it was sent.
    pub(crate) sent_at: u64,
    pub(crate) heard: Option<Heard>,
}

/// How a call was answered.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) place: u64,
    pub(crate) at: u64,
    pub(crate) answer: Answer,
}

/// Notes calls by key. Calls of which the server said that nothing was done are left out: the history must be possible
/// without them.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    places: AtomicU64,
    keys: Mutex<BTreeMap<String, Vec<Noted>>>,
}

/// A call that is under way, which is open until something is heard of it.
pub(crate) struct UnderWay<'a> {
    recorder: &'a Recorder,
    key: &'a str,
    sent: u64,
}

impl Recorder {
    fn place(&self) -> u64 {
        self.places.fetch_add(1, Ordering::SeqCst)
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<Noted>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call that is about to be sent.
    pub(crate) fn sends<'a>(&'a self, caller: u32, server: usize, key: &'a str, call: &Call) -> UnderWay<'a> {
        let mut keys = self.keys();
        let sent = self.place();
        let noted = Noted { caller, server, call: call.clone(), sent, sent_at: wall(), heard: None };
        keys.entry(key.to_owned()).or_default().push(noted);
        UnderWay { recorder: self, key, sent }
    }

    /// How many calls of a key there are, and how many of them without an answer.
    pub(crate) fn calls(&self, key: &str) -> (usize, usize) {
        let keys = self.keys();
        let Some(noted) = keys.get(key) else { return (0, 0) };
        (noted.len(), noted.iter().filter(|noted| noted.heard.is_none()).count())
    }

    /// The history of each key.
    pub(crate) fn take(&self) -> BTreeMap<String, Vec<Noted>> {
        std::mem::take(&mut *self.keys())
    }
}

impl UnderWay<'_> {
    /// The call was answered.
    pub(crate) fn heard(self, answer: Answer) {
        let at = wall();
        let place = self.recorder.place();
        self.with(|noted, place_of| noted[place_of].heard = Some(Heard { place, at, answer }));
    }

    /// The server said that it did nothing.
    pub(crate) fn nothing_was_done(self) {
        self.with(|noted, place_of| drop(noted.remove(place_of)));
    }

    fn with(&self, change: impl FnOnce(&mut Vec<Noted>, usize)) {
        let mut keys = self.recorder.keys();
        let noted = keys.get_mut(self.key).expect("it was noted");
        let place_of = noted.iter().position(|noted| noted.sent == self.sent).expect("it was noted");
        change(noted, place_of);
    }
}

/// What held when: a value is in force from some moment of its change on, until some moment of the next one.
#[derive(Clone, Debug)]
pub(crate) struct Timeline<T>(Vec<(u64, u64, T)>);

impl<T> Timeline<T> {
    pub(crate) fn new(first: T) -> Self {
        Self(vec![(0, 0, first)])
    }

    /// The value changed between `from` and `until`.
    pub(crate) fn change(&mut self, from: u64, until: u64, value: T) {
        self.0.push((from, until, value));
    }

    /// Every value that may have been in force between two moments.
    pub(crate) fn during(&self, from: u64, until: u64) -> impl Iterator<Item = &T> {
        let ends = self.0.iter().skip(1).map(|(_, until, _)| *until).chain([u64::MAX]);
        let spans = self.0.iter().zip(ends);
        spans
            .filter(move |((begins, _, _), ends)| *begins <= until && from <= *ends)
            .map(|((_, _, value), _)| value)
    }
}

/// What a history depends on beside its calls.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) policies: Timeline<Arc<Policy>>,
    /// Of each server, by how many microseconds its clock was ahead of the system's.
    pub(crate) clocks: Vec<Timeline<i64>>,
    /// Whether several servers share the store. Then another server's cache may replay what was forgotten, and a call that
    /// is sent to the store again, for nobody knew whether it was done, may find that others wrote since.
    pub(crate) is_shared: bool,
}

impl World {
    /// What a server's clock may have shown between two moments of the system's.
    pub(crate) fn clock(&self, server: usize, from: u64, until: u64) -> (u64, u64) {
        let ahead = || self.clocks[server].during(from, until);
        let least = ahead().min().copied().unwrap_or(0);
        let most = ahead().max().copied().unwrap_or(0);
        (from.saturating_add_signed(least), until.saturating_add_signed(most))
    }
}
