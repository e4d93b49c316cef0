//! Hands spans to a collector, where one is named.

use opentelemetry::global;
use opentelemetry_sdk::trace::SdkTracerProvider;
use semel_client::BoxError;

/// Hands spans to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, if it does. Those that are left are handed over
/// when the provider is shut down.
pub(crate) fn traced() -> Result<Option<SdkTracerProvider>, BoxError> {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).build();
    global::set_tracer_provider(provider.clone());
    Ok(Some(provider))
}
