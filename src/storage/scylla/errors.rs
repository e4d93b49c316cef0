//! What a failed request means: that nothing was written, or that nobody knows.

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::statement::Consistency;

use crate::storage::StoreError;

/// The error of a conditional write that was not answered.
pub(super) fn of_write(error: &ExecutionError) -> StoreError {
    if nothing_was_written(error) {
        StoreError::Unavailable(described(error))
    } else {
        StoreError::OutcomeUnknown(described(error))
    }
}

/// The error of anything that changes no record.
pub(super) fn of_read(error: &ExecutionError) -> StoreError {
    StoreError::Unavailable(described(error))
}

/// Whether it is certain that a conditional write neither happened nor will. Whatever is not known to be so is unknown,
/// errors of later drivers and databases included.
fn nothing_was_written(error: &ExecutionError) -> bool {
    match error {
        // It never left this process.
        ExecutionError::BadQuery(_)
        | ExecutionError::EmptyPlan
        | ExecutionError::PrepareError(_)
        | ExecutionError::ConnectionPoolError(_) => true,
        ExecutionError::LastAttemptError(attempt) => attempt_wrote_nothing(attempt),
        // `RequestTimeout`: it was sent. The rest are not errors of this kind of request.
        _ => false,
    }
}

fn attempt_wrote_nothing(error: &RequestAttemptError) -> bool {
    match error {
        // Before the request was handed to the connection.
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::UnableToAllocStreamId => true,
        RequestAttemptError::DbError(error, _) => database_wrote_nothing(error),
        // A connection that broke may have carried the request; an answer that cannot be read was an answer.
        _ => false,
    }
}

fn database_wrote_nothing(error: &DbError) -> bool {
    match error {
        // Too few replicas were alive to begin. At any other consistency the condition had been decided already, and
        // the write itself found too few.
        DbError::Unavailable { consistency, .. } => {
            matches!(consistency, Consistency::Serial | Consistency::LocalSerial)
        }
        // Refused before it is executed, by definition of the protocol.
        DbError::SyntaxError
        | DbError::Unauthorized
        | DbError::AuthenticationError
        | DbError::Unprepared { .. } => true,
        // A timeout or failure of any write type, and whatever else a node says half-way.
        _ => false,
    }
}

/// Whether a read failed for what it had to read through, so that reading less may work.
pub(super) fn read_too_much(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::RequestTimeout(_)
            | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                DbError::ReadFailure { .. } | DbError::ReadTimeout { .. },
                _
            ))
    )
}

