//! What semel decides, and nothing else: no clock, no I/O, no proto, no async.
//!
//! [`decide`] is a pure function from what is stored, a command, the policy in force and a moment in time to a
//! [`Transition`]. Storing the transition is the coordinator's work.

mod attempt;
mod checkpoint;
mod command;
mod decide;
mod key;
mod policy;
mod policy_rules;
mod reason;
mod record;
mod result;
mod time;

pub use attempt::{AttemptId, Detail, Fence, Fingerprint, Labels, Note, Traceparent};
pub use checkpoint::{Checkpoint, CheckpointName, Checkpoints};
pub use command::{
    Abort, Aborted, Begin, BeginAnswer, Command, Complete, Completed, Disposition, Forget, InProgressAnswer,
    Lookup, Renew, Renewed, Resolution, Resolve, SaveCheckpoint, SavedCheckpoint, Started, UnresolvedAnswer,
};
pub use decide::{Refusal, Transition, decide};
pub use key::{Endpoint, IdempotencyKey, Key, Tenant};
pub use policy::{OnLostLease, Policy};
pub use policy_rules::{InForce, Pattern, PolicyRules, Rule};
pub use reason::{Reason, Violation};
pub use record::{Forgotten, GivenUp, Interest, Kept, Phase, Reading, Record, UnresolvedReason};
pub use result::{Header, OperationResult, Outcome};
pub use time::{Clock, PositiveDuration, Timestamp};
