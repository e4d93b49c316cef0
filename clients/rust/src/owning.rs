//! Owning a key: the work runs, and its end is reported.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tonic::Code;

use crate::attempt::Attempt;
use crate::codec::{Codec, encoded};
use crate::error::{BoxError, Error, ErrorKind, cancelled};
use crate::failure::{Failure, Report, WorkError, report_of};
use crate::lease::{Keeping, Lease, Lost};
use crate::once::{Outcome, Run, WITHIN, own};
use crate::proto::abort_request::Disposition;
use crate::proto::{self, AbortRequest, AbortResponse, CompleteRequest, CompleteResponse};
use crate::sending::{Again, Method, Sending};
use crate::time::written;
use crate::withdrawal::NOTHING_RAN;

/// No policy allows a larger result, so that it is not sent.
const MOST_RESULT: usize = 3 << 20;

impl<C> Run<'_, '_, C> {
    /// Runs the work of an attempt that was granted, and reports what became of it.
    pub(crate) async fn own<T, W>(
        &mut self,
        attempt: Attempt,
        lease: Arc<Lease>,
        work: W,
    ) -> Result<Outcome<T>, Error<T>>
    where
        C: Codec<T>,
        W: AsyncFnOnce(Attempt) -> Result<T, WorkError>,
    {
        self.observed.fence = attempt.fence();
        self.observed.number = attempt.number();
        let mut unreported = Unreported::new(attempt.clone());
        if lease.is_late()
            && let Err(error) = lease.renew(self.options.cancel.as_ref()).await
        {
            unreported.disarm();
            return Err(self.never_ran(&attempt, &lease, error).await);
        }
        unreported.work_began(Arc::clone(&lease));
        let within = self.within(&attempt.owner().tenant);
        let work = AssertUnwindSafe(WITHIN.scope(within, async { work(attempt.clone()).await }));
        let ended = match work.catch_unwind().await {
            Ok(ended) => ended,
            Err(panic) => {
                unreported.disarm();
                let detail = "panic in the work".to_owned();
                self.observed.outcome =
                    attempt.abort(Disposition::OutcomeUnknown, detail, Duration::ZERO).await;
                resume_unwind(panic);
            }
        };
        let settled = self.settle(&attempt, &lease, ended, &mut unreported).await;
        drop(unreported);
        settled
    }

    /// Gives back what was granted too late.
    async fn never_ran<T>(&mut self, attempt: &Attempt, lease: &Lease, error: Error) -> Error<T> {
        let was_cancelled = matches!(error.kind(), ErrorKind::Cancelled);
        let lost = lease.lost_because(error);
        if !lost.refused {
            attempt.abort(Disposition::Release, NOTHING_RAN.to_owned(), Duration::ZERO).await;
        }
        self.observed.outcome = "lost";
        if was_cancelled { cancelled() } else { lost.error.of_work() }
    }

    /// Reports how the work ended, and says what its caller gets.
    async fn settle<T>(
        &mut self,
        attempt: &Attempt,
        lease: &Lease,
        ended: Result<T, WorkError>,
        unreported: &mut Unreported,
    ) -> Result<Outcome<T>, Error<T>>
    where
        C: Codec<T>,
    {
        // From here on the end is known: what is reported goes on by itself, if it does at all.
        unreported.disarm();
        let outcome = |value| Outcome {
            value,
            replayed: false,
            handed_off: attempt.is_handed_off(),
            protected: true,
            fence: attempt.fence(),
            attempt: attempt.number(),
            completed_at: None,
        };
        if attempt.is_handed_off() {
            self.observed.outcome = "handed_off";
            return ended.map(outcome).map_err(own);
        }
        let lost = lease.take_lost();
        if let Some(Lost { error, refused: true, .. }) = lost {
            self.observed.outcome = "lost";
            return Err(lost_with(error, ended));
        }
        let options = self.options;
        let (report, ended) = match ended {
            Ok(value) => (encoded(&options.codec, &value), Ok(value)),
            Err(error) => {
                let unexpected = options.on_unexpected.unwrap_or(attempt.client().options().on_unexpected);
                (report_of(&error, options.classify.as_deref(), unexpected), Err(error))
            }
        };
        match report {
            Report::Result { result, failure, omitted } => {
                let value = ended.ok();
                let said = &mut self.observed.outcome;
                let kept = attempt.complete(result, failure, omitted, options.retention, value, said).await?;
                // A report that was taken, and is neither a failure nor omitted, is of a value.
                kept.map(outcome).ok_or_else(cancelled)
            }
            Report::GivenUp { disposition, detail, after } => {
                self.observed.outcome = attempt.abort(disposition, detail, after).await;
                match (lost, ended) {
                    (Some(lost), ended) => {
                        self.observed.outcome = "lost";
                        Err(lost_with(lost.error, ended))
                    }
                    (None, Err(error)) => Err(own(error)),
                    (None, Ok(value)) => Ok(outcome(value)),
                }
            }
        }
    }
}

