//! Records, and their parts, as reports show them.

use semel_client::proto::result::Outcome;
use semel_client::proto::unresolved::Reason;
use semel_client::proto::{self, Checkpoint, State, Unresolved};

use super::output::{Field, Value};

/// What a shell must not keep from an earlier record.
pub(crate) const FIELDS: &[&str] = &[
    "state",
    "fence",
    "attempt",
    "fingerprint",
    "first_seen_at",
    "changed_at",
    "lease_expires_at",
    "expires_at",
    "outcome",
    "code",
    "content_type",
    "headers",
    "payload_base64",
    "payload_omitted",
    "reason",
    "detail",
    "since",
    "checkpoints",
    "labels",
    "original_traceparent",
    "resolution_note",
];

/// How a record reads, in lower case.
pub(crate) fn state_name(state: State) -> String {
    state.as_str_name().trim_start_matches("STATE_").to_lowercase()
}

/// The fields of a record.
pub(crate) fn record_fields(record: proto::Record) -> Vec<Field> {
    let state = state_name(record.state());
    let key = record.key.unwrap_or_default();
    let fingerprint: Vec<_> = record.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut labels: Vec<_> = record.labels.into_iter().collect();
    labels.sort_unstable();
    let mut fields = vec![
        ("state", Value::Text(state)),
        ("tenant", Value::text(key.tenant)),
        ("endpoint", Value::text(key.endpoint)),
        ("key", Value::text(key.idempotency_key)),
        ("fence", Value::Number(record.fence)),
        ("attempt", Value::Number(record.attempt.into())),
        ("fingerprint", Value::text(fingerprint.concat())),
        ("first_seen_at", Value::time(record.first_seen_at)),
        ("changed_at", Value::time(record.changed_at)),
        ("lease_expires_at", Value::time(record.lease_expires_at)),
        ("expires_at", Value::time(record.expires_at)),
    ];
    if let Some(unresolved) = record.unresolved {
        fields.extend([
            ("reason", unresolved_reason(&unresolved)),
            ("detail", Value::text(unresolved.detail)),
            ("since", Value::time(unresolved.since)),
        ]);
    }
    if let Some(result) = record.result {
        fields.extend(result_fields(result));
    }
    fields.extend([
        ("checkpoints", checkpoints(record.checkpoints)),
        ("labels", if labels.is_empty() { Value::Absent } else { Value::Pairs(labels) }),
        ("original_traceparent", Value::text(record.original_traceparent)),
        ("resolution_note", Value::text(record.resolution_note)),
    ]);
    fields
}

/// The fields of a result.
pub(crate) fn result_fields(result: proto::Result) -> Vec<Field> {
    let outcome = if result.outcome() == Outcome::Failure { "failure" } else { "success" };
    let headers = result.headers.into_iter().map(|header| {
        Value::Fields(vec![("name", Value::text(header.name)), ("value", Value::Bytes(header.value))])
    });
    let headers: Vec<_> = headers.collect();
    vec![
        ("outcome", Value::text(outcome)),
        ("code", Value::Number(result.code.into())),
        ("content_type", Value::text(result.content_type)),
        ("headers", if headers.is_empty() { Value::Absent } else { Value::List(headers) }),
        ("payload_omitted", Value::Flag(result.payload_omitted)),
        // An empty payload is a result too.
        ("payload", Value::Bytes(result.payload)),
    ]
}

/// Why a record waits for a person.
pub(crate) fn unresolved_reason(unresolved: &Unresolved) -> Value {
    Value::text(match unresolved.reason() {
        Reason::OutcomeUnknown => "OUTCOME_UNKNOWN",
        Reason::AttemptsExhausted => "ATTEMPTS_EXHAUSTED",
        Reason::Unspecified => "",
    })
}

/// Recovery points, oldest first.
pub(crate) fn checkpoints(points: Vec<Checkpoint>) -> Value {
    let point = |point: Checkpoint| {
        Value::Fields(vec![
            ("name", Value::text(point.name)),
            ("value", Value::Bytes(point.value)),
            ("fence", Value::Number(point.fence)),
        ])
    };
    let points: Vec<_> = points.into_iter().map(point).collect();
    if points.is_empty() { Value::Absent } else { Value::List(points) }
}
