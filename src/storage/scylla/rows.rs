//! What an answer says, by the names of its columns: the two databases answer in different shapes.
//!
//! Cassandra answers `[applied]` alone where a write was applied, and leaves the columns out where there is no row.
//! ScyllaDB answers the old values also where it was applied, and nulls where there was no row.

use scylla::response::query_result::QueryResult;
use scylla::value::{CqlValue, Row as CqlRow};
use uuid::Uuid;

use crate::storage::WriteId;

/// A column's name and its value.
pub(super) type Column = (String, Option<CqlValue>);

/// The two columns of a record's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// There is none.
    Absent,
    /// Both are there.
    Whole {
        /// The write that made it.
        write_id: WriteId,
        /// The record's bytes.
        record: Vec<u8>,
    },
    /// One of them is gone, which no write of ours does.
    Damaged(Damage),
}

/// What is left of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    /// The record is gone.
    RecordGone(WriteId),
    /// The record is there, and which write made it is not.
    WriteIdGone(Vec<u8>),
}

/// The answer to a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The condition held.
    Applied,
    /// It did not; this is there.
    Refused(Row),
}

/// Why an answer says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the answer has no column [applied], so the statement was not conditional")]
    NotConditional,
    #[error("the column {0} is not of the type that `semel schema apply` gave it")]
    Type(&'static str),
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

/// The first row of an answer; `None` where it has no rows.
pub(super) fn first_row(answer: QueryResult) -> Result<Option<Vec<Column>>, Unreadable> {
    let unreadable = |error: &dyn std::error::Error| Unreadable::Answer(error.to_string());
    let rows = answer.into_rows_result().map_err(|error| unreadable(&error))?;
    let Some(row) = rows.maybe_first_row::<CqlRow>().map_err(|error| unreadable(&error))? else {
        return Ok(None);
    };
    let names = rows.column_specs();
    Ok(Some(names.iter().map(|spec| spec.name().to_owned()).zip(row.columns).collect()))
}

/// What a read found; no columns where there was no row.
pub(super) fn row(columns: Option<Vec<Column>>) -> Result<Row, Unreadable> {
    let (mut write_id, mut record) = (None, None);
    for (name, value) in columns.unwrap_or_default() {
        match (name.as_str(), value) {
            ("write_id", Some(CqlValue::Uuid(found))) => write_id = Some(found),
            ("write_id", Some(_)) => return Err(Unreadable::Type("write_id")),
            ("record", Some(CqlValue::Blob(found))) => record = Some(found),
            ("record", Some(_)) => return Err(Unreadable::Type("record")),
            // A null is no value; other columns are not ours to read.
            _ => {}
        }
    }
    Ok(of_columns(write_id, record))
}

/// What a conditional write was answered.
pub(super) fn answer(columns: Option<Vec<Column>>) -> Result<Answer, Unreadable> {
    let columns = columns.ok_or(Unreadable::NotConditional)?;
    let applied = columns.iter().find(|(name, _)| name == "[applied]");
    match applied {
        // The old values that may stand beside it are of no interest.
        Some((_, Some(CqlValue::Boolean(true)))) => Ok(Answer::Applied),
        Some((_, Some(CqlValue::Boolean(false)))) => Ok(Answer::Refused(row(Some(columns))?)),
        Some(_) => Err(Unreadable::Type("[applied]")),
        None => Err(Unreadable::NotConditional),
    }
}

fn of_columns(write_id: Option<Uuid>, record: Option<Vec<u8>>) -> Row {
    match (write_id.map(WriteId), record) {
        (None, None) => Row::Absent,
        (Some(write_id), Some(record)) => Row::Whole { write_id, record },
        (Some(write_id), None) => Row::Damaged(Damage::RecordGone(write_id)),
        (None, Some(record)) => Row::Damaged(Damage::WriteIdGone(record)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn applied(value: bool) -> Column {
        ("[applied]".to_owned(), Some(CqlValue::Boolean(value)))
    }

    fn write_id(value: Option<Uuid>) -> Column {
        ("write_id".to_owned(), value.map(CqlValue::Uuid))
    }

    fn record(value: Option<&[u8]>) -> Column {
        ("record".to_owned(), value.map(|bytes| CqlValue::Blob(bytes.to_vec())))
    }

    fn whole() -> Row {
        Row::Whole { write_id: WriteId(ID), record: b"r".to_vec() }
    }

    #[test]
    fn the_answers_of_cassandra() {
        let table = [
            (vec![applied(true)], Answer::Applied),
            (vec![applied(false)], Answer::Refused(Row::Absent)),
            (vec![applied(false), write_id(Some(ID)), record(Some(b"r"))], Answer::Refused(whole())),
            // In any order: by name.
            (vec![record(Some(b"r")), applied(false), write_id(Some(ID))], Answer::Refused(whole())),
            (
                vec![applied(false), write_id(Some(ID)), record(None)],
                Answer::Refused(Row::Damaged(Damage::RecordGone(WriteId(ID)))),
            ),
            (
                vec![applied(false), write_id(None), record(Some(b""))],
                Answer::Refused(Row::Damaged(Damage::WriteIdGone(Vec::new()))),
            ),
        ];
        for (columns, expected) in table {
            assert_eq!(answer(Some(columns.clone())), Ok(expected), "{columns:?}");
        }
    }

    #[test]
    fn the_answers_of_scylladb() {
        let table = [
            (vec![applied(true), write_id(None), record(None)], Answer::Applied),
            (vec![applied(true), write_id(Some(ID)), record(Some(b"old"))], Answer::Applied),
            (vec![applied(false), write_id(None), record(None)], Answer::Refused(Row::Absent)),
            (vec![applied(false), write_id(Some(ID)), record(Some(b"r"))], Answer::Refused(whole())),
            (
                vec![applied(false), write_id(Some(ID)), record(None)],
                Answer::Refused(Row::Damaged(Damage::RecordGone(WriteId(ID)))),
            ),
        ];
        for (columns, expected) in table {
            assert_eq!(answer(Some(columns.clone())), Ok(expected), "{columns:?}");
        }
    }

    #[test]
    fn answers_that_say_nothing() {
        let boolean = |name: &str| (name.to_owned(), Some(CqlValue::Boolean(true)));
        let table = [
            (None, Unreadable::NotConditional),
            (Some(vec![]), Unreadable::NotConditional),
            (Some(vec![write_id(Some(ID)), record(Some(b"r"))]), Unreadable::NotConditional),
            (Some(vec![("[applied]".to_owned(), None)]), Unreadable::Type("[applied]")),
            (Some(vec![("[applied]".to_owned(), Some(CqlValue::Int(1)))]), Unreadable::Type("[applied]")),
            (Some(vec![applied(false), boolean("write_id")]), Unreadable::Type("write_id")),
            (Some(vec![applied(false), boolean("record")]), Unreadable::Type("record")),
        ];
        for (columns, expected) in table {
            assert_eq!(answer(columns.clone()), Err(expected), "{columns:?}");
        }
    }

    #[test]
    fn what_reads_find() {
        let other = ("added_later".to_owned(), Some(CqlValue::Int(1)));
        let table = [
            (None, Row::Absent),
            (Some(vec![]), Row::Absent),
            (Some(vec![write_id(None), record(None)]), Row::Absent),
            (Some(vec![write_id(Some(ID)), record(Some(b"r"))]), whole()),
            (Some(vec![record(Some(b"r")), other, write_id(Some(ID))]), whole()),
            (Some(vec![write_id(Some(ID)), record(None)]), Row::Damaged(Damage::RecordGone(WriteId(ID)))),
            (
                Some(vec![write_id(None), record(Some(b"r"))]),
                Row::Damaged(Damage::WriteIdGone(b"r".to_vec())),
            ),
        ];
        for (columns, expected) in table {
            assert_eq!(row(columns.clone()), Ok(expected), "{columns:?}");
        }
        assert_eq!(row(Some(vec![record(None), applied(true)])), Ok(Row::Absent));
    }
}
