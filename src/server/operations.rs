//! The HTTP port for those who run the server: is it alive, is it ready.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::{debug, warn};

use super::connections::AFTER_FAILED_ACCEPT;
use super::health::{Condition, Readiness};

/// The most connections at a time: a few probes and scrapers.
const MOST_CONNECTIONS: usize = 256;

/// Serves whoever connects, until dropped. A connection has one request, and `time` for it and its answer.
pub(super) async fn serve(listener: &TcpListener, readiness: Readiness, time: Duration) {
    let service = TowerToHyperService::new(routes(readiness));
    let mut http1 = Builder::new();
    http1.keep_alive(false);
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) if open.len() < MOST_CONNECTIONS => {
                let connection = http1.serve_connection(TokioIo::new(stream), service.clone());
                open.spawn(async move {
                    match tokio::time::timeout(time, connection).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => debug!(%error, "an operations connection ended"),
                        Err(_) => debug!("an operations connection took too long"),
                    }
                });
            }
            Ok(_) => debug!(most = MOST_CONNECTIONS, "an operations connection too many was closed"),
            Err(error) => {
                warn!(%error, "no operations connection could be accepted");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}

/// `/livez` answers as long as the process does; `/readyz` as long as calls should be sent here.
fn routes(readiness: Readiness) -> Router {
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
