//! Requests: refused with the fields that are wrong, or about the keys that they name, of tenants their caller acts for.

use std::sync::{Arc, OnceLock};

use prost::Message;
use semel::domain::{Key, Pattern, Policy, PolicyRules, Rule, Tenant, Timestamp};
use semel::policies::Policies;
use semel::proto;
use semel::server::test_support::{Arrival, METHODS, checked};
use semel::server::{Caller, Identity, Role};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::input::Input;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// A byte for the method, one for the caller, two headers, and the message.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let method = METHODS[usize::from(input.byte()) % METHODS.len()];
    let identity = (input.byte() % 2 == 1).then(|| {
        let tenants = vec![Pattern::Exact("acme".to_owned()), Pattern::Prefix("b".to_owned())];
        Arc::new(Identity::new("caller".to_owned(), tenants, vec![Role::Client]))
    });
    let headers = [input.short(), input.short()];
    let arrival = Arrival { method, message: input.0, headers, identity: identity.clone() };
    let Some(answers) = checked(&arrival, policies(), NOW) else { return };
    let sent = sent(method, input.0);
    let whole = answers.len() == sent.len();
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(key) => {
                assert!(whole, "a key of a message that has none there");
                accepted(&key, sent[place].as_ref(), identity.as_ref());
            }
            Err(status) => refused(&status, sent.iter().flatten()),
        }
    }
}

fn accepted(key: &Key, sent: Option<&proto::Key>, identity: Option<&Arc<Identity>>) {
    let sent = sent.expect("a key that was sent");
    let parts = (key.tenant.as_str(), key.endpoint.as_str(), key.idempotency_key.as_str());
    assert_eq!(parts, (sent.tenant.as_str(), sent.endpoint.as_str(), sent.idempotency_key.as_str()));
    assert_eq!(Key::from_bytes(&key.to_bytes()).as_ref(), Some(key));
    if let Some(identity) = identity {
        let covers = |tenant: &Tenant| Caller::known(identity.clone()).covers(tenant);
        assert!(covers(&key.tenant), "a call for somebody else's tenant");
    }
}

fn refused<'a>(status: &tonic::Status, sent: impl Iterator<Item = &'a proto::Key>) {
    let details = status.get_error_details();
    assert!(details.error_info().is_some_and(|info| info.domain == "semel.v1"), "{status:?}");
    match status.code() {
        Code::InvalidArgument => {
            let named = details.bad_request().map_or(0, |request| request.field_violations.len());
            let whole = details.error_info().is_some_and(|info| info.reason == "BATCH_TOO_LARGE");
            assert!((1..=12).contains(&named) || whole, "{status:?}");
        }
        Code::PermissionDenied => {}
        code => panic!("{code:?} is no answer to what arguments are: {status:?}"),
    }
    // Our own words are ASCII: so a key that is not can only be there because it was repeated.
    let said = format!("{} {details:?}", status.message());
    for key in sent.filter(|key| !key.idempotency_key.is_ascii()) {
        assert!(!said.contains(&key.idempotency_key), "a key is repeated: {said}");
    }
}

/// The key of each call in a message.
fn sent(method: &str, message: &[u8]) -> Vec<Option<proto::Key>> {
    macro_rules! key {
        ($request:ident) => {
            vec![proto::$request::decode(message).ok().and_then(|request| request.key)]
        };
    }
    macro_rules! keys {
        ($request:ident) => {
            proto::$request::decode(message)
                .map(|batch| batch.requests.into_iter().map(|request| request.key).collect())
                .unwrap_or_default()
        };
    }
    match method {
        "Begin" => key!(BeginRequest),
        "Complete" => key!(CompleteRequest),
        "Abort" => key!(AbortRequest),
        "Renew" => key!(RenewRequest),
        "SaveCheckpoint" => key!(SaveCheckpointRequest),
        "Lookup" => key!(LookupRequest),
        "ResolveRecord" => key!(ResolveRecordRequest),
        "ForgetRecord" => key!(ForgetRecordRequest),
        "BatchBegin" => keys!(BatchBeginRequest),
        "BatchComplete" => keys!(BatchCompleteRequest),
        _ => Vec::new(),
    }
}

