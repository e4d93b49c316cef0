//! Writes, and what becomes of those that the store does not answer.
//!
//! While its caller is there, a write is sent again until the store says. Nobody sends it for a caller that is gone:
//! it would own a key and not know. What became of it is read instead, so that whoever waits for the key hears of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::CallError;
use super::records::{Records, is_completed, report};
use super::single_flight::{LaneGuard, Seen, Turn};
use super::time_left::{AnswerBy, after};
use crate::storage::{Freshness, Put, StoreError, Write};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest pause while a caller waits for what became of its write.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause when it is gone.
const LONGEST_PAUSE_ALONE: Duration = Duration::from_secs(5);

/// What one call's writes came to so far.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// A send had no answer. No later refusal makes known what became of it.
    unsure: bool,
}

impl Sent {
    /// `error`, unless it claims that nothing was written and nobody can know that.
    pub(super) fn honest(&self, error: CallError) -> CallError {
        match error {
            CallError::StoreUnavailable if self.unsure => CallError::StoreOutcomeUnknown,
            error => error,
        }
    }

    /// Whether it is certain that this call wrote nothing.
    pub(super) const fn nothing(&self) -> bool {
        !self.unsure
    }
}

/// What became of a write.
enum Outcome {
    Answered(Put),
    /// Nothing was written.
    Refused(StoreError),
    /// The store does not say, however often it is asked.
    Unknown(StoreError),
    /// There was no time to hear of it.
    OutOfTime,
}

impl Records {
    /// Sends `write` until its outcome is known, or its time is over. What is not even begun in time is not unknown:
    /// nothing was written. A caller that queues since `asked` shares the failure of a write that began later.
    pub(super) async fn write(
        self: &Arc<Self>,
        turn: &mut Turn<'_>,
        write: &Write,
        asked: u64,
        answer_by: AnswerBy,
        sent: &mut Sent,
    ) -> Result<Put, CallError> {
        if answer_by.is_over() || turn.has_failed_write(asked) {
            return Err(CallError::StoreUnavailable);
        }
        let (began, since) = (turn.begin_store_call(), Instant::now());
        let in_flight = InFlight::new(self, turn);
        match self.settle(write, answer_by, sent).await {
            Outcome::Answered(put) => {
                in_flight.answered();
                if let (Put::Applied, Some(observer)) = (&put, &self.settings.observer) {
                    observer.applied(write);
                }
                let current = match &put {
                    Put::Applied => Some(write.made()),
                    Put::Conflict(current) => current.clone(),
                };
                turn.wrote(current, began);
                self.remember(turn, since);
                Ok(put)
            }
            Outcome::Refused(error) => {
                in_flight.refused();
                turn.write_failed(began);
                Err(report(error))
            }
            Outcome::Unknown(error) => {
                drop(in_flight);
                turn.write_failed(began);
                warn!(%error, "a write's outcome stays unknown");
                Err(CallError::StoreOutcomeUnknown)
            }
            Outcome::OutOfTime => {
                warn!("a write had no answer within its caller's deadline");
                Err(CallError::StoreOutcomeUnknown)
            }
        }
    }

    async fn settle(&self, write: &Write, answer_by: AnswerBy, sent: &mut Sent) -> Outcome {
        let give_up = after(self.settings.settle_within);
        let mut unknown = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let Some(put) = answer_by.bound(self.store.compare_and_put(write)).await else {
                sent.unsure = true;
                return Outcome::OutOfTime;
            };
            let error = match put {
                Ok(Put::Conflict(Some(current))) if current.write_id == write.write_id => {
                    return Outcome::Answered(Put::Applied);
                }
                Ok(put) => return Outcome::Answered(put),
                // Once a send was unknown, a later refusal says nothing about the first.
                Err(error) if unknown || matches!(error, StoreError::OutcomeUnknown(_)) => error,
                Err(error) => return Outcome::Refused(error),
            };
            unknown = true;
            sent.unsure = true;
            let wake = after(self.jittered(pause));
            if wake >= give_up {
                return Outcome::Unknown(error);
            }
            if wake >= answer_by.instant() {
                return Outcome::OutOfTime;
            }
            sleep_until(wake).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Lets other servers finish when they keep winning.
    pub(super) async fn back_off(&self, conflicts: u32, answer_by: AnswerBy) {
        let longest = Duration::from_millis(1 << conflicts.min(7));
        sleep_until(after(self.jittered(longest)).min(answer_by.instant())).await;
    }

    /// Reads until it is known what became of the writes that nobody waits for any more, and wakes who waits for the
    /// key. Without anybody else there, it is not worth asking for ever.
    async fn find_out(&self, place: &LaneGuard) {
        let mut pause = FIRST_PAUSE;
        loop {
            {
                let asked = place.arrive();
                let mut turn = place.turn().await;
                // Another caller's write may have settled it.
                let Some(since) = turn.unsettled() else {
                    return turn.set_settler(false);
                };
                let by = AnswerBy::at(after(self.settings.settle_within));
                if self.look(&mut turn, Freshness::Serial, asked, by).await.is_ok() {
                    return turn.set_settler(false);
                }
                if since.elapsed() >= self.settings.settle_within && place.is_alone() {
                    warn!("what became of a write stays unknown");
                    return turn.set_settler(false);
                }
            }
            sleep_until(after(self.jittered(pause))).await;
            pause = (pause * 2).min(LONGEST_PAUSE_ALONE);
        }
    }
}

/// A write that the store has not answered yet. Whatever ends the wait for the answer, what became of the write is
/// found out.
struct InFlight<'a, 'turn> {
    records: &'a Arc<Records>,
    turn: &'a mut Turn<'turn>,
    /// What was known before.
    before: (Option<Seen>, Option<Instant>),
    known: bool,
}

impl<'a, 'turn> InFlight<'a, 'turn> {
    fn new(records: &'a Arc<Records>, turn: &'a mut Turn<'turn>) -> Self {
        let before = (turn.seen().cloned(), turn.unsettled());
        let current = before.0.as_ref().and_then(|seen| seen.current.as_ref());
        if current.is_some_and(|current| is_completed(&current.record)) {
            // From now on a replay may be one of a result that is forgotten.
            records.replay_cache.forget(turn.key());
        }
        turn.sending();
        Self { records, turn, before, known: false }
    }

    /// The store said what is there.
    fn answered(mut self) {
        self.known = true;
    }

    /// The store said that nothing was written.
    fn refused(mut self) {
        self.known = true;
        let (seen, unsettled) = std::mem::take(&mut self.before);
        self.turn.not_sent(seen, unsettled);
    }
}

impl Drop for InFlight<'_, '_> {
    fn drop(&mut self) {
        if self.known || self.turn.has_settler() {
            return;
        }
        // Without a runtime nobody waits for the key either.
        let Ok(runtime) = Handle::try_current() else { return };
        self.turn.set_settler(true);
        let (records, place) = (self.records.clone(), self.turn.another_place());
        runtime.spawn(async move {
            records.draining.run_until_cancelled(records.find_out(&place)).await;
        });
    }
}
