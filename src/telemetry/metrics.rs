//! Every metric, defined once: for Prometheus on the operations port and, where a collector is named, over OTLP.

use std::array;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter, MeterProvider as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkError;
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::TextEncoder;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Method;
use super::decision::{Aspect, Decision, Word};
use super::label_sets::{LabelBounds, LabelSets, OTHER};
use super::rpc_code::RpcCode;
use crate::domain::Reason;
use crate::quotas::{Quota, Quotas, Used};
use crate::storage::metered::{CallOutcome, Operation, StoreCall};
use crate::sweep::Counts;

/// The upper bounds of buckets for lengths of time, in seconds: a replay takes tens of microseconds, a write to a
/// busy database seconds.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];
/// The same for waits, which callers and policies bound.
const WAITED_SECONDS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
const ATTEMPTS: [f64; 8] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0, 50.0];

/// The words that each pair of labels has from its beginning: an alert on an increase needs a zero before it.
const FROM_THE_START: [Word; 7] = [
    Word::Started,
    Word::Replayed,
    Word::InProgress,
    Word::Unresolved,
    Word::Completed,
    Word::Mismatch,
    Word::FenceLost,
];

/// The metrics of a server.
pub struct Metrics {
    registry: prometheus::Registry,
    provider: SdkMeterProvider,
    instruments: Instruments,
    by_pair: LabelSets<PairCounters>,
    rejected: [BoundCounter<u64>; Reason::ALL.len()],
    store: [[OnceLock<BoundHistogram<f64>>; CallOutcome::ALL.len()]; Operation::ALL.len()],
    calls: [[OnceLock<BoundHistogram<f64>>; RpcCode::ALL.len()]; Method::ALL.len()],
}

/// What all calls share.
struct Instruments {
    decisions: Counter<u64>,
    takeovers: BoundCounter<u64>,
    late_completions: BoundCounter<u64>,
    replayed_failures: BoundCounter<u64>,
    unknown_outcomes: BoundCounter<u64>,
    attempts: BoundHistogram<u64>,
    waits: BoundHistogram<f64>,
    store: Histogram<f64>,
    calls: Histogram<f64>,
}

/// The decisions on one pair of tenant and endpoint.
#[derive(Debug)]
struct PairCounters {
    labels: [KeyValue; 2],
    decisions: [OnceLock<BoundCounter<u64>>; Word::ALL.len()],
}

impl Metrics {
    /// Metrics of a server that is described by `resource`; nothing has happened yet. `export` adds readers beside the
    /// one that Prometheus asks.
    pub(super) fn new(
        resource: Resource,
        bounds: LabelBounds,
        export: impl FnOnce(
            opentelemetry_sdk::metrics::MeterProviderBuilder,
        ) -> opentelemetry_sdk::metrics::MeterProviderBuilder,
    ) -> Result<Self, OTelSdkError> {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()?;
        // The SDK has a bound of its own, and lumps together what is past it.
        let most_decisions = (bounds.pairs + 2) * Word::ALL.len();
        let roomy = move |instrument: &Instrument| {
            (instrument.name() == DECISIONS)
                .then(|| Stream::builder().with_cardinality_limit(most_decisions).build().ok())
                .flatten()
        };
        let builder =
            SdkMeterProvider::builder().with_resource(resource).with_reader(reader).with_view(roomy);
        let provider = export(builder).build();
        let meter = provider.meter("semel");
        let instruments = Instruments::new(&meter);
        say_build(&meter);
        let rejected = meter
            .u64_counter("semel.rejected")
            .with_description("Calls that were refused, by the reason that their error carries")
            .build();
        Ok(Self {
            registry,
            rejected: array::from_fn(|place| {
                rejected.bind(&[KeyValue::new("reason", Reason::ALL[place].as_str())])
            }),
            by_pair: LabelSets::new(bounds),
            store: array::from_fn(|_| array::from_fn(|_| OnceLock::new())),
            calls: array::from_fn(|_| array::from_fn(|_| OnceLock::new())),
            instruments,
            provider,
        })
    }

