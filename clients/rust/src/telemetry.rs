//! Spans and metrics, through the API of OpenTelemetry alone: without an SDK nothing happens.

use std::time::Instant;

use opentelemetry::global::{self, BoxedTracer};
use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use tonic::Code;
use tonic::metadata::MetadataMap;

use crate::error::{Error, ErrorKind};
use crate::key::Warning;
use crate::sending::{Method, Sent};
use crate::status::code_name;

pub(crate) struct Telemetry {
    tracer: BoxedTracer,
    once: Counter<u64>,
    duration: Histogram<f64>,
    retries: Counter<u64>,
    unprotected: Counter<u64>,
    undelivered: Counter<u64>,
    leases_lost: Counter<u64>,
    key_warnings: Counter<u64>,
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        let scope = InstrumentationScope::builder("semel.client").with_version(crate::VERSION).build();
        let meter = global::meter_with_scope(scope.clone());
        let counter =
            |name: &'static str, says: &'static str| meter.u64_counter(name).with_description(says).build();
        Self {
            tracer: global::tracer_with_scope(scope),
            once: counter("semel.client.once", "Calls of once, by what they came to"),
            duration: meter
                .f64_histogram("semel.client.once.duration")
                .with_unit("s")
                .with_description("How long calls of once took, their works included")
                .build(),
            retries: counter("semel.client.retries", "Sends of a call beyond its first"),
            unprotected: counter(
                "semel.client.unprotected",
                "Works that ran unprotected, for semel could not be reached",
            ),
            undelivered: counter(
                "semel.client.undelivered",
                "Reports of attempts that could not be delivered",
            ),
            leases_lost: counter("semel.client.leases_lost", "Works whose key was lost while they ran"),
            key_warnings: counter("semel.client.key_warnings", "Keys that look like personal data"),
        }
    }

    /// The context of a call, within which it is sent.
    pub(crate) fn call(&self, method: Method) -> Context {
        let name = method.full_name();
        let parent = Context::current();
        let attributes = [KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", name)];
        let span = self
            .tracer
            .span_builder(name)
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &parent);
        parent.with_span(span)
    }

    /// What a call came to.
    pub(crate) fn called(&self, context: &Context, method: Method, sent: &Sent, error: Option<&Error>) {
        let span = context.span();
        let code = code_name(sent.code);
        span.set_attribute(KeyValue::new("rpc.response.status_code", code));
        span.set_attribute(KeyValue::new("semel.client.sends", i64::from(sent.sends)));
        if sent.sends > 1 {
            let attributes = [
                KeyValue::new("rpc.method", method.full_name()),
                KeyValue::new("rpc.response.status_code", code),
            ];
            self.retries.add(u64::from(sent.sends - 1), &attributes);
        }
        if error.is_some() {
            span.set_attribute(KeyValue::new("error.type", code));
            span.set_status(Status::error(code));
        }
        span.end();
    }

    pub(crate) fn ran_unprotected(&self, endpoint: &str, code: Code, reason: &str) {
        tracing::warn!(
            target: "semel", endpoint, code = code_name(code), reason,
            "semel cannot be reached, and the work runs unprotected"
        );
        self.unprotected.add(1, &[KeyValue::new("semel.endpoint", endpoint.to_owned())]);
    }

    pub(crate) fn not_delivered(&self, endpoint: &str, method: Method, error: &Error) {
        tracing::warn!(
            target: "semel", endpoint, call = method.name(), code = code_name(error.code()), reason = error.reason(),
            "the word of an attempt could not be delivered"
        );
        let attributes = [
            KeyValue::new("semel.endpoint", endpoint.to_owned()),
            KeyValue::new("rpc.method", method.full_name()),
        ];
        self.undelivered.add(1, &attributes);
    }

    pub(crate) fn lease_lost(&self, endpoint: &str, reason: &str) {
        tracing::warn!(target: "semel", endpoint, reason, "ownership of a key is lost while its work runs");
        self.leases_lost.add(1, &[KeyValue::new("semel.endpoint", endpoint.to_owned())]);
    }

    pub(crate) fn key_warning(&self, endpoint: &str, warning: Warning) {
        tracing::warn!(
            target: "semel", endpoint, warning = warning.name(),
            "an idempotency key looks like personal data"
        );
        let attributes = [
            KeyValue::new("semel.endpoint", endpoint.to_owned()),
            KeyValue::new("semel.warning", warning.name()),
        ];
        self.key_warnings.add(1, &attributes);
    }
}

