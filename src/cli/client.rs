//! Calls to the server: where it is, how long it is tried. What is sent again is the client library's to say.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{FutureExt as _, SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use semel_client::ClientOptions;
use tokio::time::Instant;
use tonic::transport::Endpoint;

use super::failure::Failure;
use crate::config::parse_duration;
use crate::remote::{Access, Remote};

/// How long one attempt to connect may take, and an answer to a ping. A server that is gone may also just be silent:
/// nothing refuses the connection, and nothing breaks it.
const SILENCE: Duration = Duration::from_secs(5);

const SERVER_VARIABLE: &str = "SEMEL_SERVER";
const DEFAULT_SERVER: &str = "http://127.0.0.1:7400";

/// The largest answer that is taken: what `limits.max_response_bytes` of a server may be at most.
const MOST_ANSWER_BYTES: usize = 1 << 30;

/// What the server is believed by, and the credential that it is shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct AccessArgs {
    /// The authorities that sign the server's certificate, in PEM form; without it, those of the system
    #[arg(long, env = "SEMEL_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A client certificate to show, in PEM form
    #[arg(long, env = "SEMEL_TLS_CERT", value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, in PEM form
    #[arg(long, env = "SEMEL_TLS_KEY", value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// A file that holds a bearer token to show
    #[arg(long, env = "SEMEL_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl AccessArgs {
    /// The server at `server`, reached in this way.
    pub(crate) fn remote(&self, server: &str, shape: fn(Endpoint) -> Endpoint) -> Result<Remote, Failure> {
        let file = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let access = Access {
            ca: file(&self.tls_ca),
            certificate: file(&self.tls_cert),
            key: file(&self.tls_key),
            token: file(&self.token_file),
        };
        Remote::new(server, access, shape).map_err(Failure::Usage)
    }

    /// The variables by which a command that is started finds the same files, wherever it is.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        [
            ("SEMEL_TLS_CA", &self.tls_ca),
            ("SEMEL_TLS_CERT", &self.tls_cert),
            ("SEMEL_TLS_KEY", &self.tls_key),
            ("SEMEL_TOKEN_FILE", &self.token_file),
        ]
        .into_iter()
        .filter_map(|(name, path)| Some((name, std::path::absolute(path.as_ref()?).ok()?)))
        .collect()
    }
}

/// Which server, and whose records.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Whose records
    #[arg(long, env = "SEMEL_TENANT", default_value = "default")]
    pub(crate) tenant: String,
}

/// Which server, and how it is called.
#[derive(Clone, Debug, Args)]
pub(crate) struct Connection {
    /// The server's address
    #[arg(long, env = SERVER_VARIABLE, value_name = "URL", default_value = DEFAULT_SERVER)]
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// How long to try to get an answer; a --wait is on top of it
    #[arg(long, env = "SEMEL_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// The W3C traceparent that the call belongs to
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT", hide_short_help = true)]
    pub(crate) traceparent: Option<String>,
}

impl Connection {
    /// The server, where a later command of the same shell would not call it by itself: it was named by a flag.
    pub(crate) fn named_server(&self) -> Option<&str> {
        let by_itself = std::env::var(SERVER_VARIABLE).unwrap_or_else(|_| DEFAULT_SERVER.to_owned());
        (self.server != by_itself).then_some(self.server.as_str())
    }
}

/// A server, reached when it is called.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    remote: Remote,
    semel: semel_client::Client,
    /// What its calls belong to.
    context: Context,
}

impl Client {
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let shape = |endpoint: Endpoint| {
            endpoint
                .connect_timeout(SILENCE)
                .http2_keep_alive_interval(SILENCE)
                .keep_alive_timeout(SILENCE)
                .keep_alive_while_idle(true)
        };
        let remote = connection.access.remote(&connection.server, shape)?;
        let mut context = Context::new();
        if let Some(text) = &connection.traceparent
            && let Some(caller) = traceparent(text)
        {
            context = context.with_remote_span_context(caller);
        }
        Ok(Self { semel: library(&remote, connection.timeout)?, remote, context })
    }

    /// What a call of the library comes to, for people.
    pub(crate) async fn call<A>(
        &self,
        send: impl AsyncFnOnce(&semel_client::Client) -> Result<A, semel_client::Error>,
    ) -> Result<A, Failure> {
        let began = Instant::now();
        self.within_context(send).await.map_err(|error| self.failure(&error, began.elapsed()))
    }

    /// What a use of the library comes to that belongs to the caller's trace.
    pub(crate) async fn within_context<A>(&self, used: impl AsyncFnOnce(&semel_client::Client) -> A) -> A {
        used(&self.semel).with_context(self.context.clone()).await
    }

    /// An error of the library, after that time.
    pub(crate) fn failure(&self, error: &semel_client::Error, within: Duration) -> Failure {
        Failure::of(error, self.server(), within)
    }

    /// The same server, tried for another length of time in all.
    pub(crate) fn within(&self, timeout: Duration) -> Result<Self, Failure> {
        Ok(Self { semel: library(&self.remote, timeout)?, ..self.clone() })
    }

    /// The server's address.
    pub(crate) fn server(&self) -> &str {
        self.remote.address()
    }
}

/// The client library on the connection to a server. Every request names its tenant; people ask again by themselves.
fn library(remote: &Remote, timeout: Duration) -> Result<semel_client::Client, Failure> {
    let options = ClientOptions::new().tenant("").timeout(timeout).try_timeout(timeout).fail_fast();
    semel_client::Client::through(remote.clone(), options.largest_answer(MOST_ANSWER_BYTES))
        .map_err(|error| Failure::Usage(error.to_string()))
}

/// Reads a W3C traceparent; one that is none is not passed on.
fn traceparent(text: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([("traceparent".to_owned(), text.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    context.has_active_span().then(|| context.span().span_context().clone())
}
