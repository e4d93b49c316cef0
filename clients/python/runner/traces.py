"""Hands spans to a collector, where one is named."""

from __future__ import annotations

import os
from collections.abc import Callable


def traced() -> Callable[[], None]:
    """Hands spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, if it does; gives what does the rest."""
    if "OTEL_EXPORTER_OTLP_ENDPOINT" not in os.environ:
        return lambda: None
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown
