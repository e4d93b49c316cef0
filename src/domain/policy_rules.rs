//! Which policy is in force where.

use std::sync::Arc;
use std::time::Duration;

use super::key::{Endpoint, Tenant};
use super::policy::Policy;

/// A text to match: exact, or everything that begins so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This text alone.
    Exact(String),
    /// Every text that begins with this one.
    Prefix(String),
}

impl Pattern {
    /// `text`, or what begins with it where it ends in `*`.
    pub fn parse(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(prefix) => Self::Prefix(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        }
    }

    /// Whether `text` is one of those it stands for.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }

    /// Exact before every prefix, a longer prefix before a shorter one.
    fn precedence(&self) -> (bool, usize) {
        match self {
            Self::Exact(_) => (true, 0),
            Self::Prefix(prefix) => (false, prefix.len()),
        }
    }

    fn is_exact(&self) -> bool {
        matches!(self, Self::Exact(_))
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// What one rule grants, defaults filled in.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whose calls.
    pub tenant: Pattern,
    /// Which operations.
    pub endpoint: Pattern,
    /// What they are granted.
    pub policy: Policy,
}

/// A policy and where it comes from.
#[derive(Clone, Debug)]
pub struct InForce {
    /// The policy.
    pub policy: Policy,
    /// `defaults`, or the patterns of the rule.
    pub source: String,
}

/// All rules, the one to take first.
#[derive(Clone, Debug)]
pub struct PolicyRules {
    rules: Vec<(Pattern, Pattern, Arc<InForce>)>,
    defaults: Arc<InForce>,
    bounds_open_keys: bool,
}

impl PolicyRules {
    /// Orders `rules`: an exact tenant before a pattern, then an exact endpoint, then the longest endpoint prefix,
    /// then the longest tenant prefix; of equals the one that was written first.
    pub fn new(defaults: Policy, mut rules: Vec<Rule>) -> Self {
        let bounds_open_keys =
            rules.iter().map(|rule| &rule.policy).chain([&defaults]).any(|policy| policy.max_open_keys > 0);
        rules.sort_by_key(|rule| {
            std::cmp::Reverse((rule.tenant.is_exact(), rule.endpoint.precedence(), rule.tenant.precedence()))
        });
        let rules = rules
            .into_iter()
            .map(|rule| {
                let source = format!("tenant {}, endpoint {}", rule.tenant, rule.endpoint);
                (rule.tenant, rule.endpoint, Arc::new(InForce { policy: rule.policy, source }))
            })
            .collect();
        let defaults = Arc::new(InForce { policy: defaults, source: "defaults".to_owned() });
        Self { rules, defaults, bounds_open_keys }
    }

    /// The policy for one tenant's endpoint.
    pub fn select(&self, tenant: &Tenant, endpoint: &Endpoint) -> &Arc<InForce> {
        self.rules
            .iter()
            .find(|(tenants, endpoints, _)| {
                tenants.matches(tenant.as_str()) && endpoints.matches(endpoint.as_str())
            })
            .map_or(&self.defaults, |(_, _, in_force)| in_force)
    }

    /// Every policy, and the one where no rule matches last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<InForce>> {
        self.rules.iter().map(|(_, _, in_force)| in_force).chain([&self.defaults])
    }

    /// Whether any policy bounds a tenant's open keys.
    pub fn bounds_open_keys(&self) -> bool {
        self.bounds_open_keys
    }

    /// The longest that a row may have to be kept after it was written, by any of them.
    pub fn longest_kept(&self) -> Duration {
        self.all().map(|in_force| in_force.policy.longest_kept()).max().unwrap_or_default()
    }

    /// The policy where no rule matches.
    pub fn defaults(&self) -> &Arc<InForce> {
        &self.defaults
    }
}

impl Default for PolicyRules {
    fn default() -> Self {
        Self::new(Policy::default(), Vec::new())
    }
}
