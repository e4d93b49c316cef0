"""What OpenTelemetry is told. Without an SDK that does nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from opentelemetry import metrics, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from semel._version import __version__

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes

logger = logging.getLogger("semel")
_context = TraceContextTextMapPropagator()


class Telemetry:
    """The instruments of one client."""

    def __init__(self) -> None:
        meter = metrics.get_meter("semel.client", __version__)
        self.tracer = trace.get_tracer("semel.client", __version__)
        self.once = meter.create_counter("semel.client.once", description="Calls of once, by what they came to")
        self.duration = meter.create_histogram("semel.client.once.duration", "s", "How long calls of once took")
        self.retries = meter.create_counter("semel.client.retries", description="Sends of a call beyond its first")
        self.unprotected = meter.create_counter("semel.client.unprotected", description="Works that ran unprotected")
        self.undelivered = meter.create_counter("semel.client.undelivered", description="Reports not delivered")
        self.lost = meter.create_counter("semel.client.leases_lost", description="Keys lost while their works ran")
        self.warnings = meter.create_counter("semel.client.key_warnings", description="Keys like personal data")

    def carried(self) -> list[tuple[str, str]]:
        """Give the trace context that goes with a send."""
        carrier: dict[str, str] = {}
        _context.inject(carrier)
        return list(carrier.items())

    def link(self, traceparent: str) -> list[trace.Link]:
        """Make the link to the attempt that did what is replayed."""
        earlier = trace.get_current_span(_context.extract({"traceparent": traceparent})).get_span_context()
        attributes: Attributes = {"semel.link": "earlier_attempt"}
        return [trace.Link(earlier, attributes)] if earlier.is_valid else []