    /// Shows the last sweep's counts. What it could not count has no value.
    pub fn show_counts(&self, counts: &watch::Receiver<Option<Counts>>) {
        let meter = self.provider.meter("semel");
        let open = counts.clone();
        meter
            .u64_observable_gauge("semel.open_keys")
            .with_description("Keys that are not completed, of all servers on the store")
            .with_callback(move |gauge| {
                if let Some(count) = open.borrow().and_then(|counts| counts.open) {
                    gauge.observe(count, &[]);
                }
            })
            .build();
        let unresolved = counts.clone();
        let [unknown, exhausted] =
            ["outcome_unknown", "attempts_exhausted"].map(|reason| [KeyValue::new("reason", reason)]);
        meter
            .u64_observable_gauge("semel.unresolved_keys")
            .with_description("Keys that wait for an operator, of all servers on the store, by the reason")
            .with_callback(move |gauge| {
                if let Some(counts) = *unresolved.borrow() {
                    gauge.observe(counts.outcome_unknown, &unknown);
                    gauge.observe(counts.attempts_exhausted, &exhausted);
                }
            })
            .build();
    }

    /// Shows how much of their quotas tenants had used at the last sweep: those that used most, as many as have labels,
    /// and of all others the one that used most.
    pub fn show_quotas(&self, quotas: Arc<Quotas>) {
        let most = self.by_pair.bounds().pairs;
        let meter = self.provider.meter("semel");
        let gauge = meter
            .f64_observable_gauge("semel.quota_used_ratio")
            .with_description("How much of a quota a tenant has used, on this server; 1 is all of it")
            .with_callback(move |gauge| {
                let mut used = quotas.used();
                used.sort_by(|a, b| b.ratio.total_cmp(&a.ratio));
                let (shown, others) = used.split_at(most.min(used.len()));
                let observe = |used: &Used, tenant: &str| {
                    let labels = [
                        KeyValue::new("tenant", tenant.to_owned()),
                        KeyValue::new("quota", used.quota.as_str()),
                    ];
                    gauge.observe(used.ratio, &labels);
                };
                for used in shown {
                    observe(used, used.tenant.as_str());
                }
                for quota in [Quota::Requests, Quota::OpenKeys] {
                    if let Some(used) = others.iter().find(|used| used.quota == quota) {
                        observe(used, OTHER);
                    }
                }
            });
        gauge.build();
    }

    /// Shows how many tasks of `runtime` have not ended.
    pub fn show_tasks(&self, runtime: Handle) {
        self.provider
            .meter("semel")
            .u64_observable_gauge("semel.tasks")
            .with_description("Tasks of the server that have not ended: connections, calls, and its own work")
            .with_callback(move |gauge| {
                // No machine has room for more tasks than 2^64.
                gauge.observe(runtime.metrics().num_alive_tasks().try_into().unwrap_or(u64::MAX), &[]);
            })
            .build();
    }

