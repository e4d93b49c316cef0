//! The records that were written last, decoded, so that the next call on a key need not touch the engine.
//!
//! Only the committer changes it, after the sync, in the order of its writes, and it removes what it does not keep.
//! So an entry is never older than what a read that began now would find in the engine.

use fjall::UserKey;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::storage::Versioned;

/// A larger record is left to the engine's cache.
const LARGEST: u64 = 64 * 1024;

pub(super) struct Recent(Cache<UserKey, Versioned, Weight>);

#[derive(Clone)]
struct Weight;

impl Weighter<UserKey, Versioned> for Weight {
    fn weight(&self, key: &UserKey, value: &Versioned) -> u64 {
        weight(key, value)
    }
}

fn weight(key: &UserKey, value: &Versioned) -> u64 {
    (2 * size_of::<UserKey>() + key.len() + value.weight()) as u64
}

impl Recent {
    pub(super) fn new(bytes: u64) -> Self {
        let expected = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(16, 1 << 20);
        Self(Cache::with_weighter(expected, bytes, Weight))
    }

    pub(super) fn get(&self, key: &UserKey) -> Option<Versioned> {
        self.0.get(key)
    }

    /// Takes the place of whatever was there, even where `current` itself is not kept.
    pub(super) fn put(&self, key: UserKey, current: Versioned) {
        if weight(&key, &current) > LARGEST {
            self.0.remove(&key);
        } else {
            self.0.insert(key, current);
        }
    }

    pub(super) fn remove(&self, key: &UserKey) {
        self.0.remove(key);
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}
