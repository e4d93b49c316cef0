//! What a caller does in its turn on a key: decide on what is seen, and look or write until that is good enough.

use std::sync::Arc;

use tokio::time::Instant;

use super::records::{Records, report_sealed};
use super::settling::Sent;
use super::single_flight::{LaneGuard, Turn};
use super::time_left::AnswerBy;
use super::{CallError, Coordinator};
use crate::domain::{Command, Policy, Transition, decide};
use crate::storage::{Freshness, Put, Versioned, Write};

/// A call's terms, whatever it asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Its place among the arrivals and store calls of its lane: what was found later may answer it.
    pub(super) arrived: u64,
    /// Since when it queues for this turn: it shares the failure of a store call that began later.
    pub(super) asked: u64,
    /// When it no longer waits for a read.
    pub(super) look_by: AnswerBy,
    /// When it is answered at the latest.
    pub(super) answer_by: AnswerBy,
    /// It knows that there is something to be read.
    pub(super) reads_first: bool,
    /// It may put its own in the place of a record that was seen before it arrived. A Begin does so only where nobody
    /// else writes: elsewhere the owner may have renewed, and a read costs the store less than a refused write.
    pub(super) takes_over_on_a_guess: bool,
}

impl Terms {
    /// Those of a call that arrives now, where nothing else is said.
    pub(super) fn new(lane: &LaneGuard, deadline: Option<Instant>) -> Self {
        let (arrived, answer_by) = (lane.arrive(), AnswerBy::of(deadline));
        Self {
            arrived,
            asked: arrived,
            look_by: answer_by,
            answer_by,
            reads_first: false,
            takes_over_on_a_guess: true,
        }
    }
}

/// What is asked in a turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a, C> {
    pub(super) command: &'a C,
    pub(super) policy: &'a Policy,
    pub(super) terms: Terms,
}

impl Coordinator {
    /// One caller's turn on a key. An error says honestly whether something may have been written.
    pub(super) async fn in_turn<C: Command>(
        &self,
        turn: &mut Turn<'_>,
        ask: Ask<'_, C>,
    ) -> Result<C::Answer, CallError> {
        let mut sent = Sent::default();
        let answer = self.answer(turn, ask, &mut sent).await;
        answer.map_err(|error| sent.honest(error))
    }

    /// What was seen before this call arrived serves only as a guess: a write on it is checked by its
    /// condition, and an answer that changes nothing is given only on a store call that began after the call arrived.
    async fn answer<C: Command>(
        &self,
        turn: &mut Turn<'_>,
        Ask { command, policy, terms }: Ask<'_, C>,
        sent: &mut Sent,
    ) -> Result<C::Answer, CallError> {
        let Terms { arrived, asked, look_by, answer_by, .. } = terms;
        let records: &Arc<Records> = &self.records;
        if turn.seen().is_none() {
            turn.guess(records.guess(turn.key()));
        }
        if terms.reads_first && !turn.is_fresh(arrived) {
            records.look(turn, Freshness::Acknowledged, asked, look_by).await?;
        }
        let mut conflicts = 0_u32;
        loop {
            let seen = turn.seen().cloned().unwrap_or_default();
            let fresh = turn.is_fresh(arrived);
            if C::READS_CONTENT && seen.current.as_ref().is_some_and(|current| current.sealed.is_some()) {
                if fresh {
                    return Err(report_sealed(turn.key()));
                }
                records.look(turn, Freshness::Acknowledged, asked, look_by).await?;
                continue;
            }
            let record = seen.current.as_ref().map(|current| &*current.record);
            match decide(record, command, policy, self.clock.now()) {
                Transition::Unchanged(answer) => {
                    if !fresh {
                        records.look(turn, Freshness::Acknowledged, asked, look_by).await?;
                    } else if C::REFUSAL_STOPS_OWNER && answer.is_err() && !seen.serial {
                        // Only a refusal that a plain read bears out is worth a serial one.
                        records.look(turn, Freshness::Serial, asked, look_by).await?;
                    } else {
                        return answer.map_err(CallError::Refused);
                    }
                }
                Transition::Change { .. } if !fresh && record.is_some() && !terms.takes_over_on_a_guess => {
                    records.look(turn, Freshness::Acknowledged, asked, look_by).await?;
                }
                Transition::Change { next, answer } => {
                    let next = Versioned::new(records.new_write_id(), Arc::new(next));
                    let write = Write::new(turn.key().clone(), seen.current.as_ref(), next, policy);
                    match records.write(turn, &write, asked, answer_by, sent).await {
                        Ok(Put::Applied) => return Ok(answer),
                        // What the first refusal brought back is often an answer, and else worth a try at once.
                        Ok(Put::Conflict(_)) if conflicts == 0 => conflicts = 1,
                        Ok(Put::Conflict(_)) => {
                            records.back_off(conflicts, answer_by).await;
                            // Whoever won before has had time to win again.
                            records.look(turn, Freshness::Acknowledged, asked, look_by).await?;
                            conflicts += 1;
                        }
                        // It was a guess that there is something to write, and reads may work where writes do not.
                        Err(CallError::StoreUnavailable) if !fresh && sent.nothing() => {
                            records.look(turn, Freshness::Acknowledged, asked, look_by).await?;
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}
