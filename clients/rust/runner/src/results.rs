//! What calls came to, as events.

use semel_client::{Cancelled, Error, ErrorKind, Failure, Outcome};
use serde_json::{Map, Value, json};

use crate::values::Returned;

/// Says an event: one line.
pub(crate) fn say(event: &Value) {
    println!("{event}");
}

pub(crate) fn result<T: Returned>(call: &str, ended: &Result<Outcome<T>, Error<T>>) -> Value {
    let mut event = outcome(ended);
    event["event"] = "result".into();
    event["call"] = call.into();
    event
}

/// `ok` or `error`, and what is in it.
pub(crate) fn outcome<T: Returned>(ended: &Result<Outcome<T>, Error<T>>) -> Value {
    match ended {
        Ok(outcome) => json!({ "ok": {
            "value": outcome.value.shown(),
            "replayed": outcome.replayed,
            "handed_off": outcome.handed_off,
            "protected": outcome.protected,
            "attempt": outcome.attempt,
            "fence": outcome.fence,
        }}),
        Err(error) => json!({ "error": error_fields(error) }),
    }
}

pub(crate) fn error_fields<T: Returned>(error: &Error<T>) -> Value {
    if let ErrorKind::Work(own) = error.kind() {
        if let Some(ours) = own.downcast_ref::<Error>() {
            return fields_of(ours);
        }
        let name = if own.is::<Cancelled>() { "Cancelled" } else { "Own" };
        return json!({ "text": error.to_string(), "type": name, "message": own.to_string() });
    }
    let mut fields = fields_of(error);
    let carried = match error.kind() {
        ErrorKind::LeaseLost { value }
        | ErrorKind::CompletionUnknown { value, .. }
        | ErrorKind::ResultNotStored { value, .. }
        | ErrorKind::ResultConflict { value } => value.as_ref(),
        _ => None,
    };
    fields["carries_value"] = carried.is_some().into();
    if let Some(value) = carried {
        fields["value"] = value.shown();
    }
    fields
}

pub(crate) fn fields_of<T: 'static>(error: &Error<T>) -> Value {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    put("text", error.to_string().into());
    put("type", error.name().into());
    put("code", error.code_name().into());
    put("reason", error.reason().into());
    if let Some(pause) = error.retry_after() {
        put("retry_after_ms", u64::try_from(pause.as_millis()).unwrap_or(u64::MAX).into());
    }
    if let Some(cause) = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Error>()) {
        put("cause", cause.name().into());
    }
    match error.kind() {
        ErrorKind::InProgress { attempt, backing_off } => {
            put("attempt", (*attempt).into());
            put("backing_off", (*backing_off).into());
        }
        ErrorKind::Unresolved { reason, detail, attempt, .. } => {
            put("unresolved_reason", reason.as_str_name().into());
            put("detail", detail.as_str().into());
            put("attempt", (*attempt).into());
        }
        ErrorKind::StoreUnavailable { may_have_taken_effect } => {
            put("may_have_taken_effect", (*may_have_taken_effect).into());
        }
        ErrorKind::OperationFailed { failure, replayed, .. } => {
            put("failure", shown(failure));
            put("message", failure.message.as_str().into());
            put("replayed", (*replayed).into());
        }
        ErrorKind::CompletionUnknown { failure, handoff, .. } => {
            put("handoff", handoff.to_text().into());
            if let Some(failure) = failure {
                put("failure", shown(failure));
            }
        }
        ErrorKind::ResultNotStored { replayed, failed, .. } => {
            put("replayed", (*replayed).into());
            put("failed", (*failed).into());
        }
        ErrorKind::UndecodableResult { result } => put("content_type", result.content_type.as_str().into()),
        _ => {}
    }
    Value::Object(fields)
}

fn shown(failure: &Failure) -> Value {
    serde_json::to_value(failure).unwrap_or_default()
}
