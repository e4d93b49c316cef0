//! `semel complete`

use std::time::Duration;

use clap::Args;
use tonic::transport::Channel;

use super::begin::sent_length;
use super::client::{Client, Target, idempotency_service};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::OwnerArgs;
use super::output::{Output, Report, Value};
use super::result_args::ResultArgs;
use crate::config::parse_duration;
use crate::proto::{CompleteRequest, CompleteResponse};

/// Store the result of the attempt that holds the fence
#[derive(Debug, Args)]
pub(crate) struct Complete {
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    result: ResultArgs,
    /// How long the result is kept
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    retention: Option<Duration>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl Complete {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let request = CompleteRequest {
            key: Some(self.owner.key_of(&self.target.tenant)),
            fence: self.owner.fence,
            attempt_id: self.owner.attempt_id.clone(),
            result: Some(self.result.result()?),
            retention: self.retention.map(sent_length),
        };
        let done = complete(client, &request).await?;
        Ok(Report {
            headline: if done.repeated_call {
                "completed before: this result already stood"
            } else {
                "completed: the result is stored and will be replayed"
            }
            .to_owned(),
            fields: vec![
                ("completed_at", Value::time(done.completed_at)),
                ("expires_at", Value::time(done.expires_at)),
                ("repeated_call", Value::Flag(done.repeated_call)),
            ],
            exit: Exit::DONE,
        })
    }
}

/// Sends a complete.
pub(crate) async fn complete(
    client: &Client,
    request: &CompleteRequest,
) -> Result<CompleteResponse, Failure> {
    client
        .insisting()
        .call(request, Duration::ZERO, async |channel: Channel, request| {
            idempotency_service(channel).complete(request).await
        })
        .await
}
