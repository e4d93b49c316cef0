//! The loop between callers and the store: read or write, decide, compare and put, on conflict decide again.
//!
//! It takes its clock and its randomness as arguments, uses tokio's time alone and starts no thread, so that a
//! test can run it in one thread with time standing still.

mod batch;
mod listing;
mod replay_cache;
mod single_flight;
mod store_calls;
mod time_left;
mod waiters;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::replay_cache::{Recent, ReplayCache};
use self::single_flight::{Flight, Lanes, Seen};
use self::store_calls::{Sent, report};
use self::time_left::{AnswerBy, after, hold_until};
use self::waiters::Waiters;
use crate::domain::{
    Begin, BeginAnswer, Clock, Command, InProgressAnswer, Key, Phase, Policy, Record, Refusal, Timestamp,
    Transition, decide,
};
use crate::storage::{Freshness, Put, Scope, Store, StoreError, Versioned, Write, WriteId};

pub use batch::in_key_order;
pub use listing::{Listing, ListingFilter, ListingPage};

/// How far a coordinator may go.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most Begins that may be held at a time.
    pub max_waiters: usize,
    /// The most bytes of completed records kept for replays.
    pub replay_cache_bytes: u64,
    /// The longest that a completed record is replayed without asking the store.
    pub replay_cache_max_age: Duration,
    /// The most bytes of records kept because this server wrote them last, to save a read before the next write.
    pub recent_bytes: u64,
    /// How long an unknown write is sent again before it is reported as such.
    pub settle_within: Duration,
    /// How often a held Begin asks the store, where others than this coordinator write to it.
    pub poll: Option<Poll>,
}

/// A pause that doubles from `first` to `longest`.
#[derive(Clone, Copy, Debug)]
pub struct Poll {
    /// The first pause.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl Default for Poll {
    /// For servers that share a database.
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(1) }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_waiters: 10_000,
            replay_cache_bytes: 32 << 20,
            replay_cache_max_age: Duration::from_secs(30),
            recent_bytes: 32 << 20,
            settle_within: Duration::from_secs(10),
            poll: None,
        }
    }
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The state machine refused it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// As many Begins are held as may be.
    #[error("too many calls are waiting on this server; ask again without wait, or later")]
    TooManyWaiters,
    /// Nothing was written.
    #[error("the store did not take the call and nothing was written; send the same call again")]
    StoreUnavailable,
    /// The write may have happened.
    #[error("the store did not say whether the call took effect; send the same call again to learn it")]
    StoreOutcomeUnknown,
    /// The store keeps no list of these records.
    #[error("{}", not_listed(*listed))]
    NotListed {
        /// The widest scope that it does list.
        listed: Scope,
    },
}

/// A Begin and how long it may be held.
#[derive(Clone, Debug)]
pub struct BeginCall<'a> {
    /// Whose.
    pub key: &'a Key,
    /// What is asked.
    pub begin: &'a Begin,
    /// Under which policy.
    pub policy: &'a Policy,
    /// How long to hold the call while another attempt runs; cut to the policy's bound.
    pub wait: Duration,
    /// When the caller stops listening: nothing is begun from then on.
    pub deadline: Option<Instant>,
    /// The caller knows this to be a retry: a read is tried before a write.
    pub retry: bool,
}

/// The answer to a Begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The decision.
    pub answer: BeginAnswer,
    /// How long the call was held.
    pub waited: Duration,
}

/// What holds for one call, whatever it asks.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// Its place among the arrivals and store calls of its lane.
    arrived: u64,
    /// When it is answered at the latest.
    answer_by: AnswerBy,
    /// It knows that there is something to be read.
    reads_first: bool,
    /// It may put its own in the place of a record that was seen before it arrived. A Begin does so only where nobody
    /// else writes: elsewhere the owner may have renewed, and a read costs the store less than a refused write.
    takes_over_on_a_guess: bool,
}

/// Decides calls, and stores what was decided before it is said.
#[derive(Debug)]
pub struct Coordinator {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Mutex<StdRng>,
    lanes: Lanes,
    replay_cache: ReplayCache,
    recent: Recent,
    waiters: Waiters,
    draining: CancellationToken,
    /// How much after the end of a lease this server takes over for those whom it holds. Servers differ in it, so that
    /// the later ones find by a read that it is done.
    turn_among_servers: Duration,
    settings: Settings,
}

