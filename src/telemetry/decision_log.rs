//! One line in the log for each decision.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{Level, enabled, event};

use super::KeyHash;
use super::decision::{Aspect, Decision, Word};
use crate::domain::Traceparent;

/// What the lines are filtered by: `log_level = "info,semel::decision=warn"`.
pub(crate) const TARGET: &str = "semel::decision";

/// Says each decision, but for some replays.
#[derive(Debug)]
pub(super) struct DecisionLog {
    key_hash: KeyHash,
    replay_ratio: f64,
    correlation_label: Option<String>,
    replays: AtomicU64,
}

/// Writes the line, at a level that has to be known when this is compiled.
macro_rules! line {
    ($level:expr, $log:ident, $decision:ident) => {
        event!(
            target: TARGET,
            $level,
            semel.tenant = $decision.key.map(|key| key.tenant.as_str()),
            semel.endpoint = $decision.key.map(|key| key.endpoint.as_str()),
            semel.key_hash = $decision.key.map(|key| $log.key_hash.name(key)),
            semel.decision = $decision.word.as_str(),
            semel.attempt = $decision.attempt,
            semel.fence = $decision.fence.map(|fence| fence.get()),
            semel.waited_ms = $decision.waited_ms(),
            semel.takeover = $decision.is(Aspect::Takeover),
            semel.late_completion = $decision.is(Aspect::LateCompletion),
            semel.replayed_failure = $decision.is(Aspect::ReplayedFailure),
            semel.repeated = $decision.is(Aspect::Repeated),
            semel.correlation = $decision.correlation($log.correlation_label.as_deref()),
            trace_id = $decision.trace.map(Traceparent::trace_id),
            reason = $decision.reason.map(|reason| reason.as_str()),
            "{}: {}",
            $decision.method.short_name(),
            $decision.word.as_str()
        )
    };
}

impl DecisionLog {
    /// Keys are named by `key_hash`. Of the replays a part is said, from 0 to 1; those of failures always are.
    pub(super) const fn new(key_hash: KeyHash, replay_ratio: f64, correlation_label: Option<String>) -> Self {
        Self { key_hash, replay_ratio, correlation_label, replays: AtomicU64::new(0) }
    }

    /// Says what was decided. The key's hash is made only where somebody listens.
    pub(super) fn say(&self, decision: &Decision<'_>) {
        let level = level(decision);
        let heard = match level {
            Level::ERROR => enabled!(target: TARGET, Level::ERROR),
            Level::WARN => enabled!(target: TARGET, Level::WARN),
            Level::INFO => enabled!(target: TARGET, Level::INFO),
            _ => enabled!(target: TARGET, Level::DEBUG),
        };
        if !heard || !self.keeps(decision) {
            return;
        }
        match level {
            Level::ERROR => line!(Level::ERROR, self, decision),
            Level::WARN => line!(Level::WARN, self, decision),
            Level::INFO => line!(Level::INFO, self, decision),
            _ => line!(Level::DEBUG, self, decision),
        }
    }

    /// Whether the line is in the sample: of the replays so far, the ratio's part was.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a count of replays is below 2^53, and so is a part of it"
    )]
    fn keeps(&self, decision: &Decision<'_>) -> bool {
        if decision.word != Word::Replayed || decision.aspect.is_some() {
            return true;
        }
        let before = self.replays.fetch_add(1, Ordering::Relaxed);
        let kept_of = |replays: u64| (replays as f64 * self.replay_ratio) as u64;
        kept_of(before + 1) > kept_of(before)
    }
}

/// How loud a decision is: what somebody should look at is a warning, what owners do again and again is for debugging.
const fn level(decision: &Decision<'_>) -> Level {
    if matches!(decision.aspect, Some(Aspect::Takeover | Aspect::LateCompletion)) {
        return Level::WARN;
    }
    match decision.word {
        Word::Internal => Level::ERROR,
        Word::Unresolved
        | Word::GivenUp
        | Word::Mismatch
        | Word::ResultConflict
        | Word::CheckpointConflict
        | Word::QuotaExceeded
        | Word::TooManyWaiters
        | Word::StoreUnavailable
        | Word::StoreOutcomeUnknown
        | Word::Unauthenticated
        | Word::Denied => Level::WARN,
        Word::Renewed | Word::CheckpointSaved | Word::Found => Level::DEBUG,
        Word::Started
        | Word::Replayed
        | Word::InProgress
        | Word::Completed
        | Word::Released
        | Word::Resolved
        | Word::Forgotten
        | Word::Expired
        | Word::AttemptEnded
        | Word::FenceLost
        | Word::AlreadyCompleted
        | Word::CheckpointLimit
        | Word::StateConflict
        | Word::NotFound
        | Word::NotListed
        | Word::ResponseTooLarge
        | Word::Invalid => Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::DecisionLog;
    use crate::domain::Reason;
    use crate::telemetry::{Aspect, Decision, KeyHash, Method, Word};

    #[test]
    fn as_many_replays_are_kept_as_asked_for() {
        let other = Decision::rejected(Method::Begin, Reason::KeyExpired);
        let replay = Decision { word: Word::Replayed, ..other };
        let failure = Decision { aspect: Some(Aspect::ReplayedFailure), ..replay };
        for (replay_ratio, kept) in [(0.0, 0), (0.01, 10), (0.25, 250), (1.0, 1000)] {
            let log = DecisionLog::new(KeyHash::new(b"test"), replay_ratio, None);
            let count = |decision: &Decision<'_>| (0..1000).filter(|_| log.keeps(decision)).count();
            assert_eq!(count(&replay), kept, "{replay_ratio}");
            assert_eq!((count(&other), count(&failure)), (1000, 1000));
        }
    }
}
