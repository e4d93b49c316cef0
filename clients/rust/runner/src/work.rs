//! What works of the suite do, step by step.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use semel_client::{
    Attempt, BoxError, CancellationToken, Cancelled, Client, Error, ErrorKind, Failure, Outcome, Request,
    WorkError,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::results::{outcome, say};
use crate::values::{Json, Returned};

/// What works wait for, until it is opened for good.
#[derive(Clone, Default)]
pub(crate) struct Gates(Arc<Mutex<HashMap<String, CancellationToken>>>);

impl Gates {
    pub(crate) fn named(&self, name: &str) -> CancellationToken {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(name.to_owned()).or_default().clone()
    }
}

/// What a work has to do with.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) call: String,
    pub(crate) client: Client,
    pub(crate) gates: Gates,
    pub(crate) steps: Vec<Value>,
}

pub(crate) async fn run<T: Returned>(scene: Scene, attempt: Attempt) -> Result<T, WorkError> {
    let points: Vec<_> = attempt
        .checkpoints()
        .iter()
        .map(|point| json!({ "name": point.name, "value": String::from_utf8_lossy(&point.value) }))
        .collect();
    say(&json!({
        "event": "started", "call": scene.call, "fence": attempt.fence(), "attempt": attempt.number(),
        "protected": attempt.protected(), "checkpoints": points,
    }));
    for step in &scene.steps {
        if let Some(value) = one_step(&scene, &attempt, step).await? {
            return Ok(value);
        }
    }
    Err(WorkError::unknown("the work has no end"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Does one step; gives the value where that is the end.
async fn one_step<T: Returned>(
    scene: &Scene,
    attempt: &Attempt,
    step: &Value,
) -> Result<Option<T>, WorkError> {
    let members = step.as_object().ok_or("a step is an object")?;
    let (action, value) = members.iter().find(|(name, _)| *name != "step").ok_or("a step does something")?;
    let said = |name: &str, value: Value| {
        say(&json!({ "event": "said", "call": scene.call, "name": name, "value": value }));
    };
    match action.as_str() {
        "say" => said("derived_key", attempt.derived_key(text(step, "step"))?.into()),
        "checkpoint" => {
            attempt.checkpoint(text(value, "name"), text(value, "value").to_owned().into_bytes()).await?;
        }
        "gate" => wait(scene, attempt, value.as_str().unwrap_or_default(), true).await?,
        "hold" => wait(scene, attempt, value.as_str().unwrap_or_default(), false).await?,
        "tell" => {
            let mut stream = TcpStream::connect(text(value, "address")).await?;
            stream.write_all(format!("{}\n", text(value, "text")).as_bytes()).await?;
            stream.read_to_end(&mut Vec::new()).await?;
        }
        "handoff" => said("handoff", attempt.handoff()?.to_text().into()),
        "nested" => said("nested", nested(scene, value).await?),
        "return" => return Ok(Some(T::of(value)?)),
        "return_text" => {
            let length = usize::try_from(value.as_u64().unwrap_or_default())?;
            return Ok(Some(T::of(&"x".repeat(length).into())?));
        }
        "return_unencodable" => return Ok(Some(T::unencodable()?)),
        _ => return Err(ended(action, value).await?),
    }
    Ok(None)
}

/// How a work ends that returns nothing.
async fn ended(action: &str, value: &Value) -> Result<WorkError, BoxError> {
    let message = text(value, "message").to_owned();
    Ok(match action {
        "final" => {
            let code = i32::try_from(value["code"].as_i64().unwrap_or_default())?;
            let failure = Failure::new(text(value, "type"), message).with_code(code);
            let details = value.get("details").cloned();
            details.map_or(failure.clone(), |details| failure.with_details(details)).into()
        }
        "retryable" => {
            let after = Duration::from_millis(value["retry_after_ms"].as_u64().unwrap_or_default());
            WorkError::retryable_after(message, after)
        }
        "unknown" => WorkError::unknown(message),
        "timeout" => match tokio::time::timeout(Duration::from_millis(1), pending::<()>()).await {
            Err(elapsed) => elapsed.into(),
            Ok(()) => return Err("what never ends ended".into()),
        },
        "unexpected" => std::io::Error::other(value.as_str().unwrap_or_default()).into(),
        _ => return Err(format!("no step is called {action}").into()),
    })
}

/// Waits for a gate; work that listens ends when the signal fires first.
async fn wait(scene: &Scene, attempt: &Attempt, gate: &str, listens: bool) -> Result<(), Cancelled> {
    say(&json!({ "event": "reached", "call": scene.call, "gate": gate }));
    let opened = scene.gates.named(gate);
    if attempt.cancellation().run_until_cancelled(opened.cancelled()).await.is_some() {
        return Ok(());
    }
    say(&json!({ "event": "cancelled", "call": scene.call }));
    if listens {
        return Err(Cancelled);
    }
    opened.cancelled().await;
    Ok(())
}

async fn nested(scene: &Scene, value: &Value) -> Result<Value, BoxError> {
    let steps = value["work"].as_array().cloned().ok_or("a nested work has steps")?;
    let inner = Scene { steps, call: format!("{}/nested", scene.call), ..scene.clone() };
    let (endpoint, key) = (text(value, "endpoint"), text(value, "key"));
    let work = async |attempt| Box::pin(run::<Json>(inner, attempt)).await;
    let once = scene.client.once::<Json, _>(endpoint, key, Request::none(), work);
    let ended: Result<Outcome<Json>, Error<Json>> = Box::pin(once).await;
    if let Err(error) = &ended
        && let ErrorKind::Work(own) = error.kind()
        && own.to_string().starts_with("no step")
    {
        return Err(own.to_string().into());
    }
    Ok(outcome(&ended))
}
