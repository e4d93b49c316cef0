//! A server in the process, scripted per key.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::record::Record;
use crate::client::Client;
use crate::error::Error;
use crate::failure::{FAILURE_CONTENT_TYPE, Failure};
use crate::options::ClientOptions;
use crate::proto::idempotency_service_server::{IdempotencyService, IdempotencyServiceServer};
use crate::proto::{self, result::Outcome, unresolved::Reason};

/// A fake for users' tests: clients of it behave as those of a server, and there is none.
///
/// A key with a script gets its decisions in turn, the last one for good. Any other key is kept in memory as a server
/// would: started; in progress while it runs; then replayed, or started again after an Abort.
///
/// ```
/// # use semel_client::testing::{Fake, Scripted};
/// # use semel_client::Request;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fake = Fake::new();
/// fake.script("payments/Charge", "order-42", [Scripted::replayed_json(&"ch_1")]);
/// let client = fake.client()?;
/// let work = async |_| Ok("never".to_owned());
/// let outcome = client.once("payments/Charge", "order-42", Request::none(), work).await?;
/// assert!(outcome.replayed);
/// assert_eq!(outcome.value, "ch_1");
/// assert_eq!(fake.calls()[0].method, "Begin");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
}

/// What a Begin is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Scripted {
    /// The attempt of this number owns the key, and gets these recovery points.
    Started {
        /// Its number, from 1.
        attempt: u32,
        /// Names and values.
        checkpoints: Vec<(String, Bytes)>,
    },
    /// It already happened, with this result.
    Replayed(proto::Result),
    /// Another attempt runs.
    InProgress {
        /// When to ask again.
        retry_after: Duration,
        /// Its number.
        attempt: u32,
    },
    /// Nobody knows, or the attempts are used up.
    Unresolved {
        /// Which of the two.
        reason: Reason,
        /// What the last owner said.
        detail: String,
    },
    /// The attempt owns the key, and then does not: every call of an owner is refused.
    FenceLost,
    /// The server cannot be reached.
    Unavailable,
}

impl Scripted {
    /// It already happened, and returned this value as JSON.
    pub fn replayed_json<V: Serialize + ?Sized>(value: &V) -> Self {
        Self::Replayed(proto::Result {
            outcome: Outcome::Success.into(),
            content_type: "application/json".to_owned(),
            payload: serde_json::to_vec(value).unwrap_or_default().into(),
            ..proto::Result::default()
        })
    }

    /// It already failed for good.
    pub fn replayed_failure(failure: &Failure) -> Self {
        Self::Replayed(proto::Result {
            outcome: Outcome::Failure.into(),
            code: failure.code,
            content_type: FAILURE_CONTENT_TYPE.to_owned(),
            payload: serde_json::to_vec(failure).unwrap_or_default().into(),
            ..proto::Result::default()
        })
    }
}

/// A call that a fake got.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The method, such as `Begin`.
    pub method: &'static str,
    /// The key's endpoint.
    pub endpoint: String,
    /// The idempotency key.
    pub key: String,
}

type Name = (String, String);

#[derive(Default)]
struct State {
    scripts: BTreeMap<Name, VecDeque<Scripted>>,
    records: BTreeMap<Name, Record>,
    calls: Vec<Call>,
}

impl Fake {
    /// A fake without scripts.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the Begins of a key are told, in turn; the last one for good.
    pub fn script(
        &self,
        endpoint: impl Into<String>,
        key: impl Into<String>,
        decisions: impl IntoIterator<Item = Scripted>,
    ) -> &Self {
        self.lock().scripts.insert((endpoint.into(), key.into()), decisions.into_iter().collect());
        self
    }

    /// A client of it.
    ///
    /// # Errors
    ///
    /// None, as long as the defaults of a client are sound.
    pub fn client(&self) -> Result<Client, Error> {
        self.client_with(ClientOptions::new())
    }

    /// A client of it, with options.
    ///
    /// # Errors
    ///
    /// Those of [`Client::through`].
    pub fn client_with(&self, options: ClientOptions) -> Result<Client, Error> {
        Client::through(IdempotencyServiceServer::new(self.clone()), options)
    }

    /// What was called so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call, and gives the state and the name of its key.
    fn called(&self, method: &'static str, key: Option<&proto::Key>) -> (MutexGuard<'_, State>, Name) {
        let key = key.cloned().unwrap_or_default();
        let mut state = self.lock();
        let call = Call { method, endpoint: key.endpoint.clone(), key: key.idempotency_key.clone() };
        state.calls.push(call);
        (state, (key.endpoint, key.idempotency_key))
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Fake")
    }
}

/// An error as the server's.
pub(super) fn refusal(code: Code, reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "semel.v1", HashMap::new());
    Status::with_error_details(code, format!("the fake says {reason}"), details)
}

fn item_error(status: &Status) -> proto::ItemError {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    proto::ItemError { code: status.code().into(), reason, message: status.message().to_owned() }
}

