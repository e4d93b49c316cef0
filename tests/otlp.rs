//! The built server and a real collector: what arrives there, over gRPC and over HTTP, and that a collector which is
//! not there is in nobody's way.

#[path = "support/authority.rs"]
mod authority;
#[path = "support/collector.rs"]
mod collector;
#[path = "support/program.rs"]
mod program;
#[path = "support/samples.rs"]
mod samples;
#[path = "support/mod.rs"]
mod support;

use std::time::Instant;

use authority::{Authority, Pair};
use collector::{Collector, CollectorTls, Span};
use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use program::Program;
use samples::Samples;

const KEY: &str = "canary-key";
/// What the log says of a collector that is not there.
const LOST: &str = "the collector does not take telemetry";

fn serve(variables: &[(&str, &str)]) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = support::semel();
    command.current_dir(directory.path()).env("OTEL_BSP_SCHEDULE_DELAY", "50");
    for (name, value) in variables {
        command.env(name, value);
    }
    command.args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--store", "memory"]);
    (Program::run(command), directory)
}

/// A service that calls semel, and traces what it does.
struct Client {
    provider: SdkTracerProvider,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    fn new(name: &str, collector: &Collector) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let exporter = {
            let _within = runtime.enter();
            let builder = opentelemetry_otlp::SpanExporter::builder().with_tonic();
            builder.with_endpoint(collector.grpc()).build().unwrap()
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder_empty().with_service_name(name.to_owned()).build())
            .build();
        Self { provider, runtime }
    }

    /// Calls semel within a span, and gives what it said and the span's ids.
    fn call(&self, server: &Program, arguments: &[&str]) -> (serde_json::Value, (String, String)) {
        let tracer = self.provider.tracer("test");
        let span = tracer.span_builder("charge").with_kind(SpanKind::Client).start(&tracer);
        let context = span.span_context().clone();
        let (trace, id) = (context.trace_id().to_string(), context.span_id().to_string());
        let within = opentelemetry::Context::current_with_span(span);
        let traceparent = format!("00-{trace}-{id}-01");
        let (_, said) = server.json(&[arguments, &["--traceparent", &traceparent]].concat());
        within.span().end();
        (said, (trace, id))
    }

    fn finish(self) {
        self.provider.shutdown().unwrap();
        drop(self.runtime);
    }
}

/// The spans of semel with this decision.
fn with_decision<'a>(spans: &'a [Span], decision: &str) -> Vec<&'a Span> {
    let is_it = |span: &&Span| span.attribute("semel.decision").as_deref() == Some(decision);
    spans.iter().filter(is_it).collect()
}

