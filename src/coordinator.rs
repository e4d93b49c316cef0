//! The loop between callers and the store: read or write, decide, compare and put, on conflict decide again.
//!
//! It takes its clock and its randomness as arguments, uses tokio's time alone and starts no thread, so that a
//! test can run it in one thread with time standing still.

mod batch;
mod call;
mod listing;
mod records;
mod replay_cache;
mod settings;
mod settling;
mod single_flight;
mod time_left;
mod turns;
mod waiters;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::records::Records;
use self::time_left::hold_until;
use self::turns::{Ask, Terms};
use self::waiters::Waiters;
use crate::domain::{BeginAnswer, BeginOnStore, Clock, Command, Key, Policy, Timestamp, Transition, decide};
use crate::storage::{Store, StoreError};

pub use batch::in_key_order;
pub use call::{BeginCall, Begun, CallError};
pub use listing::{Listed, Listing, ListingFilter, ListingPage};
pub use settings::{Observer, Poll, Settings};

/// Decides calls, and stores what was decided before it is said.
#[derive(Debug)]
pub struct Coordinator {
    records: Arc<Records>,
    clock: Arc<dyn Clock>,
    waiters: Waiters,
    /// How much after the end of a lease this server takes over for those whom it holds. Servers differ in it, so that
    /// the later ones find by a read that it is done.
    turn_among_servers: Duration,
}

impl Coordinator {
    /// A coordinator on `store`; equal seeds, clocks and calls give equal histories. No two on the same store may have
    /// equal seeds: their write ids would be equal, and the write of one be taken for that of the other.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, seed: u64, settings: Settings) -> Self {
        let waiters = Waiters::new(settings.max_waiters);
        let poll = settings.poll;
        let records = Records::new(store, seed, settings);
        let turn_among_servers = poll.map_or(Duration::ZERO, |poll| records.part_of(poll.first));
        Self { records: Arc::new(records), clock, waiters, turn_among_servers }
    }

    /// The present moment, by the coordinator's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Answers every held Begin with what it knows, and holds none from now on.
    pub fn drain(&self) {
        self.records.draining.cancel();
    }

    /// Whether the store works.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.records.store.ping().await
    }

    /// Decides a Begin, holding it while another attempt runs for as long as the call allows.
    pub async fn begin(&self, call: &BeginCall<'_>) -> Result<Begun, CallError> {
        let began = Instant::now();
        if let Some(answer) = self.replay(call) {
            return Ok(Begun { answer, waited: Duration::ZERO });
        }
        let until = hold_until(began, call.wait.min(call.policy.max_wait), call.deadline);
        let lane = self.records.lanes.enter(call.key);
        let terms = Terms {
            reads_first: call.retry,
            takes_over_on_a_guess: self.records.settings.poll.is_none(),
            ..Terms::new(&lane, call.deadline)
        };
        let mut turn = terms.answer_by.bound(lane.turn()).await.ok_or(CallError::StoreUnavailable)?;
        let command = &self.on_store(call);
        let answer = self.in_turn(&mut turn, Ask { command, policy: call.policy, terms }).await?;
        match answer {
            BeginAnswer::InProgress(running) if !self.is_over(until) => {
                self.hold(call, turn, terms, running, (began, until)).await
            }
            answer => Ok(Begun { answer, waited: Duration::ZERO }),
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
        let lane = self.records.lanes.enter(key);
        let terms = Terms::new(&lane, deadline);
        let mut turn = terms.answer_by.bound(lane.turn()).await.ok_or(CallError::StoreUnavailable)?;
        self.in_turn(&mut turn, Ask { command, policy, terms }).await
    }

    /// The Begin as this store meets it.
    fn on_store<'a>(&self, call: &BeginCall<'a>) -> BeginOnStore<'a> {
        BeginOnStore { begin: call.begin, retry: call.retry, restored: self.records.restored }
    }

    fn replay(&self, call: &BeginCall<'_>) -> Option<BeginAnswer> {
        let record = self.records.replay_cache.get(call.key)?;
        // By another server's clock it may have expired already, and the key have begun anew.
        let latest = self.clock.now().plus(call.policy.clock_skew_allowance);
        match decide(Some(&record), call.begin, call.policy, latest) {
            Transition::Unchanged(Ok(answer @ BeginAnswer::Replayed(_))) => Some(answer),
            Transition::Unchanged(_) | Transition::Change { .. } => None,
        }
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        // Nobody is left to be told what became of a write: no task outlives the coordinator.
        self.drain();
    }
}
