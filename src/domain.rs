//! What semel decides, and nothing else: no clock, no I/O, no proto, no async.
//!
//! [`decide`] is a pure function from what is stored, a command, the policy in force and a moment in time to a
//! [`Transition`]. Storing the transition is the coordinator's work.

mod attempt_id;
mod checkpoint;
mod command;
mod decide;
mod fence;
mod fingerprint;
mod key;
mod labels;
mod policy;
mod policy_rules;
mod reason;
mod record;
mod remark;
mod restored;
mod result;
mod time;
mod traceparent;

pub use attempt_id::AttemptId;
pub use checkpoint::{Checkpoint, CheckpointName, Checkpoints};
pub use command::{
    Abort, Aborted, Begin, BeginAnswer, BeginOnStore, Command, Complete, Completed, Disposition, Forget,
    InProgressAnswer, Lookup, Previous, Renew, Renewed, Resolution, Resolve, SaveCheckpoint, SavedCheckpoint,
    Started, UnresolvedAnswer,
};
pub use decide::{Refusal, Transition, decide};
pub use fence::Fence;
pub use fingerprint::Fingerprint;
pub use key::{Endpoint, IdempotencyKey, Key, Tenant};
pub use labels::Labels;
pub use policy::{OnLostLease, Policy, QuotaPlaces, Rate};
pub use policy_rules::{InForce, Pattern, PolicyRules, Rule};
pub use reason::{Reason, Violation};
pub use record::{Forgotten, GivenUp, Interest, Kept, Phase, Reading, Record, UnresolvedReason};
pub use remark::{Detail, Note};
pub use restored::Restored;
pub use result::{Header, OperationResult, Outcome};
pub use time::{Clock, PositiveDuration, Timestamp};
pub use traceparent::Traceparent;
