//! The pairs of tenant and endpoint that have labels of their own in metrics: as many as the settings allow.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::domain::{Endpoint, Key, Tenant};

/// The label of everything past the bounds.
pub(super) const OTHER: &str = "other";

/// How many pairs have labels of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelBounds {
    /// The most pairs of tenant and endpoint.
    pub pairs: usize,
    /// The most endpoints of one tenant, so that one cannot take all pairs.
    pub endpoints: usize,
}

impl Default for LabelBounds {
    fn default() -> Self {
        Self { pairs: 500, endpoints: 100 }
    }
}

/// What is kept of each pair, made where a pair is first seen. Pairs are never given up: a metric that forgot its past
/// would seem to start anew.
#[derive(Debug)]
pub(super) struct LabelSets<T> {
    bounds: LabelBounds,
    known: RwLock<Known<T>>,
    /// Of all tenants past the bound.
    other: OnceLock<Arc<T>>,
}

#[derive(Debug)]
struct Known<T> {
    tenants: HashMap<Tenant, OfTenant<T>>,
    pairs: usize,
}

#[derive(Debug)]
struct OfTenant<T> {
    endpoints: HashMap<Endpoint, Arc<T>>,
    /// Of the tenant's endpoints past a bound.
    other: Option<Arc<T>>,
}

impl<T> LabelSets<T> {
    pub(super) fn new(bounds: LabelBounds) -> Self {
        let known = Known { tenants: HashMap::new(), pairs: 0 };
        Self { bounds, known: RwLock::new(known), other: OnceLock::new() }
    }

    pub(super) const fn bounds(&self) -> LabelBounds {
        self.bounds
    }

    /// What is kept of `key`'s pair, or of the one that it is counted under.
    pub(super) fn of(&self, key: &Key, make: &impl Fn(&str, &str) -> T) -> Arc<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let of = known.tenants.get(&key.tenant);
        if let Some(found) = of.and_then(|of| of.endpoints.get(&key.endpoint)) {
            return found.clone();
        }
        // Once a tenant is past its bound, it stays so.
        if let Some(other) = of.and_then(|of| of.other.as_ref()) {
            return other.clone();
        }
        let full = known.pairs >= self.bounds.pairs;
        drop(known);
        let taken = if full {
            None
        } else {
            self.known.write().unwrap_or_else(PoisonError::into_inner).take(key, self.bounds, make)
        };
        taken.unwrap_or_else(|| self.other.get_or_init(|| Arc::new(make(OTHER, OTHER))).clone())
    }
}

impl<T> Known<T> {
    /// A place for `key`'s pair; `None` where all are taken.
    fn take(&mut self, key: &Key, bounds: LabelBounds, make: &impl Fn(&str, &str) -> T) -> Option<Arc<T>> {
        let full = self.pairs >= bounds.pairs;
        let of = match self.tenants.entry(key.tenant.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if full => return None,
            Entry::Vacant(vacant) => vacant.insert(OfTenant { endpoints: HashMap::new(), other: None }),
        };
        if let Some(found) = of.endpoints.get(&key.endpoint) {
            return Some(found.clone());
        }
        let tenant = key.tenant.as_str();
        if full || of.other.is_some() {
            return of.other.clone();
        }
        self.pairs += 1;
        Some(if of.endpoints.len() < bounds.endpoints {
            let made = Arc::new(make(tenant, key.endpoint.as_str()));
            of.endpoints.entry(key.endpoint.clone()).or_insert(made).clone()
        } else {
            of.other.insert(Arc::new(make(tenant, OTHER))).clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{LabelBounds, LabelSets};
    use crate::domain::{Endpoint, IdempotencyKey, Key, Tenant};

    fn key(tenant: &str, endpoint: &str) -> Key {
        Key {
            tenant: Tenant::new(tenant).unwrap(),
            endpoint: Endpoint::new(endpoint).unwrap(),
            idempotency_key: IdempotencyKey::new("k").unwrap(),
        }
    }

    fn labels(sets: &LabelSets<(String, String)>, tenant: &str, endpoint: &str) -> (String, String) {
        (*sets.of(&key(tenant, endpoint), &pair)).clone()
    }

    fn pair(tenant: &str, endpoint: &str) -> (String, String) {
        (tenant.to_owned(), endpoint.to_owned())
    }

    #[test]
    fn one_tenant_cannot_take_the_labels_of_all() {
        let sets = LabelSets::new(LabelBounds { pairs: 5, endpoints: 2 });
        for endpoint in 0..100 {
            let counted = if endpoint < 2 { endpoint.to_string() } else { "other".to_owned() };
            assert_eq!(labels(&sets, "greedy", &endpoint.to_string()), pair("greedy", &counted));
        }
        assert_eq!(labels(&sets, "b", "x"), pair("b", "x"));
        assert_eq!(labels(&sets, "b", "y"), pair("b", "y"));
        // That is all of them.
        assert_eq!(labels(&sets, "b", "z"), pair("other", "other"));
        assert_eq!(labels(&sets, "c", "x"), pair("other", "other"));
        // What had labels keeps them.
        assert_eq!(labels(&sets, "greedy", "1"), pair("greedy", "1"));
        assert_eq!(labels(&sets, "greedy", "77"), pair("greedy", "other"));
        assert_eq!(labels(&sets, "b", "y"), pair("b", "y"));
    }

    #[test]
    fn no_pair_may_have_labels() {
        let sets = LabelSets::new(LabelBounds { pairs: 0, endpoints: 0 });
        assert_eq!(labels(&sets, "a", "b"), pair("other", "other"));
    }
}
