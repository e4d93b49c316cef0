//! Each method over a real socket: what it answers, and what it answers when it is called again.

mod support {
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use prost::Message;
use semel::coordinator::Settings;
use semel::domain::{OnLostLease, Pattern, Policy, PolicyRules, Rule};
use semel::proto::abort_request::Disposition;
use semel::proto::begin_response::Decision;
use semel::proto::{self, State};
use support::scripted_store::ScriptedStore;
use support::server::*;
use tonic::{Code, Request};

#[allow(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn timestamp(seconds_after_start: u64) -> Option<prost_types::Timestamp> {
    let seconds = i64::try_from(START / 1_000_000 + seconds_after_start).unwrap();
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn rules(policy: Policy) -> PolicyRules {
    PolicyRules::new(policy, Vec::new())
}

async fn lookup(
    client: &mut proto::idempotency_service_client::IdempotencyServiceClient<tonic::transport::Channel>,
    idempotency_key: &str,
) -> proto::Record {
    let request = proto::LookupRequest { key: Some(key(idempotency_key)) };
    client.lookup(request).await.unwrap().into_inner().record.unwrap()
}

#[tokio::test]
async fn a_result_is_replayed_byte_for_byte() {
    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let server = Start::default().serve().await;
    let mut client = server.client().await;

    let labels = HashMap::from([("order".to_owned(), "7".to_owned())]);
    let mut first = Request::new(proto::BeginRequest {
        fingerprint: vec![1, 2, 3].into(),
        lease: seconds(20),
        retention: seconds(3600),
        labels: labels.clone(),
        ..begin("k", 1)
    });
    first.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
    let owner = started(client.begin(first).await.unwrap());
    assert_eq!((owner.attempt, owner.lease, owner.waited), (1, seconds(20), seconds(0)));
    assert_eq!(owner.lease_expires_at, timestamp(20));
    assert!(owner.fence > 0 && owner.checkpoints.is_empty());

    server.clock.advance(Duration::from_secs(5));
    let again = started(client.begin(begin("k", 1)).await.unwrap());
    assert_eq!((again.fence, again.attempt, again.lease), (owner.fence, 1, seconds(15)));
    let other = in_progress(client.begin(begin("k", 2)).await.unwrap());
    assert_eq!((other.attempt, other.backing_off, other.lease_expires_at), (1, false, timestamp(20)));
    assert_eq!(other.original_traceparent, TRACEPARENT);
    assert!(other.retry_after.is_some());

    let record = lookup(&mut client, "k").await;
    assert_eq!((record.state(), record.fence, record.attempt), (State::InProgress, owner.fence, 1));
    assert_eq!((record.first_seen_at, record.changed_at), (timestamp(0), timestamp(0)));
    assert_eq!((record.lease_expires_at, record.labels), (timestamp(20), labels));
    assert_eq!((record.key, &*record.fingerprint), (Some(key("k")), &[1, 2, 3][..]));

    let result = proto::Result {
        outcome: proto::result::Outcome::Failure.into(),
        code: -7,
        content_type: "application/problem+json".into(),
        headers: vec![
            proto::Header { name: "x".into(), value: vec![0, 255].into() },
            proto::Header { name: "x".into(), value: bytes::Bytes::new() },
            proto::Header { name: "\u{e4}\0".into(), value: vec![1].into() },
        ],
        payload: (0..=255).collect::<Vec<u8>>().into(),
        payload_omitted: false,
    };
    let report =
        proto::CompleteRequest { result: Some(result.clone()), ..complete("k", 1, owner.fence, "unused") };
    let done = client.complete(report.clone()).await.unwrap().into_inner();
    assert_eq!(
        (done.completed_at, done.expires_at, done.repeated_call),
        (timestamp(5), timestamp(3605), false)
    );
    server.clock.advance(Duration::from_secs(1));
    let repeated = client.complete(report).await.unwrap().into_inner();
    assert_eq!(repeated, proto::CompleteResponse { repeated_call: true, ..done });

    let replay = replayed(client.begin(begin("k", 3)).await.unwrap());
    assert_eq!(replay.result.as_ref(), Some(&result));
    assert_eq!((replay.fence, replay.attempt), (owner.fence, 1));
    assert_eq!((replay.completed_at, replay.expires_at), (timestamp(5), timestamp(3605)));
    assert_eq!(replay.original_traceparent, TRACEPARENT);

    let record = lookup(&mut client, "k").await;
    assert_eq!((record.state(), record.result.as_ref()), (State::Completed, Some(&result)));
    assert_eq!((record.lease_expires_at, record.expires_at), (None, timestamp(3605)));
}

#[tokio::test]
async fn an_aborted_key_goes_to_the_next_attempt() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let first = started(client.begin(begin("k", 1)).await.unwrap());
    let release = proto::AbortRequest {
        detail: "card reader offline".into(),
        retry_after: seconds(3),
        ..abort("k", 1, first.fence, Disposition::Release)
    };
    assert!(!client.abort(release.clone()).await.unwrap().into_inner().repeated_call);
    assert!(client.abort(release).await.unwrap().into_inner().repeated_call);
    assert_eq!(lookup(&mut client, "k").await.state(), State::Released);

