//! `semel forget`

use clap::Args;
use semel_client::proto::ForgetRecordRequest;

use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::KeyArgs;
use super::output::{Output, Report, Value};

/// For operators: erase a record, all but its fence
#[derive(Debug, Args)]
pub(crate) struct Forget {
    #[command(flatten)]
    key: KeyArgs,
    /// The fence that you looked at (semel lookup): a record that moved on since is not touched
    #[arg(long)]
    fence: i64,
    /// The owner is known to be gone: do it even while its lease runs
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl Forget {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let request = ForgetRecordRequest {
            key: Some(self.key.of(&self.target.tenant)),
            fence: self.fence,
            force: self.force,
        };
        client.call(async |semel| semel.forget_record(request).await).await?;
        Ok(Report {
            headline: "forgotten: the next begin runs, under a higher fence".to_owned(),
            fields: vec![("forgotten", Value::Flag(true))],
            exit: Exit::DONE,
        })
    }
}