/// The error of a work whose key was lost.
fn lost_with<T>(lost: Error, ended: Result<T, WorkError>) -> Error<T> {
    match ended {
        Ok(value) => lost.with_kind(ErrorKind::LeaseLost { value: Some(value) }),
        Err(error) => lost.with_kind(ErrorKind::LeaseLost { value: None }).with_source(error.error),
    }
}

/// The word of an attempt whose work is under way. Where its caller goes meanwhile, what it did is unknown, and that is
/// reported.
struct Unreported {
    attempt: Attempt,
    /// Where the work began.
    running: Option<(Arc<Lease>, Keeping)>,
    armed: bool,
    runtime: Handle,
}

impl Unreported {
    fn new(attempt: Attempt) -> Self {
        Self { attempt, running: None, armed: true, runtime: Handle::current() }
    }

    fn work_began(&mut self, lease: Arc<Lease>) {
        let keeping = lease.keep();
        self.running = Some((lease, keeping));
    }

    /// The end is reported otherwise. Renewals go on until this is dropped.
    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Unreported {
    fn drop(&mut self) {
        if !self.armed || self.attempt.is_handed_off() {
            return;
        }
        let running = self.running.take();
        if running.as_ref().is_some_and(|(lease, _)| lease.is_refused()) {
            return;
        }
        let (disposition, detail) = match running {
            Some(_) => (Disposition::OutcomeUnknown, "cancelled: the call was dropped".to_owned()),
            None => (Disposition::Release, NOTHING_RAN.to_owned()),
        };
        let attempt = self.attempt.clone();
        let report = async move {
            attempt.send_abort(disposition, detail, Duration::ZERO).await;
            drop(running);
        };
        drop(self.attempt.client().in_background(report, &self.runtime));
    }
}

/// What the report of a result came to.
struct Reported {
    answer: Result<(), Error>,
    omitted: Option<BoxError>,
}

impl Attempt {
    /// How the word of the attempt is sent.
    pub(crate) fn reporting(&self, method: Method, within: Duration) -> Sending {
        let once = self.client().options().try_timeout;
        Sending { method, within, once, wait: Duration::ZERO, again: Again::Report }
    }

    /// Reports a result, and as much of it as is taken, whatever becomes of the caller. Gives the value back.
    pub(crate) async fn complete<T>(
        &self,
        result: proto::Result,
        failure: Option<Failure>,
        omitted: Option<BoxError>,
        retention: Option<Duration>,
        value: Option<T>,
        said: &mut &'static str,
    ) -> Result<Option<T>, Error<T>> {
        let attempt = self.clone();
        let report = async move { attempt.send_complete(result, omitted, retention).await };
        let reported = self.client().in_background(report, &Handle::current()).await;
        let Reported { answer, omitted } = reported.unwrap_or_else(|error| Reported {
            // The runtime ends, or the report is a bug: nobody knows what came of it.
            answer: Err(Error::new(ErrorKind::ServerError, "", "the report was not sent").with_source(error)),
            omitted: None,
        });
        match answer {
            Ok(()) => {
                *said = if failure.is_some() { "failed" } else { "completed" };
                completed(failure, omitted, value)
            }
            Err(error) => Err(self.not_completed(error, failure, value, said)),
        }
    }

    async fn send_complete(
        &self,
        mut result: proto::Result,
        mut omitted: Option<BoxError>,
        retention: Option<Duration>,
    ) -> Reported {
        if result.payload.len() + result.content_type.len() > MOST_RESULT {
            omitted = Some("the result is larger than any policy allows".into());
            result = smaller(&result).unwrap_or_default();
        }
        let deadline = Instant::now() + self.client().options().report_timeout;
        loop {
            let request = CompleteRequest {
                key: Some(self.owner().proto_key()),
                fence: self.fence(),
                attempt_id: self.owner().attempt_id.clone(),
                result: Some(result.clone()),
                retention: retention.map(written),
            };
            let how = self.reporting(Method::Complete, deadline.saturating_duration_since(Instant::now()));
            let answer: Result<CompleteResponse, Error> = self.client().send(how, &request, None).await.1;
            match answer {
                Ok(_) => return Reported { answer: Ok(()), omitted },
                Err(error) => match smaller(&result).filter(|_| is_too_large(&error)) {
                    Some(less) => {
                        result = less;
                        omitted = Some(error.into());
                    }
                    None => return Reported { answer: Err(error), omitted },
                },
            }
        }
    }

