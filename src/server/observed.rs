//! What each call came to, told to whoever listens: the one place where decisions become telemetry.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response};
use tokio::time::Instant;

use super::call::{BeginCall, Call, Context};
use super::status::Failure;
use crate::coordinator::Begun;
use crate::domain::{Begin, Command, Key};
use crate::telemetry::{Decision, Method, RpcCode, Telemetry, Tells};

/// Looked for in every answer.
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A call that can be told about.
pub(super) trait Observed {
    type Command: Tells<Self::Answer>;
    type Answer;

    fn key(&self) -> &Key;

    fn command(&self) -> &Self::Command;
}

impl<C: Command + Tells<C::Answer>> Observed for Call<C> {
    type Command = C;
    type Answer = C::Answer;

    fn key(&self) -> &Key {
        &self.key
    }

    fn command(&self) -> &C {
        &self.command
    }
}

impl Observed for BeginCall {
    type Command = Begin;
    type Answer = Begun;

    fn key(&self) -> &Key {
        &self.call.key
    }

    fn command(&self) -> &Begin {
        &self.call.command
    }
}

/// Has `call` decided, and tells what it came to. Arguments that were refused are told too.
pub(super) async fn observed<C: Observed>(
    telemetry: &Telemetry,
    method: Method,
    context: &Context,
    call: Result<C, Failure>,
    decide: impl AsyncFnOnce(&C) -> Result<C::Answer, Failure>,
) -> Result<(C, C::Answer), Failure> {
    let call = checked(telemetry, method, context, call)?;
    let answer = decide(&call).await;
    telemetry.decided(|| {
        let decision = match &answer {
            Ok(answer) => Decision::told(method, call.key(), call.command(), answer),
            Err(failure) => {
                let (reason, superseded) = (failure.reason(), failure.superseded());
                let refused = Decision::refused(method, call.key(), call.command(), reason, superseded);
                Decision { earlier: failure.original(), ..refused }
            }
        };
        Decision { trace: context.traceparent, ..decision }
    });
    Ok((call, answer?))
}

/// Tells of a failure that comes before a decision.
pub(super) fn checked<T>(
    telemetry: &Telemetry,
    method: Method,
    context: &Context,
    checked: Result<T, Failure>,
) -> Result<T, Failure> {
    checked.inspect_err(|failure| {
        telemetry.decided(|| Decision {
            trace: context.traceparent,
            ..Decision::rejected(method, failure.reason())
        });
    })
}

/// A call under way. It is told of once, also where its caller leaves before it is answered.
#[derive(Debug)]
pub(super) struct UnderWay {
    telemetry: Arc<Telemetry>,
    method: Method,
    began: Instant,
    code: RpcCode,
}

impl UnderWay {
    /// A call of `method` whose head arrives now.
    pub(super) fn begins(telemetry: Arc<Telemetry>, method: Method) -> Self {
        Self { telemetry, method, began: Instant::now(), code: RpcCode::Cancelled }
    }

    /// The answer is on its way.
    pub(super) fn answered<B>(mut self, answer: &Response<B>) {
        self.code = RpcCode::of_header(answer.headers().get(&GRPC_STATUS).map(HeaderValue::as_bytes));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.telemetry.answered(self.method, self.code, self.began.elapsed());
    }
}
