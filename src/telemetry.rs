//! What semel tells the people who run it: metrics, a log line and a span for what each call came to. Idempotency keys
//! and payloads are never part of it.

mod decision;
mod decision_log;
mod environment;
mod key_hash;
mod label_sets;
mod method;
mod metrics;
mod otlp;
mod recorder;
mod rpc_code;
mod sampling;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::PeriodicReader;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector as _, TelemetryResourceDetector};
use tracing::{info, warn};

pub use decision::{Aspect, Decision, Tells, Word};
pub(crate) use decision_log::TARGET as DECISION_TARGET;
pub use key_hash::KeyHash;
pub use label_sets::LabelBounds;
pub use method::Method;
pub use metrics::Metrics;
pub use rpc_code::RpcCode;

use self::decision_log::DecisionLog;
use self::recorder::Recorder;
use self::sampling::Sampling;
use self::traces::{Means, Traces};
use crate::domain::{Clock, Reason, Traceparent};
use crate::storage::StoreName;
use crate::storage::metered::{StoreCall, StoreListener};

/// Whether this is the build that tools/telemetry-cost compares with: calls pass all of it by.
pub(crate) const IS_LEFT_OUT: bool = cfg!(feature = "without-telemetry");

/// How long the end of a server is put off for what was not sent yet, for metrics and for traces.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);

/// Everyone who is told what calls come to.
#[derive(Debug, Default)]
pub struct Telemetry {
    metrics: Option<Metrics>,
    decision_log: Option<DecisionLog>,
    traces: Option<Arc<Traces>>,
}

/// What telemetry is to do. Where traces and metrics are sent, the standard `OTEL_` variables say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which pairs of tenant and endpoint have labels of their own in metrics.
    pub labels: LabelBounds,
    /// Whether decisions are logged.
    pub decision_log: bool,
    /// The part of the replays that is logged, from 0 to 1.
    pub replay_log_ratio: f64,
    /// The label whose value is shown in the log and in traces, such as the order that a call is about.
    pub correlation_label: Option<String>,
    /// Whether every decision that is not a first one is traced, whatever the sampler says.
    pub trace_all_but_first: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            labels: LabelBounds::default(),
            decision_log: true,
            replay_log_ratio: 1.0,
            correlation_label: None,
            trace_all_but_first: true,
        }
    }
}

