//! The records as this server knows them: the store, whose turn it is to ask it, and what is remembered of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::replay_cache::{Recent, ReplayCache};
use super::single_flight::{Lanes, Seen, Turn};
use super::time_left::AnswerBy;
use super::{CallError, Settings};
use crate::domain::{Key, Phase, Record, Restored};
use crate::storage::{Freshness, Store, StoreError, Versioned, WriteId};

/// Shared by the coordinator with those who find out what became of a write when its caller is gone.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) store: Arc<dyn Store>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) replay_cache: ReplayCache,
    pub(super) recent: Recent,
    pub(super) settings: Settings,
    /// What the store may have lost.
    pub(super) restored: Option<Restored>,
    /// Nobody is held any more, so nobody is to be told.
    pub(super) draining: CancellationToken,
    random: Mutex<StdRng>,
}

impl Records {
    pub(super) fn new(store: Arc<dyn Store>, seed: u64, settings: Settings) -> Self {
        Self {
            restored: store.restored(),
            store,
            lanes: Arc::default(),
            replay_cache: ReplayCache::new(settings.replay_cache_bytes, settings.replay_cache_max_age),
            recent: Recent::new(settings.recent_bytes),
            settings,
            draining: CancellationToken::new(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        }
    }

    /// What this server knew last, where it knows anything.
    pub(super) fn guess(&self, key: &Key) -> Option<Versioned> {
        self.recent.get(key).or_else(|| self.replay_cache.last_seen(key))
    }

    /// Reads, and keeps what was found for everyone who waits for the turn. A caller that queues since `asked` shares
    /// the failure of a read that began later.
    pub(super) async fn look(
        &self,
        turn: &mut Turn<'_>,
        freshness: Freshness,
        asked: u64,
        by: AnswerBy,
    ) -> Result<(), CallError> {
        if by.is_over() || turn.has_failed_read(asked) {
            return Err(CallError::StoreUnavailable);
        }
        let (began, since) = (turn.begin_store_call(), Instant::now());
        let Some(found) = by.bound(self.store.get(turn.key(), freshness)).await else {
            warn!("a read had no answer within its caller's deadline");
            return Err(CallError::StoreUnavailable);
        };
        match found {
            Ok(current) => {
                turn.read(Seen { current, began, serial: freshness == Freshness::Serial });
                self.remember(turn, since);
                Ok(())
            }
            Err(error) => {
                turn.read_failed(began);
                Err(report(error))
            }
        }
    }

    /// Keeps what was just seen, by a store call that began at `since`, each kind in its own cache.
    pub(super) fn remember(&self, turn: &Turn<'_>, since: Instant) {
        let key = turn.key();
        match turn.seen().and_then(|seen| seen.current.as_ref()) {
            // A key for it may be put in force at any time.
            Some(current) if current.sealed.is_some() => {
                self.replay_cache.forget(key);
                self.recent.forget(key);
            }
            Some(current) if is_completed(&current.record) => {
                self.recent.forget(key);
                if turn.unsettled().is_none() {
                    self.replay_cache.keep(key, current, since);
                } else {
                    // It may be forgotten or overwritten by now.
                    self.replay_cache.forget(key);
                }
            }
            Some(current) => {
                self.replay_cache.forget(key);
                self.recent.keep(key, current);
            }
            None => {
                self.replay_cache.forget(key);
                self.recent.forget(key);
            }
        }
    }

    /// Between half of `pause` and all of it.
    pub(super) fn jittered(&self, pause: Duration) -> Duration {
        pause.mul_f64(self.random().random_range(0.5..1.0))
    }

    /// A part of `length`, up to all of it.
    pub(super) fn part_of(&self, length: Duration) -> Duration {
        length.mul_f64(self.random().random_range(0.0..1.0))
    }

    pub(super) fn new_write_id(&self) -> WriteId {
        WriteId(uuid::Builder::from_random_bytes(self.random().random()).into_uuid())
    }

    fn random(&self) -> MutexGuard<'_, StdRng> {
        // A random generator has no state that a panic could leave half-changed.
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn is_completed(record: &Record) -> bool {
    matches!(record, Record::Kept(kept) if matches!(kept.phase, Phase::Completed { .. }))
}

/// A record that nobody could open is not an empty one: it is as if the store could not read it.
pub(super) fn report_sealed(key: &Key) -> CallError {
    error!(
        semel.tenant = key.tenant.as_str(),
        semel.endpoint = key.endpoint.as_str(),
        "a record is encrypted, and this server has no key for it (see the setting encryption_key_file): its calls are \
         refused, and nothing of it runs again"
    );
    CallError::StoreUnavailable
}

/// Logs the cause, which is not for callers, and keeps the kind.
pub(super) fn report(error: StoreError) -> CallError {
    match error {
        StoreError::NotListed { listed } => CallError::NotListed { listed },
        StoreError::Unavailable(cause) => {
            warn!(cause, "the store is unavailable");
            CallError::StoreUnavailable
        }
        StoreError::OutcomeUnknown(cause) => {
            warn!(cause, "a write's outcome is unknown");
            CallError::StoreOutcomeUnknown
        }
    }
}
