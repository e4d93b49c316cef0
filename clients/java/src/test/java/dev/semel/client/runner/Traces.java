package dev.semel.client.runner;

import io.opentelemetry.exporter.otlp.trace.OtlpGrpcSpanExporter;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.resources.Resource;
import io.opentelemetry.sdk.trace.SdkTracerProvider;
import io.opentelemetry.sdk.trace.export.BatchSpanProcessor;

/** Hands spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, if it does. */
final class Traces implements AutoCloseable {
  private final OpenTelemetrySdk sdk;

  Traces() {
    String collector = System.getenv("OTEL_EXPORTER_OTLP_ENDPOINT");
    if (collector == null) {
      sdk = null;
      return;
    }
    Resource service =
        Resource.builder().put("service.name", System.getenv("OTEL_SERVICE_NAME")).build();
    OtlpGrpcSpanExporter exporter = OtlpGrpcSpanExporter.builder().setEndpoint(collector).build();
    SdkTracerProvider provider =
        SdkTracerProvider.builder()
            .setResource(service)
            .addSpanProcessor(BatchSpanProcessor.builder(exporter).build())
            .build();
    sdk = OpenTelemetrySdk.builder().setTracerProvider(provider).buildAndRegisterGlobal();
  }

  /** Hands over those that are left. */
  @Override
  public void close() {
    if (sdk != null) {
      sdk.close();
    }
  }
}
