//! What happens during a call, noted while it runs: its spans are made at its end, when it is known what it came to.
//!
//! Until then nothing is allocated, so that a call whose spans are not kept costs next to nothing.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

#[cfg(not(feature = "without-telemetry"))]
use futures_util::future::Either;
use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanId, TraceId};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::Method;
use super::decision::Decision;
use super::rpc_code::RpcCode;
use super::traces::{Told, Traces};
use crate::domain::{Timestamp, Traceparent};
use crate::storage::metered::{CallOutcome, StoreCall};

tokio::task_local! {
    /// The call that this task serves, where it is traced.
    static CALL: Recorder;
}

/// Looked for in most calls: a name that is made once need not be made for each.
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// As many store calls of a call are noted without an allocation: most have one or two.
const USUAL_STORE_CALLS: usize = 4;

/// A call, or one item of a batch. Dropping it ends its span, also where its caller has left.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) traces: Arc<Traces>,
    pub(super) method: Method,
    pub(super) place: Place,
    pub(super) began: Began,
    pub(super) code: Cell<RpcCode>,
    pub(super) noted: RefCell<Noted>,
}

/// Where a span is in its trace.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: Parent,
    /// The rule for new calls keeps it, whatever comes of it.
    pub(super) sampled: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Parent {
    /// The trace begins here.
    None,
    /// The caller's span, and the state that came along.
    Caller(SpanId, Option<http::HeaderValue>),
    /// The call whose item this is.
    Batch(SpanId),
}

/// When it began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) wall: Timestamp,
    pub(super) instant: Instant,
}

/// What was noted so far.
#[derive(Debug, Default)]
pub(super) struct Noted {
    /// What it came to, where that is kept.
    pub(super) told: Option<Told>,
    pub(super) store: SmallVec<[StoreCall; USUAL_STORE_CALLS]>,
    /// An item of the batch is kept.
    pub(super) keeps_item: bool,
}

impl Recorder {
    fn new(traces: Arc<Traces>, method: Method, place: Place, began: Began) -> Self {
        let (code, noted) = (Cell::new(RpcCode::Cancelled), RefCell::default());
        Self { traces, method, place, began, code, noted }
    }

    /// The recorder of a call that arrives with `headers` from the span `caller`; `None` where nothing of it could be
    /// kept.
    pub(super) fn of_call(
        traces: &Arc<Traces>,
        method: Method,
        headers: &HeaderMap,
        caller: Option<Traceparent>,
    ) -> Option<Self> {
        let trace_id = caller.map_or_else(new_trace_id, |caller| TraceId::from(caller.trace()));
        let sampled = traces.sampling.samples(caller.map(Traceparent::is_sampled), trace_id);
        if !sampled && !traces.keeps_later {
            return None;
        }
        let parent = match caller {
            Some(caller) => Parent::Caller(SpanId::from(caller.span()), headers.get(&TRACESTATE).cloned()),
            None => Parent::None,
        };
        let place = Place { trace_id, span_id: new_span_id(), parent, sampled };
        Some(Self::new(traces.clone(), method, place, traces.now()))
    }

    /// The recorder of an item of this batch.
    fn of_item(&self) -> Self {
        let (span_id, parent) = (new_span_id(), Parent::Batch(self.place.span_id));
        let place = Place { span_id, parent, ..self.place.clone() };
        Self::new(self.traces.clone(), self.method, place, self.traces.now())
    }

    /// Whether the spans of what came to `decision` are kept.
    fn keeps(&self, decision: &Decision<'_>) -> bool {
        let unknown = |call: &StoreCall| call.outcome == CallOutcome::OutcomeUnknown;
        self.place.sampled
            || (self.traces.keeps_later
                && (!decision.is_first() || self.noted.borrow().store.iter().any(unknown)))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let noted = self.noted.take();
        // What came to nothing at all, such as a call whose caller left, is no first decision.
        let came_to_nothing = matches!(self.place.parent, Parent::None | Parent::Caller(..))
            && self.code.get() != RpcCode::Ok
            && noted.told.is_none();
        if !(self.place.sampled || noted.told.is_some() || noted.keeps_item || came_to_nothing) {
            return;
        }
        if let Parent::Batch(_) = self.place.parent {
            with(|batch| batch.noted.borrow_mut().keeps_item = true);
        }
        self.traces.send(self, &noted);
    }
}

/// Does `note` to the call that this task serves, where it is traced.
fn with<T>(note: impl FnOnce(&Recorder) -> T) -> Option<T> {
    CALL.try_with(note).ok()
}

/// Runs `work` as it is.
#[cfg(feature = "without-telemetry")]
pub(super) fn noting<F: Future>(_: Option<Recorder>, work: F) -> F {
    work
}

/// Runs `work` as the call that `recorder` notes; without one, as it is.
#[cfg(not(feature = "without-telemetry"))]
pub(super) fn noting<F: Future>(
    recorder: Option<Recorder>,
    work: F,
) -> impl Future<Output = F::Output> + use<F> {
    match recorder {
        Some(recorder) => Either::Left(CALL.scope(recorder, work)),
        None => Either::Right(work),
    }
}

/// Runs `work` as an item of the batch that this task serves: with a span of its own.
pub(super) async fn noting_item<F: Future>(work: F) -> F::Output {
    noting(with(Recorder::of_item), work).await
}

/// A call to the store has ended.
pub(super) fn asked_store(call: &StoreCall) {
    with(|recorder| recorder.noted.borrow_mut().store.push(*call));
}

/// It is known what the call came to.
pub(super) fn decided(decision: &Decision<'_>) {
    with(|recorder| {
        if recorder.keeps(decision) {
            let told = recorder.traces.told(decision);
            recorder.noted.borrow_mut().told = Some(told);
        }
    });
}

/// The call is answered.
pub(super) fn answered(code: RpcCode) {
    with(|recorder| recorder.code.set(code));
}

/// Whether the call that this task serves is traced.
pub(super) fn is_on() -> bool {
    with(|_| ()).is_some()
}

/// The call's own span, for what is caused by it, where it is sure to be kept and its caller sent none.
pub(super) fn own_traceparent() -> Option<Traceparent> {
    with(|recorder| {
        let Place { trace_id, span_id, parent: Parent::None, sampled: true } = &recorder.place else {
            return None;
        };
        Traceparent::of_sampled(trace_id.to_bytes(), span_id.to_bytes())
    })
    .flatten()
}

/// How long after the call began `moment` was.
pub(super) fn since(began: Began, moment: std::time::Instant) -> Duration {
    moment.saturating_duration_since(began.instant.into_std())
}

fn new_trace_id() -> TraceId {
    // All zero would be no id; it does not come.
    TraceId::from(rand::random::<u128>().max(1))
}

fn new_span_id() -> SpanId {
    SpanId::from(rand::random::<u64>().max(1))
}
