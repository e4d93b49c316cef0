//! The HTTP port for those who run the server: is it alive, is it ready, what does it do, how is it configured.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::routing::get;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, error, warn};

use super::connections::AFTER_FAILED_ACCEPT;
use super::health::{Condition, Readiness};
use crate::telemetry::{Metrics, Telemetry};

/// The most connections at a time: a few probes and scrapers. One more takes the place of the oldest, so that clients
/// that hold theirs keep no probe out.
const MOST_CONNECTIONS: usize = 256;

/// The largest head of a request, in bytes.
const LARGEST_HEAD: usize = 16 << 10;

/// What there is to be said.
#[derive(Clone, Debug)]
pub(super) struct Operations {
    pub(super) readiness: Readiness,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) configuration: Arc<str>,
}

/// Serves whoever connects, until dropped. A connection has one request, and `time` for it and its answer.
pub(super) async fn serve(listener: &TcpListener, operations: Operations, time: Duration) {
    let service = TowerToHyperService::new(routes(operations));
    let mut http1 = Builder::new();
    http1.keep_alive(false).max_buf_size(LARGEST_HEAD);
    let mut open = JoinSet::new();
    let mut by_age = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                by_age.retain(|connection: &AbortHandle| !connection.is_finished());
                if by_age.len() >= MOST_CONNECTIONS
                    && let Some(oldest) = by_age.pop_front()
                {
                    debug!(most = MOST_CONNECTIONS, "the oldest operations connection gave way");
                    oldest.abort();
                }
                let connection = http1.serve_connection(TokioIo::new(stream), service.clone());
                by_age.push_back(open.spawn(async move {
                    match tokio::time::timeout(time, connection).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => debug!(%error, "an operations connection ended"),
                        Err(_) => debug!("an operations connection took too long"),
                    }
                }));
            }
            Err(error) => {
                warn!(%error, "no operations connection could be accepted");
                tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
            }
        }
    }
}

type Text<T> = (StatusCode, [(HeaderName, &'static str); 1], T);

const PLAIN: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
/// What Prometheus calls its text format.
const EXPOSITION: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// `/livez` answers as long as the process does; `/readyz` as long as calls should be sent here; `/metrics` what
/// Prometheus scrapes; `/debug` what runs, and how it is configured.
fn routes(operations: Operations) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug", get(debug_page))
        .with_state(operations)
}

async fn readyz(State(operations): State<Operations>) -> (StatusCode, &'static str) {
    match operations.readiness.condition() {
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

async fn metrics(State(operations): State<Operations>) -> Text<String> {
    match operations.telemetry.metrics().map(Metrics::prometheus_text) {
        Some(Ok(text)) => (StatusCode::OK, EXPOSITION, text),
        Some(Err(error)) => {
            error!(%error, "the metrics could not be written down: this is a bug");
            (StatusCode::INTERNAL_SERVER_ERROR, PLAIN, "the log has the cause\n".to_owned())
        }
        None => (StatusCode::NOT_FOUND, PLAIN, "no metrics are kept\n".to_owned()),
    }
}

async fn debug_page(State(operations): State<Operations>) -> Text<String> {
    (StatusCode::OK, PLAIN, operations.configuration.to_string())
}
