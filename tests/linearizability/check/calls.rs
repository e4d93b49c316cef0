//! What callers ask of a key and what they are told, in a form in which a server's answer and a decision compare.

use std::fmt;
use std::time::Duration;

use semel::domain::{
    Abort, Begin, BeginAnswer, Checkpoint, Command, Complete, Disposition, Forget, Kept, Lookup, Phase,
    Policy, PositiveDuration, Reading, Record, Renew, Resolution, Resolve, SaveCheckpoint, Timestamp,
    Transition, UnresolvedReason,
};
use semel::proto;
use semel::proto::begin_response::Decision;

/// What a caller asks of one key.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Begin(Begin),
    Complete(Complete),
    Abort(Abort),
    Renew(Renew),
    Save(SaveCheckpoint),
    Lookup,
    Resolve(Resolve),
    Forget(Forget),
}

/// What a caller is told. Moments and lengths are in microseconds; `by` is the attempt that is spoken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Started {
        fence: i64,
        attempt: u32,
        lease: u64,
        lease_end: u64,
        points: Vec<(String, String)>,
    },
    Replayed {
        by: u64,
        fence: i64,
        attempt: u32,
        payload: String,
        completed_at: u64,
        expires_at: u64,
    },
    /// Without a lease's end in a pause. `retry_after` is left out: it counts from when a held call was answered, which
    /// may be long after it was decided.
    InProgress {
        by: u64,
        attempt: u32,
        lease_end: Option<u64>,
    },
    Unresolved {
        by: u64,
        attempt: u32,
        exhausted: bool,
        since: u64,
    },
    Completed {
        at: u64,
        expires_at: u64,
        repeated: bool,
    },
    Aborted {
        repeated: bool,
    },
    Renewed {
        lease: u64,
        lease_end: u64,
    },
    Saved {
        repeated: bool,
    },
    /// Of a Lookup or a Resolve.
    Record(Shown),
    Forgotten,
    Refused(String),
}

/// A record as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) state: &'static str,
    pub(crate) by: u64,
    pub(crate) fence: i64,
    pub(crate) attempt: u32,
    pub(crate) changed_at: u64,
    pub(crate) expires_at: u64,
    pub(crate) lease_end: Option<u64>,
    pub(crate) payload: Option<String>,
    pub(crate) points: Vec<(String, String)>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).expect("no length of these tests is that long")
}

fn length(length: Option<prost_types::Duration>) -> u64 {
    micros(length.unwrap_or_default().try_into().expect("no length is negative"))
}

fn moment(moment: Option<prost_types::Timestamp>) -> u64 {
    let moment = moment.expect("an answer has its moments");
    u64::try_from(moment.seconds * 1_000_000 + i64::from(moment.nanos) / 1_000).expect("after 1970")
}

/// The attempt whose trace this is: callers name their traces after their attempts.
fn attempt_of(traceparent: &str) -> u64 {
    traceparent.get(19..35).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0)
}

/// The trace that names an attempt.
pub(crate) fn trace_of(attempt: u64) -> String {
    format!("00-{:032x}-{attempt:016x}-00", u128::from(attempt))
}

/// The number of an attempt.
pub(crate) fn number(attempt_id: semel::domain::AttemptId) -> u64 {
    u64::try_from(attempt_id.get().as_u128()).expect("attempts are small numbers here")
}

fn points(points: &[Checkpoint]) -> Vec<(String, String)> {
    points.iter().map(|point| (point.name.as_str().to_owned(), text(&point.value))).collect()
}

fn sent_points(points: Vec<proto::Checkpoint>) -> Vec<(String, String)> {
    points.into_iter().map(|point| (point.name, text(&point.value))).collect()
}

impl From<proto::BeginResponse> for Answer {
    fn from(response: proto::BeginResponse) -> Self {
        match response.decision.expect("an answer has a decision") {
            Decision::Started(told) => Self::Started {
                fence: told.fence,
                attempt: told.attempt,
                lease: length(told.lease),
                lease_end: moment(told.lease_expires_at),
                points: sent_points(told.checkpoints),
            },
            Decision::Replayed(told) => Self::Replayed {
                by: attempt_of(&told.original_traceparent),
                fence: told.fence,
                attempt: told.attempt,
                payload: text(&told.result.expect("a replay has a result").payload),
                completed_at: moment(told.completed_at),
                expires_at: moment(told.expires_at),
            },
            Decision::InProgress(told) => Self::InProgress {
                by: attempt_of(&told.original_traceparent),
                attempt: told.attempt,
                lease_end: told.lease_expires_at.map(|end| moment(Some(end))),
            },
            Decision::Unresolved(told) => Self::Unresolved {
                by: attempt_of(&told.original_traceparent),
                attempt: told.attempt,
                exhausted: told.reason() == proto::unresolved::Reason::AttemptsExhausted,
                since: moment(told.since),
            },
        }
    }
}

