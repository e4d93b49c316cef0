//! The spans of a server, as they are handed to an exporter: what is in them, how they hang together, and which are
//! kept. tests/otlp.rs has them arrive at a real collector.

mod support {
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}
#[path = "support/mod.rs"]
mod report;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{SpanId, SpanKind, Status, TraceId};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use semel::coordinator;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::storage::memory;
use semel::storage::metered::Metered;
use semel::telemetry::{KeyHash, Names, Settings, Telemetry};
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ORIGINAL: &str = "00f067aa0ba902b7";
const DUPLICATE: &str = "1111111111111111";

/// Keeps what it is handed.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// A server whose spans are kept.
struct Scene {
    server: RunningServer,
    store: Arc<ScriptedStore>,
    kept: Kept,
}

impl Scene {
    async fn new(settings: Settings) -> Self {
        let (store, kept) = (ScriptedStore::new(), Kept::default());
        let names = Names { key_hash: KeyHash::new(b"test"), store: memory::NAME };
        let telemetry = Arc::new(Telemetry::tracing_to(kept.clone(), &settings, names, TestClock::new()));
        let metered = Arc::new(Metered::telling(store.clone(), telemetry.clone()));
        let settings =
            coordinator::Settings { settle_within: Duration::from_millis(40), ..Default::default() };
        let server = Start { settings, telemetry, ..Start::on(metered) }.serve().await;
        Self { server, store, kept }
    }

    /// The spans of all calls that were answered so far.
    fn spans(&self) -> Vec<SpanData> {
        self.server.telemetry.shut_down();
        self.kept.0.lock().unwrap().clone()
    }
}

/// `message`, from a caller whose span is `span`, sampled or not.
fn from<T>(span: &str, flags: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{span}-{flags}").parse().unwrap());
    request.metadata_mut().insert("tracestate", "vendor=value".parse().unwrap());
    request
}

/// The value of an attribute, as text.
fn attribute(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

fn attributes(span: &SpanData) -> Vec<String> {
    let mut all: Vec<_> = span.attributes.iter().map(|one| format!("{}={}", one.key, one.value)).collect();
    all.sort();
    all
}

fn events(span: &SpanData) -> Vec<&str> {
    span.events.iter().map(|event| &*event.name).collect()
}

/// The span of the one call with this decision.
#[track_caller]
fn decided<'a>(spans: &'a [SpanData], decision: &str) -> &'a SpanData {
    let mut with = spans.iter().filter(|span| attribute(span, "semel.decision").as_deref() == Some(decision));
    let found = with.next().unwrap_or_else(|| panic!("no {decision} in {spans:#?}"));
    assert!(with.next().is_none(), "{decision} came twice");
    found
}

/// The spans of store calls below `span`.
fn children<'a>(spans: &'a [SpanData], span: &SpanData) -> Vec<&'a SpanData> {
    spans.iter().filter(|child| child.parent_span_id == span.span_context.span_id()).collect()
}

fn hex(span: &str) -> SpanId {
    SpanId::from_hex(span).unwrap()
}