    let pause = in_progress(client.begin(begin("k", 2)).await.unwrap());
    assert_eq!((pause.backing_off, pause.retry_after, pause.lease_expires_at), (true, seconds(3), None));
    server.clock.advance(Duration::from_secs(3));
    let second = started(client.begin(begin("k", 2)).await.unwrap());
    assert_eq!(second.attempt, 2);
    assert!(second.fence > first.fence);

    let unknown = abort("k", 2, second.fence, Disposition::OutcomeUnknown);
    assert!(!client.abort(unknown.clone()).await.unwrap().into_inner().repeated_call);
    assert!(client.abort(unknown).await.unwrap().into_inner().repeated_call);
    assert_eq!(lookup(&mut client, "k").await.state(), State::LeaseLost);
}

#[tokio::test]
async fn what_nobody_knows_is_said() {
    let policy = Policy { on_lost_lease: OnLostLease::MarkUnknown, ..Policy::default() };
    let server = Start { rules: rules(policy), ..Start::default() }.serve().await;
    let mut client = server.client().await;
    let first = started(client.begin(begin("k", 1)).await.unwrap());
    let request = proto::AbortRequest {
        detail: "timed out".into(),
        ..abort("k", 1, first.fence, Disposition::OutcomeUnknown)
    };
    client.abort(request).await.unwrap();
    let Decision::Unresolved(unresolved) = decision(client.begin(begin("k", 2)).await.unwrap()) else {
        panic!("an unknown outcome is not rerun")
    };
    assert_eq!(unresolved.reason(), proto::unresolved::Reason::OutcomeUnknown);
    assert_eq!((&*unresolved.detail, unresolved.attempt, unresolved.since), ("timed out", 1, timestamp(0)));
    let record = lookup(&mut client, "k").await;
    assert_eq!((record.state(), record.unresolved), (State::Unresolved, Some(unresolved)));
}

#[tokio::test]
async fn a_lease_is_extended_and_never_shortened() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    let renew = |lease| proto::RenewRequest {
        key: Some(key("k")),
        fence: owner.fence,
        attempt_id: attempt_id(1),
        lease,
    };
    server.clock.advance(Duration::from_secs(10));
    let answer = client.renew(renew(seconds(5))).await.unwrap().into_inner();
    assert_eq!((answer.lease, answer.lease_expires_at), (seconds(20), timestamp(30)));
    let answer = client.renew(renew(None)).await.unwrap().into_inner();
    assert_eq!((answer.lease, answer.lease_expires_at), (seconds(30), timestamp(40)));
    let answer = client.renew(renew(None)).await.unwrap().into_inner();
    assert_eq!((answer.lease, answer.lease_expires_at), (seconds(30), timestamp(40)));
    // Above the policy's bound it is cut to it, and the answer says so.
    let answer = client.renew(renew(seconds(i64::MAX))).await.unwrap().into_inner();
    assert_eq!((answer.lease, answer.lease_expires_at), (seconds(3600), timestamp(3610)));
}