fn policies() -> &'static Policies {
    static POLICIES: OnceLock<Policies> = OnceLock::new();
    POLICIES.get_or_init(|| {
        let policy = Policy { fingerprint_required: true, max_result_bytes: 64, ..Policy::default() };
        let rule = Rule { tenant: Pattern::parse("b*"), endpoint: Pattern::parse("*"), policy };
        Policies::new(PolicyRules::new(Policy::default(), vec![rule]))
    })
}

/// A message of each method, whole and empty.
pub fn seeds() -> Vec<Vec<u8>> {
    let key = || {
        let part = |text: &str| text.to_owned();
        Some(proto::Key {
            tenant: part("acme"),
            endpoint: part("POST /charges"),
            idempotency_key: part("ключ-1"),
        })
    };
    let attempt_id = || "00000000-0000-4000-8000-000000000001".to_owned();
    let second = || Some(prost_types::Duration { seconds: 1, nanos: 500 });
    let result = || {
        let headers = vec![proto::Header { name: "h".into(), value: "v".into() }];
        Some(proto::Result {
            outcome: 1,
            code: 200,
            content_type: "application/json".into(),
            headers,
            payload: "{}".into(),
            payload_omitted: false,
        })
    };
    let begin = || proto::BeginRequest {
        key: key(),
        attempt_id: attempt_id(),
        fingerprint: vec![7; 32].into(),
        lease: second(),
        retention: second(),
        wait: second(),
        labels: [("order".to_owned(), "4711".to_owned())].into(),
        retry: true,
        ..Default::default()
    };
    let complete = || proto::CompleteRequest {
        key: key(),
        fence: 7,
        attempt_id: attempt_id(),
        result: result(),
        retention: second(),
    };
    let messages = [
        begin().encode_to_vec(),
        complete().encode_to_vec(),
        proto::AbortRequest {
            key: key(),
            fence: 7,
            attempt_id: attempt_id(),
            disposition: 2,
            detail: "timeout".into(),
            retry_after: second(),
        }
        .encode_to_vec(),
        proto::RenewRequest { key: key(), fence: 7, attempt_id: attempt_id(), lease: second() }
            .encode_to_vec(),
        proto::SaveCheckpointRequest {
            key: key(),
            fence: 7,
            attempt_id: attempt_id(),
            name: "charged".into(),
            value: "yes".into(),
        }
        .encode_to_vec(),
        proto::LookupRequest { key: key() }.encode_to_vec(),
        proto::BatchBeginRequest { requests: vec![begin(), begin()] }.encode_to_vec(),
        proto::BatchCompleteRequest { requests: vec![complete(), complete()] }.encode_to_vec(),
        proto::ResolveRecordRequest {
            key: key(),
            fence: 7,
            resolution: result().map(proto::resolve_record_request::Resolution::Result),
            note: "checked".into(),
            force: true,
        }
        .encode_to_vec(),
        proto::ForgetRecordRequest { key: key(), fence: 7, force: true }.encode_to_vec(),
        proto::ListRecordsRequest { tenant: "acme".into(), state: 2, page_size: 9, ..Default::default() }
            .encode_to_vec(),
        proto::GetPolicyRequest { tenant: "acme".into(), endpoint: "e".into() }.encode_to_vec(),
    ];
    let trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut seeds = Vec::new();
    for (method, message) in (0_u8..).zip(&messages) {
        seeds.push([&[method, 1, 55][..], trace, &[4], b"100m", message].concat());
        seeds.push([&[method, 0, 0, 0][..], message].concat());
        seeds.push(vec![method, 0, 0, 0]);
    }
    seeds
}
