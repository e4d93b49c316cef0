//! Spans, by OpenTelemetry's conventions: one for each call, one for each item of a batch, one for each store call.

use std::borrow::Cow;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor as _,
};
use tokio::time::Instant;

use super::decision::{Aspect, Decision, Word};
use super::recorder::{Began, Noted, Parent, Recorder, since};
use super::sampling::Sampling;
use super::{KeyHash, Names, Settings};
use crate::domain::{Clock, Reason, Traceparent};
use crate::storage::StoreName;
use crate::storage::metered::{CallOutcome, Operation, StoreCall};

/// Makes spans of calls, and sends those that are kept.
#[derive(Debug)]
pub(super) struct Traces {
    processor: BatchSpanProcessor,
    clock: Arc<dyn Clock>,
    key_hash: KeyHash,
    store: StoreName,
    correlation_label: Option<String>,
    scope: InstrumentationScope,
    pub(super) sampling: Sampling,
    /// Every decision but first ones is kept, whatever the sampling says.
    pub(super) keeps_later: bool,
}

/// What spans are made with.
#[derive(Debug)]
pub(super) struct Means {
    clock: Arc<dyn Clock>,
    names: Names,
    correlation_label: Option<String>,
    sampling: Sampling,
    keeps_later: bool,
}

impl Means {
    pub(super) fn new(settings: &Settings, names: Names, clock: Arc<dyn Clock>, sampling: Sampling) -> Self {
        let correlation_label = settings.correlation_label.clone();
        Self { clock, names, correlation_label, sampling, keeps_later: settings.trace_all_but_first }
    }
}

/// What a call came to, as its span says it.
#[derive(Debug)]
pub(super) struct Told {
    attributes: Vec<KeyValue>,
    waited: Duration,
    takeover: bool,
    reason: Option<&'static str>,
    earlier: Option<SpanContext>,
}

impl Traces {
    pub(super) fn new(exporter: impl SpanExporter + 'static, resource: &Resource, means: Means) -> Self {
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(resource);
        let Means { clock, names: Names { key_hash, store }, correlation_label, sampling, keeps_later } =
            means;
        let scope = InstrumentationScope::builder("semel").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { processor, clock, key_hash, store, correlation_label, scope, sampling, keeps_later }
    }

    pub(super) fn now(&self) -> Began {
        Began { wall: self.clock.now(), instant: Instant::now() }
    }

    /// What is kept of a decision.
    pub(super) fn told(&self, decision: &Decision<'_>) -> Told {
        let mut attributes = Vec::with_capacity(12);
        let mut say =
            |name: &'static str, value: opentelemetry::Value| attributes.push(KeyValue::new(name, value));
        if let Some(key) = decision.key {
            say("semel.tenant", key.tenant.as_str().to_owned().into());
            say("semel.endpoint", key.endpoint.as_str().to_owned().into());
            say("semel.key_hash", self.key_hash.name(key).into());
        }
        say("semel.decision", decision.word.as_str().into());
        if let Some(attempt) = decision.attempt {
            say("semel.attempt", i64::from(attempt).into());
        }
        if let Some(fence) = decision.fence {
            say("semel.fence", fence.get().into());
        }
        if let Some(waited) = decision.waited_ms() {
            say("semel.waited_ms", i64::try_from(waited).unwrap_or(i64::MAX).into());
        }
        for (aspect, name) in [
            (Aspect::Takeover, "semel.takeover"),
            (Aspect::LateCompletion, "semel.late_completion"),
            (Aspect::ReplayedFailure, "semel.replayed_failure"),
            (Aspect::Repeated, "semel.repeated"),
        ] {
            if let Some(so) = decision.is(aspect) {
                say(name, so.into());
            }
        }
        if let Some(reason) = decision.reason {
            say("semel.reason", reason.as_str().into());
        }
        if let Some(correlation) = decision.correlation(self.correlation_label.as_deref()) {
            say("semel.correlation", correlation.to_owned().into());
        }
        Told {
            attributes,
            waited: decision.waited,
            takeover: decision.aspect == Some(Aspect::Takeover),
            reason: decision.reason.map(Reason::as_str),
            earlier: decision.earlier.map(context_of),
        }
    }

