//! `semel begin`

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clap::Args;
use semel_client::proto::begin_response::Decision;
use semel_client::proto::result::Outcome;
use semel_client::proto::{self, BeginRequest};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::KeyArgs;
use super::output::{Output, Report, Value};
use super::record_view::{checkpoints, result_fields, unresolved_reason};
use super::result_args::read_input;
use crate::config::parse_duration;

/// Reserve a key, or learn what became of it
#[derive(Debug, Args)]
pub(crate) struct Begin {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    options: BeginOptions,
    /// Names this attempt: a UUID, made anew where absent. To learn what became of a lost begin, send its own
    #[arg(long, value_name = "UUID")]
    attempt_id: Option<String>,
    /// How long to be held while another attempt runs; the server's policy cuts it
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    wait: Duration,
    /// This is known to be a retry: the server reads before it writes
    #[arg(long)]
    retry: bool,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// What a begin may say about its operation.
#[derive(Clone, Debug, Args)]
pub(crate) struct BeginOptions {
    /// Digest of the request, in hexadecimal: another request under the same key is then refused
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    fingerprint: Option<Bytes>,
    /// Take the SHA-256 of this file (- for standard input) as the fingerprint
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    fingerprint_of: Option<PathBuf>,
    /// How long to own the key without a renew
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
    /// How long the outcome is kept
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    retention: Option<Duration>,
    /// When the operation was first sent, such as 2026-11-22T10:00:00Z: a retry that is too late is refused
    #[arg(long, value_name = "RFC3339", value_parser = parse_time)]
    first_sent: Option<SystemTime>,
    /// For people, such as order=4711; may be given again
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
}

impl BeginOptions {
    /// The whole request.
    pub(crate) fn request(
        &self,
        key: proto::Key,
        attempt_id: String,
        wait: Duration,
    ) -> Result<BeginRequest, Failure> {
        let fingerprint = match &self.fingerprint_of {
            Some(file) => sha256_of(file)?,
            None => self.fingerprint.clone().unwrap_or_default(),
        };
        Ok(BeginRequest {
            key: Some(key),
            attempt_id,
            fingerprint,
            lease: self.lease.map(sent_length),
            retention: self.retention.map(sent_length),
            wait: Some(sent_length(wait)),
            first_sent: self.first_sent.map(Into::into),
            retry: false,
            labels: self.label.iter().cloned().collect(),
        })
    }
}

/// What a shell must not keep from an earlier begin.
pub(crate) const FIELDS: &[&str] = &[
    "decision",
    "endpoint",
    "key",
    "fence",
    "attempt",
    "attempt_id",
    "lease_seconds",
    "lease_expires_at",
    "checkpoints",
    "outcome",
    "code",
    "content_type",
    "headers",
    "payload_base64",
    "payload_omitted",
    "completed_at",
    "expires_at",
    "retry_after_seconds",
    "backing_off",
    "waited_seconds",
    "original_fence",
    "reason",
    "detail",
    "since",
    "original_traceparent",
];

impl Begin {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let attempt_id = self.attempt_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let key = self.key.of(&self.target.tenant);
        let mut request = self.options.request(key, attempt_id, self.wait)?;
        request.retry = self.retry;
        let decision =
            begin(client, &request).await.map_err(|failure| failure.of_begin(&request.attempt_id))?;
        let mut report = report(&request, decision);
        // Whoever completes has to reach the same record, without being told again where it is.
        report
            .fields
            .push(("server", self.target.connection.named_server().map_or(Value::Absent, Value::text)));
        Ok(report)
    }
}

/// Sends a begin.
pub(crate) async fn begin(client: &Client, request: &BeginRequest) -> Result<Decision, Failure> {
    let response = client.call(async |semel| semel.begin(request.clone()).await).await?;
    response.decision.ok_or_else(|| {
        Failure::Local("the server's answer holds no decision that this release knows".to_owned())
    })
}

