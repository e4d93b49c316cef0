//! What a fake knows of a key, and what it answers.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tonic::{Code, Status};

use super::fake::{Scripted, refusal};
use crate::proto;
use crate::proto::abort_request::Disposition;
use crate::proto::begin_response::Decision;
use crate::time::written;

const LEASE: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(10);
const FIRST_FENCE: i64 = 1_000_000;

#[derive(Default)]
pub(super) struct Record {
    state: proto::State,
    fence: i64,
    attempt: u32,
    attempt_id: String,
    fingerprint: Bytes,
    checkpoints: Vec<proto::Checkpoint>,
    result: Option<proto::Result>,
    completed_at: Option<SystemTime>,
    /// Its owner is refused.
    lost: bool,
}

impl Record {
    pub(super) fn is_owned_by(&self, fence: i64, attempt_id: &str) -> bool {
        !self.lost && self.fence == fence && self.attempt_id == attempt_id
    }

    /// What a script says.
    pub(super) fn follow(
        &mut self,
        scripted: Scripted,
        request: &proto::BeginRequest,
    ) -> Result<Decision, Status> {
        Ok(match scripted {
            Scripted::Started { attempt, checkpoints } => {
                self.attempt = attempt.saturating_sub(1);
                let fence = self.fence;
                let saved = |(name, value)| proto::Checkpoint { name, value, fence };
                self.checkpoints = checkpoints.into_iter().map(saved).collect();
                self.start(request)
            }
            Scripted::FenceLost => {
                let started = self.start(request);
                self.lost = true;
                started
            }
            Scripted::Replayed(result) => Decision::Replayed(proto::Replayed {
                result: Some(result),
                fence: FIRST_FENCE,
                attempt: 1,
                completed_at: Some(SystemTime::now().into()),
                ..proto::Replayed::default()
            }),
            Scripted::InProgress { retry_after, attempt } => Decision::InProgress(proto::InProgress {
                attempt,
                retry_after: Some(written(retry_after)),
                ..proto::InProgress::default()
            }),
            Scripted::Unresolved { reason, detail } => Decision::Unresolved(proto::Unresolved {
                reason: reason.into(),
                attempt: 1,
                detail,
                since: Some(SystemTime::now().into()),
                ..proto::Unresolved::default()
            }),
            Scripted::Unavailable => return Err(Status::unavailable("the fake cannot be reached")),
        })
    }

    /// What a server would say.
    pub(super) fn decide(&mut self, request: &proto::BeginRequest) -> Result<Decision, Status> {
        let differs = !self.fingerprint.is_empty()
            && !request.fingerprint.is_empty()
            && self.fingerprint != request.fingerprint;
        if differs {
            return Err(refusal(Code::FailedPrecondition, "FINGERPRINT_MISMATCH"));
        }
        Ok(match (self.state, self.result.clone()) {
            (proto::State::Completed, Some(result)) => Decision::Replayed(proto::Replayed {
                result: Some(result),
                fence: self.fence,
                attempt: self.attempt,
                completed_at: self.completed_at.map(Into::into),
                ..proto::Replayed::default()
            }),
            (proto::State::InProgress, _) if self.attempt_id != request.attempt_id => {
                Decision::InProgress(proto::InProgress {
                    attempt: self.attempt,
                    retry_after: Some(written(ASK_AGAIN)),
                    ..proto::InProgress::default()
                })
            }
            (proto::State::InProgress, _) => self.started(),
            _ => self.start(request),
        })
    }

    fn start(&mut self, request: &proto::BeginRequest) -> Decision {
        self.state = proto::State::InProgress;
        self.fence = self.fence.max(FIRST_FENCE) + 1;
        self.attempt += 1;
        self.attempt_id.clone_from(&request.attempt_id);
        self.fingerprint = request.fingerprint.clone();
        self.lost = false;
        self.started()
    }

    fn started(&self) -> Decision {
        Decision::Started(proto::Started {
            fence: self.fence,
            attempt: self.attempt,
            lease: Some(written(LEASE)),
            lease_expires_at: Some((SystemTime::now() + LEASE).into()),
            checkpoints: self.checkpoints.clone(),
            waited: None,
        })
    }

    pub(super) fn complete(
        &mut self,
        result: Option<proto::Result>,
    ) -> Result<proto::CompleteResponse, Status> {
        let repeated_call = self.state == proto::State::Completed;
        if repeated_call && self.result != result {
            return Err(refusal(Code::FailedPrecondition, "RESULT_CONFLICT"));
        }
        self.state = proto::State::Completed;
        self.result = result;
        let completed_at = *self.completed_at.get_or_insert_with(SystemTime::now);
        Ok(proto::CompleteResponse {
            completed_at: Some(completed_at.into()),
            expires_at: None,
            repeated_call,
        })
    }

    pub(super) fn abort(&mut self, disposition: Disposition) -> Result<proto::AbortResponse, Status> {
        if self.state == proto::State::Completed {
            return Err(refusal(Code::FailedPrecondition, "ALREADY_COMPLETED"));
        }
        let repeated_call = self.state != proto::State::InProgress;
        if disposition == Disposition::Release {
            self.state = proto::State::Released;
            if self.checkpoints.is_empty() {
                self.fingerprint.clear();
            }
        } else {
            self.state = proto::State::LeaseLost;
        }
        Ok(proto::AbortResponse { repeated_call })
    }

    pub(super) fn renew(&self) -> Result<proto::RenewResponse, Status> {
        match self.state {
            proto::State::InProgress => Ok(proto::RenewResponse {
                lease: Some(written(LEASE)),
                lease_expires_at: Some((SystemTime::now() + LEASE).into()),
            }),
            proto::State::Completed => Err(refusal(Code::FailedPrecondition, "ALREADY_COMPLETED")),
            _ => Err(refusal(Code::Aborted, "FENCE_LOST")),
        }
    }

    pub(super) fn save(
        &mut self,
        name: String,
        value: Bytes,
    ) -> Result<proto::SaveCheckpointResponse, Status> {
        let repeated_call = match self.checkpoints.iter().find(|point| point.name == name) {
            Some(point) if point.value == value => true,
            Some(_) => return Err(refusal(Code::FailedPrecondition, "CHECKPOINT_CONFLICT")),
            None => {
                self.checkpoints.push(proto::Checkpoint { name, value, fence: self.fence });
                false
            }
        };
        Ok(proto::SaveCheckpointResponse { repeated_call })
    }

    /// As Lookup shows it; `None` where there never was an attempt.
    pub(super) fn shown(&self, key: Option<proto::Key>) -> Option<proto::Record> {
        (self.fence > 0).then(|| proto::Record {
            key,
            state: self.state.into(),
            fence: self.fence,
            attempt: self.attempt,
            fingerprint: self.fingerprint.clone(),
            result: self.result.clone(),
            checkpoints: self.checkpoints.clone(),
            ..proto::Record::default()
        })
    }
}
