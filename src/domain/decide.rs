//! The state machine: one file for the callers who begin, one for owners, one for operators.

mod begin;
mod operator;
mod owner;

use super::checkpoint::Checkpoints;
use super::command::{Command, Lookup};
use super::policy::Policy;
use super::reason::Reason;
use super::record::{Kept, Record};
use super::time::Timestamp;
use super::traceparent::Traceparent;

/// What a decision comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "taken apart at once by the one who asked; never kept")]
pub enum Transition<A> {
    /// Nothing is to be stored.
    Unchanged(Result<A, Refusal>),
    /// `next` is to be stored, and the answer holds once it is.
    Change {
        /// The whole record from now on.
        next: Record,
        /// What the caller is told.
        answer: A,
    },
}

/// Why a well-formed command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request differs from the one that the key stands for.
    #[error(
        "the fingerprint differs from the one this key was begun with; use another key for another request"
    )]
    FingerprintMismatch {
        /// The span of the attempt that the key stands for, where the record has one.
        original: Option<Traceparent>,
    },
    /// A retry came after the outcome was forgotten.
    #[error(
        "the operation was first sent before the outcome's retention window, or before the store was restored from a \
         backup; whether it ran is no longer known"
    )]
    KeyExpired,
    /// The tenant has as many open keys as it may.
    #[error(
        "the tenant has as many open keys as its policy allows; complete or settle some of them, then send the same \
         call again"
    )]
    TooManyOpenKeys,
    /// A copy of a Begin arrived after its attempt had ended.
    #[error("this attempt already ended; begin again with a new attempt_id")]
    AttemptEnded,
    /// The caller no longer owns the key, or never did.
    #[error("another attempt owns or owned this key since; stop, and do not report for this fence again")]
    FenceLost {
        /// A later fence was granted: the side effect may have run twice.
        superseded: bool,
    },
    /// The attempt has completed.
    #[error("this attempt is already completed; its result stands")]
    AlreadyCompleted,
    /// The attempt has completed otherwise.
    #[error("this attempt is already completed with another result; the first one stands")]
    ResultConflict,
    /// The point was saved with another value.
    #[error("a checkpoint of this name holds another value; the first one stands")]
    CheckpointConflict,
    /// One point too many.
    #[error(
        "a key keeps at most {} checkpoints and {} KiB of their names and values",
        Checkpoints::MAX_POINTS,
        Checkpoints::MAX_BYTES / 1024
    )]
    CheckpointLimit,
    /// The record is not in a state that allows this.
    #[error(
        "the record's state does not allow this; look it up, and use force only where the owner is known to be gone"
    )]
    StateConflict,
    /// Nothing is known of the key.
    #[error("no record of this key; it was never begun, or its retention is over")]
    KeyNotFound,
}

impl Refusal {
    /// The reason the error carries.
    pub const fn reason(self) -> Reason {
        match self {
            Self::FingerprintMismatch { .. } => Reason::FingerprintMismatch,
            Self::KeyExpired => Reason::KeyExpired,
            Self::TooManyOpenKeys => Reason::QuotaExceeded,
            Self::AttemptEnded => Reason::AttemptEnded,
            Self::FenceLost { .. } => Reason::FenceLost,
            Self::AlreadyCompleted => Reason::AlreadyCompleted,
            Self::ResultConflict => Reason::ResultConflict,
            Self::CheckpointConflict => Reason::CheckpointConflict,
            Self::CheckpointLimit => Reason::CheckpointLimit,
            Self::StateConflict => Reason::StateConflict,
            Self::KeyNotFound => Reason::KeyNotFound,
        }
    }
}

/// Decides `command` on what is stored. Depends on nothing but its arguments.
pub fn decide<C: Command>(
    record: Option<&Record>,
    command: &C,
    policy: &Policy,
    now: Timestamp,
) -> Transition<C::Answer> {
    command.decide(record, policy, now)
}

impl Command for Lookup {
    type Answer = Kept;

    const REFUSAL_STOPS_OWNER: bool = false;

    fn decide(&self, record: Option<&Record>, _: &Policy, now: Timestamp) -> Transition<Kept> {
        let live = record.and_then(|record| record.live(now));
        Transition::Unchanged(live.cloned().ok_or(Refusal::KeyNotFound))
    }
}

fn refuse<A>(refusal: Refusal) -> Transition<A> {
    Transition::Unchanged(Err(refusal))
}

const fn unchanged<A>(answer: A) -> Transition<A> {
    Transition::Unchanged(Ok(answer))
}

const fn change<A>(next: Kept, answer: A) -> Transition<A> {
    Transition::Change { next: Record::Kept(next), answer }
}