#[test]
fn a_duplicates_link_resolves_to_the_span_of_the_original() {
    let collector = Collector::start();
    let mut links = 0;
    for (protocol, endpoint) in [("grpc", collector.grpc()), ("http/protobuf", collector.http())] {
        let service = format!("semel-{}", &protocol[..4]);
        let (server, _directory) = serve(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_SERVICE_NAME", &service),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
        ]);
        let (original, duplicate) =
            (Client::new("original", &collector), Client::new("duplicate", &collector));
        let begin = ["begin", "--endpoint", "jobs/Nightly", "--key", KEY];
        let (begun, first) = original.call(&server, &begin);
        let (_, second) = duplicate.call(&server, &begin);
        let (fence, attempt) = (begun["fence"].to_string(), begun["attempt_id"].as_str().unwrap().to_owned());
        let complete =
            ["complete", "--endpoint", "jobs/Nightly", "--key", KEY, "--payload", "canary-payload"];
        let complete = [&complete, &["--fence", &fence, "--attempt-id", &attempt][..]].concat();
        original.call(&server, &complete);
        let (replay, third) = duplicate.call(&server, &begin);
        assert_eq!(replay["decision"], "replayed");
        let scraped = Samples::read(&server.get("/metrics").1);
        original.finish();
        duplicate.finish();
        assert!(server.stop().success(), "what is left is sent before it ends");

        // They come in any order: the span of each call, the store's of the first, and their callers' own.
        let spans = collector.spans(|spans| {
            let of_semel: Vec<_> = spans.iter().filter(|span| span.service == service).cloned().collect();
            let once = |decision: &&str| with_decision(&of_semel, decision).len() == 1;
            let below =
                |of: &Span| of_semel.iter().any(|span| span.text("parentSpanId") == of.text("spanId"));
            ["started", "in_progress", "completed", "replayed"].iter().all(once)
                && below(with_decision(&of_semel, "started")[0])
                && [&first, &third].iter().all(|(_, id)| spans.iter().any(|span| span.text("spanId") == id))
        });
        let own: Vec<Span> = spans.iter().filter(|span| span.service == service).cloned().collect();
        let [started] = with_decision(&own, "started")[..] else { panic!("{own:#?}") };
        assert_eq!((started.text("traceId"), started.text("parentSpanId")), (&*first.0, &*first.1));
        assert_eq!(started.text("name"), "semel.v1.IdempotencyService/Begin");
        assert_eq!(started.json["kind"], 2, "a server's");
        assert_eq!(started.attribute("semel.tenant").as_deref(), Some("default"));
        assert_eq!(started.attribute("semel.endpoint").as_deref(), Some("jobs/Nightly"));
        assert_eq!(started.attribute("semel.fence"), Some(fence));
        assert_eq!(started.attribute("semel.attempt").as_deref(), Some("1"));
        assert_eq!(started.attribute("semel.key_hash").map(|hash| hash.len()), Some(16));
        let below: Vec<_> =
            own.iter().filter(|span| span.text("parentSpanId") == started.text("spanId")).collect();
        assert_eq!(below.len(), 1, "{below:#?}");
        assert_eq!((below[0].text("name"), &below[0].json["kind"]), ("compare_and_put record", &3.into()));
        assert_eq!(below[0].attribute("db.operation.name").as_deref(), Some("compare_and_put"));

        for (decision, caller) in [("in_progress", &second), ("replayed", &third)] {
            let [found] = with_decision(&own, decision)[..] else { panic!("{own:#?}") };
            assert_eq!((found.text("traceId"), found.text("parentSpanId")), (&*caller.0, &*caller.1));
            let link = &found.json["links"][0];
            let linked: Vec<_> = spans
                .iter()
                .filter(|span| {
                    span.json["traceId"] == link["traceId"] && span.json["spanId"] == link["spanId"]
                })
                .collect();
            assert_eq!(linked.len(), 1, "the link resolves to one span: {link}");
            assert_eq!((&*linked[0].service, linked[0].text("name")), ("original", "charge"));
            assert_eq!((linked[0].text("traceId"), linked[0].text("spanId")), (&*first.0, &*first.1));
            links += 1;
        }

        let mut arrived = 0;
        for (labels, value) in collector.metric("semel.decisions") {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let series = format!("semel_decisions_total{{{}}}", labels.join(","));
            assert_eq!(scraped.of(&series), value, "{series}");
            arrived += usize::from(value > 0);
        }
        assert_eq!(arrived, scraped.above_zero("semel_decisions_total").len());
    }
    for file in ["traces.jsonl", "metrics.jsonl"] {
        assert!(!collector.read(file).contains("canary"), "{file} holds a key or a payload");
    }
    assert!(collector.read("traces.jsonl").contains("deployment.environment.name"));
    support::count("traced_links", links);
}

