//! Once a minute: counts what is open, says what became unresolved, and lets old rows go.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::domain::{Clock, Key, Reading, Timestamp, UnresolvedReason};
use crate::policies::Policies;
use crate::quotas::Quotas;
use crate::storage::{Scan, Scope, Store, StoreError};
use crate::telemetry::KeyHash;

/// How long between two sweeps.
pub const INTERVAL: Duration = Duration::from_mins(1);
/// How long no row is reclaimed after the wall clock jumped, or after a start, before which it may have jumped.
const RECLAIM_PAUSE: Duration = Duration::from_hours(1);
/// How far the wall clock may run away from the monotonic one between two sweeps without having jumped.
const JUMP: Duration = Duration::from_secs(5);
const ROWS_PER_PAGE: usize = 1000;
const RECLAIMED_AT_A_TIME: usize = 1000;

/// What a sweep counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live records that are not completed; absent where the store does not list them.
    pub open: Option<u64>,
    /// Live records that wait for a person, as nobody knows what became of them.
    pub outcome_unknown: u64,
    /// Live records that wait for a person, as their policy's attempts were all made.
    pub attempts_exhausted: u64,
}

impl Counts {
    /// Live records that wait for a person, for whatever reason.
    pub const fn unresolved(&self) -> u64 {
        self.outcome_unknown + self.attempts_exhausted
    }
}

/// Looks after the store between calls.
#[derive(Debug)]
pub struct Sweep {
    store: Arc<dyn Store>,
    policies: Arc<Policies>,
    clock: Arc<dyn Clock>,
    key_hash: KeyHash,
    /// The unresolved attempts that were already logged, by the name of their key and their fence.
    known: HashSet<(String, i64)>,
    clock_guard: ClockGuard,
    quotas: Option<Arc<Quotas>>,
    counts: watch::Sender<Option<Counts>>,
}

impl Sweep {
    /// A sweep that has not run yet.
    pub fn new(
        store: Arc<dyn Store>,
        policies: Arc<Policies>,
        clock: Arc<dyn Clock>,
        key_hash: KeyHash,
    ) -> Self {
        let clock_guard = ClockGuard::new(clock.now());
        let counts = watch::Sender::new(None);
        Self { store, policies, clock, key_hash, known: HashSet::new(), clock_guard, quotas: None, counts }
    }

    /// The same, which also tells `quotas` how many open keys each tenant has.
    #[must_use]
    pub fn counting_for(self, quotas: Arc<Quotas>) -> Self {
        Self { quotas: Some(quotas), ..self }
    }

    /// The last sweep's counts; absent before the first.
    pub fn counts(&self) -> watch::Receiver<Option<Counts>> {
        self.counts.subscribe()
    }

    /// Sweeps now and every [`INTERVAL`] until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                result = self.once() => if let Err(error) = result {
                    warn!(%error, "the sweep did not finish; it runs again in a minute");
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// One sweep.
    pub async fn once(&mut self) -> Result<(), StoreError> {
        let counted = self.recount().await;
        // What cannot be counted now is no reason to keep rows for ever.
        let reclaimed = self.reclaim().await;
        counted.and(reclaimed)
    }

    async fn recount(&mut self) -> Result<(), StoreError> {
        let counts = match self.count(Scope::Open).await {
            // What cannot be counted has no count: it is not 0.
            Err(StoreError::NotListed { .. }) => {
                Counts { open: None, ..self.count(Scope::Unresolved).await? }
            }
            counted => counted?,
        };
        self.counts.send_replace(Some(counts));
        Ok(())
    }

    /// Counts the records of `scope`, and says which of them became unresolved.
    async fn count(&mut self, scope: Scope) -> Result<Counts, StoreError> {
        let rules = self.policies.current();
        let (mut live, mut outcome_unknown, mut attempts_exhausted) = (0, 0, 0);
        let mut unresolved = HashSet::new();
        let mut recount = self.quotas.as_ref().map(|quotas| quotas.recount());
        let mut scan = Scan { scope, tenant: None, after: None, limit: ROWS_PER_PAGE };
        loop {
            let page = self.store.scan(&scan).await?;
            let now = self.clock.now();
            for (key, current) in &page.records {
                let Some(kept) = current.record.live(now) else { continue };
                live += 1;
                let policy = &rules.select(&key.tenant, &key.endpoint).policy;
                if let Some(recount) = &mut recount {
                    recount.add(&key.tenant, policy);
                }
                if let Reading::Unresolved { reason, since } = kept.read(policy, now) {
                    match reason {
                        UnresolvedReason::OutcomeUnknown => outcome_unknown += 1,
                        UnresolvedReason::AttemptsExhausted => attempts_exhausted += 1,
                    }
                    let named = (self.key_hash.name(key), kept.fence.get());
                    if !self.known.contains(&named) && !unresolved.contains(&named) {
                        say_unresolved(key, &named, kept.attempt, reason, since);
                    }
                    unresolved.insert(named);
                }
            }
            match page.next {
                Some(next) => scan.after = Some(next),
                None => break,
            }
        }
        self.known = unresolved;
        if let Some((quotas, recount)) = self.quotas.as_ref().zip(recount) {
            quotas.recounted(recount);
        }
        Ok(Counts { open: Some(live), outcome_unknown, attempts_exhausted })
    }

    async fn reclaim(&mut self) -> Result<(), StoreError> {
        let mut reclaimed = 0;
        loop {
            // Each portion by a time of its own, which was checked: the clock may jump between two of them.
            let now = self.clock.now();
            if !self.clock_guard.is_steady(now) {
                break;
            }
            let dropped = self.store.reclaim(now, RECLAIMED_AT_A_TIME).await?;
            reclaimed += dropped;
            if dropped < RECLAIMED_AT_A_TIME {
                break;
            }
        }
        debug!(reclaimed, "rows reclaimed");
        Ok(())
    }
}

fn say_unresolved(
    key: &Key,
    (key_hash, fence): &(String, i64),
    attempt: u32,
    reason: UnresolvedReason,
    since: Timestamp,
) {
    let reason = match reason {
        UnresolvedReason::OutcomeUnknown => "OUTCOME_UNKNOWN",
        UnresolvedReason::AttemptsExhausted => "ATTEMPTS_EXHAUSTED",
    };
    warn!(
        semel.tenant = key.tenant.as_str(),
        semel.endpoint = key.endpoint.as_str(),
        semel.key_hash = key_hash,
        semel.fence = fence,
        semel.attempt = attempt,
        reason,
        since_micros = since.as_micros(),
        "a key is unresolved: nobody runs it until an operator resolves it"
    );
}

/// Notices when the wall clock jumps against the monotonic one.
#[derive(Debug)]
struct ClockGuard {
    wall: Timestamp,
    monotonic: Instant,
    steady_from: Instant,
}

impl ClockGuard {
    fn new(wall: Timestamp) -> Self {
        let monotonic = Instant::now();
        Self { wall, monotonic, steady_from: monotonic + RECLAIM_PAUSE }
    }

    /// Whether the wall clock has not jumped for [`RECLAIM_PAUSE`].
    fn is_steady(&mut self, wall: Timestamp) -> bool {
        let monotonic = Instant::now();
        let expected = self.wall.plus(monotonic - self.monotonic);
        let apart = wall.since(expected).max(expected.since(wall));
        if apart > JUMP {
            info!(apart_seconds = apart.as_secs(), "the wall clock jumped: no row is reclaimed for an hour");
            self.steady_from = monotonic + RECLAIM_PAUSE;
        }
        self.wall = wall;
        self.monotonic = monotonic;
        monotonic >= self.steady_from
    }
}
