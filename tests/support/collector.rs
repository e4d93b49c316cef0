//! A real OpenTelemetry collector that writes what it is sent into files.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long something may take that always happens.
const AT_MOST: Duration = Duration::from_mins(2);

/// A collector; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Collector {
    process: Child,
    directory: tempfile::TempDir,
    address: Ipv4Addr,
    scheme: &'static str,
}

/// What a collector encrypts with: the contents of files in PEM form.
#[derive(Debug)]
pub(crate) struct CollectorTls {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// The authority of the certificates that it asks its clients for.
    pub(crate) client_ca: String,
}

/// A span as OTLP writes it in JSON, with the service that it is of.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) json: Value,
}

impl Collector {
    /// Builds it, where that was not done yet, and starts it.
    pub(crate) fn start() -> Self {
        Self::start_as(|_| None)
    }

    /// The same, which encrypts as is said for its address.
    pub(crate) fn start_encrypted(tls: impl FnOnce(Ipv4Addr) -> CollectorTls) -> Self {
        Self::start_as(|address| Some(tls(address)))
    }

    fn start_as(tls: impl FnOnce(Ipv4Addr) -> Option<CollectorTls>) -> Self {
        let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/otelcol/install");
        let built = Command::new(install).stderr(Stdio::inherit()).output().expect("it runs");
        assert!(built.status.success(), "the collector could not be built");
        let program = String::from_utf8(built.stdout).unwrap();
        let directory = tempfile::tempdir().unwrap();
        // Its ports have to be named, so its address is one that nobody else has.
        let [_, second, third, fourth] = rand::random::<[u8; 4]>();
        let address = Ipv4Addr::new(127, second, third, fourth.clamp(1, 254));
        let at = |name: &str| directory.path().join(name).display().to_string();
        let mut how = String::new();
        let scheme = if let Some(CollectorTls { certificate, key, client_ca }) = tls(address) {
            for (setting, text) in
                [("cert_file", certificate), ("key_file", key), ("client_ca_file", client_ca)]
            {
                std::fs::write(at(setting), text).unwrap();
                how = how + setting + ": '" + &at(setting) + "', ";
            }
            how = format!(", tls: {{ {} }}", how.trim_end_matches(", "));
            "https"
        } else {
            "http"
        };
        let config = format!(
            "receivers: {{ otlp: {{ protocols: {{ \
               grpc: {{ endpoint: '{address}:4317'{how} }}, http: {{ endpoint: '{address}:4318'{how} }} }} }} }}\n\
             exporters:\n  \
               file/traces: {{ path: '{traces}', flush_interval: 50ms }}\n  \
               file/metrics: {{ path: '{metrics}', flush_interval: 50ms }}\n\
             service:\n  \
               telemetry: {{ metrics: {{ level: none }} }}\n  \
               pipelines:\n    \
                 traces: {{ receivers: [otlp], exporters: [file/traces] }}\n    \
                 metrics: {{ receivers: [otlp], exporters: [file/metrics] }}\n",
            traces = at("traces.jsonl"),
            metrics = at("metrics.jsonl"),
        );
        std::fs::write(directory.path().join("config.yaml"), config).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let process = Command::new(program.trim())
            .args(["--config", &format!("file:{}", at("config.yaml"))])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the collector starts");
        let collector = Self { process, directory, address, scheme };
        let until = Instant::now() + AT_MOST;
        while [4317, 4318].iter().any(|port| TcpStream::connect((address, *port)).is_err()) {
            assert!(Instant::now() < until, "the collector does not listen:\n{}", collector.read("log"));
            std::thread::sleep(Duration::from_millis(10));
        }
        collector
    }

    /// Ends it in order, which has it write all that it was sent; what is answered reads its files.
    pub(crate) fn stop(mut self) -> impl Fn(&str) -> String {
        crate::program::send(&self.process, nix::sys::signal::Signal::SIGTERM);
        assert!(self.process.wait().unwrap().success(), "{}", self.read("log"));
        move |name: &str| self.read(name)
    }

    pub(crate) fn grpc(&self) -> String {
        format!("{}://{}:4317", self.scheme, self.address)
    }

    pub(crate) fn http(&self) -> String {
        format!("{}://{}:4318", self.scheme, self.address)
    }

    /// What one of its files holds so far.
    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// Every span, once `enough` says that all have arrived.
    pub(crate) fn spans(&self, enough: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let until = Instant::now() + AT_MOST;
        loop {
            let spans = read_spans(&self.read("traces.jsonl"));
            if enough(&spans) {
                return spans;
            }
            assert!(Instant::now() < until, "not all spans arrived: {spans:#?}\n{}", self.read("log"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last value of each series of a metric, by its attributes, once there are any.
    pub(crate) fn metric(&self, name: &str) -> Vec<(Vec<(String, String)>, u64)> {
        let until = Instant::now() + AT_MOST;
        loop {
            let text = self.read("metrics.jsonl");
            let exports = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let metrics: Vec<_> = exports.flat_map(|export| metrics_of(&export)).collect();
            if let Some(metric) = metrics.iter().rfind(|metric| metric["name"] == name) {
                return points(metric);
            }
            assert!(Instant::now() < until, "{name} did not arrive:\n{}", self.read("log"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended already.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl Span {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.json[field].as_str().unwrap_or_default()
    }

    /// An attribute's value, as text.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.json["attributes"], name)
    }
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// An attribute's value: OTLP names its type and holds numbers as texts.
fn attribute(attributes: &Value, name: &str) -> Option<String> {
    let found = list(attributes).into_iter().find(|attribute| attribute["key"] == name)?;
    let value = found["value"].as_object()?.values().next()?.clone();
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn read_spans(text: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    // The last line may not be whole yet.
    for export in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        for resource in list(&export["resourceSpans"]) {
            let service = attribute(&resource["resource"]["attributes"], "service.name").unwrap_or_default();
            for scope in list(&resource["scopeSpans"]) {
                spans.extend(
                    list(&scope["spans"]).into_iter().map(|json| Span { service: service.clone(), json }),
                );
            }
        }
    }
    spans
}

fn metrics_of(export: &Value) -> Vec<Value> {
    let resources = list(&export["resourceMetrics"]).into_iter();
    let scopes = resources.flat_map(|resource| list(&resource["scopeMetrics"]));
    scopes.flat_map(|scope| list(&scope["metrics"])).collect()
}

fn points(metric: &Value) -> Vec<(Vec<(String, String)>, u64)> {
    let kind = ["sum", "gauge", "histogram"].into_iter().find(|kind| metric[*kind].is_object()).unwrap();
    let number = |point: &Value| {
        let value = if kind == "histogram" { &point["count"] } else { &point["asInt"] };
        value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {point}"))
    };
    let labels = |point: &Value| {
        let names = list(&point["attributes"]).into_iter().map(|one| one["key"].as_str().unwrap().to_owned());
        let mut labels: Vec<_> =
            names.map(|name| (name.clone(), attribute(&point["attributes"], &name).unwrap())).collect();
        labels.sort();
        labels
    };
    list(&metric[kind]["dataPoints"]).iter().map(|point| (labels(point), number(point))).collect()
}
