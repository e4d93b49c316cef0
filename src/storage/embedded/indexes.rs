//! The indexes, compared with the records that they are about, and put right.
//!
//! They need this only after a batch was lost of which some keyspaces kept their part. It reads everything.

use std::iter;

use fjall::{UserKey, UserValue};

use super::CODEC;
use super::engine::{CommitError, Engine, describe, parse_reclaim_key, reclaim_key};

/// What an index has too much, or lacks.
pub(super) enum Fault {
    OpenLacks(UserKey),
    OpenStale(UserKey),
    ReclaimLacks(UserKey),
    ReclaimStale(UserKey),
}

impl Engine {
    /// Makes the indexes say what the records say. One batch does it: it was one batch that they disagree about.
    pub(super) fn repair_indexes(&self) -> Result<(), String> {
        tracing::warn!(
            "a lost batch left a part of itself behind: the indexes are compared with all records"
        );
        let mut batch = self.batch(16);
        let mut faults = 0_u64;
        self.for_each_fault(|fault| {
            faults += 1;
            match fault {
                Fault::OpenLacks(key) => batch.insert(&self.open, key, UserValue::empty()),
                Fault::OpenStale(key) => batch.remove(&self.open, key),
                Fault::ReclaimLacks(entry) => batch.insert(&self.reclaim, entry, UserValue::empty()),
                Fault::ReclaimStale(entry) => batch.remove(&self.reclaim, entry),
            }
        })?;
        // Its mark alone is worth writing: with it the keyspaces are those of one batch again.
        self.commit(batch).map_err(CommitError::into_cause)?;
        tracing::warn!(faults, "the indexes agree with the records");
        Ok(())
    }

    pub(super) fn for_each_fault(&self, mut found: impl FnMut(Fault)) -> Result<(), String> {
        let mut listed = self.open_keys(b"", None).peekable();
        for entry in self.records(b"", None) {
            let (key, value) = entry?;
            let before =
                iter::from_fn(|| listed.next_if(|open| open.as_ref().map_or(true, |open| *open < key)));
            for stale in before {
                found(Fault::OpenStale(stale?));
            }
            let is_listed = listed.next_if(|open| open.as_ref().is_ok_and(|open| *open == key)).is_some();
            // What a record that cannot be read would have in the indexes, nobody knows: it stays as it is.
            let Ok(head) = CODEC.decode_head(&value) else { continue };
            match (head.open, is_listed) {
                (true, false) => found(Fault::OpenLacks(key.clone())),
                (false, true) => found(Fault::OpenStale(key.clone())),
                (true, true) | (false, false) => {}
            }
            let entry = reclaim_key(head.reclaim_at, &key);
            if !self.reclaim.contains_key(&entry).map_err(|error| describe(&error))? {
                found(Fault::ReclaimLacks(entry));
            }
        }
        for stale in listed {
            found(Fault::OpenStale(stale?));
        }
        for entry in self.reclaim_entries() {
            let entry = entry?;
            let (at, key) = parse_reclaim_key(&entry).ok_or("an entry of the reclaim index is malformed")?;
            let head = self.get(key)?.map(|value| CODEC.decode_head(&value));
            if head.is_none_or(|head| head.is_ok_and(|head| head.reclaim_at != at)) {
                found(Fault::ReclaimStale(entry));
            }
        }
        Ok(())
    }
}
