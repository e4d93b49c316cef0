//! What a call came to, for everyone who is told: metrics, the decision log, traces.

use std::time::Duration;

use super::Method;
use crate::coordinator::Begun;
use crate::domain::{
    Abort, Aborted, Begin, BeginAnswer, Complete, Completed, Disposition, Fence, Forget, Kept, Key, Labels,
    Lookup, Outcome, Reason, Renew, Renewed, Resolve, SaveCheckpoint, SavedCheckpoint, Traceparent,
};

macro_rules! words {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// What a call came to, in one word: `semel.decision`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Word { $($(#[$doc])* $variant),+ }

        impl Word {
            /// Every word, in the order of docs/OPERATIONS.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word itself.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

words! {
    /// The caller owns the key.
    Started = "started",
    /// The stored result was returned.
    Replayed = "replayed",
    /// Another attempt runs, or asked for a pause.
    InProgress = "in_progress",
    /// Nobody knows what happened, or nobody may try again.
    Unresolved = "unresolved",
    /// The result is stored.
    Completed = "completed",
    /// The owner said that nothing happened.
    Released = "released",
    /// The owner said that nobody can tell what happened.
    GivenUp = "given_up",
    /// The lease was extended.
    Renewed = "renewed",
    /// A recovery point is kept.
    CheckpointSaved = "checkpoint_saved",
    /// The record was told.
    Found = "found",
    /// An operator settled the record.
    Resolved = "resolved",
    /// An operator erased the record.
    Forgotten = "forgotten",
    /// The fingerprint differs.
    Mismatch = "mismatch",
    /// The outcome is no longer known.
    Expired = "expired",
    /// A copy of a Begin whose attempt had ended.
    AttemptEnded = "attempt_ended",
    /// The caller does not own the key.
    FenceLost = "fence_lost",
    /// The attempt had completed.
    AlreadyCompleted = "already_completed",
    /// The attempt had completed with another result.
    ResultConflict = "result_conflict",
    /// The recovery point has another value.
    CheckpointConflict = "checkpoint_conflict",
    /// One recovery point too many.
    CheckpointLimit = "checkpoint_limit",
    /// The record's state does not allow it.
    StateConflict = "state_conflict",
    /// Nothing is known of the key.
    NotFound = "not_found",
    /// The store keeps no such list.
    NotListed = "not_listed",
    /// The tenant is at its limit.
    QuotaExceeded = "quota_exceeded",
    /// As many Begins are held as may be.
    TooManyWaiters = "too_many_waiters",
    /// The answer did not fit the batch's.
    ResponseTooLarge = "response_too_large",
    /// The store did not take it; nothing was written.
    StoreUnavailable = "store_unavailable",
    /// The store did not say whether it took it.
    StoreOutcomeUnknown = "store_outcome_unknown",
    /// An argument was wrong.
    Invalid = "invalid",
    /// The credential is missing or wrong.
    Unauthenticated = "unauthenticated",
    /// The credential does not cover it.
    Denied = "denied",
    /// A bug.
    Internal = "internal",
}

impl Word {
    /// The word for a call that was refused.
    pub const fn of_reason(reason: Reason) -> Self {
        match reason {
            Reason::InvalidKey
            | Reason::InvalidAttemptId
            | Reason::InvalidFence
            | Reason::InvalidFingerprint
            | Reason::FingerprintRequired
            | Reason::InvalidDuration
            | Reason::InvalidResult
            | Reason::ResultTooLarge
            | Reason::InvalidDisposition
            | Reason::InvalidCheckpoint
            | Reason::InvalidLabels
            | Reason::InvalidDetail
            | Reason::InvalidResolution
            | Reason::InvalidPage
            | Reason::BatchTooLarge => Self::Invalid,
            Reason::FingerprintMismatch => Self::Mismatch,
            Reason::KeyExpired => Self::Expired,
            Reason::ResultConflict => Self::ResultConflict,
            Reason::AlreadyCompleted => Self::AlreadyCompleted,
            Reason::CheckpointConflict => Self::CheckpointConflict,
            Reason::CheckpointLimit => Self::CheckpointLimit,
            Reason::StateConflict => Self::StateConflict,
            Reason::NotListed => Self::NotListed,
            Reason::FenceLost => Self::FenceLost,
            Reason::AttemptEnded => Self::AttemptEnded,
            Reason::KeyNotFound => Self::NotFound,
            Reason::QuotaExceeded => Self::QuotaExceeded,
            Reason::TooManyWaiters => Self::TooManyWaiters,
            Reason::ResponseTooLarge => Self::ResponseTooLarge,
            Reason::StoreUnavailable => Self::StoreUnavailable,
            Reason::StoreOutcomeUnknown => Self::StoreOutcomeUnknown,
            Reason::CredentialRequired | Reason::CredentialInvalid => Self::Unauthenticated,
            Reason::TenantNotAllowed | Reason::RoleRequired => Self::Denied,
            Reason::Internal => Self::Internal,
        }
    }
}

/// What is to be told of some decisions beside their word. None has two of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// The attempt takes over from one that did not say that nothing happened.
    Takeover,
    /// A Complete came after a later fence was granted: the side effect may have run twice.
    LateCompletion,
    /// The result that was replayed is a failure.
    ReplayedFailure,
    /// Nothing was changed: the call was sent before.
    Repeated,
}

/// What a call came to. It borrows from the call and its answer: making one costs nothing.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// What was called.
    pub method: Method,
    /// The key it was about; absent where the arguments name none.
    pub key: Option<&'a Key>,
    /// What it came to.
    pub word: Word,
    /// Why it was refused, where it was.
    pub reason: Option<Reason>,
    /// The number of the attempt that it is about.
    pub attempt: Option<u32>,
    /// The fence of that attempt.
    pub fence: Option<Fence>,
    /// How long a Begin was held.
    pub waited: Duration,
    /// What is special about it.
    pub aspect: Option<Aspect>,
    /// What people find the attempt by: the call's own labels, or those that the record has.
    pub labels: Option<&'a Labels>,
    /// The trace that the call is a part of.
    pub trace: Option<Traceparent>,
    /// The span of the attempt whose work was found.
    pub earlier: Option<Traceparent>,
}

