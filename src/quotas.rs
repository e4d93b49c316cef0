//! How much a tenant may ask of this server: so many requests a second, and so many open keys, as its policy says.

mod open_keys;
mod rates;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::open_keys::OpenKeys;
use self::rates::Rates;
use crate::coordinator::Observer;
use crate::domain::{Key, Policy, Rate, Tenant};
use crate::policies::Policies;
use crate::storage::Write;

pub use open_keys::Recount;

/// A tenant has asked more often than it may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateExceeded {
    /// What it may.
    pub rate: Rate,
    /// After which the next request is taken, if no other comes before it.
    pub wait: Duration,
}

/// Which bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quota {
    /// `requests_per_second`.
    Requests,
    /// `max_open_keys`.
    OpenKeys,
}

impl Quota {
    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::OpenKeys => "open_keys",
        }
    }
}

/// How much of a bound a tenant has used.
#[derive(Clone, Debug, PartialEq)]
pub struct Used {
    /// Whose.
    pub tenant: Tenant,
    /// Of which bound.
    pub quota: Quota,
    /// 1.0: all of it. Of requests: what was taken between the last two counts, by what the rate allows in that time; a
    /// burst may be more than that.
    pub ratio: f64,
}

/// Counts what tenants use of their bounds. What has no bound is not counted, and costs no more than the look at its
/// policy.
#[derive(Debug)]
pub struct Quotas {
    policies: Arc<Policies>,
    rates: Rates,
    open_keys: OpenKeys,
    used: Mutex<Vec<Used>>,
}

impl Quotas {
    /// Nothing is used yet.
    pub fn new(policies: Arc<Policies>) -> Self {
        let start = Instant::now();
        Self::timed_by(policies, move || start.elapsed())
    }

    /// The same by another clock: how long ago some moment was. It must not go back.
    pub fn timed_by(policies: Arc<Policies>, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            policies,
            rates: Rates::new(Arc::new(elapsed)),
            open_keys: OpenKeys::default(),
            used: Mutex::default(),
        }
    }

    /// Counts a request that asks for something, and refuses it where its tenant asked too often. One that is refused
    /// is not counted.
    pub fn ask(&self, tenant: &Tenant, policy: &Policy) -> Result<(), RateExceeded> {
        match policy.rate() {
            Some(rate) => self.rates.take(policy.quota_places.rate, tenant, rate),
            None => Ok(()),
        }
    }

    /// Counts a request of an owner. It is never refused: whoever was granted a key may say what became of it.
    pub fn report(&self, tenant: &Tenant, policy: &Policy) {
        // Where nothing is left, there is nothing to take.
        _ = self.ask(tenant, policy);
    }

    /// Whether a tenant has room for one more open key.
    pub fn may_open(&self, tenant: &Tenant, policy: &Policy) -> bool {
        policy.max_open_keys == 0
            || self.open_keys.of(policy.quota_places.open_keys, tenant) < policy.max_open_keys
    }

    /// Begins to count all open keys anew: what is opened or ended from now on is known beside it.
    pub fn recount(&self) -> Recount {
        self.open_keys.recount()
    }

    /// Takes over what was counted, and how much of each bound is used now.
    pub fn recounted(&self, recount: Recount) {
        self.open_keys.recounted(recount);
        let mut most: HashMap<(Tenant, Quota), f64> = HashMap::new();
        let used = self.rates.used().into_iter().chain(self.open_keys.used());
        for Used { tenant, quota, ratio } in used.filter(|used| used.ratio > 0.0) {
            let most = most.entry((tenant, quota)).or_default();
            *most = most.max(ratio);
        }
        let mut used: Vec<_> =
            most.into_iter().map(|((tenant, quota), ratio)| Used { tenant, quota, ratio }).collect();
        used.sort_unstable_by(|a, b| (&a.tenant, a.quota).cmp(&(&b.tenant, b.quota)));
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = used;
    }

    /// What was used at the last count, once a minute: for each tenant, the bound of each kind that is used most;
    /// tenants that use nothing are left out.
    pub fn used(&self) -> Vec<Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open_keys_place(&self, key: &Key) -> Option<usize> {
        let rules = self.policies.current();
        let bounded = rules.bounds_open_keys();
        let policy = bounded.then(|| &rules.select(&key.tenant, &key.endpoint).policy)?;
        (policy.max_open_keys > 0).then_some(policy.quota_places.open_keys)
    }
}

impl Observer for Quotas {
    fn applied(&self, write: &Write) {
        let by = match (write.opens(), write.closes()) {
            (true, _) => 1,
            (_, true) => -1,
            (false, false) => return,
        };
        if let Some(place) = self.open_keys_place(&write.key) {
            self.open_keys.add(place, &write.key.tenant, by);
        }
    }
}
