//! What a caller's turn asks of the store, and what it says when the store does not answer in time.

use std::time::Duration;

use tokio::time::sleep_until;
use tracing::warn;

use super::single_flight::{Flight, InFlight, Seen};
use super::time_left::{AnswerBy, after};
use super::{CallError, Coordinator};
use crate::domain::Key;
use crate::storage::{Freshness, Put, StoreError, Write};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

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
}

impl Coordinator {
    /// Reads, and keeps what was found for everyone who waits for the turn.
    pub(super) async fn look(
        &self,
        turn: &mut Flight<'_>,
        key: &Key,
        freshness: Freshness,
        answer_by: AnswerBy,
    ) -> Result<(), CallError> {
        if answer_by.is_over() {
            return Err(CallError::StoreUnavailable);
        }
        let began = turn.begin_store_call();
        let found = answer_by.bound(self.store.get(key, freshness)).await;
        let late =
            || Err(StoreError::Unavailable("a read had no answer within its caller's deadline".into()));
        let current = found.unwrap_or_else(late).map_err(report)?;
        self.remember(key, current.as_ref());
        turn.saw(Seen { current, began, serial: freshness == Freshness::Serial });
        Ok(())
    }

    /// Sends `write` until its outcome is known, or its time is over. What is not even begun in time is not unknown:
    /// nothing was written.
    pub(super) async fn write(
        &self,
        write: Write,
        turn: &Flight<'_>,
        answer_by: AnswerBy,
        sent: &mut Sent,
    ) -> Result<Put, CallError> {
        if answer_by.is_over() {
            return Err(CallError::StoreUnavailable);
        }
        let in_flight = InFlight::new(self.store.clone(), write, turn.wake());
        if let Some(put) = self.settle(in_flight.write(), answer_by, sent).await {
            in_flight.answered();
            return put;
        }
        // The store still has it: it goes on without its caller, as when the caller leaves.
        drop(in_flight);
        sent.unsure = true;
        warn!("a write had no answer within its caller's deadline");
        Err(CallError::StoreOutcomeUnknown)
    }

    /// `None` where the store holds the write beyond `answer_by`.
    async fn settle(
        &self,
        write: &Write,
        answer_by: AnswerBy,
        sent: &mut Sent,
    ) -> Option<Result<Put, CallError>> {
        let settle_by = after(self.settings.settle_within).min(answer_by.instant());
        let mut unknown = false;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match answer_by.bound(self.store.compare_and_put(write)).await? {
                Ok(Put::Conflict(Some(current))) if current.write_id == write.write_id => {
                    return Some(Ok(Put::Applied));
                }
                Ok(put) => return Some(Ok(put)),
                // Once a send was unknown, a later refusal says nothing about the first.
                Err(StoreError::OutcomeUnknown(cause)) => {
                    unknown = true;
                    sent.unsure = true;
                    StoreError::OutcomeUnknown(cause)
                }
                Err(error) if unknown => error,
                Err(error) => return Some(Err(report(error))),
            };
            let wake = after(self.jittered(pause));
            if wake >= settle_by {
                warn!(%error, "a write's outcome stays unknown");
                return Some(Err(CallError::StoreOutcomeUnknown));
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
}

/// Logs the cause, which is not for callers, and keeps the kind.
pub(super) fn report(error: StoreError) -> CallError {
    match error {
        StoreError::NotListed { listed } => CallError::NotListed { listed },
        StoreError::Unavailable(cause) => {
            warn!(cause, "the store is unavailable");
            CallError::StoreUnavailable
        }
        StoreError::OutcomeUnknown(cause) => {
            warn!(cause, "a write's outcome is unknown");
            CallError::StoreOutcomeUnknown
        }
    }
}