#[tokio::test]
async fn checkpoints_are_handed_to_the_next_attempt() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let first = started(client.begin(begin("k", 1)).await.unwrap());
    let save = |name: &str, value: &'static [u8]| proto::SaveCheckpointRequest {
        key: Some(key("k")),
        fence: first.fence,
        attempt_id: attempt_id(1),
        name: name.into(),
        value: value.into(),
    };
    for (name, value) in [("b", &b"\0\xff"[..]), ("a", b"")] {
        let answer = client.save_checkpoint(save(name, value)).await.unwrap().into_inner();
        assert!(!answer.repeated_call);
    }
    assert!(client.save_checkpoint(save("b", b"\0\xff")).await.unwrap().into_inner().repeated_call);
    client.abort(abort("k", 1, first.fence, Disposition::Release)).await.unwrap();
    let second = started(client.begin(begin("k", 2)).await.unwrap());
    let point = |name: &str, value: &'static [u8]| proto::Checkpoint {
        name: name.into(),
        value: value.into(),
        fence: first.fence,
    };
    let points = vec![point("b", b"\0\xff"), point("a", b"")];
    assert_eq!(second.checkpoints, points);
    assert_eq!(lookup(&mut client, "k").await.checkpoints, points);
}

/// A Begin that is held while another attempt runs, known to have been decided once.
async fn held_begin(
    server: &RunningServer,
    store: &ScriptedStore,
    attempt: u32,
) -> tokio::task::JoinHandle<Result<tonic::Response<proto::BeginResponse>, tonic::Status>> {
    let mut client = server.client().await;
    let before = store.calls();
    let held = tokio::spawn(async move {
        client.begin(proto::BeginRequest { wait: seconds(30), ..begin("k", attempt) }).await
    });
    // It is decided on what this read finds, and holds the key's turn until it waits.
    store.called_after(before).await;
    held
}

#[tokio::test]
async fn a_held_begin_is_woken_by_complete() {
    let store = ScriptedStore::new();
    let server = Start::on(store.clone()).serve().await;
    let mut client = server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    let held = held_begin(&server, &store, 2).await;
    client.complete(complete("k", 1, owner.fence, "done")).await.unwrap();
    assert_eq!(replayed(held.await.unwrap().unwrap()).result, Some(success("done")));
}

#[tokio::test]
async fn a_held_begin_is_woken_by_release_and_started_once() {
    let store = ScriptedStore::new();
    let server = Start::on(store.clone()).serve().await;
    let mut client = server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    let mut two = held_begin(&server, &store, 2).await;
    let mut three = held_begin(&server, &store, 3).await;
    client.abort(abort("k", 1, owner.fence, Disposition::Release)).await.unwrap();
    // One of them is started; the other is held until that one reports.
    let (first, attempt, other) = tokio::select! {
        answer = &mut two => (answer, 2, three),
        answer = &mut three => (answer, 3, two),
    };
    let first = started(first.unwrap().unwrap());
    assert_eq!(first.attempt, 2);
    assert_ne!(first.waited, seconds(0), "it was held");
    client.complete(complete("k", attempt, first.fence, "done")).await.unwrap();
    assert_eq!(replayed(other.await.unwrap().unwrap()).result, Some(success("done")));
}

