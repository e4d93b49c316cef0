//! `semel resolve`: one record by its key, or all that a filter matches.

mod filter;
mod many;

use clap::Args;
use semel_client::proto::resolve_record_request::Resolution;
use semel_client::proto::{Key, Record, ResolveRecordRequest};

use self::many::{Many, ManyArgs};
use super::client::{Client, Connection};
use super::exit::Exit;
use super::failure::Failure;
use super::identity::KeyArgs;
use super::in_runtime;
use super::output::{self, Output, Report};
use super::record_view::{self, record_fields, state_name};
use super::result_args::ResultArgs;

/// For operators: settle a record whose outcome nobody knows, or with --where many of them
#[derive(Debug, Args)]
pub(crate) struct Resolve {
    /// The operation, such as payments/Charge
    #[arg(long, required_unless_present = "filter", conflicts_with = "filter")]
    endpoint: Option<String>,
    /// The idempotency key
    #[arg(long, required_unless_present = "filter", conflicts_with = "filter")]
    key: Option<String>,
    /// The fence that you looked at (semel lookup): a record that moved on since is not touched
    #[arg(long, required_unless_present = "filter", conflicts_with = "filter")]
    fence: Option<i64>,
    #[command(flatten)]
    many: ManyArgs,
    #[command(flatten)]
    resolution: ResolutionArgs,
    #[command(flatten)]
    result: ResultArgs,
    /// Who decided, and why; kept with the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// The owner is known to be gone: do it even while its lease runs. For one record at a time
    #[arg(long, conflicts_with = "filter")]
    force: bool,
    /// Whose records; with --where it may be given again
    #[arg(long, env = "SEMEL_TENANT", default_value = "default")]
    tenant: Vec<String>,
    #[command(flatten)]
    connection: Connection,
    /// For whom to print; with --where, json prints one object a line
    #[arg(long, value_enum, default_value_t)]
    output: Output,
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
    pub(crate) fn run(self) -> Exit {
        let output = self.output;
        let filter = match self.many.filter() {
            Ok(Some(filter)) => filter,
            Ok(None) => {
                let report = in_runtime(async { self.one(&Client::new(&self.connection)?).await });
                return output::print(&report, output, record_view::FIELDS);
            }
            Err(failure) => return output::print(&Err(failure), output, record_view::FIELDS),
        };
        let done = in_runtime(async {
            let many = Many {
                client: Client::new(&self.connection)?,
                tenants: self.tenants(),
                filter,
                decision: self.decision()?,
                flags: &self.many,
                output,
            };
            many.settle().await
        });
        match done {
            Ok(()) => Exit::DONE,
            Err(failure) => output::print(&Err(failure), output, &[]),
        }
    }

    /// Each once, in the order given.
    fn tenants(&self) -> Vec<String> {
        let mut tenants: Vec<String> = Vec::with_capacity(self.tenant.len());
        for tenant in &self.tenant {
            if !tenants.contains(tenant) {
                tenants.push(tenant.clone());
            }
        }
        tenants
    }

    fn decision(&self) -> Result<Decision, Failure> {
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
        Ok(Decision { resolution, note: self.note.clone(), force: self.force })
    }

    async fn one(&self, client: &Client) -> Result<Report, Failure> {
        let tenants = self.tenants();
        let ([tenant], Some(endpoint), Some(key), Some(fence)) =
            (&tenants[..], &self.endpoint, &self.key, self.fence)
        else {
            return Err(Failure::Usage(
                "one record has one --tenant; with --where there may be several".to_owned(),
            ));
        };
        let key = KeyArgs { endpoint: endpoint.clone(), key: key.clone() }.of(tenant);
        let record = self.decision()?.apply(client, key, fence).await?;
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

/// What is said of a record that nobody could settle.
#[derive(Debug)]
struct Decision {
    resolution: Resolution,
    note: String,
    force: bool,
}

impl Decision {
    /// Settles the record, if its fence is still this one; the record that it came to.
    async fn apply(&self, client: &Client, key: Key, fence: i64) -> Result<Record, Failure> {
        let request = ResolveRecordRequest {
            key: Some(key),
            fence,
            note: self.note.clone(),
            force: self.force,
            resolution: Some(self.resolution.clone()),
        };
        let response = client.call(async |semel| semel.resolve_record(request).await).await?;
        Ok(response.record.unwrap_or_default())
    }

    const fn is_release(&self) -> bool {
        matches!(self.resolution, Resolution::Release(_))
    }
}
