//! The clients' shared vectors, as far as they concern the server: it takes every key, fingerprint and derived key that
//! the libraries make, and refuses the keys that they refuse.

#[path = "support/mod.rs"]
mod report;
mod support {
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use semel::proto;
use serde_json::Value;
use support::server::*;
use tonic::{Code, Status};

/// The cases of a file of clients/vectors.
fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/clients/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut read: Value = serde_json::from_str(&text).unwrap();
    match read["cases"].take() {
        Value::Array(cases) => cases,
        other => panic!("{path}: its cases are {other}"),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), details(status).reason)
}

#[tokio::test]
async fn what_the_libraries_make_is_taken_and_the_keys_that_they_refuse_are_not() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let mut met = 0_u64;
    for (file, member) in [
        ("key_checks", "key"),
        ("event_keys", "key"),
        ("content_keys", "key"),
        ("derived_keys", "derived"),
        ("fingerprints", "digest"),
    ] {
        for case in cases(file) {
            let name = &case["name"];
            let request = match (case[member].as_str(), case["refused"].as_str(), case["text"].as_str()) {
                (Some(digest), None, _) if member == "digest" => {
                    proto::BeginRequest { fingerprint: bytes(digest).into(), ..begin(digest, 1) }
                }
                (Some(made), None, _) => begin(made, 1),
                // What cannot be made has no bytes to be sent; only a text is refused as it stands.
                (None, Some("empty" | "too_long"), Some(text)) if case["maker"] == "of" => begin(text, 1),
                _ => continue,
            };
            let answer = client.begin(request).await;
            if case["refused"].is_null() {
                // Two cases may make the same key: then it is the same attempt.
                started(answer.unwrap_or_else(|status| panic!("{file}, {name}: {status}")));
            } else {
                let refused = answer.expect_err("no key");
                assert_eq!(reason(&refused), (Code::InvalidArgument, "INVALID_KEY".to_owned()), "{name}");
            }
            met += 1;
        }
    }
    report::count("server_vectors", met);
}
