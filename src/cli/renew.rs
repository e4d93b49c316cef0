//! `semel renew`

use std::time::Duration;

use clap::Args;
use semel_client::proto::RenewRequest;

use super::begin::sent_length;
use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::OwnerArgs;
use super::output::{Output, Report, Value};
use crate::config::parse_duration;

/// Extend the owner's lease
#[derive(Debug, Args)]
pub(crate) struct Renew {
    #[command(flatten)]
    owner: OwnerArgs,
    /// How long to own the key from now; the length granted last where absent
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    lease: Option<Duration>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl Renew {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let request = RenewRequest {
            key: Some(self.owner.key_of(&self.target.tenant)),
            fence: self.owner.fence,
            attempt_id: self.owner.attempt_id.clone(),
            lease: self.lease.map(sent_length),
        };
        let renewed = client.call(async |semel| semel.renew(request).await).await?;
        Ok(Report {
            headline: "renewed: the key stays yours".to_owned(),
            fields: vec![
                ("lease", Value::length(renewed.lease)),
                ("lease_expires_at", Value::time(renewed.lease_expires_at)),
            ],
            exit: Exit::DONE,
        })
    }
}