#[tokio::test]
async fn a_batch_keeps_the_requests_order_and_isolates_errors() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    started(client.begin(begin("running", 1)).await.unwrap());
    let requests = vec![
        begin("a", 1),
        proto::BeginRequest { attempt_id: "no".into(), ..begin("b", 1) },
        // A batch does not wait.
        proto::BeginRequest { wait: seconds(3600), ..begin("running", 2) },
        begin("a", 1),
        proto::BeginRequest { wait: seconds(3600), ..begin("a", 2) },
        proto::BeginRequest { key: None, ..begin("", 1) },
        begin("c", 1),
    ];
    let single = client.begin(requests[1].clone()).await.unwrap_err();
    let items = client.batch_begin(proto::BatchBeginRequest { requests }).await.unwrap().into_inner().items;
    let said: Vec<String> = items
        .iter()
        .map(|item| match item.outcome.as_ref().unwrap() {
            proto::batch_begin_response::item::Outcome::Error(error) => error.reason.clone(),
            proto::batch_begin_response::item::Outcome::Response(response) => {
                match response.decision.as_ref().unwrap() {
                    Decision::Started(started) => format!("started {}", started.attempt),
                    Decision::InProgress(running) => format!("in progress {}", running.attempt),
                    other => format!("{other:?}"),
                }
            }
        })
        .collect();
    assert_eq!(
        said,
        [
            "started 1",
            "INVALID_ATTEMPT_ID",
            "in progress 1",
            "started 1",
            "in progress 1",
            "INVALID_KEY",
            "started 1"
        ]
    );
    let Some(proto::batch_begin_response::item::Outcome::Error(error)) = &items[1].outcome else {
        unreachable!()
    };
    assert_eq!((error.code, &*error.message), (i32::from(single.code()), single.message()));
    let fence = |slot: usize| match &items[slot].outcome {
        Some(proto::batch_begin_response::item::Outcome::Response(proto::BeginResponse {
            decision: Some(Decision::Started(started)),
        })) => started.fence,
        other => panic!("{other:?}"),
    };
    assert_eq!(fence(0), fence(3));

    let requests = vec![
        complete("a", 1, fence(0), "first"),
        complete("nobody", 1, 5, "x"),
        complete("a", 1, fence(0), "first"),
        complete("a", 1, fence(0), "other"),
        complete("c", 1, fence(6), "c"),
    ];
    let items =
        client.batch_complete(proto::BatchCompleteRequest { requests }).await.unwrap().into_inner().items;
    let said: Vec<String> = items
        .into_iter()
        .map(|item| match item.outcome.unwrap() {
            proto::batch_complete_response::item::Outcome::Error(error) => error.reason,
            proto::batch_complete_response::item::Outcome::Response(response) => {
                format!("repeated {}", response.repeated_call)
            }
        })
        .collect();
    assert_eq!(
        said,
        ["repeated false", "KEY_NOT_FOUND", "repeated true", "RESULT_CONFLICT", "repeated false"]
    );
    assert_eq!(replayed(client.begin(begin("c", 9)).await.unwrap()).result, Some(success("c")));
}

