import { metrics } from '@opentelemetry/api';
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-grpc';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

/** Hands spans and metrics to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, if it does; gives what hands over those that are left. */
export function observed(): () => Promise<void> {
  if (process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] === undefined) {
    return () => Promise.resolve();
  }
  const resource = resourceFromAttributes({ 'service.name': process.env['OTEL_SERVICE_NAME'] });
  const tracing = new NodeTracerProvider({ resource, spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
  tracing.register();
  const metering = new MeterProvider({ resource, readers: [new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() })] });
  metrics.setGlobalMeterProvider(metering);
  return async () => {
    await tracing.shutdown();
    await metering.shutdown();
  };
}
