//! Whether this server should be sent calls: while its store answers, and until it is told to stop.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{self, Stream};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tracing::{info, warn};

use crate::coordinator::Coordinator;

/// How often the store is asked whether it works.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long its answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The names under which health is asked for: the server as a whole, and each of its services.
const NAMES: [&str; 3] = ["", "semel.v1.IdempotencyService", "semel.v1.OperatorService"];

/// What is known of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// The store answers.
    Ready,
    /// The store was not asked yet.
    Starting,
    /// The store does not answer.
    StoreSilent,
    /// The server was told to stop.
    Draining,
}

/// Follows the store's condition and tells everyone who asks.
#[derive(Clone, Debug)]
pub(super) struct Readiness(watch::Sender<Condition>);

impl Readiness {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(Condition::Starting))
    }

    pub(super) fn condition(&self) -> Condition {
        *self.0.borrow()
    }

    /// Not ready from now on, whatever the store says.
    pub(super) fn drain(&self) {
        self.0.send_replace(Condition::Draining);
    }

    /// Asks the store once.
    pub(super) async fn ask(&self, coordinator: &Coordinator) {
        // A store that panics must not take the server with it: calls that panic do not either.
        let ping = AssertUnwindSafe(coordinator.ping()).catch_unwind();
        let (now, cause) = match tokio::time::timeout(ANSWER_WITHIN, ping).await {
            Ok(Ok(Ok(()))) => (Condition::Ready, String::new()),
            Ok(Ok(Err(error))) => (Condition::StoreSilent, error.to_string()),
            Ok(Err(_)) => (Condition::StoreSilent, "it panicked".to_owned()),
            Err(_) => (Condition::StoreSilent, format!("no answer within {ANSWER_WITHIN:?}")),
        };
        let changed = self.0.send_if_modified(|condition| {
            let changes = *condition != now && *condition != Condition::Draining;
            if changes {
                *condition = now;
            }
            changes
        });
        if changed && now == Condition::Ready {
            info!("ready: the store answers");
        } else if changed {
            warn!(cause, "not ready: the store does not answer");
        }
    }

    /// Asks the store again and again.
    pub(super) async fn follow(&self, coordinator: &Coordinator) {
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            self.ask(coordinator).await;
        }
    }
}

fn response(condition: Condition) -> HealthCheckResponse {
    let status = match condition {
        Condition::Ready => ServingStatus::Serving,
        Condition::Starting | Condition::StoreSilent | Condition::Draining => ServingStatus::NotServing,
    };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Readiness {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if NAMES.contains(&request.get_ref().service.as_str()) {
            Ok(Response::new(response(self.condition())))
        } else {
            Err(Status::not_found("no service of that name"))
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let known = NAMES.contains(&request.get_ref().service.as_str());
        let say = move |condition| {
            if known {
                response(condition)
            } else {
                // The protocol wants such a stream to stay open, in case the service becomes known.
                HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() }
            }
        };
        let mut conditions = self.0.subscribe();
        conditions.mark_changed();
        // Ends once it was said that the server stops: it would hold the connection open.
        let stream = stream::unfold(Some(conditions), move |conditions| async move {
            let mut conditions = conditions?;
            conditions.changed().await.ok()?;
            let condition = *conditions.borrow_and_update();
            Some((Ok(say(condition)), (condition != Condition::Draining).then_some(conditions)))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
