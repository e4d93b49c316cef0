//! Every request on its way to its service: a deadline in front of it, a net under it, a bound behind it.

use std::any::Any;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::service::Routes;
use tracing::error;
use uuid::Uuid;

use super::arrival::Arrival;
use super::audited::Refusals;
use super::auth::{Auth, NotAdmitted, Peer, PeerCertificate};
use super::call::{self, Admitted};
use super::caller::Caller;
use super::deadline::Deadline;
use super::delivery::{self, Sliced};
use super::idempotency::Idempotency;
use super::limits::Limits;
use super::observed::UnderWay;
use super::room::{Place, Room};
use super::status::Failure;
use crate::panics;
use crate::proto::idempotency_service_server::IdempotencyServiceServer;
use crate::telemetry::{Decision, Method, Telemetry};

type Calls = IdempotencyServiceServer<Idempotency>;
type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

/// The one method whose answer goes on until its connection ends; it holds little, and ends when the server drains.
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// Begins the names of the services whose requests are streams.
const REFLECTION: &str = "grpc.reflection.";

/// Hands each request to the service that its path names.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    calls: Calls,
    /// All that is called seldom: operators' methods, health, reflection.
    others: Routes,
    telemetry: Arc<Telemetry>,
    /// Where credentials are asked for.
    auth: Option<Arc<Auth>>,
    refusals: Arc<Refusals>,
    peer: Option<Peer>,
    limits: Limits,
    /// For the messages of all connections.
    room: Arc<Room>,
    draining: CancellationToken,
}

impl Dispatch {
    pub(super) fn new(
        calls: Calls,
        others: Routes,
        (auth, refusals): (Option<Arc<Auth>>, Arc<Refusals>),
        telemetry: Arc<Telemetry>,
        limits: Limits,
        draining: CancellationToken,
    ) -> Self {
        let room = Room::new(limits.max_bytes_under_way);
        Self { calls, others, auth, refusals, peer: None, telemetry, limits, room, draining }
    }

    /// For the requests of one connection, whose client showed this certificate.
    pub(super) fn of_connection(&self, address: SocketAddr, certificate: Option<&[u8]>) -> Self {
        let peer = self.auth.as_ref().map(|auth| {
            let certificate =
                certificate.map(|der| Arc::new(PeerCertificate::read(der, auth.trust_domain())));
            Peer { address, certificate }
        });
        Self { peer, ..self.clone() }
    }

    /// Who calls, if they may.
    fn admit<B>(&self, request: &Request<B>) -> Result<Caller, Box<NotAdmitted>> {
        match (&self.auth, &self.peer) {
            (None, _) => Ok(Caller::ANYBODY),
            (Some(auth), Some(peer)) => auth.admit(request.uri().path(), request.headers(), peer),
            // Every connection has a peer.
            (Some(_), None) => Err(NotAdmitted::without_credential(None)),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Dispatch {
    type Response = Response<Sliced>;
    type Error = Infallible;
    type Future = Answer<Sliced>;

    fn call(&self, request: Request<Incoming>) -> Answer<Sliced> {
        let request_timeout = self.limits.request_timeout;
        let deadline = Deadline::of_headers(request.headers(), request_timeout);
        let path = request.uri().path();
        let watches = path == WATCH;
        let reflects = service_name(path).starts_with(REFLECTION);
        let last = reflects.then(|| self.draining.clone().cancelled_owned());
        let (method, telemetry) = (Method::of_path(path), self.telemetry.clone());
        let traceparent = call::traceparent_of(request.headers());
        let arrived = self.telemetry.arrives(method, request.headers(), traceparent);
        // How long a stream goes on says nothing of the server.
        let is_timed = !watches && !reflects && telemetry.times(&arrived);
        let under_way = is_timed.then(|| UnderWay::begins(telemetry.clone(), method));
        let answer: Answer<Body> = match self.admit(&request) {
            Ok(caller) => {
                let place = Place::new(self.room.clone());
                let mut request = request.map(|body| Arrival::new(body, deadline.ends(), place, last));
                request.extensions_mut().insert(Admitted { deadline, caller, traceparent });
                match service_name(request.uri().path()) {
                    Calls::NAME => self.calls.clone().call(request),
                    _ => Box::pin(self.others.clone().call(request)),
                }
            }
            Err(refused) => {
                self.refusals.write_down(method, &refused);
                let (failure, telemetry) = (refused.failure, telemetry.clone());
                Box::pin(async move {
                    telemetry.decided(|| Decision::rejected(method, failure.reason()));
                    Ok(Status::from(failure).into_http())
                })
            }
        };
        let room = self.room.clone();
        Box::pin(arrived.answered_by(async move {
            // No timer on the whole of it: once a call has begun, only its method knows what to say of it.
            let answer = AssertUnwindSafe(answer).catch_unwind().await;
            if !watches {
                delivery::to_be_taken_by(Instant::now() + request_timeout);
            }
            let answer = answer.unwrap_or_else(|panic| {
                let failure = after_panic(&*panic);
                telemetry.decided(|| Decision::rejected(method, failure.reason()));
                Ok(Status::from(failure).into_http())
            })?;
            if let Some(under_way) = under_way {
                under_way.answered(&answer);
            }
            let place = Place::new(room);
            let (head, body) = answer.into_parts();
            let body =
                if watches || reflects { Sliced::new(body, place) } else { Sliced::made(body, place).await };
            Ok(Response::from_parts(head, body))
        }))
    }
}

fn service_name(path: &str) -> &str {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service)
}

fn after_panic(panic: &(dyn Any + Send)) -> Failure {
    let id = Uuid::new_v4();
    error!(%id, panic = panics::text(panic), place = panics::place(), "a call panicked: this is a bug");
    Failure::internal(id)
}
