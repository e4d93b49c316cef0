//! The HTTP port for those who run the server: is it alive, is it ready.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

use super::health::{Condition, Readiness};

/// `/livez` answers as long as the process does; `/readyz` as long as calls should be sent here.
pub(super) fn routes(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.condition() {
        Condition::Ready => (StatusCode::OK, "ok\n"),
        Condition::Starting => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\nstore: was not asked yet; the server is starting\n")
        }
        Condition::StoreSilent => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\nstore: does not answer; the log has the cause\n")
        }
        Condition::Draining => {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready\ndrain: the server is stopping\n")
        }
    }
}
