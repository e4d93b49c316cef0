//! Begins that are held while another attempt runs.

use std::sync::Arc;

use tokio::sync::futures::OwnedNotified;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use super::single_flight::Turn;
use super::time_left::{AnswerBy, after};
use super::turns::{Ask, Terms};
use super::{BeginCall, Begun, CallError, Coordinator};
use crate::domain::{BeginAnswer, InProgressAnswer};

/// Counts the Begins that are held.
#[derive(Debug)]
pub(super) struct Waiters(Arc<Semaphore>);

impl Waiters {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))))
    }

    /// A place among the held, given back when it is dropped; `None` when all are taken.
    fn admit(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().try_acquire_owned().ok()
    }
}

impl Coordinator {
    /// Whether a Begin that may be held until then is to be answered now.
    pub(super) fn is_over(&self, until: Instant) -> bool {
        Instant::now() >= until || self.records.draining.is_cancelled()
    }

    /// Holds a Begin that was told in its `turn` that an attempt is `running`, from when it `began` and at most
    /// `until` then.
    pub(super) async fn hold(
        &self,
        call: &BeginCall<'_>,
        turn: Turn<'_>,
        mut terms: Terms,
        mut running: InProgressAnswer,
        (began, until): (Instant, Instant),
    ) -> Result<Begun, CallError> {
        let _place = self.waiters.admit().ok_or(CallError::TooManyWaiters)?;
        let lane = turn.place();
        let mut changed = next_change(&turn, &mut terms);
        drop(turn);
        terms.look_by = AnswerBy::at(until);
        let settings = &self.records.settings;
        let mut poll = settings.poll.map(|poll| poll.first);
        loop {
            let left = running.changes_at.since(self.clock.now());
            let pause = poll.map(|pause| self.records.jittered(pause)).filter(|pause| *pause < left);
            let look_again = after(pause.unwrap_or(left + self.turn_among_servers));
            // In this order, so that equal histories go on equally.
            tokio::select! {
                biased;
                () = changed => {}
                () = self.records.draining.cancelled() => {}
                () = sleep_until(look_again.min(until)) => {
                    if poll.is_some() && pause.is_none() {
                        // It is about to take over: what was read while the lease ran is too old for that.
                        terms.arrived = lane.arrive();
                    }
                    poll = poll.zip(settings.poll).map(|(pause, poll)| (pause * 2).min(poll.longest));
                }
            }
            terms.asked = lane.arrive();
            let turn = tokio::select! {
                biased;
                () = self.records.draining.cancelled() => None,
                () = sleep_until(until) => None,
                turn = lane.turn() => Some(turn),
            };
            // Before the decision, so that a caller never counts its lease to end later than it does.
            let waited = began.elapsed();
            let Some(mut turn) = turn else { return Ok(self.still_running(running, began)) };
            let ask = Ask { command: &self.on_store(call), policy: call.policy, terms };
            match self.in_turn(&mut turn, ask).await {
                Ok(BeginAnswer::InProgress(now)) if self.is_over(until) => {
                    return Ok(Begun { answer: BeginAnswer::InProgress(now), waited });
                }
                Ok(BeginAnswer::InProgress(now)) => running = now,
                Ok(answer) => return Ok(Begun { answer, waited }),
                // It wrote nothing, and there is no time to learn more.
                Err(CallError::StoreUnavailable) if self.is_over(until) => {
                    return Ok(self.still_running(running, began));
                }
                Err(error) => return Err(error),
            }
            changed = next_change(&turn, &mut terms);
        }
    }

    fn still_running(&self, mut running: InProgressAnswer, began: Instant) -> Begun {
        let left = running.changes_at.since(self.clock.now());
        running.retry_after = running.retry_after.min(left);
        Begun { answer: BeginAnswer::InProgress(running), waited: began.elapsed() }
    }
}

/// Ends at the next change after this turn: registered while the turn is held, and nothing is changed, or found out,
/// without one.
fn next_change(turn: &Turn<'_>, terms: &mut Terms) -> OwnedNotified {
    terms.arrived = turn.place().arrive();
    turn.changed()
}