/// A collector whose authority is one's own, and which asks for a certificate: it gets everything from whoever has
/// both, and nothing from others, who say so and serve all the same.
#[test]
fn a_collector_is_reached_over_tls_by_an_authority_of_ones_own() {
    let (authority, other) = (Authority::new(), Authority::new());
    let collector = Collector::start_encrypted(|address| {
        let Pair { certificate, key } = authority.server_at(address);
        CollectorTls { certificate, key, client_ca: authority.pem.clone() }
    });
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let client = authority.client(&[]);
    let (ca, foreign) = (file("ca.pem", &authority.pem), file("foreign.pem", &other.pem));
    let (certificate, key) = (file("client.pem", &client.certificate), file("client-key.pem", &client.key));
    let own = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", &*ca),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key),
    ];
    let mut reached = 0;
    for (protocol, endpoint) in [("grpc", collector.grpc()), ("http/protobuf", collector.http())] {
        let service = format!("semel-{}", &protocol[..4]);
        let to = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_SERVICE_NAME", &service),
        ];
        let (server, _data) = serve(&[&to[..], &own].concat());
        server.json(&["begin", "--endpoint", "jobs/Nightly", "--key", KEY]);
        assert!(server.stop().success());
        let arrived = |spans: &[Span]| spans.iter().filter(|span| span.service == service).count();
        reached += arrived(&collector.spans(|spans| arrived(spans) >= 2));

        let not_believed = [("OTEL_EXPORTER_OTLP_CERTIFICATE", &*foreign), own[1], own[2]];
        for wrong in [&not_believed[..], &own[..1]] {
            let (server, _data) = serve(&[&to[..], wrong].concat());
            let said = server.json(&["begin", "--endpoint", "jobs/Nightly", "--key", KEY]).1;
            assert_eq!(said["decision"], "started");
            server.log.wait_for(LOST, 1);
            assert!(server.stop().success());
        }
    }
    assert_eq!(reached, 4, "a call and its store call, over gRPC and over HTTP, and of nobody else");
}

/// Nobody is there: calls are served as ever, it is said once a minute, and the server ends in order.
#[test]
fn a_collector_that_is_not_there_is_in_nobodys_way() {
    let began = Instant::now();
    for protocol in ["grpc", "http/protobuf"] {
        let (mut server, _directory) = serve(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            // Nobody may listen on this port.
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "50"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
        ]);
        for key in ["a", "b"] {
            let said = server.json(&["begin", "--endpoint", "jobs/Nightly", "--key", key]).1;
            assert_eq!(said["decision"], "started");
        }
        server.log.wait_for(LOST, 1);
        for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            server.json(&["begin", "--endpoint", "jobs/Nightly", "--key", key]);
        }
        server.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(server.wait().success());
        let said = server.log.text().matches(LOST).count();
        let minutes = usize::try_from(began.elapsed().as_secs() / 60).unwrap();
        assert!(said <= 1 + minutes, "said {said} times:\n{}", server.log.text());
    }
}

#[test]
fn variables_that_make_no_sense_end_the_start_and_are_named() {
    let wrong: [(&[(&str, &str)], &str); 5] = [
        (&[("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")], "write grpc or http/protobuf"),
        (&[("OTEL_TRACES_SAMPLER", "sometimes")], "write always_on, always_off or traceidratio"),
        (
            &[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")],
            "write a number from 0 to 1",
        ),
        (&[("OTEL_TRACES_EXPORTER", "zipkin")], "write otlp or none"),
        (&[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")], "cannot be read"),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (variables, right) in wrong {
        let mut command = support::semel();
        command.current_dir(directory.path()).env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
            "--store",
            "memory",
        ]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let errors = program::errors(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(variables.last().unwrap().0) && errors.contains(right), "{errors}");
    }
}

/// Where nobody names a collector, none is looked for.
#[test]
fn without_a_variable_nothing_is_sent() {
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"), ("OTEL_SDK_DISABLED", "true")][..],
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
        ][..],
    ] {
        let (mut server, _directory) = serve(variables);
        server.json(&["begin", "--endpoint", "jobs/Nightly", "--key", "k"]);
        server.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(server.wait().success());
        let log = server.log.text();
        assert!(!log.contains("collector"), "{log}");
    }
}