fn report(request: &BeginRequest, decision: Decision) -> Report {
    let (headline, exit, mut fields) = match decision {
        Decision::Started(started) => (
            "started: the key is yours; do the work, then complete or abort",
            Exit::DONE,
            vec![
                ("decision", Value::text("started")),
                ("fence", Value::Number(started.fence)),
                ("attempt", Value::Number(started.attempt.into())),
                ("attempt_id", Value::text(&request.attempt_id)),
                ("lease", Value::length(started.lease)),
                ("lease_expires_at", Value::time(started.lease_expires_at)),
                ("checkpoints", checkpoints(started.checkpoints)),
                ("waited", Value::length(started.waited)),
            ],
        ),
        Decision::Replayed(replayed) => {
            let result = replayed.result.unwrap_or_default();
            let (headline, exit) = if result.outcome() == Outcome::Failure {
                ("replayed: it already failed for good; do nothing", Exit::REPLAYED_FAILURE)
            } else {
                ("replayed: it already happened; do nothing", Exit::REPLAYED_SUCCESS)
            };
            let mut fields = vec![
                ("decision", Value::text("replayed")),
                // Not `fence`: a shell takes that for its own, and this caller owns nothing.
                ("original_fence", Value::Number(replayed.fence)),
                ("attempt", Value::Number(replayed.attempt.into())),
                ("completed_at", Value::time(replayed.completed_at)),
                ("expires_at", Value::time(replayed.expires_at)),
                ("original_traceparent", Value::text(replayed.original_traceparent)),
            ];
            fields.extend(result_fields(result));
            (headline, exit, fields)
        }
        Decision::InProgress(running) => (
            if running.backing_off {
                "in progress: nobody runs it, but the last attempt asked for a pause; ask again later"
            } else {
                "in progress: another attempt owns the key; do nothing, ask again later"
            },
            Exit::IN_PROGRESS,
            vec![
                ("decision", Value::text("in_progress")),
                ("attempt", Value::Number(running.attempt.into())),
                ("backing_off", Value::Flag(running.backing_off)),
                ("retry_after", Value::length(running.retry_after)),
                ("lease_expires_at", Value::time(running.lease_expires_at)),
                ("original_traceparent", Value::text(running.original_traceparent)),
            ],
        ),
        Decision::Unresolved(unresolved) => (
            "unresolved: nobody may run it until an operator resolves it; do nothing",
            Exit::UNRESOLVED,
            vec![
                ("decision", Value::text("unresolved")),
                ("reason", unresolved_reason(&unresolved)),
                ("attempt", Value::Number(unresolved.attempt.into())),
                ("detail", Value::text(unresolved.detail)),
                ("since", Value::time(unresolved.since)),
                ("original_traceparent", Value::text(unresolved.original_traceparent)),
            ],
        ),
    };
    let key = request.key.clone().unwrap_or_default();
    fields.push(("tenant", Value::text(key.tenant)));
    fields.push(("endpoint", Value::text(key.endpoint)));
    fields.push(("key", Value::text(key.idempotency_key)));
    Report { headline: headline.to_owned(), fields, exit }
}

/// A length of time as the contract writes it. More than it can hold is cut: the server cuts it further.
pub(crate) fn sent_length(length: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(length)
        .unwrap_or(prost_types::Duration { seconds: 315_576_000_000, nanos: 0 })
}

fn sha256_of(file: &Path) -> Result<Bytes, Failure> {
    Ok(Bytes::copy_from_slice(&Sha256::digest(read_input(file)?)))
}

fn parse_hex(text: &str) -> Result<Bytes, String> {
    let wrong = || "is not hexadecimal; write two digits for each byte".to_owned();
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong()))
        .collect::<Result<Vec<_>, _>>()
        .map(Bytes::from)
}

fn parse_time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text)
        .map_err(|error| format!("is no moment ({error}); write one such as 2026-11-22T10:00:00Z"))
}

/// `name=value`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "has no =; write NAME=VALUE".to_owned())
}