/// Puts the W3C trace context of `context` among what is sent.
pub(crate) fn carry(context: &Context, metadata: &mut MetadataMap) {
    let span = context.span();
    let span = span.span_context();
    if !span.is_valid() {
        return;
    }
    let flags = span.trace_flags() & TraceFlags::SAMPLED;
    let traceparent = format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), flags.to_u8());
    if let Ok(value) = traceparent.parse() {
        metadata.insert("traceparent", value);
    }
    let state = span.trace_state().header();
    if let Some(value) = Some(state).filter(|state| !state.is_empty()).and_then(|state| state.parse().ok()) {
        metadata.insert("tracestate", value);
    }
}

/// A once or a resume in its span; what it came to is told when this goes, however it ends.
pub(crate) struct Observed<'a> {
    telemetry: &'a Telemetry,
    context: Context,
    began: Instant,
    endpoint: &'a str,
    /// The server's word for the decision, or for what there was instead.
    pub(crate) decision: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) fence: i64,
    pub(crate) number: u32,
    error: Option<&'static str>,
}

impl<'a> Observed<'a> {
    pub(crate) fn new(telemetry: &'a Telemetry, tenant: &str, endpoint: &'a str) -> Self {
        let parent = Context::current();
        let attributes = [
            KeyValue::new("semel.tenant", tenant.to_owned()),
            KeyValue::new("semel.endpoint", endpoint.to_owned()),
        ];
        let span = telemetry
            .tracer
            .span_builder("semel.once")
            .with_attributes(attributes)
            .start_with_context(&telemetry.tracer, &parent);
        Self {
            telemetry,
            context: parent.with_span(span),
            began: Instant::now(),
            endpoint,
            decision: "",
            outcome: "",
            fence: 0,
            number: 0,
            error: None,
        }
    }

    pub(crate) fn context(&self) -> Context {
        self.context.clone()
    }

    /// Links to whoever did what is replayed.
    pub(crate) fn link(&self, traceparent: &str) {
        if let Some(earlier) = read_traceparent(traceparent) {
            let attributes = vec![KeyValue::new("semel.link", "earlier_attempt")];
            self.context.span().add_link(earlier, attributes);
        }
    }

    pub(crate) fn ended_in<T>(&mut self, error: &Error<T>) {
        self.error = Some(error.name());
        if self.decision.is_empty() {
            self.decision = decision_of(error);
        }
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        if self.decision.is_empty() {
            self.decision = "cancelled";
        }
        let mut attributes = vec![
            KeyValue::new("semel.endpoint", self.endpoint.to_owned()),
            KeyValue::new("semel.decision", self.decision),
        ];
        if !self.outcome.is_empty() {
            attributes.push(KeyValue::new("semel.outcome", self.outcome));
        }
        self.telemetry.once.add(1, &attributes);
        self.telemetry.duration.record(self.began.elapsed().as_secs_f64(), &attributes);
        let span = self.context.span();
        span.set_attributes(attributes);
        if self.number > 0 {
            span.set_attribute(KeyValue::new("semel.attempt", i64::from(self.number)));
            span.set_attribute(KeyValue::new("semel.fence", self.fence));
        }
        if let Some(kind) = self.error {
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(kind));
        }
        span.end();
    }
}

/// The server's word for an error of Begin.
fn decision_of<T>(error: &Error<T>) -> &'static str {
    match error.kind() {
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::KeyMismatch => "mismatch",
        ErrorKind::KeyExpired => "expired",
        ErrorKind::StoreUnavailable { .. } => "unavailable",
        ErrorKind::Invalid { .. } => "invalid",
        ErrorKind::LeaseLost { .. } => "attempt_ended",
        ErrorKind::Exhausted => "quota_exceeded",
        ErrorKind::NotAllowed if error.code() == Code::PermissionDenied => "denied",
        ErrorKind::NotAllowed => "unauthenticated",
        _ => "internal",
    }
}

/// Reads a W3C traceparent of version 00.
fn read_traceparent(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || parts.next().is_some() {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}
