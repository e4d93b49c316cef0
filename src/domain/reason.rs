//! The reasons an error can have: the machine-readable half of the contract.

use std::fmt;

macro_rules! reasons {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// Why a call was refused. The name is what `google.rpc.ErrorInfo.reason` carries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "docs/SEMANTICS.md has a section for each, compared by a test")]
        pub enum Reason { $($variant),+ }

        impl Reason {
            /// Every reason, in the order of docs/SEMANTICS.md.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The reason as the wire carries it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

reasons! {
    InvalidKey = "INVALID_KEY",
    InvalidAttemptId = "INVALID_ATTEMPT_ID",
    InvalidFence = "INVALID_FENCE",
    InvalidFingerprint = "INVALID_FINGERPRINT",
    FingerprintRequired = "FINGERPRINT_REQUIRED",
    InvalidDuration = "INVALID_DURATION",
    InvalidResult = "INVALID_RESULT",
    ResultTooLarge = "RESULT_TOO_LARGE",
    InvalidDisposition = "INVALID_DISPOSITION",
    InvalidCheckpoint = "INVALID_CHECKPOINT",
    InvalidLabels = "INVALID_LABELS",
    InvalidDetail = "INVALID_DETAIL",
    InvalidResolution = "INVALID_RESOLUTION",
    InvalidPage = "INVALID_PAGE",
    BatchTooLarge = "BATCH_TOO_LARGE",
    FingerprintMismatch = "FINGERPRINT_MISMATCH",
    KeyExpired = "KEY_EXPIRED",
    ResultConflict = "RESULT_CONFLICT",
    AlreadyCompleted = "ALREADY_COMPLETED",
    CheckpointConflict = "CHECKPOINT_CONFLICT",
    CheckpointLimit = "CHECKPOINT_LIMIT",
    StateConflict = "STATE_CONFLICT",
    NotListed = "NOT_LISTED",
    FenceLost = "FENCE_LOST",
    AttemptEnded = "ATTEMPT_ENDED",
    KeyNotFound = "KEY_NOT_FOUND",
    QuotaExceeded = "QUOTA_EXCEEDED",
    TooManyWaiters = "TOO_MANY_WAITERS",
    ResponseTooLarge = "RESPONSE_TOO_LARGE",
    StoreUnavailable = "STORE_UNAVAILABLE",
    StoreOutcomeUnknown = "STORE_OUTCOME_UNKNOWN",
    CredentialRequired = "CREDENTIAL_REQUIRED",
    CredentialInvalid = "CREDENTIAL_INVALID",
    TenantNotAllowed = "TENANT_NOT_ALLOWED",
    RoleRequired = "ROLE_REQUIRED",
    Internal = "INTERNAL",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A value that was refused: why, and in words that never repeat a key or a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Violation {
    /// The reason the error carries.
    pub reason: Reason,
    /// What was wrong, with what value, and what would be right.
    pub problem: String,
}

impl Violation {
    /// A refusal for `reason`, in the words of `problem`.
    pub fn new(reason: Reason, problem: impl Into<String>) -> Self {
        Self { reason, problem: problem.into() }
    }
}
