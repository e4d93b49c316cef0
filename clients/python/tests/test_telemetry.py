"""What OpenTelemetry is told, seen through its SDK."""

from __future__ import annotations

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import semel
from semel.testing import Decision, Fake

EARLIER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def sdk():
    spans, readings = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([readings]))
    return spans, readings


class Watched(Fake):
    """Keeps what went with each send."""

    def __init__(self):
        super().__init__()
        self.sent = []

    async def invoke(self, method, request, *more):
        self.sent.append(dict(more[-1]))
        return await super().invoke(method, request, *more)


def test_spans_and_what_goes_with_a_send(sdk):
    spans, readings = sdk
    spans.clear()
    fake = Watched()
    with semel.Client(transport=fake) as client:
        client.once("payments/Charge", "secret-key", "secret-request", lambda _: "secret-value")
    begin, complete, once = spans.get_finished_spans()
    assert [begin.name, complete.name, once.name] == [
        "semel.v1.IdempotencyService/Begin",
        "semel.v1.IdempotencyService/Complete",
        "semel.once",
    ]
    for call, sent in zip((begin, complete), fake.sent, strict=True):
        assert call.parent.span_id == once.context.span_id
        assert call.kind is trace.SpanKind.CLIENT
        assert sent["traceparent"].split("-")[2] == f"{call.context.span_id:016x}"
        assert call.attributes["rpc.response.status_code"] == "OK"
        assert call.attributes["semel.client.sends"] == 1
    said = dict(once.attributes)
    assert (said["semel.decision"], said["semel.outcome"], said["semel.attempt"]) == ("started", "completed", 1)
    everything = str([span.to_json() for span in (begin, complete, once)]) + readings.get_metrics_data().to_json()
    assert "semel.client.once" in everything
    assert "secret" not in everything


def test_a_replay_links_to_the_original(sdk):
    spans, _ = sdk
    spans.clear()
    fake = Fake()
    replayed = Decision.replayed(1)
    replayed.response.replayed.original_traceparent = EARLIER
    fake.script("e", "k", replayed)
    with semel.Client(transport=fake) as client:
        client.once("e", "k", None, lambda _: 1)
    (link,) = spans.get_finished_spans()[-1].links
    assert f"{link.context.trace_id:032x}-{link.context.span_id:016x}" == EARLIER[3:-3]
    assert link.attributes == {"semel.link": "earlier_attempt"}


def test_errors_are_told_by_their_kind(sdk):
    spans, _ = sdk
    spans.clear()
    fake = Fake()
    fake.script("e", "k", Decision.unresolved(), Decision.unavailable())
    with semel.Client(semel.Options(timeout=0.01), transport=fake) as client:
        for wanted, decision in (("Unresolved", "unresolved"), ("StoreUnavailable", "unavailable")):
            with pytest.raises(semel.SemelError):
                client.once("e", "k", None, lambda _: 1)
            once = next(span for span in reversed(spans.get_finished_spans()) if span.name == "semel.once")
            assert (once.attributes["error.type"], once.attributes["semel.decision"]) == (wanted, decision)