    /// Makes the spans of what has ended, and hands them over. What the exporter has no room for is dropped: this
    /// never waits.
    pub(super) fn send(&self, recorder: &Recorder, noted: &Noted) {
        let took = recorder.began.instant.elapsed();
        let ended = at(recorder.began, took);
        for call in &noted.store {
            self.processor.on_end(self.store_span(recorder, call));
        }
        let mut attributes = Vec::with_capacity(20);
        let (kind, name) = match recorder.place.parent {
            Parent::None | Parent::Caller(..) => {
                let code = recorder.code.get();
                attributes.push(KeyValue::new("rpc.system.name", "grpc"));
                attributes.push(KeyValue::new("rpc.method", recorder.method.name()));
                attributes.push(KeyValue::new("rpc.response.status_code", code.as_str()));
                if code.is_servers_fault() {
                    attributes.push(KeyValue::new("error.type", code.as_str()));
                }
                (SpanKind::Server, recorder.method.name())
            }
            Parent::Batch(_) => (SpanKind::Internal, "semel.batch.item"),
        };
        let (mut events, mut links) = (SpanEvents::default(), SpanLinks::default());
        let mut status = if kind == SpanKind::Server && recorder.code.get().is_servers_fault() {
            Status::error(recorder.code.get().as_str())
        } else {
            Status::Unset
        };
        let store = StoreCount::of(&noted.store, recorder.began, &mut events.events);
        attributes.extend(store.attributes());
        if let Some(told) = &noted.told {
            attributes.extend(told.attributes.iter().cloned());
            if !told.waited.is_zero() {
                let waited = i64::try_from(told.waited.as_millis()).unwrap_or(i64::MAX);
                let waited = vec![KeyValue::new("semel.waited_ms", waited)];
                events.events.push(Event::new("semel.waited", at(recorder.began, told.waited), waited, 0));
            }
            if told.takeover {
                events.events.push(Event::new("semel.takeover", ended, Vec::new(), 0));
            }
            if let Some(earlier) = &told.earlier {
                let kind = vec![KeyValue::new("semel.link", "earlier_attempt")];
                links.links.push(Link::new(earlier.clone(), kind, 0));
            }
            if let (Status::Error { description }, Some(reason)) = (&mut status, told.reason) {
                *description = Cow::Borrowed(reason);
            }
        }
        events.events.sort_by_key(|event| event.timestamp);
        let span = SpanData {
            events,
            links,
            status,
            ..self.span(recorder, recorder.place.span_id, kind, name.into())
        };
        self.processor.on_end(SpanData { end_time: ended, attributes, ..span });
    }

    fn store_span(&self, recorder: &Recorder, call: &StoreCall) -> SpanData {
        let operation = call.operation.as_str();
        let began = since(recorder.began, call.began);
        let mut attributes = vec![
            KeyValue::new("db.system.name", self.store.system),
            KeyValue::new("db.collection.name", self.store.collection),
            KeyValue::new("db.operation.name", operation),
            KeyValue::new("semel.store.outcome", call.outcome.as_str()),
            KeyValue::new("semel.store.serial", call.serial),
        ];
        if let Some(namespace) = &self.store.namespace {
            attributes.push(KeyValue::new("db.namespace", namespace.clone()));
        }
        let failed = !matches!(call.outcome, CallOutcome::Ok | CallOutcome::Conflict);
        if failed {
            attributes.push(KeyValue::new("error.type", call.outcome.as_str()));
        }
        let span_id = SpanId::from(rand::random::<u64>().max(1));
        let name = format!("{operation} {}", self.store.collection);
        SpanData {
            parent_span_id: recorder.place.span_id,
            parent_span_is_remote: false,
            start_time: at(recorder.began, began),
            end_time: at(recorder.began, began + call.took),
            attributes,
            status: if failed { Status::error(call.outcome.as_str()) } else { Status::Unset },
            ..self.span(recorder, span_id, SpanKind::Client, name.into())
        }
    }

