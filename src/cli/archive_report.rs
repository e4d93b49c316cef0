//! What backups and restores say of a backup.

use std::time::{Duration, SystemTime};

use super::output::{Field, Value};
use crate::domain::Timestamp;
use crate::storage::backup::archive::Contents;

/// How much is in it.
pub(crate) fn contents_fields(contents: &Contents) -> [Field; 3] {
    [
        ("records", number(contents.records)),
        ("unreadable", number(contents.unreadable)),
        ("bytes", number(contents.bytes)),
    ]
}

pub(crate) fn number(number: u64) -> Value {
    Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(crate) fn timestamp(moment: Timestamp) -> Value {
    Value::Time(SystemTime::UNIX_EPOCH + Duration::from_micros(moment.as_micros()))
}
