//! `semel policy`

use clap::Args;
use semel_client::proto::GetPolicyRequest;

use super::client::{Client, Target};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, Report, Value};

/// For operators: tell the policy in force for a tenant and an endpoint
#[derive(Debug, Args)]
pub(crate) struct PolicyInForce {
    /// The operation
    #[arg(long)]
    endpoint: String,
    #[command(flatten)]
    pub(crate) target: Target,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

impl PolicyInForce {
    pub(crate) async fn report(&self, client: &Client) -> Result<Report, Failure> {
        let request =
            GetPolicyRequest { tenant: self.target.tenant.clone(), endpoint: self.endpoint.clone() };
        let policy = client.call(async |semel| semel.get_policy(request).await).await?;
        let on_lost_lease = if policy.rerun_after_lost_lease { "rerun" } else { "mark_unknown" };
        Ok(Report {
            headline: "policy in force".to_owned(),
            fields: vec![
                ("source", Value::text(policy.source)),
                ("lease", Value::length(policy.lease)),
                ("max_lease", Value::length(policy.max_lease)),
                ("retention", Value::length(policy.retention)),
                ("max_retention", Value::length(policy.max_retention)),
                ("unresolved_retention", Value::length(policy.unresolved_retention)),
                ("max_wait", Value::length(policy.max_wait)),
                ("max_retry_after", Value::length(policy.max_retry_after)),
                ("max_attempts", Value::Number(policy.max_attempts.into())),
                ("on_lost_lease", Value::text(on_lost_lease)),
                ("fingerprint_required", Value::Flag(policy.fingerprint_required)),
                ("max_result_bytes", Value::Number(policy.max_result_bytes)),
                ("requests_per_second", Value::Real(policy.requests_per_second)),
                ("burst", Value::Number(policy.burst.into())),
                ("max_open_keys", Value::Number(i64::try_from(policy.max_open_keys).unwrap_or(i64::MAX))),
            ],
            exit: Exit::DONE,
        })
    }
}
