//! The one call: begin, and then run the work or replay what it came to.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::attempt::{Attempt, Checkpoint};
use crate::client::Client;
use crate::codec::{Codec, Json, decoded};
use crate::error::{Error, ErrorKind, cancelled, refused};
use crate::failure::{Report, WorkError};
use crate::handoff::Handoff;
use crate::key::Key;
use crate::lease::Lease;
use crate::once_options::OnceOptions;
use crate::proto::begin_response::Decision;
use crate::proto::unresolved::Reason;
use crate::proto::{self, BeginRequest, BeginResponse};
use crate::request::Request;
use crate::sending::{Again, Method, Sending, unless_cancelled};
use crate::telemetry::Observed;
use crate::time::{duration, time, written};
use crate::withdrawal::Withdrawal;

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome<T> {
    /// What the work returned, now or when it ran.
    pub value: T,
    /// It ran before, and nothing ran now.
    pub replayed: bool,
    /// Another process is to report.
    pub handed_off: bool,
    /// False where the work ran only because of [`fail_open`](OnceOptions::fail_open).
    pub protected: bool,
    /// The fence of the attempt that ran; 0 where unprotected.
    pub fence: i64,
    /// Its number; 0 where unprotected.
    pub attempt: u32,
    /// When what is replayed was stored.
    pub completed_at: Option<SystemTime>,
}