impl Coordinator {
    /// A coordinator on `store`; equal seeds, clocks and calls give equal histories.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, seed: u64, settings: Settings) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let turn_among_servers =
            settings.poll.map_or(Duration::ZERO, |poll| poll.first.mul_f64(random.random_range(0.0..1.0)));
        Self {
            store,
            clock,
            random: Mutex::new(random),
            lanes: Lanes::default(),
            replay_cache: ReplayCache::new(settings.replay_cache_bytes, settings.replay_cache_max_age),
            recent: Recent::new(settings.recent_bytes),
            waiters: Waiters::new(settings.max_waiters),
            draining: CancellationToken::new(),
            turn_among_servers,
            settings,
        }
    }

    /// The present moment, by the coordinator's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Answers every held Begin with what it knows, and holds none from now on.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Whether the store works.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.store.ping().await
    }

    /// Decides a Begin, holding it while another attempt runs for as long as the call allows.
    pub async fn begin(&self, call: &BeginCall<'_>) -> Result<Begun, CallError> {
        let began = Instant::now();
        if let Some(answer) = self.replay(call) {
            return Ok(Begun { answer, waited: Duration::ZERO });
        }
        let until = hold_until(began, call.wait.min(call.policy.max_wait), call.deadline);
        let lane = self.lanes.enter(call.key);
        let mut terms = Terms {
            arrived: lane.arrive(),
            answer_by: AnswerBy::of(call.deadline),
            reads_first: call.retry,
            takes_over_on_a_guess: self.settings.poll.is_none(),
        };
        let mut permit = None;
        let mut poll = self.settings.poll.map(|poll| poll.first);
        loop {
            let turn = terms.answer_by.bound(lane.turn()).await;
            let mut turn = turn.ok_or(CallError::StoreUnavailable)?;
            // Before the decision, so that a caller never counts its lease to end later than it does.
            let waited = if permit.is_some() { began.elapsed() } else { Duration::ZERO };
            let answer = self.in_turn(&mut turn, call.key, call.begin, call.policy, terms).await?;
            let BeginAnswer::InProgress(running) = answer else {
                return Ok(Begun { answer, waited });
            };
            if Instant::now() >= until || self.draining.is_cancelled() {
                return Ok(Begun { answer: BeginAnswer::InProgress(running), waited });
            }
            if permit.is_none() {
                permit = Some(self.waiters.admit().ok_or(CallError::TooManyWaiters)?);
            }
            // Registered while the turn is held: no transition can come between the decision and the wait.
            let changed = turn.changed();
            terms.arrived = lane.arrive();
            drop(turn);
            let left = running.changes_at.since(self.clock.now());
            let pause = poll.map(|pause| self.jittered(pause)).filter(|pause| *pause < left);
            let look_again = after(pause.unwrap_or(left + self.turn_among_servers));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(look_again.min(until)) => {
                    if poll.is_some() && pause.is_none() {
                        // It is about to take over: what was read while the lease ran is too old for that.
                        terms.arrived = lane.arrive();
                    }
                }
                () = self.draining.cancelled() => {}
            }
            if Instant::now() >= until || self.draining.is_cancelled() {
                return Ok(self.still_running(running, began));
            }
            poll = poll.zip(self.settings.poll).map(|(pause, poll)| (pause * 2).min(poll.longest));
        }
    }

    /// Decides any other command.
    pub async fn run<C: Command>(
        &self,
        key: &Key,
        command: &C,
        policy: &Policy,
        deadline: Option<Instant>,
    ) -> Result<C::Answer, CallError> {
        let lane = self.lanes.enter(key);
        let terms = Terms {
            arrived: lane.arrive(),
            answer_by: AnswerBy::of(deadline),
            reads_first: false,
            takes_over_on_a_guess: true,
        };
        let turn = terms.answer_by.bound(lane.turn()).await;
        self.in_turn(&mut turn.ok_or(CallError::StoreUnavailable)?, key, command, policy, terms).await
    }

    fn replay(&self, call: &BeginCall<'_>) -> Option<BeginAnswer> {
        let record = self.replay_cache.get(call.key)?;
        match decide(Some(&record), call.begin, call.policy, self.clock.now()) {
            Transition::Unchanged(Ok(answer @ BeginAnswer::Replayed(_))) => Some(answer),
            Transition::Unchanged(_) | Transition::Change { .. } => None,
        }
    }

    fn still_running(&self, mut running: InProgressAnswer, began: Instant) -> Begun {
        let left = running.changes_at.since(self.clock.now());
        running.retry_after = running.retry_after.min(left);
        Begun { answer: BeginAnswer::InProgress(running), waited: began.elapsed() }
    }

    /// One caller's turn on a key. An error says honestly whether something may have been written.
    async fn in_turn<C: Command>(
        &self,
        turn: &mut Flight<'_>,
        key: &Key,
        command: &C,
        policy: &Policy,
        terms: Terms,
    ) -> Result<C::Answer, CallError> {
        let mut sent = Sent::default();
        let answer = self.take_turn(turn, key, command, policy, terms, &mut sent).await;
        answer.map_err(|error| sent.honest(error))
    }

    /// Decides on what is seen, and looks or writes until that is good enough.
    ///
    /// What was seen before this call arrived serves only as a guess: a write on it is checked by its
    /// condition, and an answer that changes nothing is given only on a store call that began after the call arrived.
    async fn take_turn<C: Command>(
        &self,
        turn: &mut Flight<'_>,
        key: &Key,
        command: &C,
        policy: &Policy,
        terms: Terms,
        sent: &mut Sent,
    ) -> Result<C::Answer, CallError> {
        let Terms { arrived, answer_by, .. } = terms;
        if turn.seen().is_none() {
            turn.guess(self.recent.get(key).or_else(|| self.replay_cache.last_seen(key)));
        }
        if terms.reads_first && !turn.is_fresh(arrived) {
            self.look(turn, key, Freshness::Acknowledged, answer_by).await?;
        }
        let mut conflicts = 0_u32;
        loop {
            let seen = turn.seen().cloned().unwrap_or_default();
            let fresh = turn.is_fresh(arrived);
            let record = seen.current.as_ref().map(|current| &*current.record);
            match decide(record, command, policy, self.clock.now()) {
                Transition::Unchanged(answer) => {
                    if !fresh {
                        self.look(turn, key, Freshness::Acknowledged, answer_by).await?;
                    } else if C::REFUSAL_STOPS_OWNER && answer.is_err() && !seen.serial {
                        // Only a refusal that a plain read bears out is worth a serial one.
                        self.look(turn, key, Freshness::Serial, answer_by).await?;
                    } else {
                        return answer.map_err(CallError::Refused);
                    }
                }
                Transition::Change { .. } if !fresh && record.is_some() && !terms.takes_over_on_a_guess => {
                    self.look(turn, key, Freshness::Acknowledged, answer_by).await?;
                }
                Transition::Change { next, answer } => {
                    let next = Versioned { write_id: self.new_write_id(), record: Arc::new(next) };
                    let write = Write::new(key.clone(), seen.current.as_ref(), next.clone(), policy);
                    let began = turn.begin_store_call();
                    match self.write(write, turn, answer_by, sent).await {
                        Ok(Put::Applied) => {
                            self.remember(key, Some(&next));
                            turn.saw(Seen { current: Some(next), began, serial: true });
                            return Ok(answer);
                        }
                        Ok(Put::Conflict(current)) => {
                            self.remember(key, current.as_ref());
                            turn.saw(Seen { current, began, serial: true });
                            // What the first refusal brought back is often an answer, and else worth a try at once.
                            if conflicts > 0 {
                                self.back_off(conflicts, answer_by).await;
                                // Whoever won before has had time to win again.
                                self.look(turn, key, Freshness::Acknowledged, answer_by).await?;
                            }
                            conflicts += 1;
                        }
                        Err(error) => {
                            self.recent.forget(key);
                            turn.lost_sight();
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    /// Keeps what is now known of `key`, each kind in its own cache.
    fn remember(&self, key: &Key, current: Option<&Versioned>) {
        match current {
            Some(current) if is_completed(&current.record) => {
                self.recent.forget(key);
                self.replay_cache.keep(key, current);
            }
            Some(current) => {
                self.replay_cache.forget(key);
                self.recent.keep(key, current);
            }
            None => {
                self.replay_cache.forget(key);
                self.recent.forget(key);
            }
        }
    }

    fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(self.random().random_range(0.5..1.0))
    }

    fn new_write_id(&self) -> WriteId {
        WriteId(uuid::Builder::from_random_bytes(self.random().random()).into_uuid())
    }

    fn random(&self) -> std::sync::MutexGuard<'_, StdRng> {
        // A random generator has no state that a panic could leave half-changed.
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_completed(record: &Record) -> bool {
    matches!(record, Record::Kept(kept) if matches!(kept.phase, Phase::Completed { .. }))
}

fn not_listed(listed: Scope) -> &'static str {
    match listed {
        Scope::Unresolved => {
            "this store lists unresolved records alone: ask for the state UNRESOLVED, look a single key up with Lookup, \
             or have the server's setting `listing` changed to open"
        }
        Scope::Open | Scope::All => {
            "this store lists records that are not completed alone: ask for one of the states IN_PROGRESS, UNRESOLVED, \
             RELEASED and LEASE_LOST, or look a single key up with Lookup"
        }
    }
}