/// Who tells, and of what.
#[derive(Debug)]
pub struct Names {
    /// How keys are named.
    pub key_hash: KeyHash,
    /// How the store is named.
    pub store: StoreName,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The metrics could not be set up.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] OTelSdkError),
    /// A standard variable holds what it must not.
    #[error("{variable} {problem}")]
    Variable {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// TLS to the collector could not be set up.
    #[error("TLS to the collector cannot be set up: {0}")]
    Tls(String),
    /// What sends to the collector could not be set up.
    #[error("{signal} cannot be sent: {problem}")]
    Exporter {
        /// What it sends.
        signal: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl Telemetry {
    /// Tells nobody.
    pub fn off() -> Self {
        Self::default()
    }

    /// Tells whoever `settings` and the standard variables name. Has to be called within a runtime, which drives what is
    /// sent.
    pub fn start(
        settings: &Settings,
        Names { key_hash, store }: Names,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TelemetryError> {
        let (resource, health) = (resource(), Arc::default());
        let (spans, metrics) = (otlp::spans(&health)?, otlp::metrics(&health)?);
        if spans.is_some() || metrics.is_some() {
            let (traces, metrics) = (spans.is_some(), metrics.is_some());
            info!(traces, metrics, "telemetry is sent to a collector");
        }
        let metrics = Metrics::new(resource.clone(), settings.labels, |builder| match metrics {
            Some(exporter) => builder.with_reader(PeriodicReader::builder(exporter).build()),
            None => builder,
        })?;
        let decision_log = settings.decision_log.then(|| {
            let correlation_label = settings.correlation_label.clone();
            DecisionLog::new(key_hash.clone(), settings.replay_log_ratio, correlation_label)
        });
        let sampling = Sampling::from_environment()?;
        let means = Means::new(settings, Names { key_hash, store }, clock, sampling);
        let traces = spans.map(|exporter| Arc::new(Traces::new(exporter, &resource, means)));
        Ok(Self { metrics: Some(metrics), decision_log, traces })
    }

    /// Hands its spans to `exporter`, and tells nobody else. Where callers sent no trace, all is sampled.
    #[cfg(any(feature = "test-support", feature = "telemetry-cost"))]
    pub fn tracing_to(
        exporter: impl opentelemetry_sdk::trace::SpanExporter + 'static,
        settings: &Settings,
        names: Names,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let means = Means::new(settings, names, clock, Sampling::default());
        Self { traces: Some(Arc::new(Traces::new(exporter, &resource(), means))), ..Self::default() }
    }

    /// Has the spans exported that have ended so far. It blocks.
    #[cfg(feature = "test-support")]
    pub fn flush(&self) {
        if let Some(traces) = &self.traces {
            traces.flush();
        }
    }

    /// The metrics, where any are kept.
    pub const fn metrics(&self) -> Option<&Metrics> {
        self.metrics.as_ref()
    }

    /// A call of `method` arrives with `headers`, which name `caller` as the span that it comes from.
    pub fn arrives(&self, method: Method, headers: &HeaderMap, caller: Option<Traceparent>) -> Arrived {
        if IS_LEFT_OUT {
            return Arrived(None);
        }
        let traces = self.traces.as_ref().filter(|_| method.is_of_contract());
        Arrived(traces.and_then(|traces| Recorder::of_call(traces, method, headers, caller)))
    }

    /// Decides one item of a batch by `item`, and notes what happens meanwhile by itself.
    pub fn traced_item<F: Future>(&self, item: F) -> impl Future<Output = F::Output> + use<F> {
        recorder::noting_item(item)
    }

    /// The trace of the call that this task serves, for a caller that sent none of its own. Absent where it may not be
    /// kept.
    pub fn own_traceparent() -> Option<Traceparent> {
        recorder::own_traceparent()
    }

    /// Tells that so many answers of a batch, which were decided, did not fit its response.
    pub fn did_not_fit(&self, answers: u64) {
        if let Some(metrics) = &self.metrics {
            metrics.refused(Reason::ResponseTooLarge, answers);
        }
    }

    /// Tells what a call came to. Where nobody listens, the decision is not even made.
    pub fn decided<'a>(&self, decision: impl FnOnce() -> Decision<'a>) {
        if IS_LEFT_OUT {
            return;
        }
        let traced = self.traces.is_some() && recorder::is_on();
        if self.metrics.is_none() && self.decision_log.is_none() && !traced {
            return;
        }
        let decision = decision();
        if let Some(metrics) = &self.metrics {
            metrics.decided(&decision);
        }
        if let Some(log) = &self.decision_log {
            log.say(&decision);
        }
        if traced {
            recorder::decided(&decision);
        }
    }

    /// Whether somebody is told how long a call took that has `arrived`.
    pub const fn times(&self, arrived: &Arrived) -> bool {
        self.metrics.is_some() || arrived.0.is_some()
    }

    /// Tells that a call was answered with `code`, `took` after its head arrived.
    pub fn answered(&self, method: Method, code: RpcCode, took: Duration) {
        if let Some(metrics) = &self.metrics {
            metrics.answered(method, code, took);
        }
        if self.traces.is_some() {
            recorder::answered(code);
        }
    }

    /// Sends what was not sent yet. What a collector does not take within a few seconds is lost. It blocks.
    pub fn shut_down(&self) {
        let traces = self.traces.as_ref().map_or(Ok(()), |traces| traces.shut_down(FLUSH_WITHIN));
        let metrics = self.metrics.as_ref().map_or(Ok(()), |metrics| metrics.shut_down(FLUSH_WITHIN));
        for (signal, result) in [("traces", traces), ("metrics", metrics)] {
            if let Err(error) = result {
                warn!(signal, %error, "the last of the telemetry was not sent");
            }
        }
    }
}

/// A call that has arrived, to be answered.
#[derive(Debug)]
pub struct Arrived(Option<Recorder>);

impl Arrived {
    /// Answers it by `answer`, and notes what happens meanwhile, where it is traced.
    pub fn answered_by<F: Future>(self, answer: F) -> impl Future<Output = F::Output> + use<F> {
        recorder::noting(self.0, answer)
    }
}

impl StoreListener for Arc<Telemetry> {
    fn listens(&self) -> bool {
        self.metrics.is_some() || (self.traces.is_some() && recorder::is_on())
    }

    fn called(&self, call: &StoreCall) {
        if let Some(metrics) = &self.metrics {
            metrics.asked_store(call);
        }
        if self.traces.is_some() {
            recorder::asked_store(call);
        }
    }
}

/// How this server is named in metrics and traces: later attributes win, and so what the operator says does.
fn resource() -> Resource {
    let named = |name: &'static str, value: String| KeyValue::new(name, value);
    let own = Resource::builder_empty().with_attributes([
        named("service.name", "semel".to_owned()),
        named("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        named("service.instance.id", uuid::Uuid::new_v4().to_string()),
    ]);
    let resource = own.with_detector(Box::new(TelemetryResourceDetector)).with_attributes(
        EnvResourceDetector::new()
            .detect()
            .iter()
            .map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
    );
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}