impl From<proto::CompleteResponse> for Answer {
    fn from(told: proto::CompleteResponse) -> Self {
        let (at, expires_at) = (moment(told.completed_at), moment(told.expires_at));
        Self::Completed { at, expires_at, repeated: told.repeated_call }
    }
}

impl From<proto::AbortResponse> for Answer {
    fn from(told: proto::AbortResponse) -> Self {
        Self::Aborted { repeated: told.repeated_call }
    }
}

impl From<proto::RenewResponse> for Answer {
    fn from(told: proto::RenewResponse) -> Self {
        Self::Renewed { lease: length(told.lease), lease_end: moment(told.lease_expires_at) }
    }
}

impl From<proto::SaveCheckpointResponse> for Answer {
    fn from(told: proto::SaveCheckpointResponse) -> Self {
        Self::Saved { repeated: told.repeated_call }
    }
}

impl From<proto::LookupResponse> for Answer {
    fn from(told: proto::LookupResponse) -> Self {
        Self::Record(told.record.expect("there is one").into())
    }
}

impl From<proto::ResolveRecordResponse> for Answer {
    fn from(told: proto::ResolveRecordResponse) -> Self {
        Self::Record(told.record.expect("there is one").into())
    }
}

impl From<proto::ForgetRecordResponse> for Answer {
    fn from(_: proto::ForgetRecordResponse) -> Self {
        Self::Forgotten
    }
}

impl From<proto::Record> for Shown {
    fn from(told: proto::Record) -> Self {
        let state = match told.state() {
            proto::State::InProgress => "IN_PROGRESS",
            proto::State::Completed => "COMPLETED",
            proto::State::Released => "RELEASED",
            proto::State::Unresolved => "UNRESOLVED",
            proto::State::LeaseLost => "LEASE_LOST",
            proto::State::Unspecified => "UNSPECIFIED",
        };
        Self {
            state,
            by: attempt_of(&told.original_traceparent),
            fence: told.fence,
            attempt: told.attempt,
            changed_at: moment(told.changed_at),
            expires_at: moment(told.expires_at),
            lease_end: told.lease_expires_at.map(|end| moment(Some(end))),
            payload: told.result.map(|result| text(&result.payload)),
            points: sent_points(told.checkpoints),
        }
    }
}

fn trace(traceparent: Option<semel::domain::Traceparent>) -> u64 {
    traceparent.map_or(0, semel::domain::Traceparent::span)
}

fn shown(kept: &Kept, policy: &Policy, now: Timestamp) -> Answer {
    let state = match kept.read(policy, now) {
        Reading::InProgress => "IN_PROGRESS",
        Reading::Completed => "COMPLETED",
        Reading::Released => "RELEASED",
        Reading::Unresolved { .. } => "UNRESOLVED",
        Reading::LeaseLost => "LEASE_LOST",
    };
    let (lease_end, payload) = match &kept.phase {
        Phase::InProgress { lease_end, .. } => (Some(lease_end.as_micros()), None),
        Phase::Completed { result, .. } => (None, Some(text(&result.payload))),
        Phase::Released { .. } => (None, None),
    };
    Answer::Record(Shown {
        state,
        by: trace(kept.traceparent),
        fence: kept.fence.get(),
        attempt: kept.attempt,
        changed_at: kept.changed_at.as_micros(),
        expires_at: kept.expires_at.as_micros(),
        lease_end,
        payload,
        points: points(kept.checkpoints.as_slice()),
    })
}

fn begun(answer: BeginAnswer) -> Answer {
    match answer {
        BeginAnswer::Started(told) => Answer::Started {
            fence: told.fence.get(),
            attempt: told.attempt,
            lease: micros(told.lease),
            lease_end: told.lease_end.as_micros(),
            points: points(&told.checkpoints),
        },
        BeginAnswer::Replayed(told) => Answer::Replayed {
            by: trace(told.traceparent),
            fence: told.fence.get(),
            attempt: told.attempt,
            payload: text(&told.result.payload),
            completed_at: told.completed_at.as_micros(),
            expires_at: told.expires_at.as_micros(),
        },
        BeginAnswer::InProgress(told) => Answer::InProgress {
            by: trace(told.traceparent),
            attempt: told.attempt,
            lease_end: told.lease_end.map(Timestamp::as_micros),
        },
        BeginAnswer::Unresolved(told) => Answer::Unresolved {
            by: trace(told.traceparent),
            attempt: told.attempt,
            exhausted: told.reason == UnresolvedReason::AttemptsExhausted,
            since: told.since.as_micros(),
        },
    }
}

