//! Errors: one type, and the kinds of it that clients/README.md lists.

use std::error::Error as StdError;
use std::fmt;
use std::time::{Duration, SystemTime};

use tonic::Code;

use crate::failure::Failure;
use crate::handoff::Handoff;
use crate::proto;
use crate::status::code_name;

/// An error of somebody else's.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Every error of this library. `T` is what a work returns: some kinds carry it.
///
/// Its text says what to do, and contains no key and no payload; neither does its `Debug` form.
pub struct Error<T = ()>(Box<Inner<T>>);

struct Inner<T> {
    kind: ErrorKind<T>,
    code: Code,
    reason: String,
    message: String,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

/// What an [`Error`] is.
#[non_exhaustive]
pub enum ErrorKind<T = ()> {
    /// The key stands for another request. Do nothing; find out why the caller reused the key.
    KeyMismatch,
    /// A late retry, of an operation that was first sent before its outcome is known. It may have run: do nothing.
    KeyExpired,
    /// Another attempt runs. Ask again after [`retry_after`](Error::retry_after).
    InProgress {
        /// Its number.
        attempt: u32,
        /// Nobody runs: the last attempt asked for a pause.
        backing_off: bool,
    },
    /// Nobody knows what an earlier attempt did, or the attempts are used up. Do nothing; tell a person.
    Unresolved {
        /// Which of the two.
        reason: proto::unresolved::Reason,
        /// What the last owner said.
        detail: String,
        /// How many attempts there were.
        attempt: u32,
        /// Since when.
        since: Option<SystemTime>,
    },
    /// The key is not this attempt's any more. What the work did may stand beside what another did.
    LeaseLost {
        /// What the work returned, if it did.
        value: Option<T>,
    },
    /// No answer within the deadline. To a Begin: nothing ran.
    StoreUnavailable {
        /// False only where the server said each time that nothing was written.
        may_have_taken_effect: bool,
    },
    /// A quota or a limit is reached. Ask again after [`retry_after`](Error::retry_after).
    Exhausted,
    /// The credential is missing, wrong, or not sufficient.
    NotAllowed,
    /// The server or this library refused an argument. Fix the caller.
    Invalid {
        /// Which fields, where the server says so.
        fields: Vec<FieldProblem>,
    },
    /// A bug of the server, or an answer that this library does not know.
    ServerError,
    /// The operation failed for good, now or when it was first called.
    OperationFailed {
        /// How.
        failure: Failure,
        /// It failed before, and nothing ran now.
        replayed: bool,
        /// What is stored, where it was replayed.
        result: Option<proto::Result>,
    },
    /// The work ran, and nobody knows whether its result is stored. Deliver it later with
    /// [`complete_handoff`](crate::Client::complete_handoff); never run it again.
    CompletionUnknown {
        /// What the work returned; absent where it failed.
        value: Option<T>,
        /// How it failed for good.
        failure: Option<Failure>,
        /// The attempt that may still complete.
        handoff: Handoff,
    },
    /// The work ran, now or before; its value was too large, or could not be encoded.
    ResultNotStored {
        /// What this call's work returned.
        value: Option<T>,
        /// It ran before, and nothing ran now.
        replayed: bool,
        /// What is not stored is a final failure.
        failed: bool,
    },
    /// The attempt is already completed with another result. The first stands.
    ResultConflict {
        /// What the work returned.
        value: Option<T>,
    },
    /// What is replayed cannot be read by this call's codec.
    UndecodableResult {
        /// As it is stored.
        result: proto::Result,
    },
    /// The recovery point holds another value, or there are too many.
    CheckpointRefused,
    /// Nothing is known of the key.
    NotFound,
    /// The record's state, or the store, does not allow it.
    Refused,
    /// The caller cancelled before there was an outcome.
    Cancelled,
    /// The work's own error. Nothing is stored of it but its text, as the detail of an Abort.
    Work(BoxError),
}

/// A field of a request, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldProblem {
    /// The field's name.
    pub field: String,
    /// What is wrong.
    pub problem: String,
}

impl<T> Error<T> {
    pub(crate) fn new(kind: ErrorKind<T>, reason: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            code: Code::Ok,
            reason: reason.to_owned(),
            message: message.into(),
            retry_after: None,
            source: None,
        }))
    }

    /// What it is.
    pub fn kind(&self) -> &ErrorKind<T> {
        &self.0.kind
    }

    /// What it is, with what it carries.
    pub fn into_kind(self) -> ErrorKind<T> {
        self.0.kind
    }

    /// The kind's name, the same in every language.
    pub fn name(&self) -> &'static str {
        self.0.kind.name()
    }

    /// The gRPC code; `Ok` where the library itself refused.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// gRPC's own name of the code, such as `UNAVAILABLE`.
    pub fn code_name(&self) -> &'static str {
        code_name(self.0.code)
    }

    /// That of `google.rpc.ErrorInfo`, or the library's own. Empty where there is none.
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// When asking again is worth it, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.0.code = code;
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.0.retry_after = pause;
        self
    }

    /// The same error of another kind.
    pub(crate) fn with_kind<U>(self, kind: ErrorKind<U>) -> Error<U> {
        let Inner { kind: _, code, reason, message, retry_after, source } = *self.0;
        Error(Box::new(Inner { kind, code, reason, message, retry_after, source }))
    }

    pub(crate) fn kind_mut(&mut self) -> &mut ErrorKind<T> {
        &mut self.0.kind
    }
}

