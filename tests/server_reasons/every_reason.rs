//! Each reason, by itself: its code and its details.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;

use semel::domain::Reason;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::storage::fault_injecting::Fault;
use semel::storage::metered::Operation;
use tonic::Code;

use crate::report;
use crate::support::scripted_store::Script;
use crate::support::server::*;
use crate::world::{CANARY, Said, World, at, checkpoint};

fn listing() -> proto::ListRecordsRequest {
    proto::ListRecordsRequest { tenant: "shop".into(), ..proto::ListRecordsRequest::default() }
}

fn resolution(
    fence: i64,
    resolution: Option<proto::resolve_record_request::Resolution>,
) -> proto::ResolveRecordRequest {
    proto::ResolveRecordRequest {
        key: Some(key(CANARY)),
        fence,
        resolution,
        note: CANARY.into(),
        force: false,
    }
}

struct Case {
    reason: Reason,
    code: Code,
    /// The fields that a `BadRequest` names.
    fields: &'static [&'static str],
    /// Whether a pause is told after which to try again.
    retry: bool,
    provoke: fn(World) -> Pin<Box<dyn Future<Output = Said>>>,
}

macro_rules! cases {
    ($($reason:ident $code:ident [$($field:literal)*] $($retry:ident)? => |$world:ident| $provoke:expr;)*) => {
        vec![$(Case {
            reason: Reason::$reason,
            code: Code::$code,
            fields: &[$($field),*],
            retry: [$(stringify!($retry)),*].contains(&"retry"),
            provoke: |$world| {
                Box::pin(async move {
                    // All of it: a part alone would leave the server behind, which stops then.
                    let mut $world = $world;
                    $provoke
                })
            },
        }),*]
    };
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let mut cases = cases! {
        InvalidKey InvalidArgument ["key.endpoint"] =>
            |world| world.begin(proto::BeginRequest { key: at(""), ..begin(CANARY, 1) }).await;
        InvalidAttemptId InvalidArgument ["attempt_id"] =>
            |world| world.begin(proto::BeginRequest { attempt_id: CANARY.into(), ..begin(CANARY, 1) }).await;
        InvalidFence InvalidArgument ["fence"] =>
            |world| world.complete(complete(CANARY, 1, 0, CANARY)).await;
        InvalidFingerprint InvalidArgument ["fingerprint"] =>
            |world| world.begin(proto::BeginRequest {
                fingerprint: CANARY.repeat(11).into(),
                ..begin(CANARY, 1)
            }).await;
        FingerprintRequired InvalidArgument ["fingerprint"] =>
            |world| world.begin(proto::BeginRequest { key: at("strict"), ..begin(CANARY, 1) }).await;
        InvalidDuration InvalidArgument ["lease"] =>
            |world| world.begin(proto::BeginRequest { lease: seconds(-1), ..begin(CANARY, 1) }).await;
        InvalidResult InvalidArgument ["result"] =>
            |world| world.complete(proto::CompleteRequest {
                result: None,
                ..complete(CANARY, 1, 1, CANARY)
            }).await;
        ResultTooLarge InvalidArgument ["result"] =>
            |world| world.complete(proto::CompleteRequest {
                key: at("strict"),
                ..complete(CANARY, 1, 1, &CANARY.repeat(2))
            }).await;
        InvalidDisposition InvalidArgument ["disposition"] =>
            |world| world.abort(abort(CANARY, 1, 1, Disposition::Unspecified)).await;
        InvalidCheckpoint InvalidArgument ["name"] =>
            |world| world.save(1, &CANARY.repeat(11), CANARY).await;
        InvalidLabels InvalidArgument ["labels"] =>
            |world| world.begin(proto::BeginRequest {
                labels: HashMap::from([(CANARY.into(), CANARY.repeat(200))]),
                ..begin(CANARY, 1)
            }).await;
        InvalidDetail InvalidArgument ["detail"] =>
            |world| world.abort(proto::AbortRequest {
                detail: CANARY.repeat(200),
                ..abort(CANARY, 1, 1, Disposition::Release)
            }).await;
        InvalidResolution InvalidArgument ["resolution"] =>
            |world| world.resolve(resolution(1, None)).await;
        InvalidPage InvalidArgument ["page_size" "page_token"] =>
            |world| world.list(proto::ListRecordsRequest {
                page_size: -1,
                page_token: CANARY.into(),
                ..listing()
            }).await;
        BatchTooLarge InvalidArgument ["requests"] =>
            |world| {
                let requests = vec![begin(CANARY, 1); 1001];
                world.client.batch_begin(proto::BatchBeginRequest { requests }).await.expect_err("refused").into()
            };
        FingerprintMismatch FailedPrecondition [] =>
            |world| {
                let with = |fingerprint: &'static str| proto::BeginRequest {
                    fingerprint: fingerprint.into(),
                    ..begin(CANARY, 1)
                };
                world.client.begin(with("canary 1")).await.unwrap();
                world.begin(with("canary 2")).await
            };
        KeyExpired FailedPrecondition [] =>
            |world| world.begin(proto::BeginRequest {
                first_sent: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
                ..begin(CANARY, 1)
            }).await;
        ResultConflict FailedPrecondition [] =>
            |world| {
                let owner = world.completed().await;
                world.complete(complete(CANARY, 1, owner.fence, "canary 2")).await
            };
        AlreadyCompleted FailedPrecondition [] =>
            |world| {
                let owner = world.completed().await;
                world.abort(abort(CANARY, 1, owner.fence, Disposition::Release)).await
            };
        CheckpointConflict FailedPrecondition [] =>
            |world| {
                let owner = world.started().await;
                world.client.save_checkpoint(checkpoint(owner.fence, CANARY, CANARY)).await.unwrap();
                world.save(owner.fence, CANARY, "canary 2").await
            };
        CheckpointLimit FailedPrecondition [] =>
            |world| {
                let owner = world.started().await;
                world.save(owner.fence, CANARY, &CANARY.repeat(11_000)).await
            };
        StateConflict FailedPrecondition [] =>
            |world| {
                let owner = world.completed().await;
                let release = proto::resolve_record_request::Resolution::Release(true);
                world.resolve(resolution(owner.fence, Some(release))).await
            };
        NotListed FailedPrecondition [] =>
            |world| {
                world.store.play(Script::ListUnresolved);
                world.list(listing()).await
            };
        FenceLost Aborted [] =>
            |world| {
                let owner = world.started().await;
                world.complete(complete(CANARY, 1, owner.fence + 1, CANARY)).await
            };
        AttemptEnded Aborted [] =>
            |world| {
                let owner = world.started().await;
                world.client.abort(abort(CANARY, 1, owner.fence, Disposition::Release)).await.unwrap();
                world.begin(begin(CANARY, 1)).await
            };
        KeyNotFound NotFound [] =>
            |world| {
                let request = proto::LookupRequest { key: Some(key(CANARY)) };
                world.client.lookup(request).await.expect_err("refused").into()
            };
        TooManyWaiters ResourceExhausted [] retry =>
            |world| {
                world.started().await;
                world.begin(proto::BeginRequest { wait: seconds(1), ..begin(CANARY, 2) }).await
            };
        ResponseTooLarge ResourceExhausted [] =>
            |world| {
                let payload = CANARY.repeat(500_000);
                let mut owner = async |idempotency_key: &str| {
                    let key = proto::Key { idempotency_key: idempotency_key.into(), ..at("large").unwrap() };
                    let request = proto::BeginRequest { key: Some(key.clone()), ..begin("", 1) };
                    let owner = started(world.client.begin(request.clone()).await.unwrap());
                    let report = complete("", 1, owner.fence, &payload);
                    let report = proto::CompleteRequest { key: Some(key), ..report };
                    world.client.complete(report).await.unwrap();
                    request
                };
                let requests = vec![owner("canary 1").await, owner("canary 2").await];
                let batch = world.client.batch_begin(proto::BatchBeginRequest { requests }).await.unwrap();
                match batch.into_inner().items.pop().unwrap().outcome.unwrap() {
                    proto::batch_begin_response::item::Outcome::Error(error) => error.into(),
                    proto::batch_begin_response::item::Outcome::Response(_) => panic!("both answers fit"),
                }
            };
        QuotaExceeded ResourceExhausted [] retry =>
            |world| {
                let begin = |name: &str| {
                    let key = Some(proto::Key { endpoint: "narrow".into(), ..key(name) });
                    proto::BeginRequest { key, ..begin(CANARY, 1) }
                };
                world.client.begin(begin(CANARY)).await.unwrap();
                world.begin(begin("canary 2")).await
            };
        StoreUnavailable Unavailable [] retry =>
            |world| {
                world.faults.inject(Operation::CompareAndPut, Fault::Unavailable);
                world.begin(begin(CANARY, 1)).await
            };
        StoreOutcomeUnknown Unavailable [] retry =>
            |world| {
                // However often the write is sent again.
                world.faults.inject_times(Operation::CompareAndPut, Fault::UnknownDone, 100);
                world.begin(begin(CANARY, 1)).await
            };
        CredentialRequired Unauthenticated [] =>
            |world| world.begin_with(None, CANARY).await;
        CredentialInvalid Unauthenticated [] =>
            |world| world.begin_with(Some("semel_another_canary"), CANARY).await;
        TenantNotAllowed PermissionDenied [] =>
            |world| world.begin_with(Some("semel_client_canary"), "another canary").await;
        RoleRequired PermissionDenied [] =>
            |world| world.begin_with(Some("semel_reader_canary"), CANARY).await;
        Internal Internal [] =>
            |world| {
                world.store.play(Script::Panic);
                world.begin(begin(CANARY, 1)).await
            };
    };
    cases.sort_by_key(|case| Reason::ALL.iter().position(|reason| *reason == case.reason));
    cases
}

