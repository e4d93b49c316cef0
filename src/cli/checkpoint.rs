//! `semel checkpoint`

use bytes::Bytes;
use clap::Args;
use semel_client::proto::SaveCheckpointRequest;
use std::path::PathBuf;

use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::OwnerArgs;
use super::output::{Output, Report, Value};
use super::result_args::read_input;

/// Save a recovery point that the next attempt receives
#[derive(Debug, Args)]
pub(crate) struct Checkpoint {
    #[command(flatten)]
    owner: OwnerArgs,
    /// The point's name
    #[arg(long)]
    name: String,
    #[command(flatten)]
    value: ValueArgs,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ValueArgs {
    /// What the next attempt needs to know
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// A file that holds it; - for standard input
    #[arg(long, value_name = "FILE")]
    value_file: Option<PathBuf>,
}

impl Checkpoint {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let value = match &self.value.value_file {
            Some(file) => read_input(file)?,
            None => Bytes::from(self.value.value.clone().unwrap_or_default()),
        };
        let request = SaveCheckpointRequest {
            key: Some(self.owner.key_of(&self.target.tenant)),
            fence: self.owner.fence,
            attempt_id: self.owner.attempt_id.clone(),
            name: self.name.clone(),
            value,
        };
        let saved = client.call(async |semel| semel.save_checkpoint(request).await).await?;
        Ok(Report {
            headline: "saved: the next attempt receives it".to_owned(),
            fields: vec![("repeated_call", Value::Flag(saved.repeated_call))],
            exit: Exit::DONE,
        })
    }
}
