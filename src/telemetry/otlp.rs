//! The way to a collector: OTLP over gRPC or HTTP, as the standard variables say.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::SpanData;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tracing::{info, warn};

use super::TelemetryError;
use super::environment::{first, read, refused};

/// How often a collector that cannot be reached is complained of.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// As the specification has it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// One kind of what is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signal {
    name: &'static str,
    exporter: &'static str,
    endpoint: &'static str,
    protocol: &'static str,
    timeout: &'static str,
    certificate: &'static str,
    client_certificate: &'static str,
    client_key: &'static str,
}

macro_rules! signal {
    ($name:literal, $upper:literal) => {
        Signal {
            name: $name,
            exporter: concat!("OTEL_", $upper, "_EXPORTER"),
            endpoint: concat!("OTEL_EXPORTER_OTLP_", $upper, "_ENDPOINT"),
            protocol: concat!("OTEL_EXPORTER_OTLP_", $upper, "_PROTOCOL"),
            timeout: concat!("OTEL_EXPORTER_OTLP_", $upper, "_TIMEOUT"),
            certificate: concat!("OTEL_EXPORTER_OTLP_", $upper, "_CERTIFICATE"),
            client_certificate: concat!("OTEL_EXPORTER_OTLP_", $upper, "_CLIENT_CERTIFICATE"),
            client_key: concat!("OTEL_EXPORTER_OTLP_", $upper, "_CLIENT_KEY"),
        }
    };
}

pub(super) const TRACES: Signal = signal!("traces", "TRACES");
pub(super) const METRICS: Signal = signal!("metrics", "METRICS");

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Grpc,
    Http,
}

impl Signal {
    /// Whether it is sent: where a collector is named, or the exporter says so. A server that nobody told of a
    /// collector looks for none.
    fn is_wanted(self) -> Result<bool, TelemetryError> {
        let disabled = read("OTEL_SDK_DISABLED")?;
        if disabled.is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
            return Ok(false);
        }
        if let Some(names) = read(self.exporter)? {
            let mut wanted = false;
            for name in names.split(',').map(str::trim) {
                match name {
                    "otlp" => wanted = true,
                    // Prometheus is always served.
                    "none" | "prometheus" => {}
                    _ => return Err(refused(self.exporter, &names, "write otlp or none")),
                }
            }
            return Ok(wanted);
        }
        Ok(first(&[self.endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT"])?.is_some())
    }

    fn protocol(self) -> Result<Protocol, TelemetryError> {
        let Some((variable, name)) = first(&[self.protocol, "OTEL_EXPORTER_OTLP_PROTOCOL"])? else {
            return Ok(Protocol::Http);
        };
        match &*name {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::Http),
            _ => Err(refused(variable, &name, "write grpc or http/protobuf")),
        }
    }

    fn timeout(self) -> Result<Duration, TelemetryError> {
        let Some((variable, text)) = first(&[self.timeout, "OTEL_EXPORTER_OTLP_TIMEOUT"])? else {
            return Ok(DEFAULT_TIMEOUT);
        };
        let millis =
            text.parse().map_err(|_| refused(variable, &text, "write milliseconds, such as 10000"))?;
        Ok(Duration::from_millis(millis))
    }

    fn tls(self) -> Result<TlsFiles, TelemetryError> {
        let file = |own, shared| -> Result<Option<PemFile>, TelemetryError> {
            let Some((variable, path)) = first(&[own, shared])? else { return Ok(None) };
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(PemFile { variable, path, bytes })),
                Err(error) => Err(refused(variable, &path, &format!("which cannot be read: {error}"))),
            }
        };
        Ok(TlsFiles {
            ca: file(self.certificate, "OTEL_EXPORTER_OTLP_CERTIFICATE")?,
            certificate: file(self.client_certificate, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")?,
            key: file(self.client_key, "OTEL_EXPORTER_OTLP_CLIENT_KEY")?,
        })
    }

    fn broken(self) -> impl Fn(opentelemetry_otlp::ExporterBuildError) -> TelemetryError {
        move |error| TelemetryError::Exporter { signal: self.name, problem: error.to_string() }
    }
}

/// The exporter of spans, where they are wanted. Has to be called within the runtime that is to drive it.
pub(super) fn spans(health: &Arc<Health>) -> Result<Option<Watched<SpanExporter>>, TelemetryError> {
    if !TRACES.is_wanted()? {
        return Ok(None);
    }
    let tls = TRACES.tls()?;
    let exporter = match TRACES.protocol()? {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_tls_config(tls.for_grpc()).build(),
        Protocol::Http => {
            SpanExporter::builder().with_http().with_http_client(tls.http_client(TRACES.timeout()?)?).build()
        }
    };
    Ok(Some(Watched::new(TRACES, exporter.map_err(TRACES.broken())?, health)))
}

