//! Calls to the server: where it is, how long it is tried, and what is sent again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, timeout_at};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::failure::{Failure, is_lost, pause_of};
use crate::config::parse_duration;
use crate::proto::idempotency_service_client::IdempotencyServiceClient;
use crate::proto::operator_service_client::OperatorServiceClient;
use crate::remote::{Access, Remote};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long one attempt to connect may take, and an answer to a ping. A server that is gone may also just be silent:
/// nothing refuses the connection, and nothing breaks it.
const SILENCE: Duration = Duration::from_secs(5);

const SERVER_VARIABLE: &str = "SEMEL_SERVER";
const DEFAULT_SERVER: &str = "http://127.0.0.1:7400";

/// The largest answer that is taken: what `limits.max_response_bytes` of a server may be at most.
const MOST_ANSWER_BYTES: usize = 1 << 30;

/// The service that every caller uses.
pub(crate) fn idempotency_service(channel: Channel) -> IdempotencyServiceClient<Channel> {
    IdempotencyServiceClient::new(channel).max_decoding_message_size(MOST_ANSWER_BYTES)
}

/// The operators' service.
pub(crate) fn operator_service(channel: Channel) -> OperatorServiceClient<Channel> {
    OperatorServiceClient::new(channel).max_decoding_message_size(MOST_ANSWER_BYTES)
}

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
    /// How long a call is tried in all.
    timeout: Duration,
    /// How long one try may take before it is sent again.
    patience: Duration,
    /// Errors that may pass do not end a call either.
    insists: bool,
    traceparent: Option<tonic::metadata::AsciiMetadataValue>,
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
        let traceparent = match &connection.traceparent {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| Failure::Usage("--traceparent is not a header's value".to_owned()))?,
            ),
        };
        Ok(Self {
            remote,
            timeout: connection.timeout,
            patience: connection.timeout,
            insists: false,
            traceparent,
        })
    }

    /// Sends `message` until it is answered. Only what got no answer is sent again, and always unchanged: the
    /// contract gives it the effect of being sent once. Calls that got no answer are sent again for as long as the
    /// client's timeout; a single one may take `more`, because the server holds it.
    pub(crate) async fn call<M: Clone, A>(
        &self,
        message: &M,
        more: Duration,
        send: impl AsyncFn(Channel, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        self.timed_call(message, more, send).await.map(|(answer, _)| answer)
    }

    /// As [`Self::call`]; tells also when that was sent which was answered.
    pub(crate) async fn timed_call<M: Clone, A>(
        &self,
        message: &M,
        more: Duration,
        send: impl AsyncFn(Channel, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<(A, Instant), Failure> {
        let began = Instant::now();
        let until = began + self.timeout.saturating_add(more);
        let mut give_up = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = Instant::now();
            let longest = self.patience.saturating_add(more).min(until.saturating_duration_since(sent));
            let mut request = self.remote.request(message.clone());
            request.set_timeout(longest);
            if let Some(traceparent) = &self.traceparent {
                request.metadata_mut().insert("traceparent", traceparent.clone());
            }
            // The request's own timeout counts only once there is a connection.
            let status = match timeout_at(sent + longest, send(self.remote.channel(), request)).await {
                Ok(Ok(response)) => return Ok((response.into_inner(), sent)),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            let asked = if self.insists { pause_of(&status) } else { None };
            let again = Instant::now() + pause.max(asked.unwrap_or_default());
            let give_up = *give_up.get_or_insert(sent + self.timeout);
            if !(is_lost(&status) || asked.is_some()) || again >= give_up || again >= until {
                return Err(Failure::of(&status, self.server(), began.elapsed()));
            }
            tokio::time::sleep_until(again).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The same server, for an owner's word about its attempt. That is not dropped for a bug, nor because the server
    /// is too busy: the work is done, and only the word of it can still be lost.
    pub(crate) fn insisting(&self) -> Self {
        Self { insists: true, ..self.clone() }
    }

    /// The same server, tried for another length of time in all.
    pub(crate) fn within(&self, timeout: Duration) -> Self {
        Self { timeout, patience: self.patience.min(timeout), ..self.clone() }
    }

    /// The same server, with another length of time after which a call without an answer is sent again.
    pub(crate) fn patient(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The server's address.
    pub(crate) fn server(&self) -> &str {
        self.remote.address()
    }
}
