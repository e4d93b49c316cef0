//! How a call is sent, and sent again: the only loop that does.

use std::time::Duration;

use http::uri::PathAndQuery;
use opentelemetry::Context;
use opentelemetry::trace::FutureExt;
use prost::Message;
use rand::RngExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};

use crate::client::Client;
use crate::error::{Error, ErrorKind, cancelled, refused};
use crate::status::Answer;
use crate::telemetry;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A method of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Begin,
    Complete,
    Abort,
    Lookup,
    Renew,
    SaveCheckpoint,
    BatchBegin,
    BatchComplete,
    ListRecords,
    ResolveRecord,
    ForgetRecord,
    GetPolicy,
}

impl Method {
    /// The service, and the method's name in it.
    pub(crate) fn full_name(self) -> &'static str {
        match self {
            Self::Begin => "semel.v1.IdempotencyService/Begin",
            Self::Complete => "semel.v1.IdempotencyService/Complete",
            Self::Abort => "semel.v1.IdempotencyService/Abort",
            Self::Lookup => "semel.v1.IdempotencyService/Lookup",
            Self::Renew => "semel.v1.IdempotencyService/Renew",
            Self::SaveCheckpoint => "semel.v1.IdempotencyService/SaveCheckpoint",
            Self::BatchBegin => "semel.v1.IdempotencyService/BatchBegin",
            Self::BatchComplete => "semel.v1.IdempotencyService/BatchComplete",
            Self::ListRecords => "semel.v1.OperatorService/ListRecords",
            Self::ResolveRecord => "semel.v1.OperatorService/ResolveRecord",
            Self::ForgetRecord => "semel.v1.OperatorService/ForgetRecord",
            Self::GetPolicy => "semel.v1.OperatorService/GetPolicy",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        self.full_name().rsplit('/').next().unwrap_or_default()
    }

    /// Whether only the owner of a key calls it.
    pub(crate) fn is_owners(self) -> bool {
        matches!(self, Self::Complete | Self::Abort | Self::Renew | Self::SaveCheckpoint)
    }
}

/// How one call is sent.
#[derive(Clone, Copy)]
pub(crate) struct Sending {
    pub(crate) method: Method,
    /// For all sends together, and for each of them; a held Begin takes `wait` more.
    pub(crate) within: Duration,
    pub(crate) once: Duration,
    pub(crate) wait: Duration,
    pub(crate) again: Again,
}

/// After what a call is sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Only what is no answer: the server or its store was unavailable, or the connection broke.
    NoAnswer,
    /// And after errors that may pass.
    MayPass,
    /// The word of an attempt that ran: it waits for a credential that is being replaced, too.
    Report,
    /// A renewal while the work runs: it waits for whatever may pass while the lease lasts.
    Renewal,
}

/// How a call was sent.
pub(crate) struct Sent {
    /// When that was sent which was answered.
    pub(crate) at: Instant,
    pub(crate) sends: u32,
    /// What the last send came to.
    pub(crate) code: Code,
}

impl Sending {
    /// Whether a call that came to this is sent again.
    pub(crate) fn goes_on(&self, answer: &Answer) -> bool {
        let may_pass = match answer.code {
            Code::Unavailable | Code::DeadlineExceeded => return true,
            Code::Cancelled | Code::Unknown | Code::Internal => true,
            Code::ResourceExhausted => answer.pause.is_some(),
            _ => false,
        };
        match self.again {
            Again::NoAnswer => answer.is_of_the_transport(),
            Again::MayPass => may_pass,
            Again::Report => may_pass || answer.code == Code::Unauthenticated,
            Again::Renewal => {
                may_pass
                    || matches!(
                        answer.code,
                        Code::Unauthenticated
                            | Code::PermissionDenied
                            | Code::ResourceExhausted
                            | Code::Unimplemented
                    )
            }
        }
    }
}

/// The bounds between which the pause before the next send is drawn.
pub(crate) fn pauses(asked: Option<Duration>, sends: u32) -> (Duration, Duration) {
    let doubled = FIRST_PAUSE.saturating_mul(1 << sends.saturating_sub(1).min(16));
    let step = doubled.min(LONGEST_PAUSE);
    asked.map_or((step / 2, step), |asked| (asked, asked.saturating_add(step)))
}

