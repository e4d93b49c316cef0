//! The one thread that writes: it takes all writes that wait, checks their conditions, and commits them with one
//! sync. It also closes and reopens the engine after a failure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use fjall::UserKey;

use self::pulse::Step;
use super::engine::{Batch, CommitError, Engine, parse_reclaim_key};
use super::request::{Answer, Current, Next, Put, Request, Verdict, refuse_where};
use super::{CODEC, Shared};
use crate::domain::Timestamp;
use crate::storage::record_codec::Head;
use crate::storage::{Expected, StoreError};

pub(super) mod pulse;

/// The most requests in a group, and the most bytes of records.
const GROUP_REQUESTS: usize = 1024;
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How often an idle committer looks whether the engine and the disk are well.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it waits after an attempt to reopen the engine that failed: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Committer {
    shared: Arc<Shared>,
    requests: Receiver<Request>,
    touched: HashMap<UserKey, Touched>,
    answers: Vec<Answer>,
    state: State,
}

enum State {
    Well,
    /// The engine takes no writes. It may still be there for reads.
    Broken {
        cause: String,
        /// A write that was answered as unknown may be in the journal.
        unknown: bool,
        attempt_at: Instant,
        pause: Duration,
    },
}

/// A key that a request of this group is about.
struct Touched {
    /// What was there before the group.
    before: Option<(Head, Current)>,
    now: Now,
}

enum Now {
    AsBefore,
    Replaced(Next),
    Gone,
}

impl Touched {
    fn head(&self) -> Option<Head> {
        match &self.now {
            Now::AsBefore => self.before.as_ref().map(|(head, _)| *head),
            Now::Replaced(next) => Some(next.head),
            Now::Gone => None,
        }
    }

