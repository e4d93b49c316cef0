//! Records as bytes: a format version, then a protobuf message of our own.
//!
//! A later minor change adds fields, which older code skips. A change that older code must not skip raises
//! [`FORMAT_VERSION`], and older code then refuses the record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::{Versioned, WriteId};
use crate::domain::{
    AttemptId, Checkpoint, CheckpointName, Checkpoints, Detail, Fence, Fingerprint, Forgotten, GivenUp,
    Header, Kept, Labels, Note, OnLostLease, OperationResult, Outcome, Phase, Record, Timestamp, Traceparent,
};

/// The format that [`encode`] writes, and the latest that [`decode`] reads.
pub const FORMAT_VERSION: u8 = 1;

/// Why bytes are not a record. Says nothing of what is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A later semel wrote it.
    #[error(
        "the record has format version {found}, and this semel reads versions 1 to {FORMAT_VERSION}: \
         run the semel that wrote it, or a later one"
    )]
    LaterFormat {
        /// The version it has.
        found: u8,
    },
    /// It is not what any semel wrote.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

impl DecodeError {
    fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }
}

/// What a store needs to know of a record to check a condition and to keep its indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The write that made it.
    pub write_id: WriteId,
    /// [`Record::reclaim_at`].
    pub reclaim_at: Timestamp,
    /// [`Record::is_open`].
    pub open: bool,
}

impl Head {
    /// The head of `record`, made by `write_id`.
    pub fn of(write_id: WriteId, record: &Record) -> Self {
        Self { write_id, reclaim_at: record.reclaim_at(), open: record.is_open() }
    }
}

/// Appends `record`, made by `write_id`, to `bytes`.
pub fn encode_into(write_id: WriteId, record: &Record, bytes: &mut Vec<u8>) {
    let message = wire::Stored::of(write_id, record);
    bytes.reserve(1 + message.encoded_len());
    bytes.push(FORMAT_VERSION);
    message.encode_raw(bytes);
}

/// `record`, made by `write_id`, as bytes.
pub fn encode(write_id: WriteId, record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(write_id, record, &mut bytes);
    bytes
}

/// Reads back what [`encode`] wrote. Nothing that comes back shares memory with `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Versioned, DecodeError> {
    wire::Stored::decode(body(bytes)?)
        .map_err(|error| DecodeError::damaged(error.to_string()))?
        .into_versioned()
}

/// Reads the head alone, whatever the size of the record.
pub fn decode_head(bytes: &[u8]) -> Result<Head, DecodeError> {
    let head = wire::Head::decode(body(bytes)?).map_err(|error| DecodeError::damaged(error.to_string()))?;
    Ok(Head {
        write_id: WriteId(Uuid::from_u64_pair(head.write_id_high, head.write_id_low)),
        reclaim_at: Timestamp::from_micros(head.reclaim_at),
        open: head.open,
    })
}

fn body(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, body)) => Ok(body),
        Some((0, _)) => Err(DecodeError::damaged("it has format version 0, which no semel writes")),
        Some((&found, _)) => Err(DecodeError::LaterFormat { found }),
        None => Err(DecodeError::damaged("it is empty")),
    }
}

/// The messages. A tag that was used is never used for anything else.
mod wire {
    use std::collections::BTreeMap;

    use super::Bytes;

