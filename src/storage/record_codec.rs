//! Records as bytes: a format version, then a protobuf message of our own.
//!
//! Whoever changes a record rewrites it whole, and would drop a field that it does not know. So every new field raises
//! the format, and a semel refuses a record whose format is later than those it knows. In a correct upgrade it never
//! meets one: servers go on writing the format that all of them know until every one runs the new release, and only
//! then is the format to write raised. A server that does not know of the raise yet drops nothing either: a record that
//! holds a field of a later format is written in that format, whichever it was told to write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::sealed::{KeyId, NONCE_BYTES, Sealed};
use super::{Versioned, WriteId};
use crate::domain::{
    AttemptId, Checkpoint, CheckpointName, Checkpoints, Detail, Fence, Fingerprint, Forgotten, GivenUp,
    Header, Kept, Labels, Note, OnLostLease, OperationResult, Outcome, Phase, Record, Timestamp, Traceparent,
};

mod wire;

/// The number of a record format, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FormatVersion(u8);

impl FormatVersion {
    /// The first there was.
    pub const FIRST: Self = Self(1);
    /// The first that may have what callers wrote encrypted.
    pub const SEALED: Self = Self(2);
    /// The latest that this release knows.
    pub const LATEST: Self = Self::SEALED;
    /// What the release after this one might write: records have one more field, [`Kept::probe`].
    #[cfg(feature = "test-support")]
    pub const NEXT: Self = Self(3);

    /// The format of this number; there is none of number 0.
    pub const fn new(number: u8) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The earliest format that holds all of `current`.
    fn needed_by(current: &Versioned) -> Self {
        #[cfg(feature = "test-support")]
        if matches!(&*current.record, Record::Kept(Kept { probe: Some(_), .. })) {
            return Self::NEXT;
        }
        // A semel that knows no later one would take an encrypted record for an empty one.
        if current.sealed.is_some() { Self::SEALED } else { Self::FIRST }
    }
}

impl fmt::Display for FormatVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why records of a format cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("records are to be written in format version {asked}, and this semel writes versions 1 to {latest}")]
pub struct UnknownFormat {
    /// The version asked for.
    pub asked: FormatVersion,
    /// The latest that there is.
    pub latest: FormatVersion,
}

/// Why bytes are not a record. Says nothing of what is in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A later semel wrote it.
    #[error(
        "the record has format version {found}, and this semel reads versions 1 to {latest}: \
         run the semel that wrote it, or a later one"
    )]
    LaterFormat {
        /// The version it has.
        found: FormatVersion,
        /// The latest that is read.
        latest: FormatVersion,
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

/// Writes records in one format, and reads those of every format up to the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    latest: FormatVersion,
    writes: FormatVersion,
}

impl Codec {
    /// What one process that has its store for itself uses: it writes the latest format.
    pub const LATEST: Self = Self { latest: FormatVersion::LATEST, writes: FormatVersion::LATEST };

    /// The codec of a release after this one.
    #[cfg(feature = "test-support")]
    pub const NEXT: Self = Self { latest: FormatVersion::NEXT, writes: FormatVersion::NEXT };

    /// The same, but that it writes `version`, which the servers beside this one read too.
    pub fn writing(self, version: FormatVersion) -> Result<Self, UnknownFormat> {
        if version > self.latest {
            return Err(UnknownFormat { asked: version, latest: self.latest });
        }
        Ok(Self { writes: version, ..self })
    }

    /// The latest format that it reads, and can be told to write.
    pub const fn latest(self) -> FormatVersion {
        self.latest
    }

    /// Appends `current` to `bytes`.
    pub fn encode_into(self, current: &Versioned, bytes: &mut Vec<u8>) {
        let message = wire::Stored::of(current);
        bytes.reserve(1 + message.encoded_len());
        bytes.push(self.writes.max(FormatVersion::needed_by(current)).0);
        message.encode_raw(bytes);
    }

    /// `current` as bytes.
    pub fn encode(self, current: &Versioned) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_into(current, &mut bytes);
        bytes
    }

    /// Reads back what [`Self::encode`] wrote. Nothing that comes back shares memory with `bytes`.
    pub fn decode(self, bytes: &[u8]) -> Result<Versioned, DecodeError> {
        wire::Stored::decode(self.body(bytes)?)
            .map_err(|error| DecodeError::damaged(error.to_string()))?
            .into_versioned()
    }

    /// Reads the head alone, whatever the size of the record.
    pub fn decode_head(self, bytes: &[u8]) -> Result<Head, DecodeError> {
        let head =
            wire::Head::decode(self.body(bytes)?).map_err(|error| DecodeError::damaged(error.to_string()))?;
        Ok(Head {
            write_id: WriteId(Uuid::from_u64_pair(head.write_id_high, head.write_id_low)),
            reclaim_at: Timestamp::from_micros(head.reclaim_at),
            open: head.open,
        })
    }

    fn body(self, bytes: &[u8]) -> Result<&[u8], DecodeError> {
        let (&number, body) = bytes.split_first().ok_or_else(|| DecodeError::damaged("it is empty"))?;
        match FormatVersion::new(number) {
            None => Err(DecodeError::damaged("it has format version 0, which no semel writes")),
            Some(found) if found > self.latest => {
                Err(DecodeError::LaterFormat { found, latest: self.latest })
            }
            Some(_) => Ok(body),
        }
    }
}

impl wire::Stored {
    fn of(current: &Versioned) -> Self {
        let Versioned { write_id, record, sealed } = current;
        let head = Head::of(*write_id, record);
        let (write_id_high, write_id_low) = write_id.0.as_u64_pair();
        Self {
            write_id_high,
            write_id_low,
            reclaim_at: head.reclaim_at.as_micros(),
            open: head.open,
            sealed: sealed.as_ref().map(|sealed| wire::Sealed {
                key_id: sealed.key_id.as_str().to_owned(),
                nonce: Bytes::copy_from_slice(&sealed.nonce),
                ciphertext: sealed.ciphertext.clone(),
                write_id: Bytes::copy_from_slice(sealed.write_id.0.as_bytes()),
            }),
            record: Some(match &**record {
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
            sealed: self.sealed.map(wire::Sealed::into_sealed).transpose()?.map(Arc::new),
        })
    }
}

impl wire::Sealed {
    fn into_sealed(self) -> Result<Sealed, DecodeError> {
        let key_id = KeyId::new(&self.key_id)
            .ok_or_else(|| DecodeError::damaged("the id of the key that it is encrypted under is none"))?;
        let nonce = <[u8; NONCE_BYTES]>::try_from(&self.nonce[..])
            .map_err(|_| DecodeError::damaged(format!("it has a nonce of {} bytes", self.nonce.len())))?;
        let write_id = Uuid::from_slice(&self.write_id)
            .map_err(|_| DecodeError::damaged("it names no write that it was encrypted for"))?;
        Ok(Sealed { key_id, write_id: WriteId(write_id), nonce, ciphertext: self.ciphertext })
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
            traceparent: kept.traceparent.as_ref().map(Traceparent::to_string),
            #[cfg(feature = "test-support")]
            probe: kept.probe,
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
            #[cfg(feature = "test-support")]
            probe: self.probe,
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
