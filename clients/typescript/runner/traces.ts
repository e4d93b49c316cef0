import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';

/** Hands spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names, if it does; gives what hands over those that are left. */
export function traced(): () => Promise<void> {
  if (process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] === undefined) {
    return () => Promise.resolve();
  }
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ 'service.name': process.env['OTEL_SERVICE_NAME'] }),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  return () => provider.shutdown();
}