    /// What the caller gets of a report that was not taken.
    fn not_completed<T>(
        &self,
        error: Error,
        failure: Option<Failure>,
        value: Option<T>,
        said: &mut &'static str,
    ) -> Error<T> {
        match error.kind() {
            ErrorKind::LeaseLost { .. } => {
                *said = "lost";
                error.with_kind(ErrorKind::LeaseLost { value })
            }
            ErrorKind::ResultConflict { .. } => {
                *said = "lost";
                error.with_kind(ErrorKind::ResultConflict { value })
            }
            _ => {
                *said = "undelivered";
                self.client().telemetry().not_delivered(self.owner().endpoint(), Method::Complete, &error);
                let kind = ErrorKind::CompletionUnknown { value, failure, handoff: self.owner().clone() };
                let text = "the work ran, and it is not known whether its result is stored; deliver it with complete_handoff";
                Error::new(kind, "UNDELIVERED", text).with_code(error.code()).with_source(error)
            }
        }
    }

    /// Reports that there is no result, whatever becomes of the caller. What comes of it changes nothing for it.
    pub(crate) async fn abort(
        &self,
        disposition: Disposition,
        detail: String,
        after: Duration,
    ) -> &'static str {
        let attempt = self.clone();
        let report = async move { attempt.send_abort(disposition, detail, after).await };
        // Whether a task of the runtime was ended or not: nothing more can be reported.
        self.client().in_background(report, &Handle::current()).await.unwrap_or("undelivered")
    }

    async fn send_abort(&self, disposition: Disposition, detail: String, after: Duration) -> &'static str {
        let request = AbortRequest {
            key: Some(self.owner().proto_key()),
            fence: self.fence(),
            attempt_id: self.owner().attempt_id.clone(),
            disposition: disposition.into(),
            detail,
            retry_after: Some(after).filter(|after| !after.is_zero()).map(written),
        };
        let how = self.reporting(Method::Abort, self.client().options().report_timeout);
        let answer: Result<AbortResponse, Error> = self.client().send(how, &request, None).await.1;
        match answer {
            Err(error) if !matches!(error.kind(), ErrorKind::LeaseLost { .. }) => {
                self.client().telemetry().not_delivered(self.owner().endpoint(), Method::Abort, &error);
                "undelivered"
            }
            _ if disposition == Disposition::Release => "released",
            _ => "given_up",
        }
    }
}

/// What the caller gets of a report that was taken.
fn completed<T>(
    failure: Option<Failure>,
    omitted: Option<BoxError>,
    value: Option<T>,
) -> Result<Option<T>, Error<T>> {
    match (omitted, failure) {
        (Some(why), failure) => {
            let kind = ErrorKind::ResultNotStored { value, replayed: false, failed: failure.is_some() };
            let text = "the work is done, and its result is not kept: too large, or not to be encoded";
            Err(Error::new(kind, "PAYLOAD_OMITTED", text).with_source(why))
        }
        (None, Some(failure)) => {
            let text = format!("the operation failed for good, with code {}", failure.code);
            Err(Error::new(
                ErrorKind::OperationFailed { failure, replayed: false, result: None },
                "FAILED",
                text,
            ))
        }
        (None, None) => Ok(value),
    }
}

/// The same result with less in it; `None` where there is nothing left to leave out.
fn smaller(result: &proto::Result) -> Option<proto::Result> {
    let content_type = match (result.payload_omitted, result.content_type.is_empty()) {
        (false, _) => result.content_type.clone(),
        (true, false) => String::new(),
        (true, true) => return None,
    };
    Some(proto::Result {
        outcome: result.outcome,
        code: result.code,
        content_type,
        headers: Vec::new(),
        payload: Bytes::new(),
        payload_omitted: true,
    })
}

fn is_too_large(error: &Error) -> bool {
    let transport = matches!(error.code(), Code::OutOfRange | Code::ResourceExhausted);
    error.reason() == "RESULT_TOO_LARGE" || transport && error.reason().is_empty()
}
