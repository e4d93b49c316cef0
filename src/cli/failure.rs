//! Why a command has no answer, in words for people and as an exit status.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use semel_client::ErrorKind;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::exit::Exit;
use crate::config::format_duration;

const NO_ANSWER: &str = "no answer in time";

/// Why a command has no answer. No text of it holds an idempotency key or a payload.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The server answered with an error.
    Refused(Refusal),
    /// No server answered.
    Unreachable {
        /// Which.
        server: String,
        /// How long it was tried.
        within: Duration,
        /// What the last try met.
        cause: String,
    },
    /// A begin that may have been granted without its caller having learnt it.
    Unanswered { attempt_id: String, failure: Box<Self> },
    /// A store that this command works on by itself.
    Store { exit: Exit, cause: String },
    /// Arguments that fit each by itself, but not together.
    Usage(String),
    /// Something on this machine.
    Local(String),
}

/// A server's error.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// One of the contract's reasons; empty where the error is not one of the contract's.
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Bad fields and what is wrong with them.
    pub(crate) fields: Vec<(String, String)>,
    /// When asking again may help.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    /// What an error of the client library says; `within` is how long an answer was awaited in all.
    pub(crate) fn of(error: &semel_client::Error, server: &str, within: Duration) -> Self {
        let source = error.source();
        if let Some(status) = source.and_then(|source| source.downcast_ref()) {
            return Self::of_status(status, server, within);
        }
        // A lost lease rests on what its last Renew came to.
        if let Some(error) = source.and_then(|source| source.downcast_ref()) {
            return Self::of(error, server, within);
        }
        match error.kind() {
            ErrorKind::StoreUnavailable { .. } => Self::unreachable(server, within, NO_ANSWER.to_owned()),
            _ => Self::Local(error.to_string()),
        }
    }

    fn of_status(status: &Status, server: &str, within: Duration) -> Self {
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
        let timed_out = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
        if reason.is_empty() && (is_lost(status) || timed_out) {
            let cause = if timed_out { NO_ANSWER.to_owned() } else { innermost(status) };
            return Self::unreachable(server, within, cause);
        }
        let fields = details.bad_request().map(|bad| &bad.field_violations[..]).unwrap_or_default();
        Self::Refused(Refusal {
            code: status.code(),
            reason,
            message: status.message().to_owned(),
            fields: fields.iter().map(|bad| (bad.field.clone(), bad.description.clone())).collect(),
            retry_after: details.retry_info().and_then(|retry| retry.retry_delay),
        })
    }

    fn unreachable(server: &str, within: Duration, cause: String) -> Self {
        let within = Duration::from_millis(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        Self::Unreachable { server: server.to_owned(), within, cause }
    }

    /// A begin's failure, which names its attempt where that may own the key all the same.
    pub(crate) fn of_begin(self, attempt_id: &str) -> Self {
        if self.may_pass() {
            Self::Unanswered { attempt_id: attempt_id.to_owned(), failure: Box::new(self) }
        } else {
            self
        }
    }

    /// The reason of the contract; empty for all else.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Unanswered { failure, .. } => failure.reason(),
            Self::Refused(refusal) => &refusal.reason,
            Self::Unreachable { .. } | Self::Store { .. } | Self::Usage(_) | Self::Local(_) => "",
        }
    }

    /// Whether the same call, sent again, may yet get another answer: the server may be back, or the store.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(refusal) => match refusal.code {
                Code::Unavailable | Code::Internal => true,
                Code::ResourceExhausted => refusal.retry_after.is_some(),
                _ => false,
            },
            Self::Unreachable { .. } | Self::Unanswered { .. } => true,
            Self::Store { .. } | Self::Usage(_) | Self::Local(_) => false,
        }
    }

    /// Whether the call's message was too large: for the policy, or for a transport on the way, which has no reasons.
    pub(crate) fn is_too_large(&self) -> bool {
        match self {
            Self::Refused(refusal) if refusal.reason.is_empty() => {
                matches!(refusal.code, Code::OutOfRange | Code::ResourceExhausted)
                    && refusal.retry_after.is_none()
            }
            _ => self.reason() == "RESULT_TOO_LARGE",
        }
    }

    /// The process's exit status.
    pub(crate) fn exit(&self) -> Exit {
        let refusal = match self {
            Self::Refused(refusal) => refusal,
            Self::Unreachable { .. } => return Exit::UNAVAILABLE,
            Self::Unanswered { failure, .. } => return failure.exit(),
            Self::Store { exit, .. } => return *exit,
            Self::Usage(_) => return Exit::USAGE,
            Self::Local(_) => return Exit::FAILED,
        };
        match (refusal.code, refusal.reason.as_str()) {
            (_, "FINGERPRINT_MISMATCH") => Exit::FINGERPRINT_MISMATCH,
            (_, "KEY_EXPIRED") => Exit::KEY_EXPIRED,
            (Code::FailedPrecondition, _) => Exit::CONFLICT,
            (Code::Aborted, _) => Exit::FENCE_LOST,
            (Code::NotFound, _) => Exit::NOT_FOUND,
            (Code::InvalidArgument, _) => Exit::INVALID,
            (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled, _) => Exit::UNAVAILABLE,
            (Code::ResourceExhausted, _) => Exit::EXHAUSTED,
            (Code::Unauthenticated | Code::PermissionDenied, _) => Exit::NOT_ALLOWED,
            _ => Exit::FAILED,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => {
                let name = if refusal.reason.is_empty() {
                    format!("{:?}", refusal.code)
                } else {
                    refusal.reason.clone()
                };
                write!(f, "{name}: {}", refusal.message)?;
                if name == "TENANT_NOT_ALLOWED" {
                    f.write_str(
                        "; a command names it with --tenant or SEMEL_TENANT, and \"default\" otherwise",
                    )?;
                }
                match &refusal.fields[..] {
                    // The message says it already.
                    [(field, problem)] if refusal.message == format!("{field} {problem}") => Ok(()),
                    fields => {
                        fields.iter().try_for_each(|(field, problem)| write!(f, "\n  {field} {problem}"))
                    }
                }
            }
            Self::Unreachable { server, within, cause } => {
                let hint = if cause.to_lowercase().contains("certificate") {
                    "do --tls-ca, --tls-cert and --tls-key fit the server, and is it named with --server as its \
                     certificate names it?"
                } else {
                    "is the server running there (semel serve), or is another named with --server or SEMEL_SERVER?"
                };
                write!(f, "no answer from {server} within {}: {cause}; {hint}", format_duration(*within))
            }
            Self::Unanswered { attempt_id, failure } => write!(
                f,
                "{failure}\n  the key may have been granted all the same: the same begin with --attempt-id \
                 {attempt_id} tells"
            ),
            Self::Usage(problem) | Self::Local(problem) | Self::Store { cause: problem, .. } => {
                f.write_str(problem)
            }
        }
    }
}

/// Whether the call got no answer: the server said that it is unavailable, or the connection broke.
fn is_lost(status: &Status) -> bool {
    // A status that the server sent has no source; one that the transport made has.
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || status.source().is_some()
}

fn innermost(status: &Status) -> String {
    let mut cause = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        cause = error.to_string();
        source = error.source();
    }
    cause
}
