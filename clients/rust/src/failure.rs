//! Failures told apart: what an error of a work says of its side effect, and what is reported of it.

use std::any::type_name;
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tonic::Code;

use crate::codec::plain_type;
use crate::error::{BoxError, Error, ErrorKind};
use crate::proto::abort_request::Disposition;
use crate::proto::{self, result::Outcome};

/// The content type of stored failures, which every language reads.
pub const FAILURE_CONTENT_TYPE: &str = "application/vnd.semel.failure+json";

/// The longest detail of an Abort, in bytes.
const MOST_DETAIL: usize = 1024;

/// A final failure, such as a declined card: it is stored, and replayed as the same failure.
///
/// ```
/// # use semel_client::{Failure, WorkError};
/// # fn charge() -> Result<(), WorkError> {
/// let declined = Failure::new("CardDeclined", "insufficient funds").with_code(402);
/// return Err(declined.into());
/// # }
/// # assert!(charge().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// What kind of failure, such as `CardDeclined`. Never empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// The operation's own status.
    #[serde(default)]
    pub code: i32,
    /// Whatever else there is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<serde_json::Value>,
}

impl Failure {
    /// A failure of a kind, with a message for people.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), code: 0, details: None }
    }

    /// With the operation's own status.
    #[must_use]
    pub fn with_code(self, code: i32) -> Self {
        Self { code, ..self }
    }

    /// With whatever else there is to say.
    #[must_use]
    pub fn with_details(self, details: impl Into<serde_json::Value>) -> Self {
        Self { details: Some(details.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.kind, self.message)
    }
}

impl StdError for Failure {}

/// What a work returns when its [cancellation](crate::Attempt::cancellation) made it stop: what it had begun may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("cancelled")
    }
}

impl StdError for Cancelled {}

/// What an error of a work says of its side effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It may have happened. Policy decides whether the next call runs.
    Unknown,
    /// Nothing happened. The next call runs.
    Release,
    /// It failed for good. The failure is stored and replayed.
    Final,
}

/// How a work ends that returns no value. Any error becomes one by `?`; a [`Failure`] is a final one.
#[derive(Debug)]
pub struct WorkError {
    pub(crate) said: Said,
    pub(crate) error: BoxError,
    /// The error's type, as people are told it.
    type_name: &'static str,
}

/// What a work says of its error itself.
#[derive(Debug)]
pub(crate) enum Said {
    Final(Failure),
    Retryable { after: Duration },
    Unknown,
    Nothing,
}

impl WorkError {
    /// Nothing happened: a statement of fact. The next call runs. Who cannot say so for certain says
    /// [`unknown`](Self::unknown), or nothing.
    pub fn retryable(error: impl Into<BoxError>) -> Self {
        Self::retryable_after(error, Duration::ZERO)
    }

    /// As [`retryable`](Self::retryable); the next call is told to wait as long.
    pub fn retryable_after(error: impl Into<BoxError>, after: Duration) -> Self {
        Self { said: Said::Retryable { after }, error: error.into(), type_name: "Retryable" }
    }

    /// It may have happened.
    pub fn unknown(error: impl Into<BoxError>) -> Self {
        Self { said: Said::Unknown, error: error.into(), type_name: "Unknown" }
    }

    /// The error itself.
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }
}

impl<E: Into<BoxError>> From<E> for WorkError {
    fn from(error: E) -> Self {
        let error = error.into();
        let said =
            error.downcast_ref::<Failure>().map_or(Said::Nothing, |failure| Said::Final(failure.clone()));
        Self { said, error, type_name: type_name::<E>() }
    }
}

/// What is said of how a work ended: a result, or that there is none.
#[derive(Debug)]
pub(crate) enum Report {
    Result {
        result: proto::Result,
        /// Where the result is one.
        failure: Option<Failure>,
        /// Why the result has no payload.
        omitted: Option<BoxError>,
    },
    GivenUp {
        disposition: Disposition,
        detail: String,
        after: Duration,
    },
}

/// The caller's own view of an error of the work, asked before the table.
pub(crate) type Classify = dyn Fn(&WorkError) -> Option<Meaning> + Send + Sync;

/// How a work that ended in an error is reported: the table of clients/README.md.
pub(crate) fn report_of(error: &WorkError, classify: Option<&Classify>, on_unexpected: Meaning) -> Report {
    if let Some(meaning) = classify.and_then(|classify| classify(error)) {
        return report_of_meaning(error, meaning);
    }
    match &error.said {
        Said::Final(failure) => failed(failure.clone()),
        Said::Retryable { after } => given_up(error, Disposition::Release, *after),
        Said::Unknown => report_of_meaning(error, Meaning::Unknown),
        Said::Nothing if ended_midway(&*error.error) => report_of_meaning(error, Meaning::Unknown),
        Said::Nothing => report_of_meaning(error, on_unexpected),
    }
}

fn report_of_meaning(error: &WorkError, meaning: Meaning) -> Report {
    match (meaning, &error.said) {
        (Meaning::Final, Said::Final(failure)) => failed(failure.clone()),
        (Meaning::Final, _) => failed(Failure::new("unexpected", error.error.to_string())),
        (Meaning::Release, _) => given_up(error, Disposition::Release, Duration::ZERO),
        (Meaning::Unknown, _) => given_up(error, Disposition::OutcomeUnknown, Duration::ZERO),
    }
}

fn given_up(error: &WorkError, disposition: Disposition, after: Duration) -> Report {
    let detail = cut(format!("{}: {}", error.type_name, error.error));
    Report::GivenUp { disposition, detail, after }
}

/// At most as long as a detail may be, and whole characters.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MOST_DETAIL));
    text
}

/// Whether an error is a timeout or a cancellation: what was under way may have happened.
fn ended_midway(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Cancelled>()
            || error.is::<tokio::time::error::Elapsed>()
            || error.is::<tokio::task::JoinError>()
        {
            return true;
        }
        let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let rpc = error.downcast_ref::<tonic::Status>().map(tonic::Status::code);
        let own = error.downcast_ref::<Error>().map(|error| (error.code(), error.kind()));
        if io == Some(std::io::ErrorKind::TimedOut)
            || matches!(rpc, Some(Code::DeadlineExceeded | Code::Cancelled))
            || matches!(own, Some((_, ErrorKind::Cancelled) | (Code::DeadlineExceeded | Code::Cancelled, _)))
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// The report of a final failure.
fn failed(mut failure: Failure) -> Report {
    if failure.kind.is_empty() {
        "unknown".clone_into(&mut failure.kind);
    }
    let payload = serde_json::to_vec(&failure);
    let result = proto::Result {
        outcome: Outcome::Failure.into(),
        code: failure.code,
        content_type: FAILURE_CONTENT_TYPE.to_owned(),
        payload_omitted: payload.is_err(),
        headers: Vec::new(),
        payload: payload.as_ref().map_or_else(|_| Bytes::new(), |payload| payload.clone().into()),
    };
    Report::Result { result, failure: Some(failure), omitted: payload.err().map(Into::into) }
}

/// Reads what is stored of a final failure; `None` where it cannot be read.
pub(crate) fn read_failure(result: &proto::Result) -> Option<Failure> {
    if plain_type(&result.content_type) != FAILURE_CONTENT_TYPE {
        return Some(Failure::new("unknown", "").with_code(result.code));
    }
    serde_json::from_slice(&result.payload).ok().filter(|failure: &Failure| !failure.kind.is_empty())
}
