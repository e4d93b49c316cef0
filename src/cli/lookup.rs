//! `semel lookup`

use clap::Args;
use semel_client::proto::{self, LookupRequest, Record};

use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::KeyArgs;
use super::output::{Output, Report};
use super::record_view::{record_fields, state_name};

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
    let response = client.call(async |semel| semel.lookup(LookupRequest { key }).await).await?;
    Ok(response.record.unwrap_or_default())
}
