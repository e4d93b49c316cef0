//! Every reason that an error can have, provoked over a real socket: its code, its details, and that it repeats
//! nothing that a caller sent.

#[path = "support/mod.rs"]
mod report;
mod support {
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use semel::coordinator::Settings;
use semel::domain::{Pattern, Policy, PolicyRules, Reason, Rule};
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::server::{Auth, Credentials, Identity, Role, Security, Token, TokenHash};
use semel::storage::fault_injecting::{Fault, FaultInjecting};
use semel::storage::metered::Operation;
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// In every key, payload, label, checkpoint, detail, note and store error of this file: no error may repeat it.
const CANARY: &str = "canary";

/// What was said in an error.
#[derive(Debug)]
struct Said {
    code: Code,
    reason: String,
    fields: Vec<String>,
    retry_after: Option<Duration>,
    text: String,
}

impl From<Status> for Said {
    fn from(status: Status) -> Self {
        let details = details(&status);
        assert_eq!(details.domain, "semel.v1", "{status:?}");
        // The details once more as they came, whatever they hold.
        let raw = String::from_utf8_lossy(status.details()).into_owned();
        Self {
            code: status.code(),
            reason: details.reason,
            fields: details.fields,
            retry_after: details.retry_after,
            text: details.text + &raw,
        }
    }
}

impl From<proto::ItemError> for Said {
    fn from(error: proto::ItemError) -> Self {
        let text = format!("{error:?}");
        Self {
            code: Code::from(error.code),
            reason: error.reason,
            fields: Vec::new(),
            retry_after: None,
            text,
        }
    }
}

/// A server with a policy for each purpose, by endpoint.
struct World {
    server: RunningServer,
    store: Arc<ScriptedStore>,
    /// In front of `store`.
    faults: Arc<FaultInjecting>,
    client: IdempotencyServiceClient<Channel>,
    operator: OperatorServiceClient<Channel>,
}

impl World {
    async fn new() -> Self {
        let store = ScriptedStore::new();
        store.blame(CANARY);
        let strict = Policy { fingerprint_required: true, max_result_bytes: 10, ..Policy::default() };
        let large = Policy { max_result_bytes: Policy::RESULT_BYTES_LIMIT, ..Policy::default() };
        let narrow = Policy { max_open_keys: 1, ..Policy::default() };
        let rule = |endpoint: &str, policy| Rule {
            tenant: Pattern::parse("*"),
            endpoint: Pattern::parse(endpoint),
            policy,
        };
        let rules = PolicyRules::new(
            Policy::default(),
            vec![rule("strict", strict), rule("large", large), rule("narrow", narrow)],
        );
        let settings =
            Settings { max_waiters: 0, settle_within: Duration::from_millis(20), ..Settings::default() };
        let faults = Arc::new(FaultInjecting::new(store.clone()));
        let server = Start { rules, settings, ..Start::on(faults.clone()) }.serve().await;
        let (client, operator) = (server.client().await, server.operator().await);
        Self { server, store, faults, client, operator }
    }

    async fn started(&mut self) -> proto::Started {
        started(self.client.begin(begin(CANARY, 1)).await.unwrap())
    }

    /// Started and completed with the canary.
    async fn completed(&mut self) -> proto::Started {
        let owner = self.started().await;
        self.client.complete(complete(CANARY, 1, owner.fence, CANARY)).await.unwrap();
        owner
    }

    async fn begin(&mut self, request: proto::BeginRequest) -> Said {
        self.client.begin(request).await.expect_err("refused").into()
    }

    async fn complete(&mut self, request: proto::CompleteRequest) -> Said {
        self.client.complete(request).await.expect_err("refused").into()
    }

    async fn abort(&mut self, request: proto::AbortRequest) -> Said {
        self.client.abort(request).await.expect_err("refused").into()
    }

    async fn save(&mut self, fence: i64, name: &str, value: &str) -> Said {
        let request = checkpoint(fence, name, value);
        self.client.save_checkpoint(request).await.expect_err("refused").into()
    }

    async fn list(&mut self, request: proto::ListRecordsRequest) -> Said {
        self.operator.list_records(request).await.expect_err("refused").into()
    }

    /// What a Begin is answered by a server that knows two tokens, both of one tenant.
    async fn begin_with(&mut self, token: Option<&str>, tenant: &str) -> Said {
        let known = ["client", "reader"].map(|role| {
            let hash = TokenHash::of(&format!("semel_{role}_canary"));
            let tenants = vec![Pattern::parse(CANARY)];
            let role = Role::named(role).unwrap();
            let identity = Arc::new(Identity::new(CANARY.to_owned(), tenants, vec![role]));
            (hash, Token { identity, expires: None, revoked: None })
        });
        let clock = TestClock::new();
        let auth = Auth::new(clock.clone()).with_credentials(Credentials::new(known.into(), Vec::new()));
        let security = Security { auth: Some(Arc::new(auth)), ..Security::default() };
        let server = Start { security, clock, ..Start::on(self.store.clone()) }.serve().await;
        let key = proto::Key { tenant: tenant.to_owned(), ..key(CANARY) };
        let mut request = tonic::Request::new(proto::BeginRequest { key: Some(key), ..begin(CANARY, 1) });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        server.client().await.begin(request).await.expect_err("refused").into()
    }

    async fn resolve(&mut self, request: proto::ResolveRecordRequest) -> Said {
        self.operator.resolve_record(request).await.expect_err("refused").into()
    }
}

#[allow(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn at(endpoint: &str) -> Option<proto::Key> {
    Some(proto::Key { endpoint: endpoint.into(), ..key(CANARY) })
}

fn checkpoint(fence: i64, name: &str, value: &str) -> proto::SaveCheckpointRequest {
    proto::SaveCheckpointRequest {
        key: Some(key(CANARY)),
        fence,
        attempt_id: attempt_id(1),
        name: name.into(),
        value: value.to_owned().into(),
    }
}

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