impl Client {
    /// Runs the work if nobody has for this endpoint and key, and returns its value; or returns the value of whoever did.
    ///
    /// The value is stored as JSON. The lease is renewed while the work runs; its [`Attempt`] tells when the key is lost.
    /// Dropping the future cancels: what was granted is given back where nothing ran, and the outcome is reported as unknown
    /// where the work was under way. A report that has begun goes on.
    ///
    /// ```no_run
    /// # use semel_client::{Client, ClientOptions, Failure, Request};
    /// # #[derive(serde::Serialize)] struct Order { amount: u32 }
    /// # async fn charge(_: &Order, _: &str) -> Result<Option<String>, std::io::Error> { Ok(None) }
    /// # async fn example(order: Order) -> Result<(), Box<dyn std::error::Error>> {
    /// let client = Client::new(ClientOptions::new())?;
    /// let outcome = client
    ///     .once("payments/Charge", "order-42", Request::json(&order), async |attempt| {
    ///         let charged = charge(&order, &attempt.derived_key("charge")?).await?;
    ///         charged.ok_or_else(|| Failure::new("CardDeclined", "insufficient funds").into())
    ///     })
    ///     .await?;
    /// println!("charge {}, replayed: {}", outcome.value, outcome.replayed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Where nothing ran: [`KeyMismatch`](ErrorKind::KeyMismatch), [`KeyExpired`](ErrorKind::KeyExpired),
    /// [`InProgress`](ErrorKind::InProgress), [`Unresolved`](ErrorKind::Unresolved),
    /// [`StoreUnavailable`](ErrorKind::StoreUnavailable), [`Exhausted`](ErrorKind::Exhausted),
    /// [`NotAllowed`](ErrorKind::NotAllowed), [`Invalid`](ErrorKind::Invalid), [`ServerError`](ErrorKind::ServerError),
    /// [`UndecodableResult`](ErrorKind::UndecodableResult), [`Cancelled`](ErrorKind::Cancelled). Where it ran:
    /// [`OperationFailed`](ErrorKind::OperationFailed), [`CompletionUnknown`](ErrorKind::CompletionUnknown),
    /// [`ResultNotStored`](ErrorKind::ResultNotStored), [`ResultConflict`](ErrorKind::ResultConflict),
    /// [`LeaseLost`](ErrorKind::LeaseLost), and [`Work`](ErrorKind::Work) with the work's own error.
    pub async fn once<T, W>(
        &self,
        endpoint: &str,
        key: impl Into<Key>,
        request: impl Into<Request>,
        work: W,
    ) -> Result<Outcome<T>, Error<T>>
    where
        T: Serialize + DeserializeOwned,
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        self.once_with::<T, Json, W>(OnceOptions::new(), endpoint, key, request, work).await
    }

    /// As [`once`](Self::once), with options.
    ///
    /// # Errors
    ///
    /// Those of [`once`](Self::once).
    pub async fn once_with<T, C, W>(
        &self,
        options: OnceOptions<C>,
        endpoint: &str,
        key: impl Into<Key>,
        request: impl Into<Request>,
        work: W,
    ) -> Result<Outcome<T>, Error<T>>
    where
        C: Codec<T>,
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        let (key, request) = (key.into(), request.into());
        let mut observed = Observed::new(self.telemetry(), self.tenant(), endpoint);
        let context = observed.context();
        let mut run = Run { client: self, options: &options, endpoint, key, observed: &mut observed };
        let result = run.once(&request, work).with_context(context).await;
        if let Err(error) = &result {
            observed.ended_in(error);
        }
        result
    }

    /// Goes on with an attempt that another process handed off: renews the lease, runs the work, and reports, as
    /// [`once`](Self::once) does.
    ///
    /// # Errors
    ///
    /// Those of [`once`](Self::once) from where the work runs; [`LeaseLost`](ErrorKind::LeaseLost) where the attempt ended.
    pub async fn resume<T, W>(&self, handoff: Handoff, work: W) -> Result<Outcome<T>, Error<T>>
    where
        T: Serialize + DeserializeOwned,
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        self.resume_with::<T, Json, W>(OnceOptions::new(), handoff, work).await
    }

    /// As [`resume`](Self::resume), with options.
    ///
    /// # Errors
    ///
    /// Those of [`resume`](Self::resume).
    pub async fn resume_with<T, C, W>(
        &self,
        options: OnceOptions<C>,
        handoff: Handoff,
        work: W,
    ) -> Result<Outcome<T>, Error<T>>
    where
        C: Codec<T>,
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        let endpoint = handoff.endpoint.clone();
        let mut observed = Observed::new(self.telemetry(), &handoff.tenant, &endpoint);
        let context = observed.context();
        let key = handoff.key.clone();
        let mut run =
            Run { client: self, options: &options, endpoint: &endpoint, key, observed: &mut observed };
        let result = run.resume(handoff, work).with_context(context).await;
        if let Err(error) = &result {
            observed.ended_in(error);
        }
        result
    }

    /// Reports the value of an attempt that was handed off, or whose own report could not be delivered.
    ///
    /// # Errors
    ///
    /// Those of [`once`](Self::once) from where the work has ended.
    pub async fn complete_handoff<T>(&self, handoff: Handoff, value: T) -> Result<(), Error<T>>
    where
        T: Serialize + DeserializeOwned,
    {
        self.complete_handoff_with(OnceOptions::new(), handoff, value).await
    }

    /// As [`complete_handoff`](Self::complete_handoff), with another codec or retention.
    ///
    /// # Errors
    ///
    /// Those of [`complete_handoff`](Self::complete_handoff).
    pub async fn complete_handoff_with<T, C: Codec<T>>(
        &self,
        options: OnceOptions<C>,
        handoff: Handoff,
        value: T,
    ) -> Result<(), Error<T>> {
        self.usable().map_err(Error::of_work)?;
        let report = crate::codec::encoded(&options.codec, &value);
        let attempt = Attempt::new(self.clone(), handoff, Vec::new(), None);
        let Report::Result { result, failure, omitted } = report else {
            return Ok(()); // a value is no giving up
        };
        let mut outcome = "";
        attempt
            .complete(result, failure, omitted, options.retention, Some(value), &mut outcome)
            .await
            .map(|_| ())
    }
}

/// A once or a resume on its way.
pub(crate) struct Run<'a, 'o, C> {
    pub(crate) client: &'a Client,
    pub(crate) options: &'a OnceOptions<C>,
    pub(crate) endpoint: &'a str,
    pub(crate) key: Key,
    pub(crate) observed: &'a mut Observed<'o>,
}

/// The works that the flow of execution is in.
#[derive(Clone)]
pub(crate) struct Within {
    tenant: String,
    endpoint: String,
    key: Key,
    outer: Option<Arc<Within>>,
}

tokio::task_local! {
    pub(crate) static WITHIN: Arc<Within>;
}

impl<C> Run<'_, '_, C> {
    /// What a work runs in, by which a nested run of the same key is found.
    pub(crate) fn within(&self, tenant: &str) -> Arc<Within> {
        Arc::new(Within {
            tenant: tenant.to_owned(),
            endpoint: self.endpoint.to_owned(),
            key: self.key.clone(),
            outer: WITHIN.try_with(Arc::clone).ok(),
        })
    }

