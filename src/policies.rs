//! The policy rules in force now, which a reload may replace between two calls.

use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::{Endpoint, InForce, PolicyRules, Tenant};

/// Hands out the rules in force.
#[derive(Debug, Default)]
pub struct Policies(RwLock<Arc<PolicyRules>>);

impl Policies {
    /// Begins with `rules`.
    pub fn new(rules: PolicyRules) -> Self {
        Self(RwLock::new(Arc::new(rules)))
    }

    /// All rules in force.
    pub fn current(&self) -> Arc<PolicyRules> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The policy in force for one tenant's endpoint.
    pub fn select(&self, tenant: &Tenant, endpoint: &Endpoint) -> Arc<InForce> {
        self.current().select(tenant, endpoint).clone()
    }

    /// Puts `rules` in force for every call from now on.
    pub fn replace(&self, rules: PolicyRules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }
}