    /// A span that begins when the recorder did, with nothing in it yet.
    fn span(
        &self,
        recorder: &Recorder,
        span_id: SpanId,
        kind: SpanKind,
        name: Cow<'static, str>,
    ) -> SpanData {
        let place = &recorder.place;
        let (parent_span_id, parent_span_is_remote, state) = match &place.parent {
            Parent::None => (SpanId::INVALID, false, None),
            Parent::Caller(caller, state) => (*caller, true, state.as_ref()),
            Parent::Batch(batch) => (*batch, false, None),
        };
        let state = state.and_then(|state| TraceState::from_str(state.to_str().ok()?).ok());
        SpanData {
            span_context: SpanContext::new(
                place.trace_id,
                span_id,
                TraceFlags::SAMPLED,
                false,
                state.unwrap_or_default(),
            ),
            parent_span_id,
            parent_span_is_remote,
            span_kind: kind,
            name,
            start_time: at(recorder.began, Duration::ZERO),
            end_time: at(recorder.began, Duration::ZERO),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }

    #[cfg(feature = "test-support")]
    pub(super) fn flush(&self) {
        // What was not exported is missed by the test.
        let _ = self.processor.force_flush();
    }

    /// Sends what is left, and ends. It blocks until that is done or given up.
    pub(super) fn shut_down(&self, within: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(within)
    }
}

/// What a call asked of the store, in numbers.
#[derive(Debug, Default)]
struct StoreCount {
    /// Conditional writes and serial reads: on a database each is a lightweight transaction.
    transactions: i64,
    /// Sends of a write that was sent before.
    retries: i64,
    /// Writes whose outcome was unknown and became known.
    settled: i64,
}

impl StoreCount {
    /// Counts `calls`, and puts what was unknown, and what became of it, among the events.
    fn of(calls: &[StoreCall], began: Began, events: &mut Vec<Event>) -> Self {
        let mut count = Self::default();
        for (place, call) in calls.iter().enumerate() {
            count.transactions += i64::from(call.serial);
            let ended = at(began, since(began, call.began) + call.took);
            let before = &calls[..place];
            let is_retry = call.operation == Operation::CompareAndPut
                && before.iter().any(|earlier| earlier.write_id == call.write_id);
            count.retries += i64::from(is_retry);
            match call.outcome {
                CallOutcome::OutcomeUnknown => {
                    events.push(Event::new("semel.store.outcome_unknown", ended, Vec::new(), 0));
                }
                CallOutcome::Ok | CallOutcome::Conflict if is_retry => {
                    count.settled += 1;
                    events.push(Event::new("semel.store.outcome_settled", ended, Vec::new(), 0));
                }
                _ => {}
            }
        }
        count
    }

    fn attributes(&self) -> [KeyValue; 3] {
        [
            KeyValue::new("semel.store.lwt_count", self.transactions),
            KeyValue::new("semel.store.retries", self.retries),
            KeyValue::new("semel.store.settled_unknowns", self.settled),
        ]
    }
}

/// The moment so long after the beginning.
fn at(began: Began, later: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros(began.wall.as_micros()) + later
}

/// The span that a record remembers.
fn context_of(earlier: Traceparent) -> SpanContext {
    let flags = if earlier.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
    SpanContext::new(
        TraceId::from(earlier.trace()),
        SpanId::from(earlier.span()),
        flags,
        true,
        TraceState::default(),
    )
}

impl Decision<'_> {
    /// Whether it is the ordinary progress of an operation that runs for the first time. Everything else tells of a
    /// duplicate, of trouble, or of somebody who intervened.
    pub(super) fn is_first(&self) -> bool {
        let ordinary = match self.word {
            Word::Started => self.attempt == Some(1),
            Word::Completed | Word::Released | Word::Renewed | Word::CheckpointSaved | Word::Found => true,
            _ => false,
        };
        ordinary && self.aspect.is_none() && self.waited.is_zero()
    }
}