impl State {
    fn begin(&mut self, name: Name, request: &proto::BeginRequest) -> Result<proto::BeginResponse, Status> {
        let scripted = self
            .scripts
            .get_mut(&name)
            .and_then(|script| if script.len() > 1 { script.pop_front() } else { script.front().cloned() });
        let record = self.records.entry(name).or_default();
        let decision = match scripted {
            Some(scripted) => record.follow(scripted, request)?,
            None => record.decide(request)?,
        };
        Ok(proto::BeginResponse { decision: Some(decision) })
    }

    /// The record of a key, for its owner.
    fn owned(&mut self, name: &Name, fence: i64, attempt_id: &str) -> Result<&mut Record, Status> {
        let record = self.records.get_mut(name).ok_or_else(|| refusal(Code::NotFound, "KEY_NOT_FOUND"))?;
        if !record.is_owned_by(fence, attempt_id) {
            return Err(refusal(Code::Aborted, "FENCE_LOST"));
        }
        Ok(record)
    }
}

#[tonic::async_trait]
impl IdempotencyService for Fake {
    async fn begin(
        &self,
        request: Request<proto::BeginRequest>,
    ) -> Result<Response<proto::BeginResponse>, Status> {
        let request = request.into_inner();
        let (mut state, name) = self.called("Begin", request.key.as_ref());
        state.begin(name, &request).map(Response::new)
    }

    async fn complete(
        &self,
        request: Request<proto::CompleteRequest>,
    ) -> Result<Response<proto::CompleteResponse>, Status> {
        let request = request.into_inner();
        let (mut state, name) = self.called("Complete", request.key.as_ref());
        let record = state.owned(&name, request.fence, &request.attempt_id)?;
        record.complete(request.result).map(Response::new)
    }

    async fn abort(
        &self,
        request: Request<proto::AbortRequest>,
    ) -> Result<Response<proto::AbortResponse>, Status> {
        let request = request.into_inner();
        let (mut state, name) = self.called("Abort", request.key.as_ref());
        let record = state.owned(&name, request.fence, &request.attempt_id)?;
        record.abort(request.disposition()).map(Response::new)
    }

    async fn lookup(
        &self,
        request: Request<proto::LookupRequest>,
    ) -> Result<Response<proto::LookupResponse>, Status> {
        let request = request.into_inner();
        let (state, name) = self.called("Lookup", request.key.as_ref());
        let record = state.records.get(&name).and_then(|record| record.shown(request.key));
        let record = record.ok_or_else(|| refusal(Code::NotFound, "KEY_NOT_FOUND"))?;
        Ok(Response::new(proto::LookupResponse { record: Some(record) }))
    }

    async fn renew(
        &self,
        request: Request<proto::RenewRequest>,
    ) -> Result<Response<proto::RenewResponse>, Status> {
        let request = request.into_inner();
        let (mut state, name) = self.called("Renew", request.key.as_ref());
        state.owned(&name, request.fence, &request.attempt_id)?.renew().map(Response::new)
    }

    async fn save_checkpoint(
        &self,
        request: Request<proto::SaveCheckpointRequest>,
    ) -> Result<Response<proto::SaveCheckpointResponse>, Status> {
        let request = request.into_inner();
        let (mut state, name) = self.called("SaveCheckpoint", request.key.as_ref());
        let record = state.owned(&name, request.fence, &request.attempt_id)?;
        record.save(request.name, request.value).map(Response::new)
    }

    async fn batch_begin(
        &self,
        request: Request<proto::BatchBeginRequest>,
    ) -> Result<Response<proto::BatchBeginResponse>, Status> {
        use proto::batch_begin_response::{Item, item::Outcome};
        let one = |request: proto::BeginRequest| {
            let (mut state, name) = self.called("BatchBegin", request.key.as_ref());
            let outcome = match state.begin(name, &request) {
                Ok(response) => Outcome::Response(response),
                Err(status) => Outcome::Error(item_error(&status)),
            };
            Item { outcome: Some(outcome) }
        };
        let items = request.into_inner().requests.into_iter().map(one).collect();
        Ok(Response::new(proto::BatchBeginResponse { items }))
    }

    async fn batch_complete(
        &self,
        request: Request<proto::BatchCompleteRequest>,
    ) -> Result<Response<proto::BatchCompleteResponse>, Status> {
        use proto::batch_complete_response::{Item, item::Outcome};
        let one = |request: proto::CompleteRequest| {
            let (mut state, name) = self.called("BatchComplete", request.key.as_ref());
            let owned = state.owned(&name, request.fence, &request.attempt_id);
            let outcome = match owned.and_then(|record| record.complete(request.result)) {
                Ok(response) => Outcome::Response(response),
                Err(status) => Outcome::Error(item_error(&status)),
            };
            Item { outcome: Some(outcome) }
        };
        let items = request.into_inner().requests.into_iter().map(one).collect();
        Ok(Response::new(proto::BatchCompleteResponse { items }))
    }
}