#[tokio::test]
async fn a_batch_of_a_thousand_is_served() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let requests = (0..1000).map(|number| begin(&format!("k{}", number % 700), number)).collect();
    let items = client.batch_begin(proto::BatchBeginRequest { requests }).await.unwrap().into_inner().items;
    assert_eq!(items.len(), 1000);
    for (place, item) in items.into_iter().enumerate() {
        let Some(proto::batch_begin_response::item::Outcome::Response(response)) = item.outcome else {
            panic!("slot {place} has an error")
        };
        assert_eq!(matches!(response.decision, Some(Decision::Started(_))), place < 700, "slot {place}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_a_batch_is_given_alone() {
    let policy = Policy { max_result_bytes: Policy::RESULT_BYTES_LIMIT, ..Policy::default() };
    let server = Start { rules: rules(policy), ..Start::default() }.serve().await;
    let mut client = server.client().await;
    let large = "x".repeat(Policy::RESULT_BYTES_LIMIT);
    for name in ["a", "b"] {
        let owner = started(client.begin(begin(name, 1)).await.unwrap());
        client.complete(complete(name, 1, owner.fence, &large)).await.unwrap();
    }
    let requests = vec![begin("a", 2), begin("b", 2), begin("fresh", 2)];
    let response = client.batch_begin(proto::BatchBeginRequest { requests }).await.unwrap().into_inner();
    assert!(response.encoded_len() <= 4 << 20);
    let outcomes: Vec<_> = response.items.into_iter().map(|item| item.outcome.unwrap()).collect();
    let [
        proto::batch_begin_response::item::Outcome::Response(first),
        proto::batch_begin_response::item::Outcome::Error(error),
        proto::batch_begin_response::item::Outcome::Response(third),
    ] = &outcomes[..]
    else {
        panic!("only the second does not fit")
    };
    assert!(matches!(first.decision, Some(Decision::Replayed(_))));
    assert!(matches!(third.decision, Some(Decision::Started(_))));
    assert_eq!((error.code, &*error.reason), (i32::from(Code::ResourceExhausted), "RESPONSE_TOO_LARGE"));
    assert_eq!(replayed(client.begin(begin("b", 2)).await.unwrap()).result, Some(success(&large)));
}

async fn pages(
    operator: &mut proto::operator_service_client::OperatorServiceClient<tonic::transport::Channel>,
    mut request: proto::ListRecordsRequest,
) -> Vec<proto::ListRecordsResponse> {
    let mut pages = Vec::new();
    loop {
        let page = operator.list_records(request.clone()).await.unwrap().into_inner();
        request.page_token.clone_from(&page.next_page_token);
        pages.push(page);
        if request.page_token.is_empty() {
            return pages;
        }
    }
}

fn names(pages: &[proto::ListRecordsResponse]) -> BTreeSet<String> {
    let records = pages.iter().flat_map(|page| &page.records);
    records.map(|record| record.key.as_ref().unwrap().idempotency_key.clone()).collect()
}

#[tokio::test]
async fn records_are_listed_page_by_page() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let mut operator = server.operator().await;
    for number in 0..25 {
        let name = format!("k{number}");
        let owner = started(client.begin(begin(&name, 1)).await.unwrap());
        if number % 5 == 0 {
            client.complete(complete(&name, 1, owner.fence, "done")).await.unwrap();
        }
    }
    for (tenant, endpoint) in [("shop", "other"), ("other", "POST /charges")] {
        let key =
            proto::Key { tenant: tenant.into(), endpoint: endpoint.into(), idempotency_key: "x".into() };
        started(client.begin(proto::BeginRequest { key: Some(key), ..begin("", 1) }).await.unwrap());
    }
    let all = proto::ListRecordsRequest {
        tenant: "shop".into(),
        endpoint: "POST /charges".into(),
        page_size: 10,
        ..proto::ListRecordsRequest::default()
    };
    let found = pages(&mut operator, all.clone()).await;
    assert!(found.iter().all(|page| page.records.len() <= 10));
    assert_eq!(found.iter().map(|page| page.records.len()).sum::<usize>(), 25);
    assert_eq!(names(&found), (0..25).map(|number| format!("k{number}")).collect());

    let completed = proto::ListRecordsRequest { state: State::Completed.into(), ..all.clone() };
    let found = pages(&mut operator, completed).await;
    assert_eq!(names(&found), [0, 5, 10, 15, 20].map(|number| format!("k{number}")).into());
    assert!(found.iter().flat_map(|page| &page.records).all(|record| record.result == Some(success("done"))));

    let everywhere = proto::ListRecordsRequest { endpoint: String::new(), page_size: 0, ..all.clone() };
    assert_eq!(names(&pages(&mut operator, everywhere).await).len(), 26);

    // A token belongs to its listing.
    let first = operator.list_records(all.clone()).await.unwrap().into_inner();
    for other in [
        proto::ListRecordsRequest { tenant: "other".into(), ..all.clone() },
        proto::ListRecordsRequest { endpoint: String::new(), ..all.clone() },
        proto::ListRecordsRequest { state: State::InProgress.into(), ..all.clone() },
    ] {
        let request = proto::ListRecordsRequest { page_token: first.next_page_token.clone(), ..other };
        let refused = details(&operator.list_records(request).await.unwrap_err());
        assert_eq!((&*refused.reason, &*refused.fields), ("INVALID_PAGE", &["page_token".to_owned()][..]));
    }
    // Its size may change on the way.
    let request = proto::ListRecordsRequest { page_token: first.next_page_token, page_size: 1000, ..all };
    assert_eq!(operator.list_records(request).await.unwrap().into_inner().records.len(), 15);
}

