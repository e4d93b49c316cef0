//! Hands spans and metrics to a collector, where one is named.

use opentelemetry::global;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use semel_client::BoxError;

/// Where spans and metrics are handed to.
pub(crate) struct Observed {
    tracing: SdkTracerProvider,
    metering: SdkMeterProvider,
}

/// Hands them to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names, if it does.
pub(crate) fn observed() -> Result<Option<Observed>, BoxError> {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() {
        return Ok(None);
    }
    let spans = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let tracing = SdkTracerProvider::builder().with_batch_exporter(spans).build();
    global::set_tracer_provider(tracing.clone());
    let metrics = opentelemetry_otlp::MetricExporter::builder().with_tonic().build()?;
    let metering = SdkMeterProvider::builder().with_periodic_exporter(metrics).build();
    global::set_meter_provider(metering.clone());
    Ok(Some(Observed { tracing, metering }))
}

impl Observed {
    /// Hands over those that are left.
    pub(crate) fn end(self) -> Result<(), BoxError> {
        self.tracing.shutdown()?;
        Ok(self.metering.shutdown()?)
    }
}
