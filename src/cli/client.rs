//! Calls to the server: where it is, how long it is tried, and what is sent again.

use std::time::Duration;

use clap::Args;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::failure::{Failure, is_lost};
use crate::config::parse_duration;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Which server, and whose records.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// The server's address
    #[arg(long, env = "SEMEL_SERVER", value_name = "URL", default_value = "http://127.0.0.1:7400")]
    pub(crate) server: String,
    /// Whose records
    #[arg(long, env = "SEMEL_TENANT", default_value = "default")]
    pub(crate) tenant: String,
    /// How long to try to get an answer; a --wait is on top of it
    #[arg(long, env = "SEMEL_TIMEOUT", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,
    /// The W3C traceparent that the call belongs to
    #[arg(long, env = "TRACEPARENT", value_name = "TRACEPARENT", hide_short_help = true)]
    pub(crate) traceparent: Option<String>,
}

/// A server, reached when it is called.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    channel: Channel,
    server: String,
    timeout: Duration,
    traceparent: Option<tonic::metadata::AsciiMetadataValue>,
}

impl Client {
    pub(crate) fn new(target: &Target) -> Result<Self, Failure> {
        let server = if target.server.contains("://") {
            target.server.clone()
        } else {
            format!("http://{}", target.server)
        };
        if !server.starts_with("http://") {
            return Err(Failure::Usage(format!(
                "--server {server} is not an http:// address; this release speaks no other"
            )));
        }
        let endpoint = Endpoint::from_shared(server.clone())
            .map_err(|error| Failure::Usage(format!("--server {server} is no address: {error}")))?;
        let traceparent = match &target.traceparent {
            None => None,
            Some(text) => Some(
                text.parse()
                    .map_err(|_| Failure::Usage("--traceparent is not a header's value".to_owned()))?,
            ),
        };
        Ok(Self { channel: endpoint.connect_lazy(), server, timeout: target.timeout, traceparent })
    }

    /// Sends `message` until it is answered, for as long as the target's timeout and `more`. Only what got no answer
    /// is sent again, and always unchanged: the contract gives it the effect of being sent once.
    pub(crate) async fn call<M: Clone, A>(
        &self,
        message: &M,
        more: Duration,
        send: impl AsyncFn(Channel, Request<M>) -> Result<Response<A>, Status>,
    ) -> Result<A, Failure> {
        let within = self.timeout.saturating_add(more);
        let until = Instant::now() + within;
        let mut pause = FIRST_PAUSE;
        loop {
            let mut request = Request::new(message.clone());
            request.set_timeout(until.saturating_duration_since(Instant::now()));
            if let Some(traceparent) = &self.traceparent {
                request.metadata_mut().insert("traceparent", traceparent.clone());
            }
            match send(self.channel.clone(), request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if is_lost(&status) && Instant::now() + pause < until => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(status) => return Err(Failure::of(&status, &self.server, within)),
            }
        }
    }

    /// The same server, tried for another length of time.
    pub(crate) fn within(&self, timeout: Duration) -> Self {
        Self { timeout, ..self.clone() }
    }
}
