//! The shared vectors, through the public interface: clients/vectors/README.md.

mod support;

use std::time::{Duration, UNIX_EPOCH};

use semel_client::testing::{Fake, Scripted};
use semel_client::{Client, ClientOptions, Error, ErrorKind, Handoff, Key, Request, proto};
use serde_json::Value;
use support::{cases, text};

fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).expect("half a byte");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn request(case: &Value) -> Request {
    let body = if let Some(json) = case["json"].as_str() {
        Request::json_text(json.to_owned())
    } else if let Some(hex) = case["json_hex"].as_str() {
        Request::json_text(hexadecimal(hex))
    } else if let Some(hex) = case["raw_hex"].as_str() {
        Request::raw(hexadecimal(hex))
    } else {
        Request::none()
    };
    let headers = case["headers"].as_array().into_iter().flatten();
    let headers = headers.map(|pair| (pair[0].as_str().expect("a name"), pair[1].as_str().expect("a value")));
    let ignored =
        case["ignore"].as_array().into_iter().flatten().map(|pointer| pointer.as_str().expect("a text"));
    Request::http(text(case, "method"), text(case, "path"), headers, body).ignoring(ignored)
}

/// Compares what came of a case: what is `wanted`, or the reason it is refused for.
fn compare<T: Into<Value>>(case: &Value, wanted: &str, got: Result<T, semel_client::Error>) {
    let (name, wanted) = match case.get("refused") {
        Some(refused) => ("refused", refused),
        None => (wanted, &case[wanted]),
    };
    let got = match got {
        Ok(value) => value.into(),
        Err(error) => {
            assert_eq!(error.name(), "Invalid", "{}", case["name"]);
            Value::from(format!("refused: {}", error.reason()))
        }
    };
    let wanted = if name == "refused" {
        Value::from(format!("refused: {}", wanted.as_str().expect("a text")))
    } else {
        wanted.clone()
    };
    assert_eq!(got, wanted, "{}", case["name"]);
}

#[test]
fn fingerprints() {
    for case in cases("fingerprints") {
        let digest = request(&case).fingerprint();
        let shown = digest.map(|digest| hex(&digest));
        compare(&case, "digest", shown);
    }
}

#[test]
fn item_errors() {
    for case in cases("item_errors") {
        let code = i32::try_from(case["code"].as_i64().expect("a number")).expect("32 bits");
        let item = proto::ItemError {
            code,
            reason: text(&case, "reason").to_owned(),
            message: "of a vector".to_owned(),
        };
        let error = Error::of_item(&item);
        let name = &case["name"];
        assert_eq!((error.name(), error.reason()), (text(&case, "error"), text(&case, "reason")), "{name}");
        if let ErrorKind::StoreUnavailable { may_have_taken_effect } = error.kind() {
            assert_eq!(case["may_have_taken_effect"], *may_have_taken_effect, "{name}");
        }
    }
}

#[tokio::test]
async fn client_options() {
    for case in cases("client_options") {
        let mut options = ClientOptions::new();
        for (name, value) in case["options"].as_object().expect("options") {
            let said = value.as_str().unwrap_or_default();
            let length = Duration::from_millis(value.as_u64().unwrap_or_default());
            options = match name.as_str() {
                "address" => options.address(said),
                "token" => options.token(said),
                "token_file" => options.token_file(said),
                "insecure_token" => options.insecure_token(),
                "tls_ca" => options.tls_ca(said),
                "tls_cert" => options.tls_identity(said, text(&case["options"], "tls_key")),
                "tls_key" => options,
                "timeout_ms" => options.timeout(length),
                "try_timeout_ms" => options.try_timeout(length),
                "report_timeout_ms" => options.report_timeout(length),
                "connections" => {
                    options.connections(usize::try_from(value.as_u64().unwrap_or(0)).unwrap_or(0))
                }
                other => panic!("no option is called {other}"),
            };
        }
        let made = Client::new(options).map(|_| Value::Null);
        if let Err(error) = &made {
            assert!(!error.to_string().contains("secret-"), "{}: {error}", case["name"]);
        }
        compare(&case, "made", made);
    }
}

