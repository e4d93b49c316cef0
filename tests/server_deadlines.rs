//! What a caller is told when time runs out: while it still listens, and never less than is known.

mod support {
    pub(crate) mod raw;
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use std::collections::HashMap;
use std::time::Duration;

use prost::Message;
use semel::proto;
use semel::proto::begin_response::Decision;
use semel::server::Limits;
use support::raw::{RawClient, framed, request};
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;
use tonic::{Code, Status};

const BEGIN: &str = "/semel.v1.IdempotencyService/Begin";

/// The answer to a Begin whose caller says when it gives up, and listens all the same.
async fn begin_within(
    server: &RunningServer,
    timeout: &str,
    request: proto::BeginRequest,
) -> Result<Decision, Status> {
    let mut raw = RawClient::connect(&server.grpc).await;
    let answer = raw.call(BEGIN, &[("grpc-timeout", timeout)], &request.encode_to_vec()).await?;
    Ok(proto::BeginResponse::decode(answer).unwrap().decision.unwrap())
}

/// A batch is cut by its deadline: what was begun is told, what is under way is unknown, what was not begun is not
/// said to be unknown. Sent again, it is the same batch.
#[tokio::test]
async fn a_batch_that_is_cut_tells_what_became_of_each_item() {
    use proto::batch_begin_response::item::Outcome;

    let store = ScriptedStore::new();
    let server = Start::on(store.clone()).serve().await;
    let mut raw = RawClient::connect(&server.grpc).await;
    let requests = (0..200).map(|number| begin(&format!("k{number}"), number)).collect();
    let batch = proto::BatchBeginRequest { requests }.encode_to_vec();
    let path = "/semel.v1.IdempotencyService/BatchBegin";

    store.hang_after(10);
    let answer = raw.call(path, &[("grpc-timeout", "3S")], &batch).await.unwrap();
    let first = proto::BatchBeginResponse::decode(answer).unwrap().items;
    let begun = store.calls();
    let mut said: HashMap<String, usize> = HashMap::new();
    for item in &first {
        let said = said.entry(match item.outcome.as_ref().unwrap() {
            Outcome::Response(response) => match response.decision.as_ref().unwrap() {
                Decision::Started(_) => "started".into(),
                other => panic!("{other:?}"),
            },
            Outcome::Error(error) => error.reason.clone(),
        });
        *said.or_default() += 1;
    }
    assert_eq!(said["started"], 10);
    assert_eq!(said["STORE_OUTCOME_UNKNOWN"], 64, "as many as are worked on at a time");
    assert_eq!(said["STORE_UNAVAILABLE"], 126);
    assert!(
        begun <= 10 + 2 * 64,
        "what is cut is sent once more, and nothing was begun for the others: {begun}"
    );

    store.play(Script::Work);
    let answer = raw.call(path, &[], &batch).await.unwrap();
    for (place, item) in proto::BatchBeginResponse::decode(answer).unwrap().items.iter().enumerate() {
        let Some(Outcome::Response(proto::BeginResponse { decision: Some(Decision::Started(now)) })) =
            &item.outcome
        else {
            panic!("slot {place}: {item:?}")
        };
        assert_eq!(now.attempt, 1, "slot {place}");
        if let Some(Outcome::Response(proto::BeginResponse { decision: Some(Decision::Started(then)) })) =
            &first[place].outcome
        {
            assert_eq!(now.fence, then.fence, "slot {place}");
        }
    }
}

/// A batch for which there was no time at all is answered slot by slot too.
#[tokio::test]
async fn what_comes_too_late_is_not_begun() {
    let store = ScriptedStore::new();
    let server = Start::on(store.clone()).serve().await;
    let late = begin_within(&server, "1n", begin("k", 1)).await.unwrap_err();
    assert_eq!((late.code(), &*reason(&late)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let mut raw = RawClient::connect(&server.grpc).await;
    let batch = proto::BatchCompleteRequest { requests: vec![complete("k", 1, 5, "x")] }.encode_to_vec();
    let path = "/semel.v1.IdempotencyService/BatchComplete";
    let answer = raw.call(path, &[("grpc-timeout", "1n")], &batch).await.unwrap();
    let items = proto::BatchCompleteResponse::decode(answer).unwrap().items;
    let Some(proto::batch_complete_response::item::Outcome::Error(error)) = &items[0].outcome else {
        panic!("{items:?}")
    };
    assert_eq!(error.reason, "STORE_UNAVAILABLE");
    assert_eq!(store.calls(), 0);
}

/// Two calls of one key: the store hangs on the first, and the second never has its turn.
#[tokio::test]
async fn a_call_that_never_had_its_turn_is_not_unknown() {
    let store = ScriptedStore::new();
    let server = Start::on(store.clone()).serve().await;
    store.play(Script::Hang);
    let mut client = server.client().await;
    let hanging = tokio::spawn(async move { client.begin(begin("k", 1)).await });
    store.called_after(0).await;
    let queued = begin_within(&server, "500m", begin("k", 2)).await.unwrap_err();
    assert_eq!((queued.code(), &*reason(&queued)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    // A read under way has written nothing either; a write under way may have.
    let retry = proto::BeginRequest { retry: true, ..begin("read", 1) };
    assert_eq!(reason(&begin_within(&server, "500m", retry).await.unwrap_err()), "STORE_UNAVAILABLE");
    let write = begin_within(&server, "2S", begin("written", 1)).await.unwrap_err();
    assert_eq!(reason(&write), "STORE_OUTCOME_UNKNOWN");
    store.play(Script::Work);
    started(hanging.await.unwrap().unwrap());
}

/// The server answers before the caller gives up, however slow both are: this caller has no deadline of its own.
#[tokio::test]
async fn a_wait_ends_before_its_callers_deadline() {
    let server = Start::default().serve().await;
    started(server.client().await.begin(begin("k", 1)).await.unwrap());
    let request = proto::BeginRequest { wait: seconds(30), ..begin("k", 2) };
    for timeout in ["2S", "2000000u"] {
        let answer = begin_within(&server, timeout, request.clone()).await;
        assert!(matches!(answer, Ok(Decision::InProgress(_))), "{timeout}: {answer:?}");
    }
}

#[tokio::test]
async fn a_wait_ends_before_the_servers_own_bound() {
    let limits = Limits { request_timeout: Duration::from_secs(2), ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let mut client = server.client().await;
    started(client.begin(begin("k", 1)).await.unwrap());
    in_progress(client.begin(proto::BeginRequest { wait: seconds(30), ..begin("k", 2) }).await.unwrap());
}

/// The server's own bound on a call, when the store hangs: what may have been written is said to be unknown.
#[tokio::test]
async fn a_store_that_hangs_is_not_waited_for_without_end() {
    let store = ScriptedStore::new();
    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Start { limits, ..Start::on(store.clone()) }.serve().await;
    let mut client = server.client().await;
    store.play(Script::Hang);
    // However slow this machine: a call that was late before it began is refused, and sent again.
    let error = loop {
        let error = client.begin(begin("k", 1)).await.unwrap_err();
        if store.calls() > 0 {
            break error;
        }
    };
    assert_eq!((error.code(), &*reason(&error)), (Code::Unavailable, "STORE_OUTCOME_UNKNOWN"));
    let error = client.lookup(proto::LookupRequest { key: Some(key("other")) }).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::Unavailable, "STORE_UNAVAILABLE"));
}

/// The rest of the request never comes.
#[tokio::test]
async fn a_request_is_not_waited_for_without_end() {
    let limits = Limits { request_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Start { limits, ..Start::default() }.serve().await;
    let raw = RawClient::connect(&server.grpc).await;
    let mut ready = raw.requests.clone().ready().await.unwrap();
    let (answer, mut sending) = ready.send_request(request(BEGIN, &[]), false).unwrap();
    sending.send_data(framed(&begin("k", 1).encode_to_vec()).slice(..10), false).unwrap();
    let status = Status::from_header_map(answer.await.unwrap().headers()).unwrap();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}
