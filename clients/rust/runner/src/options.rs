//! Options, requests and scripts, as commands write them.

use std::time::{Duration, UNIX_EPOCH};

use semel_client::proto::unresolved::Reason;
use semel_client::testing::Scripted;
use semel_client::{BoxError, Failure, Meaning, OnceOptions, Request};
use serde_json::Value;

use crate::values::hexadecimal;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

pub(crate) fn length(value: &Value, name: &str) -> Option<Duration> {
    value[name].as_u64().map(Duration::from_millis)
}

pub(crate) fn meaning_of(name: &str) -> Result<Meaning, BoxError> {
    match name {
        "unknown" => Ok(Meaning::Unknown),
        "release" => Ok(Meaning::Release),
        "final" => Ok(Meaning::Final),
        other => Err(format!("no meaning is called {other}").into()),
    }
}

pub(crate) fn once_options(given: &Value) -> Result<OnceOptions, BoxError> {
    let mut options = OnceOptions::new();
    for (name, value) in given.as_object().into_iter().flatten() {
        let time = Duration::from_millis(value.as_u64().unwrap_or_default());
        options = match name.as_str() {
            "wait_ms" => options.wait(time),
            "lease_ms" => options.lease(time),
            "retention_ms" => options.retention(time),
            "timeout_ms" => options.timeout(time),
            "first_sent_ms" => options.first_sent(UNIX_EPOCH + time),
            "retry" if value == true => options.retry(),
            "labels" => value.as_object().into_iter().flatten().fold(options, |options, (name, value)| {
                options.label(name, value.as_str().unwrap_or_default())
            }),
            "when_unavailable" if value == "fail_open" => options.fail_open(),
            "on_unexpected" => options.on_unexpected(meaning_of(value.as_str().unwrap_or_default())?),
            "retry" | "when_unavailable" | "codec" => options,
            other => return Err(format!("no option is called {other}").into()),
        };
    }
    Ok(options)
}

pub(crate) fn request_of(given: &Value) -> Result<Request, BoxError> {
    let Some(members) = given.as_object() else {
        return Ok(Request::none());
    };
    let request = if let Some(http) = members.get("http") {
        let body = http.get("json").map_or_else(Request::none, Request::json);
        let headers = http["headers"].as_array().into_iter().flatten();
        let headers =
            headers.map(|pair| (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default()));
        Request::http(text(http, "method"), text(http, "path"), headers, body)
    } else if let Some(value) = members.get("json") {
        Request::json(value)
    } else if let Some(json) = members.get("json_text") {
        Request::json_text(json.as_str().unwrap_or_default().to_owned())
    } else if let Some(hex) = members.get("raw_hex") {
        Request::raw(hexadecimal(hex.as_str().unwrap_or_default())?)
    } else {
        return Err("this is no request that the runner knows".into());
    };
    let ignored = given["ignore"].as_array().into_iter().flatten();
    Ok(request.ignoring(ignored.filter_map(Value::as_str)))
}

pub(crate) fn scripted(decision: &Value) -> Result<Scripted, BoxError> {
    let members = decision.as_object().ok_or("a decision is an object")?;
    let (name, value) = members.iter().next().ok_or("a decision has a name")?;
    let attempt = u32::try_from(value["attempt"].as_u64().unwrap_or(1))?;
    Ok(match name.as_str() {
        "started" => {
            let points = value["checkpoints"].as_array().into_iter().flatten();
            let point =
                |point: &Value| (text(point, "name").to_owned(), text(point, "value").to_owned().into());
            Scripted::Started { attempt, checkpoints: points.map(point).collect() }
        }
        "replayed" => match value.get("failure") {
            Some(failure) => Scripted::replayed_failure(&serde_json::from_value::<Failure>(failure.clone())?),
            None => Scripted::replayed_json(&value["json"]),
        },
        "in_progress" => {
            Scripted::InProgress { retry_after: length(value, "retry_after_ms").unwrap_or_default(), attempt }
        }
        "unresolved" => Scripted::Unresolved {
            reason: Reason::from_str_name(text(value, "reason")).ok_or("no such reason")?,
            detail: text(value, "detail").to_owned(),
        },
        "fence_lost" => Scripted::FenceLost,
        "unavailable" => Scripted::Unavailable,
        other => return Err(format!("no decision is called {other}").into()),
    })
}