impl Error {
    /// The same error, of a call whose work returns `T`.
    pub(crate) fn of_work<T>(mut self) -> Error<T> {
        let kind = std::mem::replace(&mut self.0.kind, ErrorKind::Cancelled).of_work();
        self.with_kind(kind)
    }
}

impl ErrorKind {
    /// Of a call that ran no work: what is carried is no value of it.
    fn of_work<T>(self) -> ErrorKind<T> {
        match self {
            Self::KeyMismatch => ErrorKind::KeyMismatch,
            Self::KeyExpired => ErrorKind::KeyExpired,
            Self::InProgress { attempt, backing_off } => ErrorKind::InProgress { attempt, backing_off },
            Self::Unresolved { reason, detail, attempt, since } => {
                ErrorKind::Unresolved { reason, detail, attempt, since }
            }
            Self::LeaseLost { .. } => ErrorKind::LeaseLost { value: None },
            Self::StoreUnavailable { may_have_taken_effect } => {
                ErrorKind::StoreUnavailable { may_have_taken_effect }
            }
            Self::Exhausted => ErrorKind::Exhausted,
            Self::NotAllowed => ErrorKind::NotAllowed,
            Self::Invalid { fields } => ErrorKind::Invalid { fields },
            Self::ServerError => ErrorKind::ServerError,
            Self::OperationFailed { failure, replayed, result } => {
                ErrorKind::OperationFailed { failure, replayed, result }
            }
            Self::CompletionUnknown { failure, handoff, .. } => {
                ErrorKind::CompletionUnknown { value: None, failure, handoff }
            }
            Self::ResultNotStored { replayed, failed, .. } => {
                ErrorKind::ResultNotStored { value: None, replayed, failed }
            }
            Self::ResultConflict { .. } => ErrorKind::ResultConflict { value: None },
            Self::UndecodableResult { result } => ErrorKind::UndecodableResult { result },
            Self::CheckpointRefused => ErrorKind::CheckpointRefused,
            Self::NotFound => ErrorKind::NotFound,
            Self::Refused => ErrorKind::Refused,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Work(error) => ErrorKind::Work(error),
        }
    }
}

impl<T> ErrorKind<T> {
    fn name(&self) -> &'static str {
        match self {
            Self::KeyMismatch => "KeyMismatch",
            Self::KeyExpired => "KeyExpired",
            Self::InProgress { .. } => "InProgress",
            Self::Unresolved { .. } => "Unresolved",
            Self::LeaseLost { .. } => "LeaseLost",
            Self::StoreUnavailable { .. } => "StoreUnavailable",
            Self::Exhausted => "Exhausted",
            Self::NotAllowed => "NotAllowed",
            Self::Invalid { .. } => "Invalid",
            Self::ServerError => "ServerError",
            Self::OperationFailed { .. } => "OperationFailed",
            Self::CompletionUnknown { .. } => "CompletionUnknown",
            Self::ResultNotStored { .. } => "ResultNotStored",
            Self::ResultConflict { .. } => "ResultConflict",
            Self::UndecodableResult { .. } => "UndecodableResult",
            Self::CheckpointRefused => "CheckpointRefused",
            Self::NotFound => "NotFound",
            Self::Refused => "Refused",
            Self::Cancelled => "Cancelled",
            Self::Work(_) => "Own",
        }
    }
}

impl<T> fmt::Display for Error<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.kind, self.0.reason.as_str()) {
            (ErrorKind::Work(error), _) => error.fmt(formatter),
            (_, "") => write!(formatter, "semel: {}", self.0.message),
            (_, reason) => write!(formatter, "semel: {reason}: {}", self.0.message),
        }
    }
}

impl<T> fmt::Debug for Error<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct(self.name());
        if let ErrorKind::Work(error) = &self.0.kind {
            return shown.field("error", error).finish();
        }
        shown
            .field("code", &code_name(self.0.code))
            .field("reason", &self.0.reason)
            .field("message", &self.0.message)
            .finish_non_exhaustive()
    }
}

impl<T> StdError for Error<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        if let ErrorKind::Work(error) = &self.0.kind {
            return error.source();
        }
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// What the library itself refuses.
pub(crate) fn refused(reason: &str, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid { fields: Vec::new() }, reason, message)
}

/// The caller does not want it any more.
pub(crate) fn cancelled<T>() -> Error<T> {
    Error::new(ErrorKind::Cancelled, "", "the caller cancelled")
}