    fn current(&self) -> Option<Current> {
        match &self.now {
            Now::AsBefore => self.before.as_ref().map(|(_, current)| current.clone()),
            Now::Replaced(next) => Some(Current::Decoded(next.current.clone())),
            Now::Gone => None,
        }
    }
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, requests: Receiver<Request>) -> Self {
        Self { shared, requests, touched: HashMap::new(), answers: Vec::new(), state: State::Well }
    }

    /// Serves requests until it is told to close.
    pub(super) fn run(mut self) {
        while !self.shared.is_closing() {
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn()));
            self.shared.pulse.rest();
            match turn {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(late)) => return self.close(late),
                Err(_) => self.pick_up(),
            }
        }
        self.close(Vec::new());
    }

    /// Waits for requests and does what there is to do; breaks with those that came too late.
    fn turn(&mut self) -> ControlFlow<Vec<Request>> {
        let wait = match &self.state {
            State::Well => LOOK_EVERY,
            State::Broken { attempt_at, .. } => {
                attempt_at.saturating_duration_since(Instant::now()).min(LOOK_EVERY)
            }
        };
        let received = self.requests.recv_timeout(wait);
        self.shared.pulse.work();
        let mut group = Vec::new();
        match received {
            Ok(request) => {
                group.push(request);
                self.gather(&mut group);
                self.shared.reached(Step::Gathered);
            }
            Err(RecvTimeoutError::Timeout) => self.look(),
            Err(RecvTimeoutError::Disconnected) => return ControlFlow::Break(Vec::new()),
        }
        let close = group.iter().position(|request| matches!(request, Request::Close));
        let late = close.map(|at| group.split_off(at));
        self.reopen_when_due();
        // A step of its own: reopening takes as long as the journal is.
        self.shared.pulse.work();
        if !group.is_empty() {
            self.serve(group);
        }
        late.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    /// After a panic nobody knows what became of the group. Who waits for an answer finds the reply dropped, and
    /// takes that for an unknown outcome.
    fn pick_up(&mut self) {
        self.touched.clear();
        self.answers.clear();
        self.break_down("the committer panicked; see the log".to_owned(), true);
    }

    /// Takes what else waits, up to the bounds of a group.
    fn gather(&self, group: &mut Vec<Request>) {
        let mut bytes: usize = group.iter().map(Request::bytes).sum();
        while group.len() < GROUP_REQUESTS && bytes < GROUP_BYTES {
            match self.requests.try_recv() {
                Ok(request) => {
                    bytes += request.bytes();
                    group.push(request);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    fn close(&mut self, late: Vec<Request>) {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        for request in late.into_iter().chain(self.requests.try_iter()) {
            request.refuse(closed());
        }
        self.shared.close();
    }

    fn serve(&mut self, mut group: Vec<Request>) {
        let shared = Arc::clone(&self.shared);
        if let State::Broken { cause, unknown, .. } = &self.state {
            // Whether an unknown write happened is not settled before the engine was reopened.
            let reads = !*unknown;
            refuse_where(&mut group, cause, |request| !(reads && matches!(request, Request::Read { .. })));
        } else {
            self.refuse_for_lack_of_room(&mut group);
        }
        if group.is_empty() {
            return;
        }
        let slot = shared.slot();
        let Some(engine) = slot.as_ref() else {
            refuse_where(&mut group, "the engine is not open", |_| true);
            return;
        };
        for request in group {
            self.decide(engine, request);
        }
        let outcome = self.commit(engine);
        self.shared.reached(Step::Committed);
        match outcome {
            Ok(()) => self.answers.drain(..).for_each(Answer::send),
            Err(CommitError::NotWritten(cause)) => {
                self.answers.drain(..).for_each(|answer| answer.unavailable(&cause));
                self.break_down(cause, false);
            }
            Err(CommitError::Unknown(cause)) => {
                self.answers.drain(..).for_each(|answer| answer.unknown(&cause));
                self.break_down(cause, true);
            }
            Err(CommitError::Ahead(cause)) => {
                self.answers.drain(..).for_each(|answer| answer.unknown(&cause));
                drop(slot);
                // Nothing may be read that a crash could take back.
                self.shared.withdraw();
                self.break_down(cause, true);
                return;
            }
        }
        if matches!(self.state, State::Well)
            && let Err(cause) = engine.rotate()
        {
            self.break_down(cause, false);
        }
    }

    /// Decides one request on what is there and on what this group did so far.
    fn decide(&mut self, engine: &Engine, request: Request) {
        match request {
            Request::Put(put) => {
                let decided = self.decide_put(engine, &put);
                drop(put.room);
                match decided {
                    Ok(verdict) => self.answers.push(Answer::Put(put.reply, verdict)),
                    Err(cause) => drop(put.reply.send(Err(StoreError::Unavailable(cause)))),
                }
            }
            Request::Read { key, room, reply } => {
                drop(room);
                match self.touch(engine, &key) {
                    Ok(touched) => {
                        let current = touched.current();
                        self.answers.push(Answer::Read(reply, current));
                    }
                    Err(cause) => drop(reply.send(Err(StoreError::Unavailable(cause)))),
                }
            }
            Request::Reclaim { entries, now, reply } => {
                let mut count = 0;
                for entry in entries {
                    match self.reclaim(engine, &entry, now) {
                        Ok(reclaimed) => count += usize::from(reclaimed),
                        Err(cause) => tracing::error!(cause, "a record cannot be read for its reclamation"),
                    }
                }
                self.answers.push(Answer::Reclaimed(reply, count));
            }
            Request::Load { records, reply } => {
                for (key, next) in records {
                    match self.touch(engine, &key) {
                        Ok(touched) => touched.now = Now::Replaced(next),
                        Err(cause) => {
                            // What came before it in this load is written all the same.
                            drop(reply.send(Err(StoreError::OutcomeUnknown(cause))));
                            return;
                        }
                    }
                }
                self.answers.push(Answer::Loaded(reply));
            }
            // `run` takes these out.
            Request::Close => {}
        }
    }

    fn decide_put(&mut self, engine: &Engine, put: &Put) -> Result<Verdict, String> {
        let touched = self.touch(engine, &put.key)?;
        let head = touched.head();
        if head.is_some_and(|head| head.write_id == put.next.head.write_id) {
            return Ok(Verdict::Applied);
        }
        let holds = match put.expected {
            Expected::Absent => head.is_none(),
            Expected::Version(version) => head.is_some_and(|head| head.write_id == version),
        };
        if !holds {
            return Ok(Verdict::Conflict(touched.current()));
        }
        touched.now = Now::Replaced(put.next.clone());
        Ok(Verdict::Applied)
    }

    /// Drops the record behind an entry of the index, unless it has changed since or is not due.
    fn reclaim(&mut self, engine: &Engine, entry: &UserKey, now: Timestamp) -> Result<bool, String> {
        let (at, key) = parse_reclaim_key(entry).ok_or("an entry of the reclaim index is malformed")?;
        let touched = self.touch(engine, &UserKey::from(key))?;
        let due = at <= now && touched.head().is_some_and(|head| head.reclaim_at == at);
        if due {
            touched.now = Now::Gone;
        }
        Ok(due)
    }

    fn touch(&mut self, engine: &Engine, key: &UserKey) -> Result<&mut Touched, String> {
        match self.touched.entry(key.clone()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let before = match self.shared.recent.get(key) {
                    Some(current) => {
                        Some((Head::of(current.write_id, &current.record), Current::Decoded(current)))
                    }
                    None => match engine.get(key)? {
                        Some(bytes) => {
                            let head = CODEC.decode_head(&bytes).map_err(|error| error.to_string())?;
                            Some((head, Current::Stored(bytes)))
                        }
                        None => None,
                    },
                };
                Ok(entry.insert(Touched { before, now: Now::AsBefore }))
            }
        }
    }

    /// Makes what the group changed durable, then visible. Of each key only what it came to is written: the
    /// engine cannot order two writes of one key in one batch.
    fn commit(&mut self, engine: &Engine) -> Result<(), CommitError> {
        let mut changed = Vec::with_capacity(self.touched.len());
        let mut batch: Option<Batch> = None;
        for (key, touched) in self.touched.drain() {
            let before = touched.before.map(|(head, _)| head);
            let after = match &touched.now {
                Now::AsBefore => continue,
                Now::Gone if before.is_none() => continue,
                Now::Gone => None,
                Now::Replaced(next) => Some((next.head, next.value.clone())),
            };
            let batch = batch.get_or_insert_with(|| engine.batch(3 * changed.capacity() + 1));
            engine.change(batch, &key, before, after);
            // Until the batch is visible, whoever asks goes to the engine.
            self.shared.recent.remove(&key);
            changed.push((key, touched.now));
        }
        let Some(batch) = batch else { return Ok(()) };
        engine.wait_for_worker()?;
        engine.commit(batch)?;
        self.shared.stats.count_commit(changed.len());
        for (key, now) in changed {
            if let Now::Replaced(next) = now {
                self.shared.recent.put(key, next.current.clone());
            }
        }
        Ok(())
    }

    /// Refuses what the disk has no room for, before anything of it is written.
    fn refuse_for_lack_of_room(&self, group: &mut Vec<Request>) {
        let reserve = self.shared.settings.free_space_reserve_bytes;
        let Err(cause) = self.shared.directory.check_room(reserve) else {
            self.shared.set_trouble(None);
            return;
        };
        refuse_where(group, &cause, |request| matches!(request, Request::Put(_) | Request::Load { .. }));
        if let Err(cause) = self.shared.directory.check_room(reserve / 2) {
            refuse_where(group, &cause, |request| matches!(request, Request::Reclaim { .. }));
        }
        self.shared.set_trouble(Some(cause));
    }

    /// What an idle committer does now and then.
    fn look(&mut self) {
        self.shared.reached(Step::Idle);
        if !matches!(self.state, State::Well) {
            return;
        }
        self.refuse_for_lack_of_room(&mut Vec::new());
        let poisoned = self.shared.slot().as_ref().and_then(Engine::poisoned);
        if let Some(cause) = poisoned {
            self.break_down(cause, false);
        }
    }

    /// From now on nothing is written, until the engine has been reopened.
    fn break_down(&mut self, cause: String, unknown: bool) {
        let free_bytes = self.shared.directory.free_bytes().ok();
        tracing::error!(
            cause,
            unknown,
            free_bytes,
            "the engine takes no more writes; it will be reopened from disk"
        );
        self.shared.set_trouble(Some(cause.clone()));
        let (attempt_at, pause) = match &self.state {
            State::Well => (Instant::now(), FIRST_PAUSE),
            // An attempt to reopen it came to this.
            State::Broken { pause, .. } => (Instant::now() + *pause, (*pause * 2).min(LONGEST_PAUSE)),
        };
        self.state = State::Broken { cause, unknown, attempt_at, pause };
    }

    fn reopen_when_due(&mut self) {
        let State::Broken { cause, attempt_at, pause, .. } = &mut self.state else { return };
        if Instant::now() < *attempt_at {
            return;
        }
        self.shared.reached(Step::Reopening);
        match self.shared.reopen() {
            Ok(()) => {
                tracing::info!(cause, "the engine was reopened from disk and takes writes again");
                self.shared.set_trouble(None);
                self.state = State::Well;
            }
            Err(problem) => {
                tracing::warn!(problem, cause, "the engine cannot be reopened yet");
                *attempt_at = Instant::now() + *pause;
                *pause = (*pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}