#[tokio::test]
async fn a_page_has_a_hundred_records_and_at_most_a_thousand() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    for batch in 0..2 {
        let requests = (0..600).map(|number| begin(&format!("{batch} {number}"), 1)).collect();
        client.batch_begin(proto::BatchBeginRequest { requests }).await.unwrap();
    }
    let mut operator = server.operator().await;
    for (page_size, expected) in [(0, 100), (1, 1), (1000, 1000), (1001, 1000), (i32::MAX, 1000)] {
        let request = proto::ListRecordsRequest { tenant: "shop".into(), page_size, ..Default::default() };
        let page = operator.list_records(request).await.unwrap().into_inner();
        assert_eq!(page.records.len(), expected, "page_size {page_size}");
        assert_ne!(page.next_page_token, "", "there are 1,200");
    }
}

#[tokio::test]
async fn a_page_ends_before_four_mebibytes() {
    let policy = Policy { max_result_bytes: Policy::RESULT_BYTES_LIMIT, ..Policy::default() };
    let server = Start { rules: rules(policy), ..Start::default() }.serve().await;
    let mut client = server.client().await;
    let mut operator = server.operator().await;
    for (number, bytes) in [3 << 20, 3 << 20, 900_000, 50, 3 << 20, 50].into_iter().enumerate() {
        let name = format!("k{number}");
        let owner = started(client.begin(begin(&name, 1)).await.unwrap());
        client.complete(complete(&name, 1, owner.fence, &"x".repeat(bytes))).await.unwrap();
    }
    let all = proto::ListRecordsRequest { tenant: "shop".into(), ..proto::ListRecordsRequest::default() };
    let found = pages(&mut operator, all).await;
    assert!(found.iter().all(|page| page.encoded_len() <= 4 << 20));
    assert_eq!(found.iter().map(|page| page.records.len()).sum::<usize>(), 6);
    assert_eq!(names(&found).len(), 6);
    assert!(found.len() <= 4, "{} pages of {} bytes each", found.len(), 4 << 20);
}

