//! What callers ask for, and what they are told.

use std::sync::Arc;
use std::time::Duration;

use super::attempt_id::AttemptId;
use super::checkpoint::{Checkpoint, CheckpointName};
use super::decide::Transition;
use super::fence::Fence;
use super::fingerprint::Fingerprint;
use super::labels::Labels;
use super::policy::Policy;
use super::record::{Record, UnresolvedReason};
use super::remark::{Detail, Note};
use super::restored::Restored;
use super::result::OperationResult;
use super::time::{PositiveDuration, Timestamp};
use super::traceparent::Traceparent;

/// Something that can be decided about one key.
pub trait Command {
    /// What the caller is told.
    type Answer;

    /// Whether a refusal makes an owner stop: it is then said only on what a serial read found.
    const REFUSAL_STOPS_OWNER: bool;

    /// Whether it needs what callers wrote in the record, or how the record reads is enough.
    const READS_CONTENT: bool = true;

    /// The pure decision: what to answer and what to store.
    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<Self::Answer>;
}

/// Reserve the key, or tell what became of it.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Names this attempt.
    pub attempt_id: AttemptId,
    /// The digest of the request.
    pub fingerprint: Option<Fingerprint>,
    /// How long to own the key.
    pub lease: Option<PositiveDuration>,
    /// How long to keep the outcome.
    pub retention: Option<PositiveDuration>,
    /// When the caller first sent this operation.
    pub first_sent: Option<Timestamp>,
    /// For people.
    pub labels: Labels,
    /// The caller's trace.
    pub traceparent: Option<Traceparent>,
    /// Whether its tenant has room for one more open key. It decides on a key of which nothing is known, and on no
    /// other: whoever owns one, or comes after somebody who did, opens none.
    pub may_open: bool,
}

/// A Begin as a store meets it: one that was restored from a backup may have lost what the Begin asks for.
#[derive(Clone, Copy, Debug)]
pub struct BeginOnStore<'a> {
    /// What is asked.
    pub begin: &'a Begin,
    /// The caller knows this to be a retry.
    pub retry: bool,
    /// What the store knows of having been restored.
    pub restored: Option<Restored>,
}

/// What a Begin is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginAnswer {
    /// The caller owns the key.
    Started(Started),
    /// It already happened.
    Replayed(Completed),
    /// Another attempt owns the key, or asked for a pause.
    InProgress(InProgressAnswer),
    /// Nobody may run.
    Unresolved(UnresolvedAnswer),
}

/// Ownership, granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The attempt's fence.
    pub fence: Fence,
    /// The attempt's number.
    pub attempt: u32,
    /// How long the key is owned from now.
    pub lease: Duration,
    /// Until when.
    pub lease_end: Timestamp,
    /// What earlier attempts saved.
    pub checkpoints: Vec<Checkpoint>,
    /// The attempt before this one; absent for the first, and where this very attempt was told before.
    pub previous: Option<Previous>,
}

/// The attempt that a new one comes after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// It was lost, or gave up, without saying that nothing happened: this one takes over.
    pub lost: bool,
    /// Its trace, where it sent one.
    pub traceparent: Option<Traceparent>,
}

/// Another attempt owns the key, or asked for a pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProgressAnswer {
    /// The attempt's number.
    pub attempt: u32,
    /// When asking again is worth it.
    pub retry_after: Duration,
    /// Until when the attempt owns the key, where one does.
    pub lease_end: Option<Timestamp>,
    /// The attempt's trace.
    pub traceparent: Option<Traceparent>,
    /// From then on the passing of time alone changes the answer.
    pub changes_at: Timestamp,
}

impl InProgressAnswer {
    /// Whether nobody runs and the last attempt asked for a pause.
    pub const fn backing_off(&self) -> bool {
        self.lease_end.is_none()
    }
}

/// Nobody knows, or nobody may try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedAnswer {
    /// Which of the two.
    pub reason: UnresolvedReason,
    /// The last attempt's number.
    pub attempt: u32,
    /// What its owner said.
    pub detail: String,
    /// Since when.
    pub since: Timestamp,
    /// The attempt's trace.
    pub traceparent: Option<Traceparent>,
}

/// A completion that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// What is replayed.
    pub result: Arc<OperationResult>,
    /// The fence of the attempt that did it.
    pub fence: Fence,
    /// Its number.
    pub attempt: u32,
    /// When.
    pub completed_at: Timestamp,
    /// From then on the key may run again.
    pub expires_at: Timestamp,
    /// Its labels.
    pub labels: Labels,
    /// Its trace.
    pub traceparent: Option<Traceparent>,
    /// Nothing was changed by this call.
    pub repeated: bool,
}

/// Record the result.
#[derive(Clone, Debug)]
pub struct Complete {
    /// The owner's fence.
    pub fence: Fence,
    /// The owner's attempt.
    pub attempt_id: AttemptId,
    /// What to replay.
    pub result: Arc<OperationResult>,
    /// How long to keep it.
    pub retention: Option<PositiveDuration>,
}

/// What the owner says when it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Nothing happened.
    Release,
    /// It may have happened.
    OutcomeUnknown,
}

/// Give the key up without a result.
#[derive(Clone, Debug)]
pub struct Abort {
    /// The owner's fence.
    pub fence: Fence,
    /// The owner's attempt.
    pub attempt_id: AttemptId,
    /// Whether anything may have happened.
    pub disposition: Disposition,
    /// For people.
    pub detail: Detail,
    /// The pause asked of the next Begin.
    pub retry_after: Duration,
}

/// The key was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Nothing was changed by this call.
    pub repeated: bool,
}

/// Extend the lease.
#[derive(Clone, Debug)]
pub struct Renew {
    /// The owner's fence.
    pub fence: Fence,
    /// The owner's attempt.
    pub attempt_id: AttemptId,
    /// How long from now; the length granted last where absent.
    pub lease: Option<PositiveDuration>,
}

/// The lease that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// How long from now.
    pub lease: Duration,
    /// Until when.
    pub lease_end: Timestamp,
}

/// Save a recovery point.
#[derive(Clone, Debug)]
pub struct SaveCheckpoint {
    /// The owner's fence.
    pub fence: Fence,
    /// The owner's attempt.
    pub attempt_id: AttemptId,
    /// Its name.
    pub name: CheckpointName,
    /// Its value.
    pub value: bytes::Bytes,
}

/// The recovery point is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// Nothing was changed by this call.
    pub repeated: bool,
}

/// Tell what is known; answers the record as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Lookup;

/// An operator's word on a record that nobody could settle.
#[derive(Clone, Debug)]
pub struct Resolve {
    /// The fence the operator looked at.
    pub fence: Fence,
    /// What happened.
    pub resolution: Resolution,
    /// Who decided and why.
    pub note: Note,
    /// The owner is known to be gone.
    pub force: bool,
}

/// What an operator found out.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// It did happen.
    Result(Arc<OperationResult>),
    /// It did not.
    Release,
}

/// Erase everything but the fence.
#[derive(Clone, Copy, Debug)]
pub struct Forget {
    /// The fence the operator looked at.
    pub fence: Fence,
    /// The owner is known to be gone.
    pub force: bool,
}
