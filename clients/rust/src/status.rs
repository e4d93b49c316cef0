//! What an answer says: its code, its reason, when to ask again.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::{Error, ErrorKind, FieldProblem};
use crate::proto::ItemError;
use crate::sending::Method;

/// gRPC's own name of a code.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// What a status says.
pub(crate) struct Answer {
    pub(crate) code: Code,
    pub(crate) reason: String,
    pub(crate) pause: Option<Duration>,
    status: Status,
}

impl Error {
    /// The typed error of a slot of a batch that holds an error instead of a response.
    pub fn of_item(item: &ItemError) -> Self {
        let status = Status::new(Code::from_i32(item.code), &item.message);
        let code = status.code();
        Answer { code, reason: item.reason.clone(), pause: None, status }.into_error(Method::Complete)
    }
}

impl Answer {
    pub(crate) fn of(status: Status) -> Self {
        let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        let pause = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Self { code: status.code(), reason, pause, status }
    }

    /// Whether this is no word of the server's: a status that it sent has no source, one that the transport made has.
    pub(crate) fn is_of_the_transport(&self) -> bool {
        std::error::Error::source(&self.status).is_some()
    }

    /// The typed error. What is not known of a call that got no answer is put in by who knows all its sends.
    pub(crate) fn into_error(self, method: Method) -> Error {
        let Self { code, reason, pause, status } = self;
        let kind = match (code, reason.as_str()) {
            (Code::InvalidArgument | Code::OutOfRange, _) => ErrorKind::Invalid { fields: fields(&status) },
            (Code::FailedPrecondition, "FINGERPRINT_MISMATCH") => ErrorKind::KeyMismatch,
            (Code::FailedPrecondition, "KEY_EXPIRED") => ErrorKind::KeyExpired,
            (Code::FailedPrecondition, "RESULT_CONFLICT") => ErrorKind::ResultConflict { value: None },
            (Code::FailedPrecondition, "CHECKPOINT_CONFLICT" | "CHECKPOINT_LIMIT") => {
                ErrorKind::CheckpointRefused
            }
            (Code::FailedPrecondition, "ALREADY_COMPLETED")
            | (Code::Aborted, "FENCE_LOST" | "ATTEMPT_ENDED") => ErrorKind::LeaseLost { value: None },
            (Code::FailedPrecondition, _) => ErrorKind::Refused,
            (Code::NotFound, _) if method.is_owners() => ErrorKind::LeaseLost { value: None },
            (Code::NotFound, _) => ErrorKind::NotFound,
            (Code::ResourceExhausted, _) => ErrorKind::Exhausted,
            (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown, _) => {
                ErrorKind::StoreUnavailable { may_have_taken_effect: reason != "STORE_UNAVAILABLE" }
            }
            (Code::Unauthenticated | Code::PermissionDenied, _) => ErrorKind::NotAllowed,
            _ => ErrorKind::ServerError,
        };
        let message = status.message().to_owned();
        Error::new(kind, &reason, message).with_code(code).with_retry_after(pause).with_source(status)
    }
}

fn fields(status: &Status) -> Vec<FieldProblem> {
    let violations = status.get_details_bad_request().map(|details| details.field_violations);
    let problem = |violation: tonic_types::FieldViolation| FieldProblem {
        field: violation.field,
        problem: violation.description,
    };
    violations.unwrap_or_default().into_iter().map(problem).collect()
}
