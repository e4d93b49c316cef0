//! Doors for this project's own tests: what the store makes of rows and cursors, without a database.

use scylla::value::CqlValue;
use uuid::Uuid;

use super::place::{Partition, Place, Progress};
use super::repair::repaired;
use super::rows::{self, Answer, Row};
use crate::domain::{Fence, Key, Tenant, Timestamp};
use crate::storage::record_codec::Codec;
use crate::storage::{Cursor, Versioned, WriteId};

/// The key and the fence that a row of the table `hint` tells of, and the place of the hint as a cursor.
pub fn hint(
    (tenant, bucket): (&str, i64),
    (fence, endpoint, key): (i64, &str, &str),
    began: Timestamp,
) -> Option<(Key, Fence, Cursor)> {
    let partition = Partition::stored(tenant, bucket)?;
    let Place { fence, key } = Place::stored(&partition, fence, endpoint, key)?;
    let end = super::place::End::Hint(Place { fence, key: key.clone() });
    Some((key, fence, Progress { began, end }.to_cursor()))
}

/// The tenant of a partition that a row of `hint_bucket` names, its first fence and its last, and the partition before it.
pub fn partition(tenant: &str, bucket: i64) -> Option<(Tenant, (i64, i64), i64)> {
    let partition = Partition::stored(tenant, bucket)?;
    Some((partition.tenant.clone(), partition.fences(), partition.before().bucket))
}

/// What comes back of a cursor that was read.
pub fn cursor(cursor: &Cursor) -> Option<Cursor> {
    Progress::from_cursor(cursor).map(|progress| progress.to_cursor())
}

/// The columns of a row of the table `record`, by name.
pub type Columns = Vec<(String, Option<CqlValue>)>;

/// What the store takes a row for: nothing, or a record, repaired where a part of it is gone.
pub fn row(columns: Option<Columns>, now: Timestamp) -> Result<Option<Versioned>, String> {
    versioned(rows::row(columns).map_err(|error| error.to_string())?, now)
}

/// What the store takes the answer to a conditional write for: applied, or what is there.
pub fn answer(columns: Option<Columns>, now: Timestamp) -> Result<Result<(), Option<Versioned>>, String> {
    match rows::answer(columns).map_err(|error| error.to_string())? {
        Answer::Applied => Ok(Ok(())),
        Answer::Refused(row) => versioned(row, now).map(Err),
    }
}

fn versioned(row: Row, now: Timestamp) -> Result<Option<Versioned>, String> {
    match row {
        Row::Absent => Ok(None),
        Row::Whole { record, .. } => Codec::NEXT.decode(&record).map(Some),
        Row::Damaged(damage) => repaired(&damage, WriteId(Uuid::max()), now, Codec::NEXT).map(Some),
    }
    .map_err(|error| error.to_string())
}