impl<'a> Decision<'a> {
    /// What a call came to that a command and its answer decided.
    pub fn told<A>(method: Method, key: &'a Key, command: &'a impl Tells<A>, answer: &'a A) -> Self {
        // Every command's `answered` puts its own word in the place of this one.
        let mut decision = Self::new(method, Some(key), Word::Internal);
        command.asked(&mut decision);
        command.answered(answer, &mut decision);
        decision
    }

    /// What a call came to that was refused; `superseded` where a later fence was granted.
    pub fn refused<A>(
        method: Method,
        key: &'a Key,
        command: &'a impl Tells<A>,
        reason: Reason,
        superseded: bool,
    ) -> Self {
        let mut decision = Self::rejected(method, reason);
        decision.key = Some(key);
        command.asked(&mut decision);
        let completes = matches!(method, Method::Complete | Method::BatchComplete);
        let late = completes && reason == Reason::FenceLost && superseded;
        decision.aspect = late.then_some(Aspect::LateCompletion);
        decision
    }

    /// A call that was refused before it was known to be about a key.
    pub fn rejected(method: Method, reason: Reason) -> Self {
        Self { reason: Some(reason), ..Self::new(method, None, Word::of_reason(reason)) }
    }

    /// True where the decision has this aspect, and nothing else: what is not so is not said.
    pub(super) fn is(&self, aspect: Aspect) -> Option<bool> {
        (self.aspect == Some(aspect)).then_some(true)
    }

    /// How many milliseconds a Begin was held, where it was.
    pub(super) fn waited_ms(&self) -> Option<u64> {
        let waited = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        (!self.waited.is_zero()).then_some(waited)
    }

    /// The value of the label that people find the attempt by.
    pub(super) fn correlation(&self, label: Option<&str>) -> Option<&'a str> {
        self.labels?.pairs().get(label?).map(String::as_str)
    }

    const fn new(method: Method, key: Option<&'a Key>, word: Word) -> Self {
        Self {
            method,
            key,
            word,
            reason: None,
            attempt: None,
            fence: None,
            waited: Duration::ZERO,
            aspect: None,
            labels: None,
            trace: None,
            earlier: None,
        }
    }
}

/// A command that says what its answer comes to.
pub trait Tells<Answer> {
    /// What is known of the call whatever its answer.
    fn asked<'a>(&'a self, decision: &mut Decision<'a>);

    /// What the answer adds.
    fn answered<'a>(&'a self, answer: &'a Answer, decision: &mut Decision<'a>);
}