#[tokio::test]
async fn a_call_has_a_span_below_its_callers_and_store_calls_below_it() {
    let scene = Scene::new(Settings { correlation_label: Some("order".into()), ..Settings::default() }).await;
    let mut client = scene.server.client().await;
    let labels = [("order".to_owned(), "4711".to_owned())].into();
    let first = proto::BeginRequest { labels, ..begin("k", 1) };
    let owner = started(client.begin(from(ORIGINAL, "01", first)).await.unwrap());
    let done = proto::CompleteRequest {
        result: Some(proto::Result { outcome: proto::result::Outcome::Failure.into(), ..success("no") }),
        ..complete("k", 1, owner.fence, "")
    };
    client.complete(from(ORIGINAL, "01", done)).await.unwrap();
    replayed(client.begin(from(DUPLICATE, "01", begin("k", 2))).await.unwrap());
    let spans = scene.spans();

    let span = decided(&spans, "started");
    assert_eq!(span.name, "semel.v1.IdempotencyService/Begin");
    assert_eq!((span.span_kind.clone(), span.status.clone()), (SpanKind::Server, Status::Unset));
    assert_eq!(span.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!((span.parent_span_id, span.parent_span_is_remote), (hex(ORIGINAL), true));
    assert_eq!(span.span_context.trace_state().header(), "vendor=value");
    assert!(span.start_time <= span.end_time);
    let hash = attribute(span, "semel.key_hash").unwrap();
    let fence = owner.fence;
    assert_eq!(
        attributes(span),
        [
            "rpc.method=semel.v1.IdempotencyService/Begin".to_owned(),
            "rpc.response.status_code=OK".to_owned(),
            "rpc.system.name=grpc".to_owned(),
            "semel.attempt=1".to_owned(),
            "semel.correlation=4711".to_owned(),
            "semel.decision=started".to_owned(),
            "semel.endpoint=POST /charges".to_owned(),
            format!("semel.fence={fence}"),
            format!("semel.key_hash={hash}"),
            "semel.store.lwt_count=1".to_owned(),
            "semel.store.retries=0".to_owned(),
            "semel.store.settled_unknowns=0".to_owned(),
            "semel.tenant=shop".to_owned(),
        ]
    );
    assert!(span.links.is_empty() && span.events.is_empty());
    let below = children(&spans, span);
    assert_eq!(below.len(), 1);
    assert_eq!((&*below[0].name, below[0].span_kind.clone()), ("compare_and_put record", SpanKind::Client));
    assert!(span.start_time <= below[0].start_time && below[0].end_time <= span.end_time);
    assert_eq!(
        attributes(below[0]),
        [
            "db.collection.name=record",
            "db.operation.name=compare_and_put",
            "db.system.name=memory",
            "semel.store.outcome=ok",
            "semel.store.serial=true",
        ]
    );

    let replay = decided(&spans, "replayed");
    assert_eq!(replay.parent_span_id, hex(DUPLICATE));
    assert_eq!(attribute(replay, "semel.replayed_failure").as_deref(), Some("true"));
    assert_eq!(attribute(replay, "semel.key_hash"), Some(hash));
    let [link] = &replay.links[..] else { panic!("{:?}", replay.links) };
    assert_eq!(link.span_context.trace_id(), TraceId::from_hex(TRACE).unwrap());
    assert_eq!((link.span_context.span_id(), link.span_context.is_remote()), (hex(ORIGINAL), true));
    assert_eq!(attribute(decided(&spans, "completed"), "semel.correlation").as_deref(), Some("4711"));
}

/// Every way in which a Begin finds earlier work, with a link to it, and what else is told of it.
#[tokio::test]
async fn what_finds_earlier_work_links_to_it() {
    let scene = Scene::new(Settings::default()).await;
    let mut client = scene.server.client().await;
    let owner = started(client.begin(from(ORIGINAL, "01", begin("k", 1))).await.unwrap());
    let before = scene.store.calls();
    let mut waiting = client.clone();
    let held = proto::BeginRequest { wait: seconds(10), ..begin("k", 2) };
    let waiting = tokio::spawn(async move { waiting.begin(from(DUPLICATE, "01", held)).await.unwrap() });
    scene.store.called_after(before).await;
    client.abort(from(ORIGINAL, "01", abort("k", 1, owner.fence, Disposition::Release))).await.unwrap();
    let second = started(waiting.await.unwrap());
    scene.server.clock.advance(Duration::from_mins(2));
    started(client.begin(from("2222222222222222", "01", begin("k", 3))).await.unwrap());
    in_progress(client.begin(from("3333333333333333", "01", begin("k", 4))).await.unwrap());
    client.complete(from(DUPLICATE, "01", complete("k", 2, second.fence, "late"))).await.unwrap_err();
    let with = |fingerprint: u8, attempt| proto::BeginRequest {
        fingerprint: vec![fingerprint; 32].into(),
        ..begin("f", attempt)
    };
    client.begin(from(ORIGINAL, "01", with(1, 1))).await.unwrap();
    client.begin(from(DUPLICATE, "01", with(2, 2))).await.unwrap_err();
    let spans = scene.spans();

    let attempt = |number: &str| {
        let is_it = |span: &&SpanData| {
            attribute(span, "semel.decision").as_deref() == Some("started")
                && attribute(span, "semel.attempt").as_deref() == Some(number)
        };
        spans.iter().find(is_it).unwrap()
    };
    let link = |span: &SpanData| span.links[0].span_context.span_id();
    assert_eq!(link(attempt("2")), hex(ORIGINAL));
    assert_eq!(events(attempt("2")), ["semel.waited"], "a release is no takeover");
    assert_eq!(link(attempt("3")), hex(DUPLICATE));
    assert_eq!(events(attempt("3")), ["semel.takeover"]);
    assert_eq!(attribute(attempt("3"), "semel.takeover").as_deref(), Some("true"));
    assert_eq!(link(decided(&spans, "in_progress")), hex("2222222222222222"));
    let late = decided(&spans, "fence_lost");
    assert_eq!(attribute(late, "semel.late_completion").as_deref(), Some("true"));
    assert_eq!(attribute(late, "semel.reason").as_deref(), Some("FENCE_LOST"));
    assert_eq!(late.status, Status::Unset, "it is the caller's trouble, not the server's");
    let mismatch = decided(&spans, "mismatch");
    assert_eq!((mismatch.parent_span_id, link(mismatch)), (hex(DUPLICATE), hex(ORIGINAL)));
}

#[tokio::test]
async fn what_a_store_leaves_unsaid_is_told_with_what_became_of_it() {
    let scene = Scene::new(Settings::default()).await;
    let mut client = scene.server.client().await;
    scene.store.play(Script::LoseAnswers);
    let before = scene.store.calls();
    let mut losing = client.clone();
    let settled = tokio::spawn(async move { losing.begin(from(ORIGINAL, "01", begin("k", 1))).await });
    scene.store.called_after(before).await;
    scene.store.play(Script::Work);
    settled.await.unwrap().unwrap();
    scene.store.play(Script::LoseAnswers);
    client.begin(from(DUPLICATE, "01", begin("l", 1))).await.unwrap_err();
    let spans = scene.spans();

    let settled = decided(&spans, "started");
    let told = events(settled);
    assert_eq!(told.last(), Some(&"semel.store.outcome_settled"), "{told:?}");
    assert!(told[..told.len() - 1].iter().all(|event| *event == "semel.store.outcome_unknown"));
    let retries = told.len() - 1;
    assert_eq!(attribute(settled, "semel.store.retries"), Some(retries.to_string()));
    assert_eq!(attribute(settled, "semel.store.settled_unknowns").as_deref(), Some("1"));
    assert_eq!(children(&spans, settled).len(), retries + 1);
    let failed = children(&spans, settled)[0];
    assert_eq!(attribute(failed, "error.type").as_deref(), Some("outcome_unknown"));

    let unknown = decided(&spans, "store_outcome_unknown");
    assert_eq!(unknown.status, Status::error("STORE_OUTCOME_UNKNOWN"));
    assert_eq!(attribute(unknown, "error.type").as_deref(), Some("UNAVAILABLE"));
    assert!(!events(unknown).contains(&"semel.store.outcome_settled"));
}

#[tokio::test]
async fn a_batch_has_a_span_for_each_item() {
    let scene = Scene::new(Settings::default()).await;
    let mut client = scene.server.client().await;
    client.begin(from(ORIGINAL, "01", begin("b", 1))).await.unwrap();
    let requests = vec![begin("a", 1), begin("b", 2), proto::BeginRequest::default()];
    client.batch_begin(from(DUPLICATE, "01", proto::BatchBeginRequest { requests })).await.unwrap();
    let spans = scene.spans();
    let batch = spans.iter().find(|span| span.name == "semel.v1.IdempotencyService/BatchBegin").unwrap();
    assert_eq!(batch.parent_span_id, hex(DUPLICATE));
    let items = children(&spans, batch);
    assert!(items.iter().all(|item| item.name == "semel.batch.item" && item.span_kind == SpanKind::Internal));
    let mut words: Vec<_> = items.iter().filter_map(|item| attribute(item, "semel.decision")).collect();
    words.sort();
    assert_eq!(words, ["in_progress", "invalid", "started"]);
    let found = items.iter().find(|item| !item.links.is_empty()).unwrap();
    assert_eq!(found.links[0].span_context.span_id(), hex(ORIGINAL));
    let own = items.iter().find(|item| attribute(item, "semel.decision").as_deref() == Some("started"));
    assert_eq!(children(&spans, own.unwrap()).len(), 1, "its store call is below it");
}

/// A caller without a trace: the server's own is remembered, and duplicates link to it.
#[tokio::test]
async fn without_a_callers_trace_the_record_remembers_the_servers() {
    let scene = Scene::new(Settings::default()).await;
    let mut client = scene.server.client().await;
    let owner = started(client.begin(begin("k", 1)).await.unwrap());
    client.complete(complete("k", 1, owner.fence, "done")).await.unwrap();
    let told = replayed(client.begin(begin("k", 2)).await.unwrap()).original_traceparent;
    let spans = scene.spans();
    let first = decided(&spans, "started");
    assert_eq!(first.parent_span_id, SpanId::INVALID);
    let replay = decided(&spans, "replayed");
    assert_eq!(replay.links[0].span_context.span_id(), first.span_context.span_id());
    assert_eq!(replay.links[0].span_context.trace_id(), first.span_context.trace_id());
    assert_ne!(replay.span_context.trace_id(), first.span_context.trace_id());
    let (trace, span) = (first.span_context.trace_id(), first.span_context.span_id());
    assert_eq!(told, format!("00-{trace}-{span}-01"));
}

/// What is kept of callers who do not keep their traces.
#[tokio::test]
async fn of_unsampled_traces_everything_but_first_decisions_is_kept_or_nothing() {
    for trace_all_but_first in [true, false] {
        let scene = Scene::new(Settings { trace_all_but_first, ..Settings::default() }).await;
        let mut client = scene.server.client().await;
        let owner = started(client.begin(from(ORIGINAL, "00", begin("k", 1))).await.unwrap());
        client.lookup(from(ORIGINAL, "00", proto::LookupRequest { key: Some(key("k")) })).await.unwrap();
        client.complete(from(ORIGINAL, "00", complete("k", 1, owner.fence, "done"))).await.unwrap();
        replayed(client.begin(from(DUPLICATE, "00", begin("k", 2))).await.unwrap());
        client.begin(from(DUPLICATE, "00", proto::BeginRequest::default())).await.unwrap_err();
        let requests = vec![begin("a", 1), begin("k", 3)];
        client.batch_begin(from(DUPLICATE, "00", proto::BatchBeginRequest { requests })).await.unwrap();
        let requests = vec![begin("c", 1)];
        client.batch_begin(from(DUPLICATE, "00", proto::BatchBeginRequest { requests })).await.unwrap();
        let spans = scene.spans();
        let mut words: Vec<_> = spans.iter().filter_map(|span| attribute(span, "semel.decision")).collect();
        words.sort();
        let expected: &[&str] = if trace_all_but_first { &["invalid", "replayed", "replayed"] } else { &[] };
        assert_eq!(words, expected);
        if trace_all_but_first {
            let link = &decided(&spans, "invalid").links;
            assert!(link.is_empty());
            let batches = spans.iter().filter(|span| span.name.ends_with("/BatchBegin")).count();
            assert_eq!(batches, 1, "the one with an item that is kept");
            // Two replays, the refused call, and the batch; replays from memory asked no store.
            report::count("kept_unsampled_spans", u64::try_from(spans.len()).unwrap());
        } else {
            assert!(spans.is_empty(), "{spans:?}");
        }
    }
}

/// A caller that leaves has a span too, and what panics as well.
#[tokio::test]
async fn calls_that_end_otherwise_have_spans() {
    let scene = Scene::new(Settings::default()).await;
    let mut client = scene.server.client().await;
    scene.store.play(Script::Panic);
    client.begin(from(ORIGINAL, "01", begin("k", 1))).await.unwrap_err();
    scene.store.play(Script::Hang);
    let before = scene.store.calls();
    let mut leaving = client.clone();
    let call = tokio::spawn(async move { leaving.begin(from(DUPLICATE, "01", begin("h", 1))).await });
    scene.store.called_after(before).await;
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    let cancelled = |span: &SpanData| {
        attribute(span, "rpc.response.status_code").as_deref() == Some("CANCELLED")
            && span.parent_span_id == hex(DUPLICATE)
    };
    // The server learns of it when its connection does.
    let spans = loop {
        scene.server.telemetry.flush();
        let spans = scene.kept.0.lock().unwrap().clone();
        if spans.iter().any(cancelled) {
            break spans;
        }
        tokio::task::yield_now().await;
    };
    let panicked = decided(&spans, "internal");
    assert_eq!(panicked.status, Status::error("INTERNAL"));
}
