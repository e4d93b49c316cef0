package dev.semel.client.runner;

import io.opentelemetry.exporter.otlp.metrics.OtlpGrpcMetricExporter;
import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.metrics.SdkMeterProvider;
import io.opentelemetry.sdk.metrics.export.PeriodicMetricReader;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;

/** Hands spans and metrics to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, if it does. */
final class Exporting implements AutoCloseable {
  private final OpenTelemetrySdk sdk;

  Exporting() {
    String collector = System.getenv("OTEL_EXPORTER_OTLP_ENDPOINT");
    if (collector == null) {
      sdk = null;
      return;
    }
    Resource service =
        Resource.builder().put("service.name", System.getenv("OTEL_SERVICE_NAME")).build();
    OtlpGrpcSpanExporter spans = OtlpGrpcSpanExporter.builder().setEndpoint(collector).build();
    OtlpGrpcMetricExporter metrics =
        OtlpGrpcMetricExporter.builder().setEndpoint(collector).build();
    SdkTracerProvider tracing =
        SdkTracerProvider.builder()
            .setResource(service)
            .addSpanProcessor(BatchSpanProcessor.builder(spans).build())
            .build();
    SdkMeterProvider metering =
        SdkMeterProvider.builder()
            .setResource(service)
            .registerMetricReader(PeriodicMetricReader.builder(metrics).build())
            .build();
    sdk =
        OpenTelemetrySdk.builder()
            .setTracerProvider(tracing)
            .setMeterProvider(metering)
            .buildAndRegisterGlobal();
  }

  /** Hands over those that are left. */
  @Override
  public void close() {
    if (sdk != null) {
      sdk.close();
    }
  }
}
