//! What is wrong with the fields of a request is said at once, and stays small.

use std::collections::HashMap;

use semel::domain::Policy;
use semel::proto;

use crate::support::server::*;
use crate::world::{CANARY, Said, World, at};

#[allow(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn negative() -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: -1 })
}

/// All that is wrong with a request is said at once, and the reason is the first field's.
#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a list")]
async fn all_fields_are_refused_at_once() {
    let mut world = World::new().await;
    let long = CANARY.repeat(200);
    let nothing = proto::Key::default();
    let begin = proto::BeginRequest {
        key: Some(proto::Key {
            tenant: String::new(),
            endpoint: long.clone(),
            idempotency_key: long.clone(),
        }),
        attempt_id: CANARY.into(),
        fingerprint: long.clone().into(),
        lease: seconds(0),
        retention: negative(),
        wait: negative(),
        first_sent: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        retry: true,
        labels: HashMap::from([(long.clone(), long.clone())]),
    };
    let said = world.begin(begin.clone()).await;
    assert_eq!(said.reason, "INVALID_KEY");
    assert_eq!(
        said.fields,
        [
            "key.tenant",
            "key.endpoint",
            "key.idempotency_key",
            "attempt_id",
            "fingerprint",
            "lease",
            "retention",
            "wait",
            "first_sent",
            "labels"
        ]
    );
    assert!(!said.text.contains(CANARY));
    // What the policy wants is said with the rest.
    let said = world
        .begin(proto::BeginRequest { key: at("strict"), fingerprint: bytes::Bytes::new(), ..begin.clone() })
        .await;
    assert_eq!(said.reason, "INVALID_ATTEMPT_ID");
    assert_eq!(
        said.fields,
        ["attempt_id", "fingerprint", "lease", "retention", "wait", "first_sent", "labels"]
    );

    // It is known by tenant and endpoint alone.
    let nameless = proto::Key { idempotency_key: String::new(), ..at("strict").unwrap() };
    let said = world
        .begin(proto::BeginRequest { key: Some(nameless.clone()), fingerprint: bytes::Bytes::new(), ..begin })
        .await;
    assert_eq!(said.fields[..3], ["key.idempotency_key", "attempt_id", "fingerprint"]);
    let report = complete(CANARY, 1, 0, &long);
    let said = world.complete(proto::CompleteRequest { key: Some(nameless), ..report.clone() }).await;
    assert_eq!(said.fields, ["key.idempotency_key", "fence", "result"]);
    // Where no policy is known, what none allows is too much all the same.
    let most = Policy::RESULT_BYTES_LIMIT;
    for (bytes, fields) in [(most, &["key", "fence"][..]), (most + 1, &["key", "fence", "result"])] {
        let result = Some(success(&"x".repeat(bytes)));
        let said = world.complete(proto::CompleteRequest { key: None, result, ..report.clone() }).await;
        assert_eq!(said.fields, fields, "{bytes} bytes");
    }

    let header = |name: &str| proto::Header { name: name.into(), value: long.clone().into() };
    let said = world
        .complete(proto::CompleteRequest {
            key: at("strict"),
            fence: -1,
            attempt_id: String::new(),
            result: Some(proto::Result {
                outcome: 9,
                content_type: long.clone(),
                headers: vec![header(""), header("x"), header("")],
                payload: long.clone().into(),
                ..proto::Result::default()
            }),
            retention: seconds(-5),
        })
        .await;
    assert_eq!(said.reason, "INVALID_FENCE");
    assert_eq!(
        said.fields,
        [
            "fence",
            "attempt_id",
            "result.outcome",
            "result.headers[0].name",
            "result.headers[2].name",
            "result",
            "retention"
        ]
    );
    let said = world
        .abort(proto::AbortRequest {
            key: None,
            fence: 0,
            attempt_id: long.clone(),
            disposition: -1,
            detail: long.clone(),
            retry_after: Some(prost_types::Duration { seconds: 1, nanos: -1 }),
        })
        .await;
    assert_eq!(said.reason, "INVALID_KEY");
    assert_eq!(said.fields, ["key", "fence", "attempt_id", "disposition", "detail", "retry_after"]);
    let said: Said = world
        .client
        .renew(proto::RenewRequest {
            key: Some(nothing.clone()),
            lease: seconds(0),
            ..proto::RenewRequest::default()
        })
        .await
        .unwrap_err()
        .into();
    assert_eq!(
        said.fields,
        ["key.tenant", "key.endpoint", "key.idempotency_key", "fence", "attempt_id", "lease"]
    );
    let said: Said =
        world.client.save_checkpoint(proto::SaveCheckpointRequest::default()).await.unwrap_err().into();
    assert_eq!(said.fields, ["key", "fence", "attempt_id", "name"]);
    let said = world
        .resolve(proto::ResolveRecordRequest {
            key: Some(nothing),
            fence: 0,
            resolution: Some(proto::resolve_record_request::Resolution::Release(false)),
            note: long.clone(),
            force: true,
        })
        .await;
    assert_eq!(
        said.fields,
        ["key.tenant", "key.endpoint", "key.idempotency_key", "fence", "release", "note"]
    );
    let said: Said =
        world.operator.forget_record(proto::ForgetRecordRequest::default()).await.unwrap_err().into();
    assert_eq!(said.fields, ["key", "fence"]);
    let said = world
        .list(proto::ListRecordsRequest {
            tenant: String::new(),
            endpoint: long.clone(),
            state: 77,
            page_size: -3,
            page_token: CANARY.into(),
        })
        .await;
    assert_eq!(said.reason, "INVALID_KEY");
    assert_eq!(said.fields, ["tenant", "endpoint", "state", "page_size"]);
    let said: Said = world.operator.get_policy(proto::GetPolicyRequest::default()).await.unwrap_err().into();
    assert_eq!(said.fields, ["tenant", "endpoint"]);
}

/// A status travels in headers, which clients bound: however much is wrong, it stays small.
#[tokio::test]
async fn an_error_stays_small() {
    let mut world = World::new().await;
    let headers = vec![proto::Header::default(); 5000];
    let result = proto::Result { headers, ..success("") };
    let said =
        world.complete(proto::CompleteRequest { result: Some(result), ..complete(CANARY, 1, 0, "") }).await;
    assert_eq!(said.reason, "INVALID_FENCE");
    assert_eq!(said.fields.len(), 12);
    assert!(said.text.len() < 6000, "{} bytes", said.text.len());
}
