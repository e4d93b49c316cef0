//! What semel tells the people who run it: metrics, a log line and a span for what each call came to. Idempotency keys
//! and payloads are never part of it.

mod decision;
mod key_hash;
mod label_sets;
mod method;
mod metrics;
mod rpc_code;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;

pub use decision::{Aspect, Decision, Tells, Word};
pub use key_hash::KeyHash;
pub use label_sets::LabelBounds;
pub use method::Method;
pub use metrics::Metrics;
pub use rpc_code::RpcCode;

use crate::storage::metered::{StoreCall, StoreListener};

/// Everyone who is told what calls come to.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Option<Metrics>,
}

/// What telemetry is to do.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Which pairs of tenant and endpoint have labels of their own in metrics.
    pub labels: LabelBounds,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The metrics could not be set up.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] OTelSdkError),
}

impl Telemetry {
    /// Tells nobody.
    pub const fn off() -> Self {
        Self { metrics: None }
    }

    /// Tells whoever `settings` name.
    pub fn start(settings: &Settings) -> Result<Self, TelemetryError> {
        let metrics = Metrics::new(resource(), settings.labels, |builder| builder)?;
        Ok(Self { metrics: Some(metrics) })
    }

    /// The metrics, where any are kept.
    pub const fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_ref()
    }

    /// Tells what a call came to. Where nobody listens, the decision is not even made.
    pub fn decided<'a>(&self, decision: impl FnOnce() -> Decision<'a>) {
        if let Some(metrics) = &self.metrics {
            metrics.decided(&decision());
        }
    }

    /// Tells that a call was answered with `code`, `took` after its head arrived.
    pub fn answered(&self, method: Method, code: RpcCode, took: Duration) {
        if let Some(metrics) = &self.metrics {
            metrics.answered(method, code, took);
        }
    }
}

impl StoreListener for Arc<Telemetry> {
    fn called(&self, call: &StoreCall) {
        if let Some(metrics) = &self.metrics {
            metrics.asked_store(call);
        }
    }
}

/// How this server is named in metrics and traces.
fn resource() -> Resource {
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "semel"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}