    /// Shows how many log lines were lost of each of these kinds, as `lost` says.
    pub(crate) fn show_lost_lines<const KINDS: usize>(
        &self,
        kinds: [&'static str; KINDS],
        lost: impl Fn() -> [u64; KINDS] + Send + Sync + 'static,
    ) {
        let kinds = kinds.map(|kind| [KeyValue::new("kind", kind)]);
        self.provider
            .meter("semel")
            .u64_observable_counter("semel.log_lines_lost")
            .with_description("Log lines that standard error did not take")
            .with_callback(move |counter| {
                for (lost, kind) in lost().into_iter().zip(&kinds) {
                    counter.observe(lost, kind);
                }
            })
            .build();
    }

    pub(super) fn decided(&self, decision: &Decision<'_>) {
        let shared = &self.instruments;
        if let Some(key) = decision.key {
            self.by_pair
                .of(key, &|tenant, endpoint| shared.pair(tenant, endpoint))
                .count(decision.word, &shared.decisions);
        } else {
            let labels = [KeyValue::new("tenant", ""), KeyValue::new("endpoint", ""), word(decision.word)];
            shared.decisions.add(1, &labels);
        }
        if let Some(reason) = decision.reason {
            self.refused(reason, 1);
        }
        match decision.aspect {
            Some(Aspect::Takeover) => shared.takeovers.add(1),
            Some(Aspect::LateCompletion) => shared.late_completions.add(1),
            Some(Aspect::ReplayedFailure) => shared.replayed_failures.add(1),
            Some(Aspect::Repeated) => {}
            None => {
                if decision.word == Word::Completed
                    && let Some(attempt) = decision.attempt
                {
                    shared.attempts.record(attempt.into());
                }
            }
        }
        if !decision.waited.is_zero() {
            shared.waits.record(decision.waited.as_secs_f64());
        }
    }

    /// So many calls or slots of batches were refused for `reason`.
    pub(super) fn refused(&self, reason: Reason, times: u64) {
        self.rejected[reason as usize].add(times);
    }

    /// A call of `method` was answered with `code`, or left by its caller.
    pub(super) fn answered(&self, method: Method, code: RpcCode, took: Duration) {
        let calls = &self.calls[method as usize][code as usize];
        calls
            .get_or_init(|| self.instruments.calls.bind(&call_labels(method, code)))
            .record(took.as_secs_f64());
    }

    pub(super) fn asked_store(&self, call: &StoreCall) {
        let store = &self.store[call.operation as usize][call.outcome as usize];
        let bind = || {
            self.instruments.store.bind(&[
                KeyValue::new("operation", call.operation.as_str()),
                KeyValue::new("outcome", call.outcome.as_str()),
            ])
        };
        store.get_or_init(bind).record(call.took.as_secs_f64());
        if call.outcome == CallOutcome::OutcomeUnknown {
            self.instruments.unknown_outcomes.add(1);
        }
    }

    /// Sends what was not sent yet, and ends. It blocks until that is done or given up.
    pub(super) fn shut_down(&self, within: Duration) -> Result<(), OTelSdkError> {
        self.provider.shutdown_with_timeout(within)
    }

    /// Everything, in Prometheus' text format (`text/plain; version=0.0.4`).
    pub fn prometheus_text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

const DECISIONS: &str = "semel.decisions";

impl Instruments {
    fn new(meter: &Meter) -> Self {
        // A counter without labels is shown from its first value on: zero.
        let counter = |name: &'static str, description: &'static str| {
            let counter = meter.u64_counter(name).with_description(description).build().bind(&[]);
            counter.add(0);
            counter
        };
        let seconds = |name: &'static str, description: &'static str, bounds: &[f64]| {
            let histogram = meter.f64_histogram(name).with_description(description).with_unit("s");
            histogram.with_boundaries(bounds.to_vec()).build()
        };
        let attempts = meter
            .u64_histogram("semel.attempts")
            .with_description("The number of the attempt that completed an operation")
            .with_boundaries(ATTEMPTS.to_vec());
        Self {
            decisions: meter
                .u64_counter(DECISIONS)
                .with_description("What calls came to, by tenant and endpoint")
                .build(),
            takeovers: counter(
                "semel.takeovers",
                "Attempts that began after one that was lost, or gave up, without saying that nothing happened",
            ),
            late_completions: counter(
                "semel.late_completions",
                "Completes that were refused because a later attempt had begun: the side effect may have run twice",
            ),
            replayed_failures: counter("semel.replayed_failures", "Replays of results that are failures"),
            unknown_outcomes: counter(
                "semel.store_unknown_outcomes",
                "Calls to the store that ended without a word on whether they took effect",
            ),
            attempts: attempts.build().bind(&[]),
            waits: seconds("semel.wait", "How long Begins were held that were held at all", &WAITED_SECONDS)
                .bind(&[]),
            store: seconds("semel.store", "How long calls to the store took", &SECONDS),
            calls: seconds(
                "rpc.server.call.duration",
                "How long calls took, from the request's head to the answer",
                &SECONDS,
            ),
        }
    }

    fn pair(&self, tenant: &str, endpoint: &str) -> PairCounters {
        let pair = PairCounters {
            labels: [
                KeyValue::new("tenant", tenant.to_owned()),
                KeyValue::new("endpoint", endpoint.to_owned()),
            ],
            decisions: array::from_fn(|_| OnceLock::new()),
        };
        for word in FROM_THE_START {
            pair.counter(word, &self.decisions);
        }
        pair
    }
}

impl PairCounters {
    fn counter(&self, decided: Word, decisions: &Counter<u64>) -> &BoundCounter<u64> {
        self.decisions[decided as usize].get_or_init(|| {
            let [tenant, endpoint] = self.labels.clone();
            decisions.bind(&[tenant, endpoint, word(decided)])
        })
    }

    fn count(&self, decided: Word, decisions: &Counter<u64>) {
        self.counter(decided, decisions).add(1);
    }
}

fn word(word: Word) -> KeyValue {
    KeyValue::new("decision", word.as_str())
}

fn call_labels(method: Method, code: RpcCode) -> Vec<KeyValue> {
    let mut labels = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method.name()),
        KeyValue::new("rpc.response.status_code", code.as_str()),
    ];
    if code.is_servers_fault() {
        labels.push(KeyValue::new("error.type", code.as_str()));
    }
    labels
}

fn say_build(meter: &Meter) {
    let labels = [KeyValue::new("version", env!("CARGO_PKG_VERSION"))];
    meter
        .u64_observable_gauge("semel.build_info")
        .with_description("What runs; the value is always 1")
        .with_callback(move |gauge| gauge.observe(1, &labels))
        .build();
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
