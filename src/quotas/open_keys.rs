//! How many keys tenants have open, about: as many as the last sweep counted, and what this server opened and ended
//! since.

use std::collections::HashMap;

use dashmap::DashMap;

use super::{Quota, Used};
use crate::domain::{Policy, Tenant};

/// Whose keys, and where their bound is written.
type Whose = (usize, Tenant);

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    /// As the last sweep found in the store.
    counted: u64,
    /// Opened by this server since it began, less those that it ended.
    since: i64,
    /// The bound.
    most: u64,
}

impl Open {
    fn about(self) -> u64 {
        self.counted.saturating_add_signed(self.since)
    }
}

/// No more entries than tenants with open keys, but for those whose last one ended since the last sweep.
#[derive(Debug, Default)]
pub(super) struct OpenKeys(DashMap<Whose, Open>);

/// A count of all open keys, under way.
#[derive(Debug, Default)]
pub struct Recount {
    /// What was known beside the count before, when this one began.
    before: HashMap<Whose, i64>,
    counted: HashMap<Whose, Open>,
}

impl Recount {
    /// Counts an open key, where its policy bounds them.
    pub fn add(&mut self, tenant: &Tenant, policy: &Policy) {
        if policy.max_open_keys > 0 {
            let whose = (policy.quota_places.open_keys, tenant.clone());
            let open = self.counted.entry(whose).or_default();
            open.counted += 1;
            open.most = policy.max_open_keys;
        }
    }
}

impl OpenKeys {
    pub(super) fn of(&self, place: usize, tenant: &Tenant) -> u64 {
        self.0.get(&(place, tenant.clone())).map_or(0, |open| open.about())
    }

    pub(super) fn add(&self, place: usize, tenant: &Tenant, by: i64) {
        self.0.entry((place, tenant.clone())).or_default().since += by;
    }

    pub(super) fn recount(&self) -> Recount {
        let before = self.0.iter().map(|entry| (entry.key().clone(), entry.since));
        Recount { before: before.collect(), counted: HashMap::new() }
    }

    /// What was opened or ended while it was counted stays beside the count: of these few, some may count twice, or not
    /// at all, until the next one.
    pub(super) fn recounted(&self, Recount { before, mut counted }: Recount) {
        self.0.retain(|whose, open| {
            let since = open.since - before.get(whose).copied().unwrap_or(0);
            *open = Open { since, ..counted.remove(whose).unwrap_or_default() };
            open.counted > 0 || since != 0
        });
        for (whose, found) in counted {
            let mut open = self.0.entry(whose).or_default();
            *open = Open { since: open.since, ..found };
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a share needs no more digits")]
    pub(super) fn used(&self) -> Vec<Used> {
        let used = self.0.iter().filter(|entry| entry.most > 0).map(|entry| Used {
            tenant: entry.key().1.clone(),
            quota: Quota::OpenKeys,
            ratio: entry.about() as f64 / entry.most as f64,
        });
        used.collect()
    }
}