#[tokio::test]
async fn an_operator_settles_what_nobody_knows() {
    let policy = Policy { on_lost_lease: OnLostLease::MarkUnknown, ..Policy::default() };
    let server = Start { rules: rules(policy), ..Start::default() }.serve().await;
    let mut client = server.client().await;
    let mut operator = server.operator().await;
    let first = started(client.begin(begin("paid", 1)).await.unwrap());
    let second = started(client.begin(begin("unpaid", 1)).await.unwrap());
    server.clock.advance(Duration::from_mins(1));
    let resolve = |name: &str, fence, resolution| proto::ResolveRecordRequest {
        key: Some(key(name)),
        fence,
        resolution: Some(resolution),
        note: "ada: seen at the bank".into(),
        force: false,
    };
    let result = proto::resolve_record_request::Resolution::Result(success("receipt"));
    let request = resolve("paid", first.fence, result);
    for _ in 0..2 {
        let answer = operator.resolve_record(request.clone()).await.unwrap().into_inner();
        let record = answer.record.unwrap();
        assert_eq!((record.state(), record.fence), (State::Completed, first.fence));
        assert_eq!(
            (record.result, &*record.resolution_note),
            (Some(success("receipt")), "ada: seen at the bank")
        );
    }
    assert_eq!(replayed(client.begin(begin("paid", 2)).await.unwrap()).result, Some(success("receipt")));

    let release = proto::resolve_record_request::Resolution::Release(true);
    let request = resolve("unpaid", second.fence, release);
    for _ in 0..2 {
        let answer = operator.resolve_record(request.clone()).await.unwrap().into_inner();
        assert_eq!(answer.record.unwrap().state(), State::Released);
    }
    let third = started(client.begin(begin("unpaid", 2)).await.unwrap());
    assert!(third.fence > second.fence && third.attempt == 2);

    let forget = proto::ForgetRecordRequest { key: Some(key("paid")), fence: first.fence, force: false };
    for _ in 0..2 {
        operator.forget_record(forget.clone()).await.unwrap();
    }
    let request = proto::LookupRequest { key: Some(key("paid")) };
    assert_eq!(reason(&client.lookup(request).await.unwrap_err()), "KEY_NOT_FOUND");
    let anew = started(client.begin(begin("paid", 3)).await.unwrap());
    assert!(anew.fence > first.fence && anew.attempt == 1);
    // By force, even what somebody owns.
    let forget = proto::ForgetRecordRequest { key: Some(key("paid")), fence: anew.fence, force: true };
    operator.forget_record(forget).await.unwrap();
}

#[tokio::test]
async fn the_policy_in_force_is_told() {
    let special = Policy {
        lease: Duration::from_millis(1500),
        max_attempts: 3,
        on_lost_lease: OnLostLease::MarkUnknown,
        fingerprint_required: true,
        max_result_bytes: 1000,
        ..Policy::default()
    };
    let rule = Rule { tenant: Pattern::parse("shop"), endpoint: Pattern::parse("POST /*"), policy: special };
    let rules = PolicyRules::new(Policy::default(), vec![rule]);
    let server = Start { rules, ..Start::default() }.serve().await;
    let mut operator = server.operator().await;
    let mut ask = async |tenant: &str, endpoint: &str| {
        let request = proto::GetPolicyRequest { tenant: tenant.into(), endpoint: endpoint.into() };
        operator.get_policy(request).await.unwrap().into_inner()
    };
    let defaults = proto::GetPolicyResponse {
        lease: seconds(30),
        max_lease: seconds(3600),
        retention: seconds(86400),
        max_retention: seconds(30 * 86400),
        max_wait: seconds(30),
        max_attempts: 0,
        rerun_after_lost_lease: true,
        fingerprint_required: false,
        max_result_bytes: 256 * 1024,
        unresolved_retention: seconds(30 * 86400),
        max_retry_after: seconds(3600),
        requests_per_second: 0.0,
        burst: 0,
        max_open_keys: 0,
        source: "defaults".into(),
    };
    assert_eq!(ask("shop", "GET /").await, defaults);
    let special = proto::GetPolicyResponse {
        lease: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
        max_attempts: 3,
        rerun_after_lost_lease: false,
        fingerprint_required: true,
        max_result_bytes: 1000,
        source: "tenant shop, endpoint POST /*".into(),
        ..defaults.clone()
    };
    assert_eq!(ask("shop", "POST /charges").await, special);
    // What is put in force counts from the next call on.
    server.policies.replace(PolicyRules::default());
    assert_eq!(ask("shop", "POST /charges").await, defaults);
}

#[tokio::test]
async fn a_retry_is_answered_by_a_read() {
    let store = ScriptedStore::new();
    let settings = Settings { replay_cache_bytes: 0, recent_bytes: 0, ..Settings::default() };
    let server = Start { settings, ..Start::on(store.clone()) }.serve().await;
    let mut client = server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    client.complete(complete("k", 1, owner.fence, "done")).await.unwrap();
    let before = store.calls();
    replayed(client.begin(proto::BeginRequest { retry: true, ..begin("k", 1) }).await.unwrap());
    assert_eq!(store.calls(), before + 1);
}
