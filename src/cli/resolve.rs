//! `semel resolve`

use std::time::Duration;

use clap::Args;
use tonic::transport::Channel;

use super::client::{Client, Target, operator_service};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::KeyArgs;
use super::output::{Output, Report};
use super::record_view::{record_fields, state_name};
use super::result_args::ResultArgs;
use crate::proto::ResolveRecordRequest;
use crate::proto::resolve_record_request::Resolution;

/// For operators: settle a record whose outcome nobody knows
#[derive(Debug, Args)]
pub(crate) struct Resolve {
    #[command(flatten)]
    key: KeyArgs,
    /// The fence that you looked at (semel lookup): a record that moved on since is not touched
    #[arg(long)]
    fence: i64,
    #[command(flatten)]
    resolution: ResolutionArgs,
    #[command(flatten)]
    result: ResultArgs,
    /// Who decided, and why; kept with the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// The owner is known to be gone: do it even while its lease runs
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ResolutionArgs {
    /// It did happen: the result's flags say with which result
    #[arg(long)]
    completed: bool,
    /// It did not happen: the next begin runs
    #[arg(long)]
    release: bool,
}

impl Resolve {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        if self.resolution.release && self.result.is_given() {
            return Err(Failure::Usage(
                "--release says that it did not happen, and so has no result; leave the result's flags out, \
                 or write --completed"
                    .to_owned(),
            ));
        }
        let resolution = if self.resolution.completed {
            Resolution::Result(self.result.result()?)
        } else {
            Resolution::Release(true)
        };
        let request = ResolveRecordRequest {
            key: Some(self.key.of(&self.target.tenant)),
            fence: self.fence,
            note: self.note.clone(),
            force: self.force,
            resolution: Some(resolution),
        };
        let response = client
            .call(&request, Duration::ZERO, async |channel: Channel, request| {
                operator_service(channel).resolve_record(request).await
            })
            .await?;
        let record = response.record.unwrap_or_default();
        Ok(Report {
            headline: format!(
                "resolved: the record now reads {}",
                state_name(record.state()).replace('_', " ")
            ),
            fields: record_fields(record),
            exit: Exit::DONE,
        })
    }
}
