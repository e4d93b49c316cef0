//! Batches: the plain methods, with attempts that the runner keeps by key.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use semel_client::Client;
use semel_client::proto::begin_response::Decision;
use semel_client::proto::{
    BatchBeginRequest, BatchCompleteRequest, BeginRequest, BeginResponse, CompleteRequest, Key,
    Result as Stored, batch_begin_response, batch_complete_response, result::Outcome,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::results::{fields_of, say};

/// What attempts the runner holds, by endpoint and key.
pub(crate) type Held = HashMap<(String, String), (String, i64)>;

fn key_of(command: &Value, key: &Value) -> Key {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Key { tenant: String::new(), endpoint: text(&command["endpoint"]), idempotency_key: text(key) }
}

pub(crate) async fn begin(client: &Client, held: &Mutex<Held>, command: &Value) {
    let keys = command["keys"].as_array().into_iter().flatten();
    let request = |key| BeginRequest {
        key: Some(key_of(command, key)),
        attempt_id: Uuid::new_v4().to_string(),
        ..BeginRequest::default()
    };
    let requests: Vec<_> = keys.map(request).collect();
    let mut event = json!({ "event": "result", "call": command["call"] });
    match client.batch_begin(BatchBeginRequest { requests: requests.clone() }).await {
        Err(error) => event["error"] = fields_of(&error),
        Ok(response) => {
            use batch_begin_response::item::Outcome as Ended;
            let items: Vec<_> = requests
                .into_iter()
                .zip(response.items)
                .map(|(request, item)| match item.outcome {
                    Some(Ended::Response(response)) => decided(held, request, response),
                    Some(Ended::Error(error)) => json!({ "error": error.reason }),
                    None => json!({}),
                })
                .collect();
            event["ok"] = json!({ "items": items });
        }
    }
    say(&event);
}

fn decided(held: &Mutex<Held>, request: BeginRequest, response: BeginResponse) -> Value {
    match response.decision {
        Some(Decision::Started(started)) => {
            let key = request.key.unwrap_or_default();
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            held.insert((key.endpoint, key.idempotency_key), (request.attempt_id, started.fence));
            json!({ "decision": "started", "attempt": started.attempt })
        }
        Some(Decision::Replayed(replayed)) => json!({ "decision": "replayed", "attempt": replayed.attempt }),
        Some(Decision::InProgress(running)) => {
            json!({ "decision": "in_progress", "attempt": running.attempt })
        }
        Some(Decision::Unresolved(unresolved)) => {
            json!({ "decision": "unresolved", "attempt": unresolved.attempt })
        }
        None => json!({}),
    }
}

pub(crate) async fn complete(client: &Client, held: &Mutex<Held>, command: &Value) {
    let values = command["values"].as_array().into_iter().flatten();
    let request = |value: &Value| {
        let key = key_of(command, &value["key"]);
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let (attempt_id, fence) =
            held.get(&(key.endpoint.clone(), key.idempotency_key.clone())).cloned().unwrap_or_default();
        let result = Stored {
            outcome: Outcome::Success.into(),
            content_type: "application/json".to_owned(),
            payload: value["value"].to_string().into(),
            ..Stored::default()
        };
        CompleteRequest { key: Some(key), fence, attempt_id, result: Some(result), retention: None }
    };
    let requests = values.map(request).collect();
    let mut event = json!({ "event": "result", "call": command["call"] });
    match client.batch_complete(BatchCompleteRequest { requests }).await {
        Err(error) => event["error"] = fields_of(&error),
        Ok(response) => {
            use batch_complete_response::item::Outcome as Ended;
            let shown = |item: batch_complete_response::Item| match item.outcome {
                Some(Ended::Response(response)) => json!({ "repeated": response.repeated_call }),
                Some(Ended::Error(error)) => json!({ "error": error.reason }),
                None => json!({}),
            };
            event["ok"] = json!({ "items": response.items.into_iter().map(shown).collect::<Vec<_>>() });
        }
    }
    say(&event);
}