impl Call {
    /// What the state machine answers on `record` at `now`, and the record from then on, where it changes.
    pub(crate) fn decide(
        &self,
        record: Option<&Record>,
        policy: &Policy,
        now: Timestamp,
    ) -> (Answer, Option<Record>) {
        fn decided<C: Command>(
            command: &C,
            (record, policy, now): (Option<&Record>, &Policy, Timestamp),
            tell: impl FnOnce(C::Answer) -> Answer,
        ) -> (Answer, Option<Record>) {
            match semel::domain::decide(record, command, policy, now) {
                Transition::Unchanged(Ok(answer)) => (tell(answer), None),
                Transition::Unchanged(Err(refusal)) => {
                    (Answer::Refused(refusal.reason().as_str().to_owned()), None)
                }
                Transition::Change { next, answer } => (tell(answer), Some(next)),
            }
        }
        let on = (record, policy, now);
        match self {
            Self::Begin(begin) => decided(begin, on, begun),
            Self::Complete(complete) => decided(complete, on, |told| Answer::Completed {
                at: told.completed_at.as_micros(),
                expires_at: told.expires_at.as_micros(),
                repeated: told.repeated,
            }),
            Self::Abort(abort) => decided(abort, on, |told| Answer::Aborted { repeated: told.repeated }),
            Self::Renew(renew) => decided(renew, on, |told| Answer::Renewed {
                lease: micros(told.lease),
                lease_end: told.lease_end.as_micros(),
            }),
            Self::Save(save) => decided(save, on, |told| Answer::Saved { repeated: told.repeated }),
            Self::Lookup => decided(&Lookup, on, |kept| shown(&kept, policy, now)),
            Self::Resolve(resolve) => decided(resolve, on, |kept| shown(&kept, policy, now)),
            Self::Forget(forget) => decided(forget, on, |()| Answer::Forgotten),
        }
    }
}

impl Answer {
    /// The server's clock when it decided, where the answer tells it.
    pub(crate) fn clock(&self) -> Option<u64> {
        match self {
            Self::Started { lease, lease_end, .. } | Self::Renewed { lease, lease_end } => {
                Some(lease_end - lease)
            }
            Self::Completed { at, repeated: false, .. } => Some(*at),
            _ => None,
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin(begin) => {
                let (attempt, lease) = (number(begin.attempt_id), begin.lease.map(PositiveDuration::get));
                write!(f, "Begin of attempt {attempt} for {lease:?}")
            }
            Self::Complete(complete) => write!(
                f,
                "Complete of attempt {} under {} with {:?}",
                number(complete.attempt_id),
                complete.fence.get(),
                text(&complete.result.payload)
            ),
            Self::Abort(abort) => {
                let how = match abort.disposition {
                    Disposition::Release => "RELEASE",
                    Disposition::OutcomeUnknown => "OUTCOME_UNKNOWN",
                };
                write!(f, "Abort {how} of attempt {} under {}", number(abort.attempt_id), abort.fence.get())
            }
            Self::Renew(renew) => {
                let (attempt, lease) = (number(renew.attempt_id), renew.lease.map(PositiveDuration::get));
                write!(f, "Renew of attempt {attempt} under {} for {lease:?}", renew.fence.get())
            }
            Self::Save(save) => write!(
                f,
                "SaveCheckpoint {:?} of attempt {} under {}",
                save.name.as_str(),
                number(save.attempt_id),
                save.fence.get()
            ),
            Self::Lookup => write!(f, "Lookup"),
            Self::Resolve(resolve) => {
                let how = match &resolve.resolution {
                    Resolution::Result(result) => format!("{:?}", text(&result.payload)),
                    Resolution::Release => "release".to_owned(),
                };
                write!(f, "ResolveRecord of {} as {how}, force {}", resolve.fence.get(), resolve.force)
            }
            Self::Forget(forget) => {
                write!(f, "ForgetRecord of {}, force {}", forget.fence.get(), forget.force)
            }
        }
    }
}
