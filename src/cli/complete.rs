//! `semel complete`

use std::time::Duration;

use clap::Args;
use semel_client::proto::CompleteRequest;

use super::begin::sent_length;
use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::OwnerArgs;
use super::output::{Output, Report, Value};
use super::result_args::ResultArgs;
use crate::config::parse_duration;

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
        let done = client.call(async |semel| semel.complete(request).await).await?;
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
