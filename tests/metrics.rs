//! What a server counts and shows on its operations port, over real sockets.

#[path = "support/mod.rs"]
mod report;
mod support {
    pub(crate) mod samples;
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use semel::domain::{OnLostLease, Policy, PolicyRules, Reason};
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::server::Limits;
use semel::storage::Store;
use semel::storage::memory::{self, MemoryStore};
use semel::storage::metered::Metered;
use semel::sweep::Sweep;
use semel::telemetry::{KeyHash, LabelBounds, Names, Settings, Telemetry, Word};
use support::samples::Samples;
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;
use tokio::net::TcpStream;

const PAIR: &str = r#"endpoint="POST /charges",tenant="shop""#;
const SECOND: Duration = Duration::from_secs(1);
/// A bound for what hangs, not a measure of speed.
const HANGS: Duration = Duration::from_mins(1);

fn decisions(word: &str) -> String {
    format!(r#"semel_decisions_total{{decision="{word}",{PAIR}}}"#)
}

fn names() -> Names {
    Names { key_hash: KeyHash::new(b"test"), store: memory::NAME }
}

fn telemetry() -> Arc<Telemetry> {
    Arc::new(Telemetry::start(&Settings::default(), names(), TestClock::new()).unwrap())
}

async fn serve(store: Arc<dyn Store>, policy: Policy) -> RunningServer {
    let telemetry = telemetry();
    let store = Arc::new(Metered::telling(store, telemetry.clone()));
    let rules = PolicyRules::new(policy, Vec::new());
    Start { rules, telemetry, ..Start::on(store) }.serve().await
}

async fn samples(server: &RunningServer) -> Samples {
    let (status, text) = server.get("/metrics").await;
    assert_eq!(status, 200, "{text}");
    Samples::read(&text)
}

fn renew(idempotency_key: &str, attempt: u32, fence: i64) -> proto::RenewRequest {
    proto::RenewRequest {
        key: Some(key(idempotency_key)),
        fence,
        attempt_id: attempt_id(attempt),
        lease: None,
    }
}

/// A key that is begun, lost, taken over, completed late and in time, and replayed.
async fn live_one_life(server: &RunningServer) {
    let mut client = server.client().await;
    let first = started(client.begin(begin("k", 1)).await.unwrap());
    in_progress(client.begin(begin("k", 2)).await.unwrap());
    client.renew(renew("k", 1, first.fence)).await.unwrap();
    let point = proto::SaveCheckpointRequest {
        key: Some(key("k")),
        fence: first.fence,
        attempt_id: attempt_id(1),
        name: "charged".into(),
        value: "yes".into(),
    };
    client.save_checkpoint(point).await.unwrap();
    // Its lease is lost, and another attempt takes over.
    server.clock.advance(60 * SECOND);
    let second = started(client.begin(begin("k", 2)).await.unwrap());
    let late = client.complete(complete("k", 1, first.fence, "late")).await.unwrap_err();
    assert_eq!(reason(&late), "FENCE_LOST");
    // The owner of the time before renews: that, too, is refused, and runs nothing twice.
    client.renew(renew("k", 1, first.fence)).await.unwrap_err();
    let failure = proto::Result { outcome: proto::result::Outcome::Failure.into(), ..success("no") };
    let done = proto::CompleteRequest { result: Some(failure), ..complete("k", 2, second.fence, "") };
    client.complete(done.clone()).await.unwrap();
    client.complete(done).await.unwrap();
    for attempt in 3..6 {
        replayed(client.begin(begin("k", attempt)).await.unwrap());
    }
    client.lookup(proto::LookupRequest { key: Some(key("k")) }).await.unwrap();
}

/// A key whose attempts are used up, and which an operator settles.
async fn live_another(server: &RunningServer) {
    let (mut client, mut operator) = (server.client().await, server.operator().await);
    let fingerprint = |byte: u8| vec![byte; 32].into();
    let begun = proto::BeginRequest { fingerprint: fingerprint(1), ..begin("u", 1) };
    let owner = started(client.begin(begun).await.unwrap());
    let other = proto::BeginRequest { fingerprint: fingerprint(2), ..begin("u", 2) };
    client.begin(other).await.unwrap_err();
    client.abort(abort("u", 1, owner.fence, Disposition::Release)).await.unwrap();
    let owner = started(client.begin(begin("u", 3)).await.unwrap());
    client.abort(abort("u", 3, owner.fence, Disposition::OutcomeUnknown)).await.unwrap();
    decision(client.begin(begin("u", 4)).await.unwrap());
    let resolve = proto::ResolveRecordRequest {
        key: Some(key("u")),
        fence: owner.fence,
        resolution: Some(proto::resolve_record_request::Resolution::Release(true)),
        note: "looked".into(),
        force: false,
    };
    operator.resolve_record(resolve).await.unwrap();
    let forget = proto::ForgetRecordRequest { key: Some(key("u")), fence: owner.fence, force: false };
    operator.forget_record(forget).await.unwrap();
    client.lookup(proto::LookupRequest { key: Some(key("u")) }).await.unwrap_err();
}

/// They were decided, and their callers have to ask once more.
#[tokio::test]
async fn answers_that_do_not_fit_a_batchs_are_counted_as_refused() {
    let telemetry = telemetry();
    let limits = Limits { max_response_bytes: 2000, ..Limits::default() };
    let server = Start { limits, telemetry, ..Start::default() }.serve().await;
    let mut client = server.client().await;
    let names = ["a", "b", "c"];
    for name in names {
        let owner = started(client.begin(begin(name, 1)).await.unwrap());
        client.complete(complete(name, 1, owner.fence, &"x".repeat(1000))).await.unwrap();
    }
    let requests = names.map(|name| begin(name, 2)).to_vec();
    client.batch_begin(proto::BatchBeginRequest { requests }).await.unwrap();
    let samples = samples(&server).await;
    assert_eq!(samples.of(r#"semel_rejected_total{reason="RESPONSE_TOO_LARGE"}"#), 2);
    assert_eq!(samples.of(&decisions("replayed")), 3);
}

#[tokio::test]
async fn each_decision_is_counted_once_under_its_word() {
    let policy = Policy { max_attempts: 2, ..Policy::default() };
    let server = serve(Arc::new(MemoryStore::new()), policy).await;
    live_one_life(&server).await;
    live_another(&server).await;

    let expected = [
        (Word::Started, 4),
        (Word::Replayed, 3),
        (Word::InProgress, 1),
        (Word::Unresolved, 1),
        (Word::Completed, 2),
        (Word::Released, 1),
        (Word::GivenUp, 1),
        (Word::Renewed, 1),
        (Word::CheckpointSaved, 1),
        (Word::Found, 1),
        (Word::Resolved, 1),
        (Word::Forgotten, 1),
        (Word::Mismatch, 1),
        (Word::FenceLost, 2),
        (Word::NotFound, 1),
    ];
    let expected: BTreeMap<String, u64> =
        expected.map(|(word, times)| (decisions(word.as_str()), times)).into();
    let samples = samples(&server).await;
    let counted = samples.above_zero("semel_decisions_total");
    assert_eq!(counted, expected);
    report::count("counted_decisions", counted.values().sum());

    assert_eq!(samples.of("semel_takeovers_total"), 1, "after the release nobody took over");
    assert_eq!(samples.of("semel_late_completions_total"), 1);
    assert_eq!(samples.of("semel_replayed_failures_total"), 3);
    assert_eq!(samples.of("semel_attempts_count"), 1, "a repeated Complete is no other completion");
    assert_eq!(samples.of("semel_attempts_sum"), 2);
    assert_eq!(samples.of(r#"semel_attempts_bucket{le="1"}"#), 0);
    assert_eq!(samples.of(r#"semel_attempts_bucket{le="2"}"#), 1);
    let rejected = samples.above_zero("semel_rejected_total");
    let expected = [("FENCE_LOST", 2), ("FINGERPRINT_MISMATCH", 1), ("KEY_NOT_FOUND", 1)];
    let expected =
        expected.map(|(reason, times)| (format!(r#"semel_rejected_total{{reason="{reason}"}}"#), times));
    assert_eq!(rejected, expected.into());

    let call = |method: &str, code: &str| {
        format!(
            r#"rpc_server_call_duration_seconds_count{{rpc_method="semel.v1.{method}",rpc_response_status_code="{code}",rpc_system_name="grpc"}}"#
        )
    };
    assert_eq!(samples.of(&call("IdempotencyService/Begin", "OK")), 9);
    assert_eq!(samples.of(&call("IdempotencyService/Begin", "FAILED_PRECONDITION")), 1);
    assert_eq!(samples.of(&call("IdempotencyService/Complete", "ABORTED")), 1);
    assert_eq!(samples.of(&call("OperatorService/ForgetRecord", "OK")), 1);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(samples.of(&format!(r#"semel_build_info{{version="{version}"}}"#)), 1);
}

/// Each connection is a task at least, and is none any more once it was closed.
#[tokio::test]
async fn tasks_come_and_go_with_connections() {
    const CONNECTIONS: u64 = 20;
    let server = serve(Arc::new(MemoryStore::new()), Policy::default()).await;
    server.telemetry.metrics().unwrap().show_tasks(tokio::runtime::Handle::current());
    let tasks = async || samples(&server).await.of("semel_tasks");
    let before = tasks().await;
    let mut open = Vec::new();
    for _ in 0..CONNECTIONS {
        open.push(TcpStream::connect(server.grpc.trim_start_matches("http://")).await.unwrap());
    }
    // The operations port's own connections come and go meanwhile.
    let awaited = async |reached: &dyn Fn(u64) -> bool| {
        while !reached(tasks().await) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANGS, awaited(&|tasks| tasks >= before + CONNECTIONS)).await.unwrap();
    drop(open);
    tokio::time::timeout(HANGS, awaited(&|tasks| tasks <= before + 1)).await.unwrap();
}

/// An alert on an increase sees nothing where the first value is already the increased one.
#[tokio::test]
async fn what_alerts_look_at_begins_with_zero() {
    let server = serve(Arc::new(MemoryStore::new()), Policy::default()).await;
    let fresh = samples(&server).await;
    for counter in ["takeovers", "late_completions", "replayed_failures", "store_unknown_outcomes"] {
        assert_eq!(fresh.of(&format!("semel_{counter}_total")), 0);
    }
    for reason in Reason::ALL {
        assert_eq!(fresh.of(&format!(r#"semel_rejected_total{{reason="{reason}"}}"#)), 0);
    }
    assert!(!fresh.series().any(|series| series.starts_with("semel_decisions_total")));
    server.client().await.begin(begin("k", 1)).await.unwrap();
    let later = samples(&server).await;
    for word in ["replayed", "in_progress", "unresolved", "completed", "mismatch", "fence_lost"] {
        assert_eq!(later.of(&decisions(word)), 0);
    }
}

#[tokio::test]
async fn held_begins_are_timed_and_others_are_not() {
    let store = ScriptedStore::new();
    let server = serve(store.clone(), Policy::default()).await;
    let mut client = server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    in_progress(client.begin(begin("k", 2)).await.unwrap());
    let before = store.calls();
    let mut waiting = client.clone();
    let waiting = tokio::spawn(async move {
        waiting.begin(proto::BeginRequest { wait: seconds(10), ..begin("k", 3) }).await.unwrap()
    });
    // Once it has asked the store, it has its turn, and the Complete comes behind it.
    store.called_after(before).await;
    client.complete(complete("k", 1, owner.fence, "done")).await.unwrap();
    replayed(waiting.await.unwrap());
    let samples = samples(&server).await;
    assert_eq!(samples.of("semel_wait_seconds_count"), 1);
    assert!(samples.number("semel_wait_seconds_sum") > 0.0);
}

#[tokio::test]
async fn callers_cannot_make_up_labels_without_end() {
    let labels = LabelBounds { pairs: 3, endpoints: 2 };
    let telemetry = Arc::new(
        Telemetry::start(&Settings { labels, ..Settings::default() }, names(), TestClock::new()).unwrap(),
    );
    let server = Start { telemetry, ..Start::default() }.serve().await;
    let mut client = server.client().await;
    for (tenant, endpoints) in [("greedy", 50), ("b", 1), ("c", 50)] {
        for endpoint in 0..endpoints {
            let key = proto::Key {
                tenant: tenant.into(),
                endpoint: format!("endpoint \"{endpoint}\"\n"),
                idempotency_key: "k".into(),
            };
            client.begin(proto::BeginRequest { key: Some(key), ..begin("k", 1) }).await.unwrap();
        }
    }
    // What names no key has no labels.
    client.begin(proto::BeginRequest::default()).await.unwrap_err();
    let samples = samples(&server).await;
    let started = |endpoint: &str, tenant: &str| {
        samples.of(&format!(
            r#"semel_decisions_total{{decision="started",endpoint="{endpoint}",tenant="{tenant}"}}"#
        ))
    };
    assert_eq!(started(r#"endpoint \"0\"\n"#, "greedy"), 1);
    assert_eq!(started(r#"endpoint \"1\"\n"#, "greedy"), 1);
    assert_eq!(started("other", "greedy"), 48);
    assert_eq!(started("other", "other"), 51);
    assert_eq!(samples.of(r#"semel_decisions_total{decision="invalid",endpoint="",tenant=""}"#), 1);
    let named = samples.above_zero("semel_decisions_total").len();
    assert_eq!(named, 5);
    let series = samples.series().filter(|series| series.starts_with("semel_decisions_total")).count();
    assert!(series <= 4 * Word::ALL.len() + 1, "{series}");
}

#[tokio::test]
async fn calls_to_the_store_are_timed_by_what_became_of_them() {
    let store = ScriptedStore::new();
    let server = serve(store.clone(), Policy::default()).await;
    let mut client = server.client().await;
    started(client.begin(begin("k", 1)).await.unwrap());
    store.play(Script::Refuse);
    client.begin(begin("r", 1)).await.unwrap_err();
    // The write is sent again until the store says: the first answers are lost, the next send finds it there.
    store.play(Script::LoseAnswers);
    let before = store.calls();
    let mut losing = client.clone();
    let unknown = tokio::spawn(async move { losing.begin(begin("l", 1)).await });
    store.called_after(before + 1).await;
    store.play(Script::Work);
    started(unknown.await.unwrap().unwrap());
    let samples = samples(&server).await;
    let count = |operation: &str, outcome: &str| {
        samples.find(&format!(r#"semel_store_seconds_count{{operation="{operation}",outcome="{outcome}"}}"#))
    };
    assert_eq!(count("compare_and_put", "ok"), Some(2));
    assert_eq!(count("compare_and_put", "unavailable"), Some(1));
    let unknown = samples.of("semel_store_unknown_outcomes_total");
    assert!(unknown >= 1);
    assert_eq!(count("compare_and_put", "outcome_unknown"), Some(unknown));
    assert!(count("ping", "ok") >= Some(1));
    assert_eq!(count("scan", "ok"), None, "nobody scanned");
    assert_eq!(samples.of(r#"semel_rejected_total{reason="STORE_UNAVAILABLE"}"#), 1);
}

#[tokio::test]
async fn keys_are_counted_by_the_sweep_and_only_where_the_store_lists_them() {
    let policy = Policy { on_lost_lease: OnLostLease::MarkUnknown, max_attempts: 1, ..Policy::default() };
    let unresolved = |reason: &str| format!(r#"semel_unresolved_keys{{reason="{reason}"}}"#);
    for lists_open in [true, false] {
        let store = ScriptedStore::new();
        let server = serve(store.clone(), policy.clone()).await;
        let mut client = server.client().await;
        for name in ["a", "b", "c"] {
            client.begin(begin(name, 1)).await.unwrap();
        }
        let owner = started(client.begin(begin("d", 1)).await.unwrap());
        client.abort(abort("d", 1, owner.fence, Disposition::OutcomeUnknown)).await.unwrap();
        for name in ["e", "f"] {
            let owner = started(client.begin(begin(name, 1)).await.unwrap());
            client.abort(abort(name, 1, owner.fence, Disposition::Release)).await.unwrap();
        }
        let mut sweep =
            Sweep::new(store.clone(), server.policies.clone(), server.clock.clone(), KeyHash::new(b"test"));
        server.telemetry.metrics().unwrap().show_counts(&sweep.counts());
        let before = samples(&server).await;
        assert_eq!(before.find("semel_open_keys"), None, "not counted yet is not 0");
        assert_eq!(before.find(&unresolved("outcome_unknown")), None);
        if !lists_open {
            store.play(Script::ListUnresolved);
        }
        sweep.once().await.unwrap();
        let after = samples(&server).await;
        assert_eq!(after.find("semel_open_keys"), lists_open.then_some(6), "what cannot be counted is not 0");
        assert_eq!(after.of(&unresolved("outcome_unknown")), 1);
        assert_eq!(after.of(&unresolved("attempts_exhausted")), 2);
    }
}

/// A panic is answered and counted; a caller that leaves is counted too; what semel does not serve has no name.
#[tokio::test]
async fn calls_that_end_otherwise_are_counted() {
    let store = ScriptedStore::new();
    let server = serve(store.clone(), Policy::default()).await;
    let mut client = server.client().await;
    store.play(Script::Panic);
    client.begin(begin("k", 1)).await.unwrap_err();
    store.play(Script::Hang);
    let before = store.calls();
    let mut leaving = client.clone();
    let call = tokio::spawn(async move { leaving.begin(begin("h", 1)).await });
    store.called_after(before).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let mut unknown = tonic::client::Grpc::new(server.channel().await);
    unknown.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<proto::BeginRequest, proto::BeginResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/made.up.Service/Name");
    unknown.unary(tonic::Request::new(begin("k", 1)), path, codec).await.unwrap_err();
    let call = |method: &str, code: &str, labels: &str| {
        format!(
            r#"rpc_server_call_duration_seconds_count{{{labels}rpc_method="{method}",rpc_response_status_code="{code}",rpc_system_name="grpc"}}"#
        )
    };
    let cancelled = call("semel.v1.IdempotencyService/Begin", "CANCELLED", "");
    let samples = loop {
        let samples = samples(&server).await;
        // The server learns of it when its connection does.
        if samples.find(&cancelled).is_some() {
            break samples;
        }
    };
    let internal = call("semel.v1.IdempotencyService/Begin", "INTERNAL", r#"error_type="INTERNAL","#);
    assert_eq!(samples.of(&internal), 1);
    assert_eq!(samples.of(&cancelled), 1);
    let other = call("_OTHER", "UNIMPLEMENTED", r#"error_type="UNIMPLEMENTED","#);
    assert_eq!(samples.of(&other), 1);
    assert_eq!(samples.of(r#"semel_rejected_total{reason="INTERNAL"}"#), 1);
}
