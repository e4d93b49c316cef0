//! The service on its sockets: gRPC for callers and operators, HTTP for those who run it.

mod arrival;
mod audited;
mod auth;
mod call;
mod caller;
mod complaints;
mod connections;
mod convert;
mod deadline;
mod delivery;
mod dispatch;
mod health;
mod idempotency;
mod limits;
mod observed;
mod operations;
mod operator;
mod room;
mod status;
mod tls;
mod unpacking;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tracing::info;

use self::audited::Refusals;
use self::connections::Connections;
use self::dispatch::Dispatch;
use self::health::Readiness;
use self::idempotency::Idempotency;
use self::operations::Operations;
use self::operator::Operator;
use crate::audit::Audit;
use crate::coordinator::Coordinator;
use crate::policies::Policies;
use crate::proto;
use crate::proto::idempotency_service_server::IdempotencyServiceServer;
use crate::proto::operator_service_server::OperatorServiceServer;
use crate::quotas::Quotas;
use crate::telemetry::Telemetry;

pub use auth::{
    Auth, Credentials, JWT_ALGORITHMS, Jwt, JwtKeys, JwtSettings, TOKEN_PREFIX, Token, TokenHash, TrustDomain,
};
pub use caller::{Caller, Identity, Role};
#[cfg(feature = "test-support")]
pub use convert::test_support;
pub use limits::Limits;
pub use tls::{ClientCertificates, Tls, TlsPart, TlsPem};
pub(crate) use unpacking::Unpacking;

/// Where to serve: two sockets that are already bound.
#[derive(Debug)]
pub struct Listeners {
    /// For callers and operators: gRPC.
    pub grpc: TcpListener,
    /// For those who run the server: HTTP.
    pub operations: TcpListener,
}

/// Everything that is served, and its bounds.
#[derive(Debug)]
pub struct Server {
    /// Decides.
    pub coordinator: Arc<Coordinator>,
    /// The policies in force.
    pub policies: Arc<Policies>,
    /// How much tenants may ask.
    pub quotas: Arc<Quotas>,
    /// What the transport accepts.
    pub limits: Limits,
    /// Where operators' calls are written down.
    pub audit: Arc<Audit>,
    /// Whom to tell what calls come to.
    pub telemetry: Arc<Telemetry>,
    /// What `/debug` shows of how the server was configured; secrets hidden.
    pub configuration: Arc<str>,
    /// Who is listened to.
    pub security: Security,
}

/// How calls are encrypted and authenticated: by default, not at all.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// Encryption.
    pub tls: Option<Arc<Tls>>,
    /// Credentials; none: everybody may do everything.
    pub auth: Option<Arc<Auth>>,
}

/// Why nothing could be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The contract that was compiled in cannot be described to clients.
    #[error("the service's own description is broken: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Says on the operations port that the server lives and is not ready, until dropped: while its store is opened.
pub async fn say_it_starts(
    operations: &TcpListener,
    limits: &Limits,
    telemetry: &Arc<Telemetry>,
    configuration: &Arc<str>,
) {
    let (telemetry, configuration) = (telemetry.clone(), configuration.clone());
    let said = Operations { readiness: Readiness::new(), telemetry, configuration };
    operations::serve(operations, said, limits.greeting_time).await;
}

impl Server {
    /// Serves until `shutdown` ends, then drains: says it is not ready, stops accepting, answers held Begins, lets
    /// the calls under way end within the drain time, returns. Dropping the future stops at once.
    pub async fn run(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        let readiness = Readiness::new();
        let draining = CancellationToken::new();
        let dispatch = self.dispatch(&readiness, draining.clone())?;
        let said = Operations {
            readiness: readiness.clone(),
            telemetry: self.telemetry.clone(),
            configuration: self.configuration.clone(),
        };
        let time = self.limits.greeting_time;
        let operations = async move { operations::serve(&listeners.operations, said, time).await };
        let _operations = AbortOnDropHandle::new(tokio::spawn(operations));
        readiness.ask(&self.coordinator).await;
        let mut connections = Connections::new(dispatch, self.limits, self.security.tls, draining);
        tokio::select! {
            () = shutdown => {}
            () = connections.accept(&listeners.grpc) => {}
            () = readiness.follow(&self.coordinator) => {}
        }
        info!("stopping: no new connections, the calls under way end");
        readiness.drain();
        drop(listeners.grpc);
        self.coordinator.drain();
        connections.drain().await;
        Ok(())
    }

    fn dispatch(&self, readiness: &Readiness, draining: CancellationToken) -> Result<Dispatch, ServeError> {
        let Limits { max_request_bytes, max_response_bytes, .. } = self.limits;
        let idempotency = Idempotency {
            coordinator: self.coordinator.clone(),
            policies: self.policies.clone(),
            quotas: self.quotas.clone(),
            telemetry: self.telemetry.clone(),
            max_response_bytes,
        };
        let operator = Operator {
            coordinator: self.coordinator.clone(),
            policies: self.policies.clone(),
            audit: self.audit.clone(),
            telemetry: self.telemetry.clone(),
            max_response_bytes,
        };
        let calls = IdempotencyServiceServer::new(idempotency)
            .max_decoding_message_size(max_request_bytes)
            .max_encoding_message_size(max_response_bytes);
        let operator = OperatorServiceServer::new(operator)
            .max_decoding_message_size(max_request_bytes)
            .max_encoding_message_size(max_response_bytes);
        let descriptors = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let others = Routes::new(operator)
            .add_service(HealthServer::new(readiness.clone()))
            .add_service(descriptors().build_v1()?)
            .add_service(descriptors().build_v1alpha()?)
            .prepare();
        let security = (self.security.auth.clone(), Arc::new(Refusals::new(self.audit.clone())));
        Ok(Dispatch::new(calls, others, security, self.telemetry.clone(), self.limits.clone(), draining))
    }
}