impl Tells<Begun> for Begin {
    fn asked<'a>(&'a self, decision: &mut Decision<'a>) {
        decision.labels = Some(&self.labels);
    }

    fn answered<'a>(&'a self, begun: &'a Begun, decision: &mut Decision<'a>) {
        decision.waited = begun.waited;
        match &begun.answer {
            BeginAnswer::Started(started) => {
                decision.word = Word::Started;
                (decision.attempt, decision.fence) = (Some(started.attempt), Some(started.fence));
                if let Some(previous) = &started.previous {
                    decision.aspect = previous.lost.then_some(Aspect::Takeover);
                    decision.earlier = previous.traceparent;
                }
            }
            BeginAnswer::Replayed(completed) => {
                decision.word = Word::Replayed;
                (decision.attempt, decision.fence) = (Some(completed.attempt), Some(completed.fence));
                decision.earlier = completed.traceparent;
                let failed = completed.result.outcome == Outcome::Failure;
                decision.aspect = failed.then_some(Aspect::ReplayedFailure);
            }
            BeginAnswer::InProgress(running) => {
                decision.word = Word::InProgress;
                decision.attempt = Some(running.attempt);
                decision.earlier = running.traceparent;
            }
            BeginAnswer::Unresolved(unresolved) => {
                decision.word = Word::Unresolved;
                decision.attempt = Some(unresolved.attempt);
                decision.earlier = unresolved.traceparent;
            }
        }
    }
}

impl Tells<Completed> for Complete {
    fn asked<'a>(&'a self, decision: &mut Decision<'a>) {
        decision.fence = Some(self.fence);
    }

    fn answered<'a>(&'a self, completed: &'a Completed, decision: &mut Decision<'a>) {
        (decision.word, decision.attempt) = (Word::Completed, Some(completed.attempt));
        decision.labels = Some(&completed.labels);
        decision.aspect = completed.repeated.then_some(Aspect::Repeated);
    }
}

impl Tells<Aborted> for Abort {
    fn asked<'a>(&'a self, decision: &mut Decision<'a>) {
        decision.fence = Some(self.fence);
    }

    fn answered<'a>(&'a self, aborted: &'a Aborted, decision: &mut Decision<'a>) {
        decision.word = match self.disposition {
            Disposition::Release => Word::Released,
            Disposition::OutcomeUnknown => Word::GivenUp,
        };
        decision.aspect = aborted.repeated.then_some(Aspect::Repeated);
    }
}

impl Tells<Renewed> for Renew {
    fn asked<'a>(&'a self, decision: &mut Decision<'a>) {
        decision.fence = Some(self.fence);
    }

    fn answered<'a>(&'a self, _: &'a Renewed, decision: &mut Decision<'a>) {
        decision.word = Word::Renewed;
    }
}

impl Tells<SavedCheckpoint> for SaveCheckpoint {
    fn asked<'a>(&'a self, decision: &mut Decision<'a>) {
        decision.fence = Some(self.fence);
    }

    fn answered<'a>(&'a self, saved: &'a SavedCheckpoint, decision: &mut Decision<'a>) {
        decision.word = Word::CheckpointSaved;
        decision.aspect = saved.repeated.then_some(Aspect::Repeated);
    }
}

impl Tells<Kept> for Lookup {
    fn asked<'a>(&'a self, _: &mut Decision<'a>) {}

    fn answered<'a>(&'a self, kept: &'a Kept, decision: &mut Decision<'a>) {
        decision.word = Word::Found;
        told_of(kept, decision);
    }
}

impl Tells<Kept> for Resolve {
    fn asked<'a>(&'a self, decision: &mut Decision<'a>) {
        decision.fence = Some(self.fence);
    }

    fn answered<'a>(&'a self, kept: &'a Kept, decision: &mut Decision<'a>) {
        decision.word = Word::Resolved;
        told_of(kept, decision);
    }
}

fn told_of<'a>(record: &'a Kept, decision: &mut Decision<'a>) {
    (decision.attempt, decision.fence) = (Some(record.attempt), Some(record.fence));
    (decision.labels, decision.earlier) = (Some(&record.labels), record.traceparent);
}

impl Tells<()> for Forget {
    fn asked<'a>(&'a self, decision: &mut Decision<'a>) {
        decision.fence = Some(self.fence);
    }

    fn answered<'a>(&'a self, (): &'a (), decision: &mut Decision<'a>) {
        decision.word = Word::Forgotten;
    }
}
