//! Whole semel servers on a database, in this process: each with a store, a coordinator, a clock and sockets of its own.

use std::sync::Arc;
use std::time::Duration;

use semel::audit::Audit;
use semel::clock::SystemClock;
use semel::coordinator::{self, Coordinator, Poll};
use semel::domain::{Clock, Policy, PolicyRules, Timestamp};
use semel::policies::Policies;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::quotas::Quotas;
use semel::server::{Limits, Listeners, Security, ServeError, Server};
use semel::storage::Store;
use semel::storage::metered::{CallOutcome, Metered, Operation};
use semel::storage::scylla::{self, ScyllaStore};
use semel::telemetry::{KeyHash, Telemetry};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};

/// The system's clock, and so much ahead of it.
#[derive(Debug)]
pub(crate) struct Ahead(pub(crate) Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }
}

/// What to start a server with.
pub(crate) struct Start {
    pub(crate) settings: scylla::Settings,
    pub(crate) clock: Arc<dyn Clock>,
    /// Differs between servers.
    pub(crate) seed: u64,
    pub(crate) policy: Policy,
    /// How long an unknown write is sent again.
    pub(crate) settle_within: Duration,
    /// The longest that a call takes.
    pub(crate) request_timeout: Duration,
    /// Where it takes calls.
    pub(crate) listen: String,
}

impl Start {
    /// As in production, on the database of `settings`.
    pub(crate) fn on(settings: &scylla::Settings, seed: u64) -> Self {
        Self {
            settings: settings.clone(),
            clock: Arc::new(SystemClock),
            seed,
            policy: Policy::default(),
            settle_within: coordinator::Settings::default().settle_within,
            request_timeout: Limits::default().request_timeout,
            listen: "127.0.0.1:0".to_owned(),
        }
    }

    pub(crate) async fn serve(self) -> Semel {
        self.serve_through(|store| store).await
    }

    /// The same, with something between the server and its store.
    pub(crate) async fn serve_through(self, between: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Semel {
        let store = ScyllaStore::connect(self.settings, self.clock.clone()).await.expect("the store opens");
        let metered = Arc::new(Metered::new(between(Arc::new(store))));
        let poll = Poll { first: Duration::from_millis(50), longest: Duration::from_secs(1) };
        let settings = coordinator::Settings {
            settle_within: self.settle_within,
            poll: Some(poll),
            ..coordinator::Settings::default()
        };
        let coordinator =
            Arc::new(Coordinator::new(metered.clone(), self.clock.clone(), self.seed, settings));
        let policies = Arc::new(Policies::new(PolicyRules::new(self.policy, Vec::new())));
        let quotas = Arc::new(Quotas::new(policies.clone()));
        let grpc = TcpListener::bind(self.listen).await.expect("a free port");
        let operations = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = grpc.local_addr().expect("it is bound").to_string();
        let limits = Limits { request_timeout: self.request_timeout, ..Limits::default() };
        let telemetry = Arc::new(Telemetry::off());
        let audit = Arc::new(Audit::to_log(self.clock.clone(), KeyHash::new(b"test")));
        let security = Security::default();
        let server = Server {
            coordinator,
            policies: policies.clone(),
            quotas,
            limits,
            audit,
            telemetry,
            configuration: "".into(),
            security,
        };
        let serving = tokio::spawn(server.run(Listeners { grpc, operations }, std::future::pending::<()>()));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        Semel {
            metered,
            clock: self.clock,
            policies,
            address,
            channel,
            serving: AbortOnDropHandle::new(serving),
        }
    }
}

/// A server that runs until this is dropped: then it is gone from one moment to the next.
#[derive(Debug)]
pub(crate) struct Semel {
    pub(crate) metered: Arc<Metered>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policies: Arc<Policies>,
    pub(crate) address: String,
    channel: Channel,
    serving: AbortOnDropHandle<Result<(), ServeError>>,
}

impl Semel {
    pub(crate) fn client(&self) -> IdempotencyServiceClient<Channel> {
        IdempotencyServiceClient::new(self.channel.clone())
    }

    pub(crate) fn operator(&self) -> OperatorServiceClient<Channel> {
        OperatorServiceClient::new(self.channel.clone())
    }

    /// Ends it; its address is free then.
    pub(crate) async fn end(self) {
        self.serving.abort();
        _ = self.serving.await;
    }

    /// How many conditional writes it does not know the outcome of.
    pub(crate) fn unknown_outcomes(&self) -> u64 {
        self.metered.calls(Operation::CompareAndPut, CallOutcome::OutcomeUnknown).count
    }

    /// How many conditional writes it had answered, whatever the answer.
    pub(crate) fn transactions(&self) -> u64 {
        CallOutcome::ALL
            .into_iter()
            .map(|outcome| self.metered.calls(Operation::CompareAndPut, outcome).count)
            .sum()
    }
}

/// Three servers on one database, their clocks apart by as much as is allowed, and a tenth less.
pub(crate) async fn three(settings: &scylla::Settings) -> Vec<Semel> {
    let start = |seed: u64| Start {
        clock: Arc::new(Ahead(Duration::from_millis(450 * seed))),
        ..Start::on(settings, seed)
    };
    futures_util::future::join_all((0..3).map(|seed| start(seed).serve())).await
}
