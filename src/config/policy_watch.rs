//! Keeps the policy in force as the policy file says, as long as the file says something sound.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::policy_file::{Wait, read_policy};
use super::problem::{Problem, Problems};
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

/// What a look at the file came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The file says what it said before.
    Unchanged,
    /// The file has changed; what it says holds once it says the same at the next look, since it may be half written.
    Settling,
    /// The new policy is in force.
    Applied,
    /// The file is refused as a whole, and the policy stays as it was.
    Refused(Problems),
}

/// Looks at the file's content, since its time and its inode say too little: a Kubernetes `ConfigMap` is swapped by a symbolic
/// link.
#[derive(Debug)]
pub struct PolicyWatch {
    path: PathBuf,
    clock_skew_allowance: Duration,
    request_timeout: Duration,
    /// The longest that the store keeps a row, where it has such a bound.
    longest_kept: Option<Duration>,
    policies: Arc<Policies>,
    /// What was last put in force or refused.
    judged: Result<String, String>,
    /// Why it was refused, if it was.
    refused: Option<Problems>,
    /// What was read at the last look, where it differs from that.
    settling: Option<Result<String, String>>,
}

impl PolicyWatch {
    /// How long between two looks.
    pub const INTERVAL: Duration = Duration::from_secs(1);

    /// Watches `path`, whose text at the start is in force in `policies`, on a server with such an allowance and such a
    /// bound on every call.
    pub fn new(
        path: PathBuf,
        text: String,
        (clock_skew_allowance, request_timeout): (Duration, Duration),
        policies: Arc<Policies>,
    ) -> Self {
        Self {
            path,
            clock_skew_allowance,
            request_timeout,
            longest_kept: None,
            policies,
            judged: Ok(text),
            refused: None,
            settling: None,
        }
    }

    /// The same, where the store keeps no row for longer.
    #[must_use]
    pub fn on_a_store_that_keeps(self, longest_kept: Option<Duration>) -> Self {
        Self { longest_kept, ..self }
    }

    /// Looks every [`Self::INTERVAL`], and at once when `now` is notified, until `stop`.
    pub async fn run(mut self, now: Arc<Notify>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(Self::INTERVAL) => { self.look(); }
                () = now.notified() => if self.reload() == Reload::Unchanged {
                    info!(policy = %self.path.display(), "the policy file is unchanged");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks at the file. A change counts once two looks in a row found the same.
    pub fn look(&mut self) -> Reload {
        let text = self.read();
        if text == self.judged {
            self.settling = None;
            return Reload::Unchanged;
        }
        if self.settling.as_ref() != Some(&text) {
            self.settling = Some(text);
            return Reload::Settling;
        }
        self.judge(text)
    }

    /// Takes the file as it is now, because somebody said that it is complete. Whoever says so again of a file that was
    /// refused is told again why.
    pub fn reload(&mut self) -> Reload {
        let text = self.read();
        if text == self.judged && self.refused.is_none() { Reload::Unchanged } else { self.judge(text) }
    }

    fn read(&self) -> Result<String, String> {
        std::fs::read_to_string(&self.path).map_err(|error| error.to_string())
    }

    fn judge(&mut self, text: Result<String, String>) -> Reload {
        self.settling = None;
        self.judged.clone_from(&text);
        let name = self.path.display().to_string();
        let rules = match text {
            Ok(text) => read_policy(&name, &text, self.clock_skew_allowance),
            Err(error) => Err(Problems(vec![Problem {
                origin: name,
                line: None,
                field: String::new(),
                value: None,
                problem: format!("cannot be read: {error}"),
            }])),
        };
        match rules {
            Ok((rules, waits)) => {
                self.refused = None;
                let too_long = self.longest_kept.map(|longest| kept_too_long(&rules, longest));
                self.policies.replace(rules);
                let waits = Wait::warnings(&waits, self.request_timeout);
                for warning in too_long.into_iter().flatten().chain(waits) {
                    warn!("{warning}");
                }
                info!(policy = %self.path.display(), "the policy file has changed and is in force");
                Reload::Applied
            }
            Err(problems) => {
                for problem in &problems.0 {
                    error!(%problem, "the policy file is refused; the policy in force stays as it was");
                }
                self.refused = Some(problems.clone());
                Reload::Refused(problems)
            }
        }
    }
}
