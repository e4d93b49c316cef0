//! Who makes a call, and what that allows.

use std::fmt;
use std::sync::Arc;

use crate::domain::{Pattern, Tenant};

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Every method of `IdempotencyService`.
    Client,
    /// What changes nothing: Lookup, `ListRecords`, `GetPolicy`.
    Reader,
    /// What a reader may, and all of `OperatorService`.
    Operator,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Client, Self::Reader, Self::Operator];

    /// The role's name in credentials.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Reader => "reader",
            Self::Operator => "operator",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Somebody whom a credential stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    name: String,
    tenants: Vec<Pattern>,
    /// The one tenant, where there is one alone.
    only: Option<Tenant>,
    roles: Vec<Role>,
}

impl Identity {
    /// `name` is for people: it goes into logs. A tenant that ends in `*` is every one that begins so.
    pub fn new(name: String, tenants: Vec<Pattern>, roles: Vec<Role>) -> Self {
        let only = match &tenants[..] {
            [Pattern::Exact(tenant)] => Tenant::new(tenant).ok(),
            _ => None,
        };
        Self { name, tenants, only, roles }
    }

    /// Who it is, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has one of `roles`.
    pub fn has_one_of(&self, roles: &[Role]) -> bool {
        roles.iter().any(|role| self.roles.contains(role))
    }
}

/// Who makes a call. Every request carries one, from before its method is called.
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Identity>>);

impl Caller {
    /// Somebody who was asked for no credential: has every role, for every tenant.
    pub const ANYBODY: Self = Self(None);

    /// Somebody whose credential was found good.
    pub const fn known(identity: Arc<Identity>) -> Self {
        Self(Some(identity))
    }

    /// Who it is; none where no credential was asked for.
    pub fn identity(&self) -> Option<&Identity> {
        self.0.as_deref()
    }

    /// Who it is, for people.
    pub fn name(&self) -> &str {
        self.identity().map_or("anonymous", Identity::name)
    }

    /// The tenant of a call that names none.
    pub fn only_tenant(&self) -> Option<&Tenant> {
        self.0.as_ref()?.only.as_ref()
    }

    /// Whether it may act for `tenant`.
    pub fn covers(&self, tenant: &Tenant) -> bool {
        self.0
            .as_ref()
            .is_none_or(|identity| identity.tenants.iter().any(|tenants| tenants.matches(tenant.as_str())))
    }
}