#[test]
fn event_keys() {
    for case in cases("event_keys") {
        let key = Key::event(text(&case, "source"), text(&case, "type"), text(&case, "id"));
        compare(&case, "key", key.map(|key| key.as_str().to_owned()));
    }
}

#[test]
fn content_keys() {
    for case in cases("content_keys") {
        let window = case["window_seconds"].as_i64().expect("a number");
        let at = case["at_seconds"].as_i64().expect("a number");
        let window = Duration::from_secs(window.try_into().unwrap_or(0));
        let since = Duration::from_secs(at.unsigned_abs());
        let at = if at < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since };
        let key = Key::content_at(&request(&case), window, at);
        compare(&case, "key", key.map(|key| key.as_str().to_owned()));
    }
}

#[test]
fn key_checks() {
    for case in cases("key_checks") {
        let key = match text(&case, "maker") {
            "of" => Ok(Key::of(text(&case, "text"))),
            "uuid" => Key::uuid(text(&case, "text")),
            "business" => {
                let parts = case["parts"].as_array().expect("parts");
                Key::business(text(&case, "kind"), parts.iter().map(|part| part.as_str().expect("a text")))
            }
            other => panic!("no maker is called {other}"),
        };
        let checked = key.and_then(|key| key.check().map(|()| key));
        if let Ok(key) = &checked {
            let warnings: Vec<_> = key.warnings().iter().map(|warning| warning.name()).collect();
            assert_eq!(Value::from(warnings), case["warnings"], "{}", case["name"]);
            assert!(!format!("{key:?}").contains(key.as_str()), "a key is in its debug form");
        }
        compare(&case, "key", checked.map(|key| key.as_str().to_owned()));
    }
}

#[tokio::test]
async fn derived_keys() {
    for case in cases("derived_keys") {
        let options = ClientOptions::new().tenant(text(&case, "tenant"));
        let client = Fake::new().client_with(options).expect("a client");
        let step = text(&case, "step").to_owned();
        let work = async |attempt: semel_client::Attempt| {
            Ok(attempt.derived_key(&step).map_err(|error| error.reason().to_owned()))
        };
        let outcome = client.once(text(&case, "endpoint"), text(&case, "key"), Request::none(), work).await;
        let derived = outcome.expect("the fake starts it").value;
        match case["refused"].as_str() {
            Some(refused) => assert_eq!(derived, Err(refused.to_owned()), "{}", case["name"]),
            None => assert_eq!(derived, Ok(text(&case, "derived").to_owned()), "{}", case["name"]),
        }
    }
}

#[test]
fn handoffs() {
    for case in cases("handoffs") {
        let read = text(&case, "text").parse::<Handoff>();
        if let (Ok(handoff), Some(parts)) = (&read, case.get("parts")) {
            assert_eq!(Some(handoff.fence()), parts["fence"].as_i64(), "{}", case["name"]);
            assert_eq!(Some(u64::from(handoff.attempt())), parts["attempt"].as_u64(), "{}", case["name"]);
            assert_eq!(handoff.endpoint(), text(parts, "endpoint"), "{}", case["name"]);
            assert!(!format!("{handoff:?}").contains(text(parts, "key")), "a key is in a debug form");
        }
        compare(&case, "text", read.map(|handoff| handoff.to_text()));
    }
}

#[tokio::test]
async fn failure_payloads() {
    for case in cases("failure_payloads") {
        let fake = Fake::new();
        let result = proto::Result {
            outcome: proto::result::Outcome::Failure.into(),
            code: i32::try_from(case["code"].as_i64().expect("a number")).expect("32 bits"),
            content_type: text(&case, "content_type").to_owned(),
            payload: hexadecimal(text(&case, "payload_hex")).into(),
            ..proto::Result::default()
        };
        fake.script("e", "k", [Scripted::Replayed(result)]);
        let client = fake.client().expect("a client");
        let ended = client.once("e", "k", Request::none(), async |_| Ok(())).await;
        let read = match ended.expect_err("a failure is replayed").into_kind() {
            ErrorKind::OperationFailed { failure, replayed: true, .. } => {
                serde_json::to_value(failure).expect("JSON")
            }
            ErrorKind::UndecodableResult { .. } => Value::Null,
            _ => panic!("{}: another error", case["name"]),
        };
        assert_eq!(read, case["failure"], "{}", case["name"]);
    }
}
