//! `semel abort`

use std::time::Duration;

use clap::Args;
use semel_client::proto::AbortRequest;
use semel_client::proto::abort_request::Disposition;

use super::begin::sent_length;
use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::OwnerArgs;
use super::output::{Output, Report, Value};
use crate::config::parse_duration;

/// Give a key up without a result
#[derive(Debug, Args)]
pub(crate) struct Abort {
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    disposition: DispositionArgs,
    /// For people: why
    #[arg(long, value_name = "TEXT", default_value = "")]
    detail: String,
    /// How long the next begin is told to wait
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    retry_after: Option<Duration>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Silence must not mean that nothing happened: one of the two has to be said.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct DispositionArgs {
    /// Nothing happened: the next begin runs
    #[arg(long)]
    release: bool,
    /// It may have happened: policy decides whether the next begin runs
    #[arg(long)]
    unknown: bool,
}

impl Abort {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let (disposition, headline) = if self.disposition.release {
            (Disposition::Release, "released: the next begin runs")
        } else {
            (Disposition::OutcomeUnknown, "given up: nobody knows whether it happened")
        };
        let request = AbortRequest {
            key: Some(self.owner.key_of(&self.target.tenant)),
            fence: self.owner.fence,
            attempt_id: self.owner.attempt_id.clone(),
            disposition: disposition.into(),
            detail: self.detail.clone(),
            retry_after: self.retry_after.map(sent_length),
        };
        let done = client.call(async |semel| semel.abort(request).await).await?;
        Ok(Report {
            headline: headline.to_owned(),
            fields: vec![("repeated_call", Value::Flag(done.repeated_call))],
            exit: Exit::DONE,
        })
    }
}
