//! What callers bring, and why they may have no answer.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Begin, BeginAnswer, Key, Policy, Refusal};
use crate::storage::Scope;

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The state machine refused it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// As many Begins are held as may be.
    #[error("too many calls are waiting on this server; ask again without wait, or later")]
    TooManyWaiters,
    /// Nothing was written.
    #[error("the store did not take the call and nothing was written; send the same call again")]
    StoreUnavailable,
    /// The write may have happened.
    #[error("the store did not say whether the call took effect; send the same call again to learn it")]
    StoreOutcomeUnknown,
    /// The store keeps no list of these records.
    #[error("{}", not_listed(*listed))]
    NotListed {
        /// The widest scope that it does list.
        listed: Scope,
    },
}

fn not_listed(listed: Scope) -> &'static str {
    match listed {
        Scope::Unresolved => {
            "this store lists unresolved records alone: ask for the state UNRESOLVED, look a single key up with Lookup, \
             or have the server's setting `listing` changed to open"
        }
        Scope::Open | Scope::All => {
            "this store lists records that are not completed alone: ask for one of the states IN_PROGRESS, UNRESOLVED, \
             RELEASED and LEASE_LOST, or look a single key up with Lookup"
        }
    }
}

/// A Begin and how long it may be held.
#[derive(Clone, Debug)]
pub struct BeginCall<'a> {
    /// Whose.
    pub key: &'a Key,
    /// What is asked.
    pub begin: &'a Begin,
    /// Under which policy.
    pub policy: &'a Policy,
    /// How long to hold the call while another attempt runs; cut to the policy's bound.
    pub wait: Duration,
    /// When the caller stops listening.
    pub deadline: Option<Instant>,
    /// The caller knows this to be a retry: a read is tried before a write.
    pub retry: bool,
}

/// The answer to a Begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The decision.
    pub answer: BeginAnswer,
    /// How long the call was held.
    pub waited: Duration,
}