/// The same of metrics.
pub(super) fn metrics(health: &Arc<Health>) -> Result<Option<Watched<MetricExporter>>, TelemetryError> {
    if !METRICS.is_wanted()? {
        return Ok(None);
    }
    let tls = METRICS.tls()?;
    let exporter = match METRICS.protocol()? {
        Protocol::Grpc => MetricExporter::builder().with_tonic().with_tls_config(tls.for_grpc()).build(),
        Protocol::Http => MetricExporter::builder()
            .with_http()
            .with_http_client(tls.http_client(METRICS.timeout()?)?)
            .build(),
    };
    Ok(Some(Watched::new(METRICS, exporter.map_err(METRICS.broken())?, health)))
}

/// A file in PEM form, and what named it.
struct PemFile {
    variable: &'static str,
    path: String,
    bytes: Vec<u8>,
}

impl PemFile {
    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TelemetryError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            _ => Err(refused(self.variable, &self.path, "which holds no certificate in PEM form")),
        }
    }
}

/// What a connection to the collector is secured with, where its address says https.
struct TlsFiles {
    ca: Option<PemFile>,
    certificate: Option<PemFile>,
    key: Option<PemFile>,
}

impl TlsFiles {
    fn for_grpc(&self) -> ClientTlsConfig {
        let tls = match &self.ca {
            Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca.bytes)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                tls.identity(Identity::from_pem(&certificate.bytes, &key.bytes))
            }
            _ => tls,
        }
    }

    fn http_client(
        &self,
        timeout: Duration,
    ) -> Result<HyperClient<hyper_rustls::HttpsConnector<Connector>>, TelemetryError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => roots.add_parsable_certificates(ca.certificates()?),
            // Without any, nothing over https works, and saying so is left to the first try.
            None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TelemetryError::Tls(error.to_string()))?
            .with_root_certificates(roots);
        let tls = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let private = PrivateKeyDer::from_pem_slice(&key.bytes).map_err(|_| {
                    refused(key.variable, &key.path, "which holds no private key in PEM form")
                })?;
                tls.with_client_auth_cert(certificate.certificates()?, private)
                    .map_err(|error| TelemetryError::Tls(error.to_string()))?
            }
            _ => tls.with_no_client_auth(),
        };
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(HyperClient::new(connector, timeout, None))
    }
}

type Connector = hyper_util::client::legacy::connect::HttpConnector;

/// Whether the collector takes what it is sent. Says so at most once a minute: calls go on whatever it does.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Complaints>);

#[derive(Debug, Default)]
struct Complaints {
    /// When the last one was made.
    last: Option<Instant>,
    /// It was not taken back yet.
    stands: bool,
    failing: BTreeSet<&'static str>,
    failures: u64,
}

impl Health {
    fn note(&self, signal: Signal, result: &OTelSdkResult) {
        let mut complaints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                complaints.failing.remove(signal.name);
                if complaints.stands && complaints.failing.is_empty() {
                    complaints.stands = false;
                    let failures = std::mem::take(&mut complaints.failures);
                    info!(failures, "the collector takes telemetry again");
                }
            }
            Err(error) => {
                complaints.failing.insert(signal.name);
                complaints.failures += 1;
                if complaints.last.is_none_or(|last| last.elapsed() >= SAY_EVERY) {
                    (complaints.last, complaints.stands) = (Some(Instant::now()), true);
                    let (signal, failures) = (signal.name, complaints.failures);
                    warn!(
                        signal,
                        failures,
                        %error,
                        "the collector does not take telemetry, which is lost meanwhile; calls are not affected"
                    );
                }
            }
        }
    }
}

/// An exporter that says when the collector cannot be reached. It is called on threads of the SDK's own, and does its
/// work in our runtime.
pub(super) struct Watched<E> {
    signal: Signal,
    exporter: E,
    runtime: Handle,
    health: Arc<Health>,
}

impl<E> Watched<E> {
    fn new(signal: Signal, exporter: E, health: &Arc<Health>) -> Self {
        Self { signal, exporter, runtime: Handle::current(), health: health.clone() }
    }

    async fn watch(&self, export: impl Future<Output = OTelSdkResult>) -> OTelSdkResult {
        let mut export = std::pin::pin!(export);
        let result = std::future::poll_fn(|context| {
            let _within = self.runtime.enter();
            export.as_mut().poll(context)
        })
        .await;
        self.health.note(self.signal, &result);
        result
    }
}

impl<E> fmt::Debug for Watched<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Exporters hold headers, which may hold credentials.
        f.debug_struct("Watched").field("signal", &self.signal.name).finish_non_exhaustive()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Watched<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.watch(self.exporter.export(batch)).await
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Watched<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.watch(self.exporter.export(metrics)).await
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
