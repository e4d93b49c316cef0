//! Spans and metrics through the API of OpenTelemetry: what the SDK gets, and what the server is told.

use opentelemetry::global;
use opentelemetry_sdk::metrics::data::{ResourceMetrics, ScopeMetrics};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use semel_client::testing::{Fake, Scripted};
use semel_client::{OnceOptions, Request};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_its_calls_are_spans_and_counted() {
    let spans = InMemorySpanExporter::default();
    let tracing = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    global::set_tracer_provider(tracing.clone());
    let metrics = InMemoryMetricExporter::default();
    let meters =
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(metrics.clone()).build()).build();
    global::set_meter_provider(meters.clone());

    let fake = Fake::new();
    fake.script("e", "gone", [Scripted::Unavailable]);
    let client = fake.client().expect("a client");
    client.once("e", "secret-key", Request::none(), async |_| Ok(1)).await.expect("it runs");
    let options = OnceOptions::new().fail_open().timeout(std::time::Duration::from_millis(1));
    client
        .once_with(options, "e", "gone", Request::none(), async |_| Ok(1))
        .await
        .expect("it runs unprotected");

    tracing.force_flush().expect("spans are exported");
    let spans = spans.get_finished_spans().expect("spans");
    let once = spans.iter().find(|span| span.name == "semel.once").expect("a span of once");
    let shown = |name: &str| {
        once.attributes.iter().find(|each| each.key.as_str() == name).map(|each| each.value.to_string())
    };
    assert_eq!(shown("semel.endpoint").as_deref(), Some("e"));
    assert_eq!(shown("semel.decision").as_deref(), Some("started"));
    assert_eq!(shown("semel.outcome").as_deref(), Some("completed"));
    assert_eq!(shown("semel.attempt").as_deref(), Some("1"));
    let calls: Vec<_> =
        spans.iter().filter(|span| span.parent_span_id == once.span_context.span_id()).collect();
    let names: Vec<_> = calls.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["semel.v1.IdempotencyService/Begin", "semel.v1.IdempotencyService/Complete"]);
    assert!(!format!("{spans:?}").contains("secret-key"), "a key is in a span");

    meters.force_flush().expect("metrics are exported");
    let exported = metrics.get_finished_metrics().expect("metrics");
    let names: Vec<_> = exported
        .iter()
        .flat_map(ResourceMetrics::scope_metrics)
        .flat_map(ScopeMetrics::metrics)
        .map(|metric| metric.name().to_owned())
        .collect();
    for wanted in ["semel.client.once", "semel.client.once.duration", "semel.client.unprotected"] {
        assert!(names.iter().any(|name| name == wanted), "no {wanted} among {names:?}");
    }
}
