//! How often tenants ask, each by a bucket of its own for each place of the policy that grants a rate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota as Bounds, RateLimiter};
use quick_cache::sync::Cache;

use super::{Quota, RateExceeded, Used};
use crate::domain::{Rate, Tenant};

/// How many buckets are kept: those that were asked last. Whoever is forgotten begins anew with a full one.
const MOST_BUCKETS: usize = 65_536;

/// How long ago some moment was.
#[derive(Clone)]
struct Ticks(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        (self.0)()
    }
}

impl fmt::Debug for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticks").field(&self.now()).finish()
    }
}

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    limiter: RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Duration>>,
    taken: AtomicU64,
    /// Since when `taken` counts, in nanoseconds.
    since: AtomicU64,
}

impl Bucket {
    fn new(rate: Rate, ticks: Ticks) -> Self {
        // Policy::problems has bounded the rate: the time for one request is neither zero nor too long.
        let each = Duration::try_from_secs_f64(1.0 / rate.per_second).unwrap_or(Duration::from_nanos(1));
        let bounds = Bounds::with_period(each.max(Duration::from_nanos(1))).expect("the period is not zero");
        let since = AtomicU64::new(nanos(ticks.now()));
        let limiter = RateLimiter::direct_with_clock(bounds.allow_burst(rate.burst), ticks);
        Self { rate, limiter, taken: AtomicU64::new(0), since }
    }
}

/// Bounded in the number of buckets, whoever names whichever tenant.
#[derive(Debug)]
pub(super) struct Rates {
    ticks: Ticks,
    buckets: Cache<(usize, Tenant), Arc<Bucket>>,
}

impl Rates {
    pub(super) fn new(elapsed: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        Self { ticks: Ticks(elapsed), buckets: Cache::new(MOST_BUCKETS) }
    }

    /// Takes one request from the tenant's bucket of that place. A rate that has changed begins with a full one.
    pub(super) fn take(&self, place: usize, tenant: &Tenant, rate: Rate) -> Result<(), RateExceeded> {
        let bucket = self.bucket(place, tenant, rate);
        match bucket.limiter.check() {
            Ok(()) => {
                bucket.taken.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(until) => Err(RateExceeded { rate, wait: until.wait_time_from(self.ticks.now()) }),
        }
    }

    fn bucket(&self, place: usize, tenant: &Tenant, rate: Rate) -> Arc<Bucket> {
        let key = (place, tenant.clone());
        let fresh = || Arc::new(Bucket::new(rate, self.ticks.clone()));
        match self.buckets.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(fresh())) {
            Ok(bucket) if bucket.rate == rate => bucket,
            Ok(_) => {
                let bucket = fresh();
                self.buckets.insert(key, bucket.clone());
                bucket
            }
        }
    }

    /// What was taken since the last time that this was asked.
    pub(super) fn used(&self) -> Vec<Used> {
        let now = nanos(self.ticks.now());
        let used = self.buckets.iter().map(|((_, tenant), bucket)| {
            let taken = bucket.taken.swap(0, Ordering::Relaxed);
            let since = bucket.since.swap(now, Ordering::Relaxed);
            let seconds = Duration::from_nanos(now.saturating_sub(since)).as_secs_f64();
            #[allow(clippy::cast_precision_loss, reason = "a share needs no more digits")]
            let ratio = if seconds > 0.0 { taken as f64 / (bucket.rate.per_second * seconds) } else { 0.0 };
            Used { tenant, quota: Quota::Requests, ratio }
        });
        used.collect()
    }
}

fn nanos(length: Duration) -> u64 {
    u64::try_from(length.as_nanos()).unwrap_or(u64::MAX)
}