impl Client {
    /// Sends a request until it is answered. Only what may be is sent again, and always unchanged. The span of the call is in
    /// the current context.
    pub(crate) async fn send<Q, A>(
        &self,
        how: Sending,
        request: &Q,
        cancel: Option<&CancellationToken>,
    ) -> (Sent, Result<A, Error>)
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let context = self.telemetry().call(how.method);
        let (sent, result) =
            self.send_again(how, request, cancel, &context).with_context(context.clone()).await;
        self.telemetry().called(&context, how.method, &sent, result.as_ref().err());
        (sent, result)
    }

    async fn send_again<Q, A>(
        &self,
        how: Sending,
        request: &Q,
        cancel: Option<&CancellationToken>,
        context: &Context,
    ) -> (Sent, Result<A, Error>)
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut sent = Sent { at: Instant::now(), sends: 0, code: Code::Ok };
        let deadline = sent.at + how.within.saturating_add(how.wait);
        let mut nothing_written = true;
        loop {
            if self.is_gone() {
                return (sent, Err(refused("CLIENT_CLOSED", "the client was closed meanwhile")));
            }
            sent.sends += 1;
            let longest = how.once.saturating_add(how.wait).min(deadline.saturating_duration_since(sent.at));
            let answer = self.send_once(how.method, request, longest, context);
            let status = match unless_cancelled(cancel, answer).await {
                None => {
                    sent.code = Code::Cancelled;
                    return (sent, Err(cancelled()));
                }
                Some(Ok(response)) => {
                    sent.code = Code::Ok;
                    return (sent, Ok(response));
                }
                Some(Err(status)) => status,
            };
            let answer = Answer::of(status);
            sent.code = answer.code;
            nothing_written &= answer.reason == "STORE_UNAVAILABLE";
            match self.pause(&how, &answer, sent.sends, deadline, cancel).await {
                Err(cancelled) => return (sent, Err(cancelled)),
                Ok(Some(next)) => {
                    sent.at = next;
                    continue;
                }
                Ok(None) => {}
            }
            let mut error = answer.into_error(how.method);
            if let ErrorKind::StoreUnavailable { may_have_taken_effect } = error.kind_mut() {
                *may_have_taken_effect = !nothing_written;
            }
            return (sent, Err(error));
        }
    }

    /// Pauses before a call that came to this is sent again, and says when that is; `None` where it is not.
    async fn pause(
        &self,
        how: &Sending,
        answer: &Answer,
        sends: u32,
        deadline: Instant,
        cancel: Option<&CancellationToken>,
    ) -> Result<Option<Instant>, Error> {
        let (shortest, longest) = pauses(answer.pause, sends);
        let pause = rand::rng().random_range(shortest..=longest);
        if !how.goes_on(answer) || Instant::now() + pause >= deadline {
            return Ok(None);
        }
        if answer.code == Code::Unauthenticated {
            self.connections_ref().forget_token();
        }
        unless_cancelled(cancel, sleep(pause)).await.ok_or_else(cancelled)?;
        // It may have lasted longer than asked, and what has no time left for its answer is not sent.
        Ok(Some(Instant::now()).filter(|next| *next < deadline))
    }

    async fn send_once<Q, A>(
        &self,
        method: Method,
        message: &Q,
        longest: Duration,
        context: &Context,
    ) -> Result<A, Status>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut request = Request::new(message.clone());
        request.set_timeout(longest);
        telemetry::carry(context, request.metadata_mut());
        let mut stub = tonic::client::Grpc::new(self.connections())
            .max_decoding_message_size(self.options().largest_answer);
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let path = format!("/{}", method.full_name());
        let path = PathAndQuery::try_from(path).map_err(|error| Status::internal(error.to_string()))?;
        // The request's own timeout counts only once there is a connection.
        match timeout(longest, stub.unary(request, path, codec)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }
}

/// What the future gives; `None` where the caller cancelled before.
pub(crate) async fn unless_cancelled<F: Future>(
    cancel: Option<&CancellationToken>,
    future: F,
) -> Option<F::Output> {
    match cancel {
        Some(cancel) => cancel.run_until_cancelled(future).await,
        None => Some(future.await),
    }
}

#[cfg(test)]
mod vectors {
    //! Retry decisions: they are made where no caller sees them one by one.

    use std::collections::HashMap;

    use serde_json::Value;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    const METHODS: [Method; 12] = [
        Method::Begin,
        Method::Complete,
        Method::Abort,
        Method::Lookup,
        Method::Renew,
        Method::SaveCheckpoint,
        Method::BatchBegin,
        Method::BatchComplete,
        Method::ListRecords,
        Method::ResolveRecord,
        Method::ForgetRecord,
        Method::GetPolicy,
    ];

    fn answer(case: &Value) -> Answer {
        let mut details = ErrorDetails::new();
        if let Some(reason) = case["reason"].as_str() {
            details.set_error_info(reason, "semel.v1", HashMap::new());
        }
        if let Some(pause) = case["retry_info_ms"].as_u64() {
            details.set_retry_info(Some(Duration::from_millis(pause)));
        }
        let name = case["code"].as_str().expect("a code");
        let code = (0..=16).map(Code::from_i32).find(|code| crate::status::code_name(*code) == name);
        Answer::of(Status::with_error_details(code.expect("a known code"), "a case", details))
    }

    #[test]
    fn retries() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/retries.json");
        let text = std::fs::read_to_string(path).expect("the vectors are beside the library");
        let read: Value = serde_json::from_str(&text).expect("they are JSON");
        let cases = read["cases"].as_array().expect("they have cases");
        for case in cases {
            let method = METHODS.into_iter().find(|method| method.name() == case["call"]);
            let method = method.expect("a known method");
            let how = Sending {
                method,
                within: Duration::ZERO,
                once: Duration::ZERO,
                wait: Duration::ZERO,
                again: match case["of"].as_str() {
                    Some("plain") => Again::MayPass,
                    Some("report") => Again::Report,
                    Some("renewal") => Again::Renewal,
                    other => panic!("no call is of {other:?}"),
                },
            };
            let answer = answer(case);
            let sends = u32::try_from(case["sends"].as_u64().expect("a number")).expect("32 bits");
            let (shortest, longest) = pauses(answer.pause, sends);
            let left = Duration::from_millis(case["left_ms"].as_u64().expect("a number"));
            assert_eq!(how.goes_on(&answer) && shortest < left, case["again"] == true, "{}", case["name"]);
            if let Some(bounds) = case["pause_ms"].as_array() {
                let bounds: Vec<_> = bounds
                    .iter()
                    .map(|bound| bound.as_f64().map(|length| Duration::from_secs_f64(length / 1000.0)))
                    .collect();
                assert_eq!(bounds, [Some(shortest), Some(longest)], "{}", case["name"]);
            }
        }
        if let Some(path) = std::env::var_os("SEMEL_COUNTS_FILE") {
            use std::io::Write;
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)
                .expect("the counts can be written");
            writeln!(file, "client_vectors {}", cases.len()).expect("the counts can be written");
        }
    }
}