    fn check<T>(&self, tenant: &str) -> Result<(), Error<T>> {
        self.client.usable().map_err(Error::of_work)?;
        if self.options.cancel.as_ref().is_some_and(tokio_util::sync::CancellationToken::is_cancelled) {
            return Err(cancelled());
        }
        self.key.check().map_err(Error::of_work)?;
        let innermost = WITHIN.try_with(Arc::clone).ok();
        let mut outer = innermost.as_ref();
        while let Some(within) = outer {
            if within.tenant == tenant && within.endpoint == self.endpoint && within.key == self.key {
                let text = "this runs within the work of the same key, which would wait for itself";
                return Err(refused("NESTED", text).of_work());
            }
            outer = within.outer.as_ref();
        }
        for warning in self.key.warnings() {
            self.client.telemetry().key_warning(self.endpoint, warning);
        }
        Ok(())
    }

    async fn once<T, W>(&mut self, request: &Request, work: W) -> Result<Outcome<T>, Error<T>>
    where
        C: Codec<T>,
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        self.check(self.client.tenant())?;
        let begin = self.begin_request(request).map_err(Error::of_work)?;
        let attempt_id = begin.attempt_id.clone();
        let (response, sent_at) = match self.begin(begin).await {
            Ok(answered) => answered,
            Err(error) => {
                if let ErrorKind::StoreUnavailable { .. } = error.kind()
                    && self.options.fail_open
                {
                    return self.run_unprotected(&error, work).await;
                }
                return Err(error.of_work());
            }
        };
        match response.decision {
            Some(Decision::Started(started)) => {
                self.observed.decision = "started";
                let since = sent_at + duration(started.waited);
                let owner = Handoff {
                    tenant: self.client.tenant().to_owned(),
                    endpoint: self.endpoint.to_owned(),
                    key: self.key.clone(),
                    fence: started.fence,
                    attempt: started.attempt,
                    attempt_id,
                    lease: duration(started.lease),
                };
                let saved = |point: proto::Checkpoint| Checkpoint { name: point.name, value: point.value };
                let checkpoints = started.checkpoints.into_iter().map(saved).collect();
                let attempt =
                    Attempt::new(self.client.clone(), owner, checkpoints, self.options.cancel.as_ref());
                self.own(attempt.clone(), Lease::new(attempt, since, None), work).await
            }
            Some(Decision::Replayed(replayed)) => {
                self.observed.decision = "replayed";
                self.observed.fence = replayed.fence;
                self.observed.number = replayed.attempt;
                self.observed.link(&replayed.original_traceparent);
                Ok(Outcome {
                    value: decoded(&self.options.codec, replayed.result.unwrap_or_default())?,
                    replayed: true,
                    handed_off: false,
                    protected: true,
                    fence: replayed.fence,
                    attempt: replayed.attempt,
                    completed_at: time(replayed.completed_at),
                })
            }
            Some(Decision::InProgress(running)) => {
                self.observed.decision = "in_progress";
                Err(in_progress(&running))
            }
            Some(Decision::Unresolved(unresolved)) => {
                self.observed.decision = "unresolved";
                Err(not_resolved(unresolved))
            }
            None => {
                let text = "the server decided what this library does not know; upgrade it";
                Err(Error::new(ErrorKind::ServerError, "DECISION", text))
            }
        }
    }

    fn begin_request(&self, request: &Request) -> Result<BeginRequest, Error> {
        let options = self.options;
        let fingerprint = if request.is_none() { Vec::new() } else { request.fingerprint()?.to_vec() };
        Ok(BeginRequest {
            key: Some(proto::Key {
                tenant: self.client.tenant().to_owned(),
                endpoint: self.endpoint.to_owned(),
                idempotency_key: self.key.as_str().to_owned(),
            }),
            attempt_id: Uuid::new_v4().to_string(),
            fingerprint: fingerprint.into(),
            lease: options.lease.map(written),
            retention: options.retention.map(written),
            wait: None,
            first_sent: options.first_sent.map(Into::into),
            retry: options.retry,
            labels: options.labels.clone(),
        })
    }

    /// Begins, again and again while another attempt runs and there is time left to wait. The attempt id stays the same: no
    /// attempt began, and if an answer was lost, this finds the attempt that did.
    async fn begin(&self, request: BeginRequest) -> Result<(BeginResponse, Instant), Error> {
        let cancel = self.options.cancel.as_ref();
        let within = self.options.timeout.unwrap_or(self.client.options().timeout);
        let until = Instant::now() + self.options.wait;
        let mut withdrawal = Withdrawal::new(self.client.clone(), request, Handle::current());
        loop {
            let left = until.saturating_duration_since(Instant::now());
            withdrawal.request.wait = Some(left).filter(|left| !left.is_zero()).map(written);
            let once = self.client.options().try_timeout;
            let again = Again::MayPass;
            let how = Sending { method: Method::Begin, within, once, wait: left, again };
            withdrawal.due = true;
            let (sent, answer) = self.client.send::<_, BeginResponse>(how, &withdrawal.request, cancel).await;
            let unanswered = match &answer {
                Ok(_) => false,
                Err(error) => match error.kind() {
                    ErrorKind::Cancelled => true,
                    ErrorKind::StoreUnavailable { may_have_taken_effect } => {
                        *may_have_taken_effect && !self.options.fail_open
                    }
                    _ => false,
                },
            };
            withdrawal.due = unanswered;
            let response: BeginResponse = answer?;
            let pause = match &response.decision {
                Some(Decision::InProgress(running)) if !left.is_zero() => duration(running.retry_after),
                _ => return Ok((response, sent.at)),
            };
            let pause = pause.min(until.saturating_duration_since(Instant::now()));
            if unless_cancelled(cancel, sleep(pause)).await.is_none() {
                return Err(cancelled());
            }
        }
    }

    async fn run_unprotected<T, W>(&mut self, why: &Error, work: W) -> Result<Outcome<T>, Error<T>>
    where
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        self.observed.decision = "unprotected";
        self.client.telemetry().ran_unprotected(self.endpoint, why.code(), why.reason());
        let owner = Handoff {
            tenant: self.client.tenant().to_owned(),
            endpoint: self.endpoint.to_owned(),
            key: self.key.clone(),
            fence: 0,
            attempt: 0,
            attempt_id: String::new(),
            lease: Duration::ZERO,
        };
        let within = self.within(&owner.tenant);
        let attempt = Attempt::new(self.client.clone(), owner, Vec::new(), self.options.cancel.as_ref());
        let value = WITHIN.scope(within, work(attempt)).await.map_err(own)?;
        Ok(Outcome {
            value,
            replayed: false,
            handed_off: false,
            protected: false,
            fence: 0,
            attempt: 0,
            completed_at: None,
        })
    }

    async fn resume<T, W>(&mut self, handoff: Handoff, work: W) -> Result<Outcome<T>, Error<T>>
    where
        C: Codec<T>,
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        self.check(&handoff.tenant)?;
        self.observed.decision = "started";
        let cancel = self.options.cancel.as_ref();
        let attempt = Attempt::new(self.client.clone(), handoff, Vec::new(), cancel);
        let lease = Lease::new(attempt.clone(), Instant::now(), None);
        lease.renew(cancel).await.map_err(Error::of_work)?;
        self.own(attempt, lease, work).await
    }
}

/// The work's own error, for its caller.
pub(crate) fn own<T>(error: WorkError) -> Error<T> {
    Error::new(ErrorKind::Work(error.error), "", "")
}

fn in_progress<T>(running: &proto::InProgress) -> Error<T> {
    let proto::InProgress { attempt, backing_off, .. } = *running;
    let text = if backing_off {
        format!("attempt {attempt} gave the key up, and asked for a pause")
    } else {
        format!("attempt {attempt} is running; ask again later, or wait")
    };
    Error::new(ErrorKind::InProgress { attempt, backing_off }, "", text)
        .with_retry_after(Some(duration(running.retry_after)))
}

fn not_resolved<T>(unresolved: proto::Unresolved) -> Error<T> {
    let reason = unresolved.reason();
    let text = match reason {
        Reason::AttemptsExhausted => "the attempts are used up; an operator has to resolve it",
        _ => "nobody knows whether an earlier attempt did it; an operator has to resolve it",
    };
    let proto::Unresolved { detail, attempt, since, .. } = unresolved;
    let kind = ErrorKind::Unresolved { reason, detail, attempt, since: time(since) };
    Error::new(kind, "", text)
}
