//! Every request on its way to its service: a deadline in front of it, a net under it.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::service::Routes;
use tracing::error;
use uuid::Uuid;

use super::arrival::Arrival;
use super::deadline::Deadline;
use super::idempotency::Idempotency;
use super::limits::Limits;
use super::status::Failure;
use crate::proto::idempotency_service_server::IdempotencyServiceServer;

type Calls = IdempotencyServiceServer<Idempotency>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Hands each request to the service that its path names.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    calls: Calls,
    /// All that is called seldom: operators' methods, health, reflection.
    others: Routes,
    limits: Limits,
}

impl Dispatch {
    pub(super) const fn new(calls: Calls, others: Routes, limits: Limits) -> Self {
        Self { calls, others, limits }
    }
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let deadline = Deadline::of_headers(request.headers(), self.limits.request_timeout);
        let mut request = request.map(|body| Arrival::new(body, deadline.ends(), None));
        request.extensions_mut().insert(deadline);
        let answer: Answer = match service_name(request.uri().path()) {
            Calls::NAME => self.calls.clone().call(request),
            _ => Box::pin(self.others.clone().call(request)),
        };
        Box::pin(async move {
            // No timer on the whole of it: once a call has begun, only its method knows what to say of it.
            AssertUnwindSafe(answer).catch_unwind().await.unwrap_or_else(|panic| Ok(after_panic(&*panic)))
        })
    }
}

fn service_name(path: &str) -> &str {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service)
}

fn after_panic(panic: &(dyn Any + Send)) -> Response<Body> {
    let id = Uuid::new_v4();
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    error!(%id, panic = text, "a call panicked: this is a bug");
    Status::from(Failure::internal(id)).into_http()
}
