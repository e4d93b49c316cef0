//! Keeps the policy in force as the policy file says, as long as the file says something sound.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::file_watch::{FileWatch, FromFiles, text};
use super::policy_file::{Wait, read_policy};
use super::problem::Problems;
use super::units::format_duration;
use crate::domain::PolicyRules;
use crate::policies::Policies;

/// A sentence for each policy under which a row may have to be kept for longer than the store can.
pub fn kept_too_long(rules: &PolicyRules, longest: Duration) -> Vec<String> {
    let whole_days = |length: Duration| Duration::from_hours(length.as_secs() / 86_400 * 24);
    let beyond = rules.all().filter(|in_force| in_force.policy.longest_kept() > longest);
    beyond
        .map(|in_force| {
            let policy = &in_force.policy;
            format!(
                "policy of {}: a record may have to be kept for {} (max_retention = {}, unresolved_retention = {}, \
                 max_lease = {}), and the database takes no more than {} now: what is asked to live longer is \
                 forgotten then; lower them",
                in_force.source,
                format_duration(policy.longest_kept()),
                format_duration(policy.max_retention),
                format_duration(policy.unresolved_retention),
                format_duration(policy.max_lease),
                format_duration(whole_days(longest)),
            )
        })
        .collect()
}

/// The policies of a server, as its policy file says.
#[derive(Debug)]
pub struct PolicyFile {
    path: PathBuf,
    clock_skew_allowance: Duration,
    request_timeout: Duration,
    /// The longest that the store keeps a row, where it has such a bound.
    longest_kept: Option<Duration>,
    policies: Arc<Policies>,
}

/// Keeps the policy in force as the policy file says.
pub type PolicyWatch = FileWatch<PolicyFile>;

impl FileWatch<PolicyFile> {
    /// Watches `path`, whose text at the start is in force in `policies`, on a server with such an allowance and such a
    /// bound on every call.
    pub fn new(
        path: PathBuf,
        text: String,
        (clock_skew_allowance, request_timeout): (Duration, Duration),
        policies: Arc<Policies>,
    ) -> Self {
        let file = PolicyFile {
            path: path.clone(),
            clock_skew_allowance,
            request_timeout,
            longest_kept: None,
            policies,
        };
        Self::of(vec![path], &[text.into_bytes()], file)
    }

    /// The same, where the store keeps no row for longer.
    #[must_use]
    pub fn on_a_store_that_keeps(mut self, longest_kept: Option<Duration>) -> Self {
        self.made.longest_kept = longest_kept;
        self
    }
}

impl FromFiles for PolicyFile {
    fn words(&self) -> (&'static str, &'static str) {
        ("the policy file", "the policy in force")
    }

    fn take(&mut self, contents: &[Vec<u8>]) -> Result<(), Problems> {
        let name = self.path.display().to_string();
        let text = text(&self.path, contents)?;
        let (rules, waits) = read_policy(&name, text, self.clock_skew_allowance)?;
        let too_long = self.longest_kept.map(|longest| kept_too_long(&rules, longest));
        self.policies.replace(rules);
        let waits = Wait::warnings(&waits, self.request_timeout);
        for warning in too_long.into_iter().flatten().chain(waits) {
            warn!("{warning}");
        }
        Ok(())
    }
}
