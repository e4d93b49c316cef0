//! Flags that say which key, and which attempt at it.

use clap::Args;
use semel_client::proto;

/// Which key, said in full: nothing is taken from the environment, where a key of another operation may stand.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyArgs {
    /// The operation, such as payments/Charge
    #[arg(long)]
    pub(crate) endpoint: String,
    /// The idempotency key: the same for every retry of one logical operation
    #[arg(long)]
    pub(crate) key: String,
}

impl KeyArgs {
    pub(crate) fn of(&self, tenant: &str) -> proto::Key {
        proto::Key {
            tenant: tenant.to_owned(),
            endpoint: self.endpoint.clone(),
            idempotency_key: self.key.clone(),
        }
    }
}

/// An attempt at a key, as `semel begin --output env` and `semel once` put it into the environment.
#[derive(Clone, Debug, Args)]
pub(crate) struct OwnerArgs {
    /// The operation
    #[arg(long, env = "SEMEL_ENDPOINT")]
    pub(crate) endpoint: String,
    /// The idempotency key
    #[arg(long, env = "SEMEL_KEY", hide_env_values = true)]
    pub(crate) key: String,
    /// The fence that begin gave
    #[arg(long, env = "SEMEL_FENCE")]
    pub(crate) fence: i64,
    /// The attempt id that begin was sent with
    #[arg(long, env = "SEMEL_ATTEMPT_ID")]
    pub(crate) attempt_id: String,
}

impl OwnerArgs {
    pub(crate) fn key_of(&self, tenant: &str) -> proto::Key {
        KeyArgs { endpoint: self.endpoint.clone(), key: self.key.clone() }.of(tenant)
    }
}
