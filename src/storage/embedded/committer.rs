//! The one thread that writes: it takes all writes that wait, checks their conditions, and commits them with one
//! sync. It also closes and reopens the engine after a failure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use fjall::{UserKey, UserValue};
use tokio::sync::oneshot;

use super::engine::{Batch, CommitError, Engine, parse_reclaim_key};
use super::{CODEC, Shared};
use crate::domain::{Record, Timestamp};
use crate::storage::record_codec::Head;
use crate::storage::{Expected, StoreError, Versioned};

/// The most requests in a group, and the most bytes of records.
const GROUP_REQUESTS: usize = 1024;
const GROUP_BYTES: usize = 8 * 1024 * 1024;
/// How often an idle committer looks whether the engine and the disk are well.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it waits after an attempt to reopen the engine that failed: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the committer is asked to do.
pub(super) enum Request {
    Put(Put),
    /// The current record, after every request before this one.
    Read {
        key: UserKey,
        reply: Reply<Option<Current>>,
    },
    /// Drops the records behind these entries of the reclaim index, as far as they are still due.
    Reclaim {
        entries: Vec<UserKey>,
        now: Timestamp,
        reply: Reply<usize>,
    },
    /// Stores records whatever is there.
    Load {
        records: Vec<(UserKey, Next)>,
        reply: Reply<()>,
    },
    Close,
}

/// A conditional write, encoded.
pub(super) struct Put {
    pub(super) key: UserKey,
    pub(super) expected: Expected,
    pub(super) next: Next,
    pub(super) reply: Reply<Verdict>,
}

/// A record to be stored.
#[derive(Clone)]
pub(super) struct Next {
    pub(super) head: Head,
    pub(super) value: UserValue,
    pub(super) record: Arc<Record>,
}

impl Next {
    fn versioned(&self) -> Versioned {
        Versioned { write_id: self.head.write_id, record: self.record.clone() }
    }
}

/// A record that is there, decoded or not yet: who asked decodes it, not the committer.
#[derive(Clone)]
pub(super) enum Current {
    Decoded(Versioned),
    Stored(UserValue),
}

#[derive(Clone)]
pub(super) enum Verdict {
    Applied,
    Conflict(Option<Current>),
}

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
            Now::Replaced(next) => Some(Current::Decoded(next.versioned())),
            Now::Gone => None,
        }
    }
}

/// An answer that waits for the sync.
enum Answer {
    Put(Reply<Verdict>, Verdict),
    Read(Reply<Option<Current>>, Option<Current>),
    Reclaimed(Reply<usize>, usize),
    Loaded(Reply<()>),
}

impl Answer {
    fn send(self) {
        // Whoever asked may have gone.
        match self {
            Self::Put(reply, verdict) => drop(reply.send(Ok(verdict))),
            Self::Read(reply, current) => drop(reply.send(Ok(current))),
            Self::Reclaimed(reply, count) => drop(reply.send(Ok(count))),
            Self::Loaded(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// After a commit whose outcome is unknown: what changed nothing itself did not happen.
    fn unknown(self, cause: &str) {
        let unknown = || StoreError::OutcomeUnknown(cause.to_owned());
        match self {
            Self::Put(reply, Verdict::Applied) => drop(reply.send(Err(unknown()))),
            Self::Reclaimed(reply, _) => drop(reply.send(Err(unknown()))),
            Self::Loaded(reply) => drop(reply.send(Err(unknown()))),
            Self::Put(_, Verdict::Conflict(_)) | Self::Read(..) => self.unavailable(cause),
        }
    }

    fn unavailable(self, cause: &str) {
        let unavailable = || StoreError::Unavailable(cause.to_owned());
        match self {
            Self::Put(reply, _) => drop(reply.send(Err(unavailable()))),
            Self::Read(reply, _) => drop(reply.send(Err(unavailable()))),
            Self::Reclaimed(reply, _) => drop(reply.send(Err(unavailable()))),
            Self::Loaded(reply) => drop(reply.send(Err(unavailable()))),
        }
    }
}

impl Request {
    fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.key.len() + put.next.value.len(),
            Self::Load { records, .. } => {
                records.iter().map(|(key, next)| key.len() + next.value.len()).sum()
            }
            Self::Read { .. } | Self::Reclaim { .. } | Self::Close => 0,
        }
    }

    fn refuse(self, error: StoreError) {
        match self {
            Self::Put(put) => drop(put.reply.send(Err(error))),
            Self::Read { reply, .. } => drop(reply.send(Err(error))),
            Self::Reclaim { reply, .. } => drop(reply.send(Err(error))),
            Self::Load { reply, .. } => drop(reply.send(Err(error))),
            Self::Close => {}
        }
    }
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, requests: Receiver<Request>) -> Self {
        Self { shared, requests, touched: HashMap::new(), answers: Vec::new(), state: State::Well }
    }

    /// Serves requests until it is told to close.
    pub(super) fn run(mut self) {
        let mut group = Vec::new();
        loop {
            let wait = match &self.state {
                State::Well => LOOK_EVERY,
                State::Broken { attempt_at, .. } => {
                    attempt_at.saturating_duration_since(Instant::now()).min(LOOK_EVERY)
                }
            };
            match self.requests.recv_timeout(wait) {
                Ok(request) => group.push(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if group.is_empty() {
                self.look();
            } else {
                self.gather(&mut group);
            }
            let close = group.iter().position(|request| matches!(request, Request::Close));
            let late = close.map(|at| group.split_off(at));
            self.reopen_when_due();
            if !group.is_empty() {
                self.serve_guarded(mem::take(&mut group));
            }
            if let Some(late) = late {
                self.close(late);
                return;
            }
        }
        self.close(Vec::new());
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
        self.shared.set_trouble(Some("the store is closed".to_owned()));
    }

    /// Serves a group; should that panic, nobody knows what became of it.
    fn serve_guarded(&mut self, group: Vec<Request>) {
        let served = catch_unwind(AssertUnwindSafe(|| self.serve(group)));
        if served.is_err() {
            // Those who wait for an answer find their reply dropped, and take that as an unknown outcome.
            self.touched.clear();
            self.answers.clear();
            self.break_down("the committer panicked; see the log".to_owned(), true);
        }
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
            Request::Put(put) => match self.decide_put(engine, &put) {
                Ok(verdict) => self.answers.push(Answer::Put(put.reply, verdict)),
                Err(cause) => drop(put.reply.send(Err(StoreError::Unavailable(cause)))),
            },
            Request::Read { key, reply } => match self.touch(engine, &key) {
                Ok(touched) => {
                    let current = touched.current();
                    self.answers.push(Answer::Read(reply, current));
                }
                Err(cause) => drop(reply.send(Err(StoreError::Unavailable(cause)))),
            },
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
                self.shared.recent.put(key, next.versioned());
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
        self.state = State::Broken { cause, unknown, attempt_at: Instant::now(), pause: FIRST_PAUSE };
    }

    fn reopen_when_due(&mut self) {
        let State::Broken { cause, attempt_at, pause, .. } = &mut self.state else { return };
        if Instant::now() < *attempt_at {
            return;
        }
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

/// Refuses those requests as not done.
fn refuse_where(group: &mut Vec<Request>, cause: &str, which: impl Fn(&Request) -> bool) {
    for request in group.extract_if(.., |request| which(request)) {
        request.refuse(StoreError::Unavailable(cause.to_owned()));
    }
}