#[tokio::test]
async fn every_reason_is_said_with_its_details() {
    let cases = cases();
    let covered: HashSet<Reason> = cases.iter().map(|case| case.reason).collect();
    let missing: Vec<_> = Reason::ALL.iter().filter(|reason| !covered.contains(reason)).collect();
    assert!(missing.is_empty(), "nothing provokes {missing:?}");
    assert_eq!(covered.len(), cases.len(), "a reason is here twice");

    let libraries = codes_of_the_libraries();
    for case in &cases {
        let said = (case.provoke)(World::new().await).await;
        let name = case.reason.as_str();
        assert_eq!((&*said.reason, said.code), (name, case.code), "{said:?}");
        let expected = HashSet::from([code_name(said.code)]);
        assert_eq!(libraries.get(name), Some(&expected), "{name}: what the client libraries' vectors expect");
        assert_eq!(said.fields, case.fields, "{name}");
        assert_eq!(said.retry_after.is_some(), case.retry, "{name}: {said:?}");
        assert!(
            !said.text.to_lowercase().contains(CANARY),
            "{name} repeats what a caller sent: {}",
            said.text
        );
    }
    report::count("reasons", cases.len() as u64);
}

/// The codes that come with each reason, as the client libraries have it: clients/vectors/errors.json.
fn codes_of_the_libraries() -> HashMap<String, HashSet<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/vectors/errors.json");
    let read: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut codes: HashMap<String, HashSet<String>> = HashMap::new();
    for case in read["cases"].as_array().unwrap() {
        if let (Some(reason), Some(code)) = (case["reason"].as_str(), case["code"].as_str()) {
            codes.entry(reason.to_owned()).or_default().insert(code.to_owned());
        }
    }
    codes
}

/// The code's name as the contract writes it.
fn code_name(code: Code) -> String {
    let words = format!("{code:?}");
    let mut name = String::new();
    for letter in words.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// The server answers the next call after each of them.
#[tokio::test]
async fn a_store_that_comes_back_is_used_again() {
    let mut world = World::new().await;
    for (script, reason) in [
        (Script::Refuse, "STORE_UNAVAILABLE"),
        (Script::LoseAnswers, "STORE_OUTCOME_UNKNOWN"),
        (Script::Panic, "INTERNAL"),
    ] {
        world.store.play(script);
        assert_eq!(world.begin(begin(reason, 1)).await.reason, reason);
        world.store.play(Script::Work);
        let owner = started(world.client.begin(begin(reason, 1)).await.unwrap());
        assert_eq!(owner.attempt, 1, "the same attempt: what was lost is not done twice");
    }
    drop(world.server);
}
