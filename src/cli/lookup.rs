//! `semel lookup`

use std::time::Duration;

use clap::Args;
use tonic::transport::Channel;

use super::client::{Client, Target, idempotency_service};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::KeyArgs;
use super::output::{Output, Report};
use super::record_view::{record_fields, state_name};
use crate::proto::{self, LookupRequest, Record};

/// Tell what is known of a key, and change nothing
#[derive(Debug, Args)]
pub(crate) struct Lookup {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl Lookup {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let record = lookup(client, Some(self.key.of(&self.target.tenant))).await?;
        Ok(Report {
            headline: state_name(record.state()).replace('_', " "),
            fields: record_fields(record),
            exit: Exit::DONE,
        })
    }
}

/// What is known of `key`.
pub(crate) async fn lookup(client: &Client, key: Option<proto::Key>) -> Result<Record, Failure> {
    let response = client
        .call(&LookupRequest { key }, Duration::ZERO, async |channel: Channel, request| {
            idempotency_service(channel).lookup(request).await
        })
        .await?;
    Ok(response.record.unwrap_or_default())
}