/// For the log. A node's own message may quote what it was sent, so it is kept only where it cannot: where it speaks of
/// the statement or of the role.
pub(super) fn described(error: &ExecutionError) -> String {
    match error {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, message)) => match kind {
            DbError::SyntaxError
            | DbError::Unauthorized
            | DbError::AuthenticationError
            | DbError::Invalid => {
                format!("{kind}: {message}")
            }
            _ => kind.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scylla::errors::{OperationType, WriteType};

    use super::*;

    const SERIAL: [Consistency; 2] = [Consistency::Serial, Consistency::LocalSerial];
    const PLAIN: [Consistency; 7] = [
        Consistency::Any,
        Consistency::One,
        Consistency::LocalOne,
        Consistency::Quorum,
        Consistency::LocalQuorum,
        Consistency::EachQuorum,
        Consistency::All,
    ];
    const WRITE_TYPES: [WriteType; 7] = [
        WriteType::Simple,
        WriteType::Batch,
        WriteType::UnloggedBatch,
        WriteType::Counter,
        WriteType::BatchLog,
        WriteType::Cas,
        WriteType::View,
    ];

    fn said(error: DbError) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, "message".to_owned()))
    }

    #[track_caller]
    fn nothing_written(error: &ExecutionError) {
        assert!(matches!(of_write(error), StoreError::Unavailable(_)), "{error:?}");
    }

    #[track_caller]
    fn unknown(error: &ExecutionError) {
        assert!(matches!(of_write(error), StoreError::OutcomeUnknown(_)), "{error:?}");
    }

    #[test]
    fn too_few_replicas_to_begin_is_known_to_have_written_nothing() {
        for consistency in SERIAL {
            nothing_written(&said(DbError::Unavailable { consistency, required: 2, alive: 1 }));
        }
        for consistency in PLAIN {
            unknown(&said(DbError::Unavailable { consistency, required: 2, alive: 1 }));
        }
    }

    #[test]
    fn what_was_never_sent_or_never_executed_has_written_nothing() {
        nothing_written(&ExecutionError::EmptyPlan);
        nothing_written(&ExecutionError::ConnectionPoolError(
            scylla::errors::ConnectionPoolError::Initializing,
        ));
        nothing_written(&ExecutionError::PrepareError(
            scylla::errors::PrepareError::PreparedStatementIdsMismatch,
        ));
        nothing_written(&ExecutionError::BadQuery(scylla::errors::BadQuery::PartitionKeyExtraction));
        nothing_written(&ExecutionError::LastAttemptError(RequestAttemptError::UnableToAllocStreamId));
        for error in [
            DbError::SyntaxError,
            DbError::Unauthorized,
            DbError::AuthenticationError,
            DbError::Unprepared { statement_id: bytes::Bytes::new() },
        ] {
            nothing_written(&said(error));
        }
    }

    #[test]
    fn everything_else_is_unknown() {
        for consistency in SERIAL.into_iter().chain(PLAIN) {
            for write_type in WRITE_TYPES {
                let write_type = || write_type.clone();
                unknown(&said(DbError::WriteTimeout {
                    consistency,
                    received: 0,
                    required: 2,
                    write_type: write_type(),
                }));
                unknown(&said(DbError::WriteFailure {
                    consistency,
                    received: 0,
                    required: 2,
                    numfailures: 2,
                    write_type: write_type(),
                }));
            }
            unknown(&said(DbError::ReadTimeout {
                consistency,
                received: 0,
                required: 2,
                data_present: false,
            }));
            unknown(&said(DbError::ReadFailure {
                consistency,
                received: 0,
                required: 2,
                numfailures: 1,
                data_present: false,
            }));
        }
        for error in [
            DbError::Invalid,
            DbError::ConfigError,
            DbError::Overloaded,
            DbError::IsBootstrapping,
            DbError::TruncateError,
            DbError::ServerError,
            DbError::ProtocolError,
            DbError::AlreadyExists { keyspace: String::new(), table: String::new() },
            DbError::FunctionFailure {
                keyspace: String::new(),
                function: String::new(),
                arg_types: Vec::new(),
            },
            DbError::RateLimitReached { op_type: OperationType::Write, rejected_by_coordinator: false },
            // Cassandra's CAS_WRITE_UNKNOWN and CDC_WRITE_FAILURE, which the driver does not name.
            DbError::Other(0x1700),
            DbError::Other(0x1600),
        ] {
            unknown(&said(error));
        }
        unknown(&ExecutionError::RequestTimeout(Duration::from_secs(10)));
    }

    #[test]
    fn a_read_that_failed_changed_nothing() {
        for error in [
            ExecutionError::RequestTimeout(Duration::from_secs(10)),
            said(DbError::ServerError),
            said(DbError::Unavailable { consistency: Consistency::LocalQuorum, required: 2, alive: 1 }),
        ] {
            assert!(matches!(of_read(&error), StoreError::Unavailable(_)));
        }
    }

    #[test]
    fn a_message_that_may_quote_a_key_is_not_repeated() {
        let message = || "Operation failed for key 4711".to_owned();
        let error = |kind| ExecutionError::LastAttemptError(RequestAttemptError::DbError(kind, message()));
        assert!(!described(&error(DbError::ServerError)).contains("4711"));
        assert!(!described(&error(DbError::Other(1))).contains("4711"));
        assert!(described(&error(DbError::Unauthorized)).contains("4711"), "this one speaks of the role");
    }
}