    /// The first fields of [`Stored`]; the rest is skipped unread.
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Head {
        #[prost(fixed64, tag = "1")]
        pub(super) write_id_high: u64,
        #[prost(fixed64, tag = "2")]
        pub(super) write_id_low: u64,
        #[prost(fixed64, tag = "3")]
        pub(super) reclaim_at: u64,
        #[prost(bool, tag = "4")]
        pub(super) open: bool,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Stored {
        #[prost(fixed64, tag = "1")]
        pub(super) write_id_high: u64,
        #[prost(fixed64, tag = "2")]
        pub(super) write_id_low: u64,
        #[prost(fixed64, tag = "3")]
        pub(super) reclaim_at: u64,
        #[prost(bool, tag = "4")]
        pub(super) open: bool,
        #[prost(oneof = "Record", tags = "5, 6")]
        pub(super) record: Option<Record>,
    }

    #[allow(clippy::large_enum_variant, reason = "it lives only while it is encoded or decoded")]
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Record {
        #[prost(message, tag = "5")]
        Kept(Kept),
        #[prost(message, tag = "6")]
        Forgotten(Forgotten),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Forgotten {
        #[prost(int64, tag = "1")]
        pub(super) fence: i64,
        #[prost(uint64, tag = "2")]
        pub(super) changed_at: u64,
        #[prost(uint64, tag = "3")]
        pub(super) reclaim_at: u64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Kept {
        #[prost(int64, tag = "1")]
        pub(super) fence: i64,
        #[prost(uint32, tag = "2")]
        pub(super) attempt: u32,
        #[prost(fixed64, tag = "3")]
        pub(super) attempt_id_high: u64,
        #[prost(fixed64, tag = "4")]
        pub(super) attempt_id_low: u64,
        #[prost(uint32, tag = "5")]
        pub(super) attempts_before_budget: u32,
        #[prost(bytes = "bytes", optional, tag = "6")]
        pub(super) fingerprint: Option<Bytes>,
        #[prost(uint64, tag = "7")]
        pub(super) first_seen_at: u64,
        #[prost(uint64, tag = "8")]
        pub(super) changed_at: u64,
        #[prost(uint64, tag = "9")]
        pub(super) expires_at: u64,
        #[prost(message, optional, tag = "10")]
        pub(super) retention: Option<Length>,
        #[prost(message, repeated, tag = "11")]
        pub(super) checkpoints: Vec<Checkpoint>,
        #[prost(btree_map = "string, string", tag = "12")]
        pub(super) labels: BTreeMap<String, String>,
        #[prost(string, optional, tag = "13")]
        pub(super) traceparent: Option<String>,
        #[prost(oneof = "Phase", tags = "14, 15, 16")]
        pub(super) phase: Option<Phase>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Phase {
        #[prost(message, tag = "14")]
        InProgress(InProgress),
        #[prost(message, tag = "15")]
        Completed(Completed),
        #[prost(message, tag = "16")]
        Released(Released),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct InProgress {
        #[prost(uint64, tag = "1")]
        pub(super) lease_end: u64,
        #[prost(message, optional, tag = "2")]
        pub(super) lease: Option<Length>,
        #[prost(enumeration = "OnLostLease", tag = "3")]
        pub(super) on_lost_lease: i32,
        #[prost(message, optional, tag = "4")]
        pub(super) given_up: Option<GivenUp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GivenUp {
        #[prost(uint64, tag = "1")]
        pub(super) at: u64,
        #[prost(uint64, tag = "2")]
        pub(super) pause_until: u64,
        #[prost(string, tag = "3")]
        pub(super) detail: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Completed {
        #[prost(enumeration = "Outcome", tag = "1")]
        pub(super) outcome: i32,
        #[prost(sint32, tag = "2")]
        pub(super) code: i32,
        #[prost(string, tag = "3")]
        pub(super) content_type: String,
        #[prost(message, repeated, tag = "4")]
        pub(super) headers: Vec<Header>,
        #[prost(bytes = "bytes", tag = "5")]
        pub(super) payload: Bytes,
        #[prost(bool, tag = "6")]
        pub(super) payload_omitted: bool,
        #[prost(string, optional, tag = "7")]
        pub(super) resolution: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Released {
        #[prost(uint64, tag = "1")]
        pub(super) pause_until: u64,
        #[prost(string, tag = "2")]
        pub(super) detail: String,
        #[prost(string, optional, tag = "3")]
        pub(super) resolution: Option<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Header {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) value: Bytes,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Checkpoint {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(bytes = "bytes", tag = "2")]
        pub(super) value: Bytes,
        #[prost(int64, tag = "3")]
        pub(super) fence: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
    pub(super) struct Length {
        #[prost(uint64, tag = "1")]
        pub(super) seconds: u64,
        #[prost(uint32, tag = "2")]
        pub(super) nanos: u32,
    }

    /// Zero is no value, so that a missing field shows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum OnLostLease {
        Missing = 0,
        Rerun = 1,
        MarkUnknown = 2,
    }

    /// Zero is no value, so that a missing field shows.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(super) enum Outcome {
        Missing = 0,
        Success = 1,
        Failure = 2,
    }
}

impl wire::Stored {
    fn of(write_id: WriteId, record: &Record) -> Self {
        let head = Head::of(write_id, record);
        let (write_id_high, write_id_low) = write_id.0.as_u64_pair();
        Self {
            write_id_high,
            write_id_low,
            reclaim_at: head.reclaim_at.as_micros(),
            open: head.open,
            record: Some(match record {
                Record::Kept(kept) => wire::Record::Kept(wire::Kept::of(kept)),
                Record::Forgotten(forgotten) => wire::Record::Forgotten(wire::Forgotten {
                    fence: forgotten.fence.get(),
                    changed_at: forgotten.changed_at.as_micros(),
                    reclaim_at: forgotten.reclaim_at.as_micros(),
                }),
            }),
        }
    }

    fn into_versioned(self) -> Result<Versioned, DecodeError> {
        let record = match self.record.ok_or_else(|| DecodeError::damaged("it holds no record"))? {
            wire::Record::Kept(kept) => Record::Kept(kept.into_kept()?),
            wire::Record::Forgotten(forgotten) => Record::Forgotten(Forgotten {
                fence: fence(forgotten.fence)?,
                changed_at: Timestamp::from_micros(forgotten.changed_at),
                reclaim_at: Timestamp::from_micros(forgotten.reclaim_at),
            }),
        };
        Ok(Versioned {
            write_id: WriteId(Uuid::from_u64_pair(self.write_id_high, self.write_id_low)),
            record: Arc::new(record),
        })
    }
}

impl wire::Kept {
    fn of(kept: &Kept) -> Self {
        let (attempt_id_high, attempt_id_low) = kept.attempt_id.get().as_u64_pair();
        Self {
            fence: kept.fence.get(),
            attempt: kept.attempt,
            attempt_id_high,
            attempt_id_low,
            attempts_before_budget: kept.attempts_before_budget,
            fingerprint: kept.fingerprint.as_ref().map(|f| Bytes::copy_from_slice(f.as_bytes())),
            first_seen_at: kept.first_seen_at.as_micros(),
            changed_at: kept.changed_at.as_micros(),
            expires_at: kept.expires_at.as_micros(),
            retention: Some(kept.retention.into()),
            checkpoints: kept
                .checkpoints
                .as_slice()
                .iter()
                .map(|point| wire::Checkpoint {
                    name: point.name.as_str().to_owned(),
                    value: point.value.clone(),
                    fence: point.fence.get(),
                })
                .collect(),
            labels: kept.labels.pairs().clone(),
            traceparent: kept.traceparent.as_ref().map(|parent| parent.as_str().to_owned()),
            phase: Some(match &kept.phase {
                Phase::InProgress { lease_end, lease, on_lost_lease, given_up } => {
                    wire::Phase::InProgress(wire::InProgress {
                        lease_end: lease_end.as_micros(),
                        lease: Some((*lease).into()),
                        on_lost_lease: match on_lost_lease {
                            OnLostLease::Rerun => wire::OnLostLease::Rerun,
                            OnLostLease::MarkUnknown => wire::OnLostLease::MarkUnknown,
                        }
                        .into(),
                        given_up: given_up.as_ref().map(|given_up| wire::GivenUp {
                            at: given_up.at.as_micros(),
                            pause_until: given_up.pause_until.as_micros(),
                            detail: given_up.detail.as_str().to_owned(),
                        }),
                    })
                }
                Phase::Completed { result, resolution } => {
                    wire::Phase::Completed(wire::Completed::of(result, resolution.as_ref()))
                }
                Phase::Released { pause_until, detail, resolution } => {
                    wire::Phase::Released(wire::Released {
                        pause_until: pause_until.as_micros(),
                        detail: detail.as_str().to_owned(),
                        resolution: resolution.as_ref().map(|note| note.as_str().to_owned()),
                    })
                }
            }),
        }
    }

    fn into_kept(self) -> Result<Kept, DecodeError> {
        let checkpoints = self
            .checkpoints
            .into_iter()
            .map(|point| {
                Ok(Checkpoint {
                    name: CheckpointName::new(&point.name)
                        .map_err(|violation| invalid("a checkpoint's name", &violation))?,
                    value: point.value,
                    fence: fence(point.fence)?,
                })
            })
            .collect::<Result<_, DecodeError>>()?;
        Ok(Kept {
            fence: fence(self.fence)?,
            attempt: self.attempt,
            attempt_id: AttemptId::from_uuid(Uuid::from_u64_pair(self.attempt_id_high, self.attempt_id_low)),
            attempts_before_budget: self.attempts_before_budget,
            fingerprint: self
                .fingerprint
                .map(|bytes| Fingerprint::new(&bytes).map_err(|violation| invalid("fingerprint", &violation)))
                .transpose()?,
            first_seen_at: Timestamp::from_micros(self.first_seen_at),
            changed_at: Timestamp::from_micros(self.changed_at),
            expires_at: Timestamp::from_micros(self.expires_at),
            retention: length(self.retention, "retention")?,
            checkpoints: Checkpoints::from_stored(checkpoints)
                .ok_or_else(|| DecodeError::damaged("its checkpoints exceed their bounds"))?,
            labels: Labels::new(self.labels).map_err(|violation| invalid("labels", &violation))?,
            traceparent: self
                .traceparent
                .map(|text| {
                    Traceparent::parse(&text)
                        .ok_or_else(|| DecodeError::damaged("its traceparent is malformed"))
                })
                .transpose()?,
            phase: self.phase.ok_or_else(|| DecodeError::damaged("it has no phase"))?.into_phase()?,
        })
    }
}

impl wire::Phase {
    fn into_phase(self) -> Result<Phase, DecodeError> {
        Ok(match self {
            Self::InProgress(attempt) => Phase::InProgress {
                lease_end: Timestamp::from_micros(attempt.lease_end),
                on_lost_lease: match attempt.on_lost_lease() {
                    wire::OnLostLease::Rerun => OnLostLease::Rerun,
                    wire::OnLostLease::MarkUnknown => OnLostLease::MarkUnknown,
                    wire::OnLostLease::Missing => {
                        return Err(DecodeError::damaged("its on_lost_lease is none that is known"));
                    }
                },
                lease: length(attempt.lease, "lease")?,
                given_up: attempt
                    .given_up
                    .map(|given_up| {
                        Ok(GivenUp {
                            at: Timestamp::from_micros(given_up.at),
                            pause_until: Timestamp::from_micros(given_up.pause_until),
                            detail: detail(given_up.detail)?,
                        })
                    })
                    .transpose()?,
            },
            Self::Completed(completed) => completed.into_phase()?,
            Self::Released(released) => Phase::Released {
                pause_until: Timestamp::from_micros(released.pause_until),
                detail: detail(released.detail)?,
                resolution: note(released.resolution)?,
            },
        })
    }
}

impl wire::Completed {
    fn of(result: &OperationResult, resolution: Option<&Note>) -> Self {
        Self {
            outcome: match result.outcome {
                Outcome::Success => wire::Outcome::Success,
                Outcome::Failure => wire::Outcome::Failure,
            }
            .into(),
            code: result.code,
            content_type: result.content_type.clone(),
            headers: result
                .headers
                .iter()
                .map(|header| wire::Header { name: header.name.clone(), value: header.value.clone() })
                .collect(),
            payload: result.payload.clone(),
            payload_omitted: result.payload_omitted,
            resolution: resolution.map(|note| note.as_str().to_owned()),
        }
    }

    fn into_phase(self) -> Result<Phase, DecodeError> {
        let outcome = match self.outcome() {
            wire::Outcome::Success => Outcome::Success,
            wire::Outcome::Failure => Outcome::Failure,
            wire::Outcome::Missing => {
                return Err(DecodeError::damaged("its outcome is none that is known"));
            }
        };
        let headers = self.headers.into_iter().map(|h| Header { name: h.name, value: h.value }).collect();
        Ok(Phase::Completed {
            result: Arc::new(OperationResult {
                outcome,
                code: self.code,
                content_type: self.content_type,
                headers,
                payload: self.payload,
                payload_omitted: self.payload_omitted,
            }),
            resolution: note(self.resolution)?,
        })
    }
}

impl From<Duration> for wire::Length {
    fn from(length: Duration) -> Self {
        Self { seconds: length.as_secs(), nanos: length.subsec_nanos() }
    }
}

fn length(length: Option<wire::Length>, what: &str) -> Result<Duration, DecodeError> {
    match length {
        Some(wire::Length { seconds, nanos }) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        Some(_) => Err(DecodeError::damaged(format!("its {what} has a second or more in nanoseconds"))),
        None => Err(DecodeError::damaged(format!("it has no {what}"))),
    }
}

fn fence(value: i64) -> Result<Fence, DecodeError> {
    Fence::new(value).map_err(|_| DecodeError::damaged(format!("its fence is {value}")))
}

fn detail(text: String) -> Result<Detail, DecodeError> {
    Detail::new(text).map_err(|violation| invalid("detail", &violation))
}

fn note(text: Option<String>) -> Result<Option<Note>, DecodeError> {
    text.map(|text| Note::new(text).map_err(|violation| invalid("resolution", &violation))).transpose()
}

fn invalid(what: &str, violation: &crate::domain::Violation) -> DecodeError {
    DecodeError::damaged(format!("{what} {violation}"))
}
